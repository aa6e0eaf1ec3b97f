"""The random models: the same on every machine, apart from torch's own generator."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.backbone.hashing import hash_weights
from warmprompt.backbone.tiny import build_tiny, byte_tokenizer
from warmprompt.rng import derive

KINDS = ["decoder", "encoder"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_every_weight(kind):
    torch.manual_seed(1)
    one = hash_weights(build_tiny(kind, seed=3)[0])
    torch.manual_seed(2)
    assert hash_weights(build_tiny(kind, seed=3)[0]) == one
    assert hash_weights(build_tiny(kind, seed=4)[0]) != one


def test_weights_are_the_named_draws():
    model, _ = build_tiny("decoder", seed=5)
    name = "model.layers.1.mlp.down_proj.weight"
    weight = model.get_parameter(name)
    drawn = derive(5, "tiny", name).standard_normal(tuple(weight.shape)) / np.sqrt(weight.shape[1])
    np.testing.assert_array_equal(weight.detach().numpy(), drawn.astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_building_leaves_the_global_generator_alone(kind):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_tiny(kind)
    assert torch.equal(torch.rand(3), expected)


@given(text=st.text(max_size=40))
@settings(max_examples=50)
def test_any_text_survives_the_tokenizer(text):
    text = text.encode("utf-8", "ignore").decode()
    tokenizer = byte_tokenizer(wrap=False)
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_only_encoders_get_special_tokens_at_both_ends():
    plain, wrapped = (byte_tokenizer(wrap=wrap)("ab")["input_ids"] for wrap in (False, True))
    bos, eos = byte_tokenizer(wrap=True).convert_tokens_to_ids(["<bos>", "<eos>"])
    assert wrapped == [bos, *plain, eos]
