"""Texts to vectors: the pooling by hand, and how often the model runs."""

import numpy as np
import pytest
import torch

from warmprompt.backbone.fetch import is_cached
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.text import WINDOW, embed_texts, pad_ids, pool_texts, token_ids
from warmprompt.errors import BadInputError, NotFiniteError

# Lengths from one byte to more than a window, so that batches need padding.
TEXTS = ["Toy Story (1995). Comedy.", "Heat", "x", "A long description. " * 30, "Naïve café ☕", "Heat 2"]


@pytest.fixture
def forwards():
    """Count the rows of every forward of a whole base model."""
    rows = []

    def count(module, args, kwargs, output):
        if hasattr(output, "last_hidden_state") and hasattr(module, "get_input_embeddings"):
            rows.append(len(output.last_hidden_state))

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, output: count(module, args, {}, output)
    )
    yield rows
    handle.remove()


def _by_hand(text, backbone):
    """Run one text alone, without padding: the oracle for batches."""
    ids = backbone.tokenizer(text)["input_ids"]
    states = []
    for start in range(0, len(ids), WINDOW):
        with torch.no_grad():
            window = torch.tensor([ids[start : start + WINDOW]])
            states.append(backbone.model(input_ids=window).last_hidden_state[0])
    mean = torch.cat(states).double().mean(0).numpy()
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize(("name", "layer"), [("tiny-encoder", None), ("tiny", None), ("tiny", 2)])
def test_a_vector_is_the_mean_over_the_texts_own_tokens(name, layer):
    backbone = load_backbone(name, num_layers=layer)
    pooled = pool_texts(TEXTS, backbone, batch_size=3)
    # float32 forwards with and without padding differ in the last bits.
    for text, vector in zip(TEXTS, pooled, strict=True):
        np.testing.assert_allclose(vector, _by_hand(text, backbone), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-6)


def test_cached_texts_are_not_run_again(tmp_path, forwards):
    options = {"backbone_name": "tiny-encoder", "home": tmp_path, "batch_size": 2}
    first = embed_texts(["a", "b", "a", "c"], **options)
    assert sum(forwards) == 3
    assert len(forwards) == 2
    again = embed_texts(["c", "a"], **options)
    assert sum(forwards) == 3
    np.testing.assert_array_equal(again, first[[3, 0]])
    embed_texts(["c", "d"], **options)
    assert sum(forwards) == 4


def test_another_layer_or_model_is_another_cache(tmp_path, forwards):
    vectors = [
        embed_texts(["Heat"], backbone_name=name, layer=layer, home=tmp_path)
        for name, layer in [("tiny", 1), ("tiny", 2), ("tiny-encoder", None)]
    ]
    assert sum(forwards) == 3
    assert not np.allclose(vectors[0], vectors[1])
    np.testing.assert_array_equal(
        embed_texts(["Heat"], backbone_name="tiny", layer=2, home=tmp_path), vectors[1]
    )
    assert sum(forwards) == 3


def test_equal_lengths_are_batched_together(forwards):
    backbone = load_backbone("tiny-encoder")
    pool_texts(["aaaa", "b", "cccc", "d"], backbone, batch_size=2)
    assert forwards == [2, 2]


def test_bad_texts_are_named(tmp_path):
    with pytest.raises(BadInputError, match="text 1"):
        embed_texts(["a", " \n"], backbone_name="tiny", home=tmp_path)
    with pytest.raises(BadInputError, match="texts"):
        embed_texts([], backbone_name="tiny", home=tmp_path)
    with pytest.raises(BadInputError, match="texts"):
        embed_texts("Heat", backbone_name="tiny", home=tmp_path)
    with pytest.raises(BadInputError, match="num_layers"):
        embed_texts(["a"], backbone_name="tiny", layer=9, home=tmp_path)
    with pytest.raises(BadInputError, match="batch_size"):
        embed_texts(["a"], backbone_name="tiny", batch_size=0, home=tmp_path)


def test_vectors_that_are_not_finite_are_refused():
    backbone = load_backbone("tiny")
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight[backbone.tokenizer("x")["input_ids"][0]] = torch.nan
    with pytest.raises(NotFiniteError, match="text 1"):
        pool_texts(["a", "x"], backbone)


def test_padding():
    ids_BT, mask_BT = pad_ids([[5, 6], [7]], pad_id=9)
    assert ids_BT.tolist() == [[5, 6], [7, 9]]
    assert mask_BT.tolist() == [[1, 1], [1, 0]]


def test_special_tokens_are_the_models_own():
    assert len(token_ids(["ab"], load_backbone("tiny"))[0]) == 2
    assert len(token_ids(["ab"], load_backbone("tiny-encoder"))[0]) == 4


@pytest.mark.backbone
def test_minilm_puts_like_beside_like(cached_home):
    texts = ["spaceships and robots", "science fiction films", "romantic love stories"]
    vectors = embed_texts(texts, home=cached_home("minilm-l6"))
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.1


@pytest.mark.backbone
def test_mpnet_pools_its_own_hidden_states(cached_home):
    if not is_cached("mpnet-base"):
        pytest.skip(
            "mpnet-base is 405 MB and fetched only when asked for: warmprompt backbone get mpnet-base"
        )
    home = cached_home("mpnet-base")
    texts = [
        "Toy Story (1995). Animation, Comedy.",
        "Finding Nemo. A film for children.",
        "Garden hose, 20 m",
    ]
    vectors = embed_texts(texts, backbone_name="mpnet-base", home=home)
    backbone = load_backbone("mpnet-base", home=home)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(vector, _by_hand(text, backbone), atol=2e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.1
