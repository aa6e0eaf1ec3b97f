"""Where soft prompts start: rows of the table, a text, or draws with the mean and deviation of the table."""

import pytest
import torch

from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.errors import BadInputError


@pytest.fixture(scope="module", params=["tiny", "tiny-encoder"])
def backbone(request):
    return load_backbone(request.param)


def _table(backbone):
    return backbone.embed(torch.arange(len(backbone.tokenizer)))


def test_a_vocabulary_start_is_made_of_ordinary_tokens(backbone):
    prompt_PH = init_prompt(backbone, length=200, init="vocab", seed=0)
    assert prompt_PH.shape == (200, backbone.hidden_size)
    distances = torch.cdist(prompt_PH, _table(backbone))
    nearest = distances.argmin(dim=1).tolist()
    assert torch.equal(prompt_PH, _table(backbone)[nearest])
    # 200 draws from 256 tokens would meet a special one with near certainty if there were no care.
    assert not set(nearest) & set(backbone.tokenizer.all_special_ids)
    assert len(set(nearest)) > 100


@pytest.mark.parametrize("length", [2, 5, 12])
def test_a_text_start_is_the_text_repeated_or_cut(backbone, length):
    prompt_PH = init_prompt(backbone, length=length, init="text", text="films", seed=0)
    ids = [backbone.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "filmsfilmsfi"]
    assert torch.equal(prompt_PH, _table(backbone)[ids[:length]])


def test_a_normal_start_has_the_mean_and_deviation_of_the_table(backbone):
    prompt_PH = init_prompt(backbone, length=450, init="normal", seed=0)
    table = _table(backbone)
    # 450 draws around 256 rows: means and deviations to within a few times sqrt(1 / 450 + 1 / 256).
    assert (prompt_PH.mean(0) - table.mean(0)).abs().max() < 5 / 16
    assert (prompt_PH.std(0) / table.std(0) - 1).abs().max() < 5 / 16


@pytest.mark.parametrize("init", ["vocab", "text", "normal"])
def test_a_start_is_free_of_the_model_and_decided_by_the_seed(backbone, init):
    first, again, other = (
        init_prompt(backbone, length=3, init=init, text="abc", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (init == "text")
    assert first.dtype == torch.float32
    assert not first.requires_grad
    before = _table(backbone).clone()
    first.zero_()
    assert torch.equal(_table(backbone), before)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"length": 0}, "prompt.length"), ({"init": "text"}, "prompt.text_init")],
)
def test_what_cannot_be_made_is_refused(backbone, wrong, field):
    with pytest.raises(BadInputError) as caught:
        init_prompt(backbone, **{"length": 4, "init": "vocab", "seed": 0, **wrong})
    assert caught.value.field == field
