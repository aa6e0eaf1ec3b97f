"""A packed layer computes what the plain one computes; a packed model is its own, the plain one stays."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.packed import PackedLinear, packed


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (4, 5, 48)])
def test_a_packed_layer_and_its_gradient_agree_with_the_plain_product(bias, shape):
    torch.manual_seed(0)
    plain = nn.Linear(48, 20, bias=bias)
    layer = PackedLinear(plain.weight.detach(), plain.bias.detach() if bias else None)
    rows, towards = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 20)
    expected = rows.double() @ plain.weight.double().T + (plain.bias.double() if bias else 0)
    # 48 products of numbers around 1 in single precision.
    torch.testing.assert_close(layer(rows).double(), expected, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad((layer(rows) * towards).sum(), rows)
    torch.testing.assert_close(gradient.double(), towards.double() @ plain.weight.double(), atol=1e-5, rtol=0)
    along = torch.randn(shape)
    towards.requires_grad_()
    (back,) = torch.autograd.grad(layer(rows), rows, towards, create_graph=True)
    (again,) = torch.autograd.grad(back, towards, along)
    torch.testing.assert_close(again.double(), along.double() @ plain.weight.double().T, atol=1e-5, rtol=0)


def test_a_packed_model_agrees_with_the_plain_one_which_stays_as_it_was():
    plain = load_backbone("tiny")
    quick = packed(plain)
    rows = torch.randn(2, 7, plain.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = quick.model(inputs_embeds=rows).last_hidden_state
        theirs = plain.model(inputs_embeds=rows).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert any(isinstance(one, PackedLinear) for one in quick.model.modules())
    assert not any(isinstance(one, PackedLinear) for one in plain.model.modules())
    assert not any(isinstance(one, nn.Linear) for one in quick.model.modules())
    embedding = plain.model.get_input_embeddings().weight
    assert quick.model.get_input_embeddings().weight.data_ptr() == embedding.data_ptr()


def test_a_packed_model_can_be_packed_again():
    quick = packed(packed(load_backbone("tiny")))
    assert any(isinstance(one, PackedLinear) for one in quick.model.modules())


def test_where_it_cannot_be_packed_the_plain_model_serves(monkeypatch):
    plain = load_backbone("tiny")
    assert packed(replace(plain, device=torch.device("meta"))) is None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert packed(plain) is None


def test_a_layer_that_answers_otherwise_is_not_used(monkeypatch):
    from warmprompt.backbone import packed as module

    right = module._multiplied
    monkeypatch.setattr(module, "_multiplied", lambda *args: right(*args) + 1.0)
    assert packed(load_backbone("tiny")) is None
