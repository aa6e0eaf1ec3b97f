"""The pass [text][prompt][read-out] against the transformers model run on the whole input at once."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from warmprompt.backbone.forward import (
    LEAD_TEXT,
    MAX_TEXT_TOKENS,
    READ_OUT_TEXT,
    PlainAttention,
    count_forwards,
    read_out,
    read_texts,
)
from warmprompt.backbone.hashing import hash_weights
from warmprompt.backbone.load import load_backbone

TEXTS = ["A writer.", "", "I love slow science fiction", "A writer."]


@pytest.fixture(scope="module", params=["tiny", "tiny-encoder"])
def backbone(request):
    return load_backbone(request.param, num_layers=2)


def _prompts(backbone, num=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num, 3, backbone.hidden_size, generator=generator)


def _ids(backbone, text):
    return backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def _whole_pass(backbone, text, prompt_PH):
    """Return what the model makes of one unpadded input, without any cache."""
    encoder = backbone.kind == "encoder"
    first = [backbone.tokenizer.cls_token_id] if encoder else []
    first = [one for one in first if one is not None]
    front = backbone.embed(torch.tensor(first + _ids(backbone, LEAD_TEXT + text)[:MAX_TEXT_TOKENS]))
    last = [backbone.tokenizer.sep_token_id] if encoder and backbone.tokenizer.sep_token_id else None
    tail = backbone.embed(torch.tensor(last or _ids(backbone, READ_OUT_TEXT)[-1:]))
    states = backbone.model(inputs_embeds=torch.cat([front, prompt_PH, tail])[None]).last_hidden_state[0]
    return states[-len(prompt_PH) - 1 :].mean(0) if encoder else states[-1]


def test_a_padded_batch_with_cached_texts_is_each_users_whole_input_run_alone(backbone):
    prompts_BPH = _prompts(backbone)
    found_BH = read_out(backbone, read_texts(backbone, TEXTS), prompts_BPH)
    for found_H, text, prompt_PH in zip(found_BH, TEXTS, prompts_BPH, strict=True):
        # Float32 sums in another order over two layers.
        torch.testing.assert_close(found_H, _whole_pass(backbone, text, prompt_PH), rtol=1e-4, atol=1e-5)


def test_long_texts_are_cut_where_stated(backbone):
    long = "science fiction " * 20
    room = MAX_TEXT_TOKENS - len(_ids(backbone, LEAD_TEXT))
    assert len(_ids(backbone, long)) > room
    prompts_BPH = _prompts(backbone, 2)[:1].expand(2, -1, -1)
    whole, cut = read_out(backbone, read_texts(backbone, [long, long[:room]]), prompts_BPH)
    torch.testing.assert_close(whole, cut)


def test_text_and_prompt_both_matter_and_users_do_not_mix(backbone):
    prompts_BPH = _prompts(backbone)
    prefix = read_texts(backbone, TEXTS)
    before_BH = read_out(backbone, prefix, prompts_BPH)
    assert not torch.allclose(before_BH[0], before_BH[3])  # same text, another prompt
    same_BH = read_out(backbone, prefix, prompts_BPH[:1].expand_as(prompts_BPH))
    assert not torch.allclose(same_BH[0], same_BH[1])  # same prompt, another text
    changed_BPH = prompts_BPH.clone()
    changed_BPH[2] = changed_BPH[2].flip(0)
    after_BH = read_out(backbone, prefix, changed_BPH)
    torch.testing.assert_close(after_BH[[0, 1, 3]], before_BH[[0, 1, 3]], rtol=0, atol=0)
    assert not torch.allclose(after_BH[2], before_BH[2])


def test_a_prefix_can_be_used_any_number_of_times(backbone):
    prefix = read_texts(backbone, TEXTS)
    results = [read_out(backbone, prefix, _prompts(backbone)) for _ in range(3)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_gradient_in_the_prompts_is_the_slope(backbone):
    double = replace(
        backbone, model=load_backbone(backbone.name, num_layers=2, attention="eager").model.double()
    )
    prefix = read_texts(double, TEXTS)
    prompts_BPH = _prompts(double).double()
    generator = torch.Generator().manual_seed(1)
    weights_BH = torch.randn(len(TEXTS), double.hidden_size, generator=generator)
    direction = torch.randn(prompts_BPH.shape, generator=generator, dtype=torch.float64)

    def objective(at):
        return (read_out(double, prefix, at) * weights_BH).sum()

    leaf = prompts_BPH.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(leaf), leaf)
    step = 1e-2
    slope = (objective(prompts_BPH + step * direction) - objective(prompts_BPH - step * direction)) / (
        2 * step
    )
    # The result is rounded to float32 (about 1e-7 of values near 10), so steps cannot be smaller:
    # their third-order error is of the order of 1e-4.
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=5e-3)


def test_passes_are_counted_by_batch_size_and_only_inside_the_block(backbone):
    prompts_BPH = _prompts(backbone)
    with count_forwards(backbone) as sizes:
        prefix = read_texts(backbone, TEXTS)
        read_out(backbone, prefix, prompts_BPH)
        read_out(backbone, prefix, prompts_BPH)
    read_out(backbone, prefix, prompts_BPH)
    # A decoder reads the three different texts once; an encoder reads them along with each prompt.
    assert sizes == ([3, 4, 4] if backbone.kind == "decoder" else [4, 4])


def test_reading_leaves_weights_and_prompts_alone(backbone):
    before = hash_weights(backbone.model)
    prompts_BPH = _prompts(backbone).requires_grad_()
    copy = prompts_BPH.detach().clone()
    read_out(backbone, read_texts(backbone, TEXTS), prompts_BPH).sum().backward()
    assert hash_weights(backbone.model) == before
    assert torch.equal(prompts_BPH, copy)
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


@pytest.mark.backbone
def test_smollm2_with_cached_texts_is_the_whole_input_run_alone(cached_home):
    backbone = load_backbone("smollm2-135m", num_layers=6, home=cached_home("smollm2-135m"))
    generator = torch.Generator().manual_seed(0)
    ids_BP = torch.randint(1000, 40000, (len(TEXTS), 3), generator=generator)
    prompts_BPH = backbone.embed(ids_BP)
    found_BH = read_out(backbone, read_texts(backbone, TEXTS), prompts_BPH)
    for found_H, text, prompt_PH in zip(found_BH, TEXTS, prompts_BPH, strict=True):
        expected_H = _whole_pass(backbone, text, prompt_PH)
        # Float32 sums in another order over six layers, relative to the vector's length.
        assert (found_H - expected_H).norm() < 1e-4 * expected_H.norm()


def _twice_differentiated():
    """Return attention with a mask, and its second derivative, which the fast kernels do not have."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 3, 4, generator=draw).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, True], [True, True, False], [True, True, True]])
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    heat = (query @ key.transpose(2, 3) / 2).masked_fill(~mask, -math.inf)
    expected = heat.softmax(3) @ value
    (slope,) = torch.autograd.grad(found.sum(), query, create_graph=True)
    return found, expected, torch.autograd.grad(slope.square().sum(), key)[0]


def test_plain_attention_is_the_formula_in_this_thread_alone():
    with PlainAttention():
        found, expected, second = _twice_differentiated()
        with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="not implemented"):
            other.submit(_twice_differentiated).result()
    torch.testing.assert_close(found, expected)
    assert second.abs().max() > 0
    with pytest.raises(RuntimeError, match="not implemented"):
        _twice_differentiated()
