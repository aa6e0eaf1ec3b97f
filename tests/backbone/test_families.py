"""Twelve kinds of decoders and eight of encoders carry prompts and embed texts; others are refused at once.

Every family is a small random model in a folder, loaded as a user's own. The oracle is the library's model of
the whole folder, run on one unpadded input without a cache.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.backbone.small_families import LAYERS, REFUSED, WORKING, save_family
from transformers import AutoModel, PreTrainedModel

from warmprompt.backbone.families import prove
from warmprompt.backbone.forward import LEAD_TEXT, MAX_TEXT_TOKENS, READ_OUT_TEXT, read_out, read_texts
from warmprompt.backbone.load import check_backbone, load_backbone, load_causal
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.quiet import quiet
from warmprompt.backbone.text import pool_texts
from warmprompt.errors import BadInputError

TEXTS = ["A writer.", "", "I love slow science fiction", "A writer."]


@pytest.fixture(scope="module", params=WORKING)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return save_family(family, tmp_path_factory.mktemp("family") / "model")


def _prompts(backbone):
    """Return one prompt per text, of other vectors each."""
    made = [
        init_prompt(backbone, length=3, init="vocab", seed=seed) + 0.1 * seed for seed in range(len(TEXTS))
    ]
    return torch.stack(made)


def _ids(backbone, text):
    return backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def _whole(folder):
    with quiet():
        return AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


@torch.no_grad()
def _state_alone(whole, backbone, text, prompt_PE):
    """Return the library's hidden state after the backbone's depth for one whole input."""
    encoder = backbone.kind == "encoder"
    ids = ([backbone.tokenizer.cls_token_id] if encoder else []) + _ids(backbone, LEAD_TEXT + text)
    end = [backbone.tokenizer.sep_token_id] if encoder else _ids(backbone, READ_OUT_TEXT)[-1:]
    rows = torch.cat([backbone.embed(torch.tensor(ids)), prompt_PE, backbone.embed(torch.tensor(end))])
    output = whole(inputs_embeds=rows[None], output_hidden_states=True)
    last = backbone.num_layers == backbone.total_layers
    states = output.last_hidden_state[0] if last else output.hidden_states[backbone.num_layers][0]
    return states[-len(prompt_PE) - 1 :].mean(0) if encoder else states[-1]


@pytest.mark.parametrize(("num_layers", "attention"), [(1, "sdpa"), (2, "eager"), (None, "sdpa")])
def test_a_padded_batch_with_cached_texts_is_the_librarys_whole_pass(folder, num_layers, attention):
    backbone, whole = load_backbone(folder, num_layers=num_layers, attention=attention), _whole(folder)
    assert backbone.total_layers == LAYERS
    prompts_BPE = _prompts(backbone)
    found_BH = read_out(backbone, read_texts(backbone, TEXTS), prompts_BPE)
    expected = [_state_alone(whole, backbone, *pair) for pair in zip(TEXTS, prompts_BPE, strict=True)]
    assert found_BH.shape == (len(TEXTS), backbone.hidden_size)
    # Float32 sums in another order over at most three layers, of states of size one to ten.
    torch.testing.assert_close(found_BH, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_gradients_in_the_prompt_are_slopes_once_and_twice(folder):
    # Differences over a step of 1e-3 of the prompt in double arithmetic; what families compute in float32
    # all the same (norms, softmax, the read-out's result) leaves about 1e-7 / 1e-3, and curvature 1e-3.
    plain = load_backbone(folder, num_layers=2, attention="eager")
    backbone = replace(plain, model=plain.model.double())
    prefix, prompts_BPE = read_texts(backbone, TEXTS), _prompts(backbone).double()
    generator = torch.Generator().manual_seed(0)
    weights_BH = torch.randn(len(TEXTS), backbone.hidden_size, generator=generator, dtype=torch.float64)
    direction = torch.randn(prompts_BPE.shape, generator=generator, dtype=torch.float64)

    def slope(at, *, graph=False):
        at = at.detach().requires_grad_()
        value = torch.tanh(read_out(backbone, prefix, at).double() * weights_BH).sum()
        return value.detach(), torch.autograd.grad(value, at, create_graph=graph)[0], at

    step = 1e-3
    (up, slope_up, _), (down, slope_down, _) = (
        slope(prompts_BPE + sign * step * direction) for sign in (1, -1)
    )
    _, gradient, at = slope(prompts_BPE, graph=True)
    scale = gradient.norm() * direction.norm()
    assert (gradient * direction).sum().item() == pytest.approx(
        ((up - down) / (2 * step)).item(), abs=2e-3 * scale.item()
    )
    (twice,) = torch.autograd.grad((gradient * direction).sum(), at)
    estimate = (slope_up - slope_down) / (2 * step)
    assert twice.norm() > 0
    assert (twice - estimate).norm() < 2e-2 * estimate.norm()


def test_text_vectors_are_the_librarys_mean_states(folder):
    backbone, whole = load_backbone(folder), _whole(folder)
    texts = ["slow science fiction", "jazz", "loud " * 60]  # the last is longer than one window
    found_NH = pool_texts(texts, backbone)
    width = min(256, backbone.max_tokens or 256)
    for found_H, text in zip(found_NH, texts, strict=True):
        ids = backbone.tokenizer(text)["input_ids"]
        windows = [ids[start : start + width] for start in range(0, len(ids), width)]
        with torch.no_grad():
            states = [whole(input_ids=torch.tensor([one])).last_hidden_state[0] for one in windows]
        sum_H = torch.cat(states).double().sum(0)
        np.testing.assert_allclose(found_H, (sum_H / sum_H.norm()).numpy(), atol=1e-4)


def test_a_depth_that_the_model_does_not_have_is_refused_from_its_configuration(folder):
    weights = Path(folder) / "model.safetensors"
    away = weights.rename(weights.with_suffix(".away"))
    try:
        for depth in (0, LAYERS + 1):
            with pytest.raises(
                BadInputError, match=rf"^backbone.num_layers: '{depth}'. Choose 1 to {LAYERS} for"
            ):
                check_backbone(folder, num_layers=depth)
            with pytest.raises(
                BadInputError, match=rf"^backbone.num_layers: '{depth}'. Choose 1 to {LAYERS} for"
            ):
                load_backbone(folder, num_layers=depth)
        check_backbone(folder, num_layers=LAYERS)
    finally:
        away.rename(weights)


@pytest.mark.parametrize("refused", REFUSED)
def test_what_cannot_work_is_refused_before_its_weights_are_read(refused, tmp_path):
    name = save_family(refused, tmp_path / "model")
    reason = REFUSED[refused][3]
    for weights in (tmp_path / "model").glob("*.safetensors"):
        weights.unlink()
    for refuse in (check_backbone, load_backbone, load_causal):
        with pytest.raises(BadInputError, match=rf"^backbone: .*{reason}.* Name a"):
            refuse(name)
    with pytest.raises(BadInputError, match="^backbone.item_text: "):
        check_backbone(name, field="backbone.item_text")


@pytest.mark.parametrize(
    ("family", "limit", "length"),
    [
        ("GPT-2", {"n_positions": 60}, 10),
        ("BERT", {"max_position_embeddings": 60}, 10),
        ("RoBERTa", {"max_position_embeddings": 62}, 10),
        ("Gemma 2", {"sliding_window": 60}, 10),
        ("Mistral", {"sliding_window": 60}, 10),
    ],
)
def test_a_prompt_longer_than_the_model_reads_at_once_is_refused(family, limit, length, tmp_path):
    backbone = load_backbone(save_family(family, tmp_path / "model", **limit))
    assert backbone.max_tokens == MAX_TEXT_TOKENS + 2 + length
    prompts_1PE = init_prompt(backbone, length=length, init="vocab", seed=0)[None]
    long = "slow science fiction " * 9
    together = read_out(backbone, read_texts(backbone, [long, ""]), prompts_1PE.expand(2, -1, -1))
    alone = read_out(backbone, read_texts(backbone, [""]), prompts_1PE)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(BadInputError, match=rf"prompt.length: '{length + 1}'. Choose 1 to {length} for"):
        init_prompt(backbone, length=length + 1, init="vocab", seed=0)


def test_a_window_shorter_than_a_text_is_refused(tmp_path):
    backbone = load_backbone(save_family("Gemma 3", tmp_path / "model", sliding_window=8))
    with pytest.raises(BadInputError, match="which reads 8 tokens at once"):
        init_prompt(backbone, length=1, init="vocab", seed=0)


class _Deaf(torch.nn.Module):
    """A model that ignores what it was given to attend to."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.inner, self.config, self.device = model, model.config, torch.device("cpu")
        self.get_input_embeddings = model.get_input_embeddings

    def forward(self, **inputs):
        inputs = {key: value for key, value in inputs.items() if key != "attention_mask"}
        return self.inner(**inputs)


@pytest.mark.parametrize("family", ["BERT", "Llama"])
def test_a_model_that_padding_or_reuse_would_falsify_is_refused(family, tmp_path):
    backbone = load_backbone(save_family(family, tmp_path / "model"))
    assert prove(backbone.model, kind=backbone.kind, name="own", cut=False) == 16
    with pytest.raises(BadInputError, match="depend on"):
        prove(_Deaf(backbone.model), kind=backbone.kind, name="own", cut=False)


def test_a_cut_model_with_something_behind_its_last_layer_is_refused(tmp_path):
    backbone = load_backbone(save_family("Llama", tmp_path / "model"), num_layers=2)
    backbone.model.norm = torch.nn.Linear(16, 16)
    with pytest.raises(BadInputError, match="backbone.num_layers"):
        prove(backbone.model, kind="decoder", name="own", cut=True)


def _documented():
    page = (Path(__file__).parents[2] / "docs/howto/backbones.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line
    ]
    return {row[0]: row[1:] for row in rows}


def test_the_page_lists_this_family_with_its_kind_and_attention(family, folder):
    backbone = load_backbone(folder)
    attention = {"sdpa": "fused or eager", "eager": "eager"}[backbone.attention]
    assert _documented()[family] == [backbone.kind, "yes", "yes", attention]


def test_the_page_lists_what_is_refused_and_nothing_else():
    documented = _documented()
    assert {family for family, row in documented.items() if row[1:3] == ["yes", "yes"]} == set(WORKING)
    for family, (*_, reason) in REFUSED.items():
        assert reason in documented[family][0]
