"""The language model fine-tuned with LoRA, on a tiny random model: what it reads and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from warmprompt.backbone.load import load_backbone
from warmprompt.baselines import baseline
from warmprompt.baselines.lora import _prefix_loss, _Prefixes, _tensors
from warmprompt.baselines.neural import log_share
from warmprompt.data.dataset import popularity, take_users
from warmprompt.errors import BadInputError
from warmprompt.types import Support

SMALL = {"backbone": "tiny", "num_layers": 2, "num_factors": 16, "regularization": 3, "alpha": 5}
STILL = {**SMALL, "rate": 1e-12, "vector_rate": 1e-12, "num_epochs": 1}


@pytest.fixture(scope="module")
def views(world):
    """Return training and validation users."""
    return tuple(take_users(world.dataset, np.arange(*ends)) for ends in ((0, 200), (200, 240)))


@pytest.fixture(scope="module")
def few(world):
    """Return training and validation users where it does not matter how well anything is learned."""
    return tuple(take_users(world.dataset, np.arange(*ends)) for ends in ((0, 40), (200, 220)))


@pytest.fixture(scope="module")
def trained(views):
    """Return the baseline after a few passes, reading item vectors too."""
    return baseline("lora", num_epochs=3, rate=6e-3, **SMALL)().fit(*views, seed=0)


def _support(items, **parts):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings, **parts)


def test_planted_tastes_of_unseen_users_are_found(share_inside, trained):
    assert share_inside(trained) > 0.7


def test_training_begins_at_popularity(few):
    start = baseline("lora", **STILL)().fit(*few, seed=0)
    share = log_share(few[0]).astype(np.float64)
    expected = share - np.log(np.exp(share).sum())
    # float32, and one step of 1e-12
    assert start.score([_support([3, 10, 21])])[0] == pytest.approx(expected, abs=1e-5)


def test_the_models_own_weights_stay_and_the_additions_move(trained):
    (adapted,) = trained.net._held
    before = load_backbone("tiny", num_layers=2, dtype="bfloat16").model.state_dict()
    after = {name.replace(".base_layer", ""): one for name, one in adapted.state_dict().items()}
    assert before.keys() == {name for name in after if "lora_" not in name}
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    # The second factors start at zero; two layers, each with queries and values.
    moved = [
        one for name, one in adapted.named_parameters() if "lora_B" in name and bool(one.abs().sum() > 0)
    ]
    assert len(moved) == 4


def test_one_pass_over_a_history_reads_every_support_that_begins_it(trained):
    items = trained.words.sort(np.array([3, 10, 21, 40]))
    with torch.no_grad():
        at_once = trained.net(*_tensors([trained.words.lines("", items)]))[0]
        for k in range(5):
            alone = trained.net(*_tensors([trained.words.lines("", items[:k])]))[0, k]
            # bfloat16 keeps three digits, and sums over texts of another length in another order.
            assert alone.numpy() == pytest.approx(at_once[k].numpy(), abs=0.02 * float(at_once.abs().max()))


def test_the_loss_of_a_batch_is_that_of_each_prefix_written_out(views, trained):
    training = views[0]
    prefixes = _Prefixes(training, trained.words, seed=0)
    users = prefixes.users[:4]
    lines, arrival, wanted, counts = prefixes.draw(users, epoch=2)
    with torch.no_grad():
        vectors = trained.net(*_tensors(lines))
        found = _prefix_loss(trained.net, vectors, arrival, wanted, counts).item()
        losses = []
        for row, user in enumerate(users):
            history = set(training.interactions.items[training.interactions.events_of(int(user))].tolist())
            # What is known of tastes comes from events that are neither read nor to be found.
            known = set(np.flatnonzero(wanted[row].numpy()).tolist())
            assert known <= history
            each = []
            for k in range(len(lines[row].items) + 1):
                read = set(lines[row].items[:k].tolist())
                rest = sorted(known - read)
                open_items = [v for v in np.flatnonzero(popularity(training)) if v not in read]
                logs = functional.log_softmax(trained.net.logits(vectors[row, k])[open_items], dim=0)
                each.append(-np.mean([logs[open_items.index(item)].item() for item in rest]))
            losses.append(np.mean(each))
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_without_item_vectors_only_titles_are_read(few):
    training, validation = few
    names = training.items["title"].to_list()
    names[21] = names[3]
    same = training.items.with_columns(title=pl.Series(names))
    training, validation = replace(training, items=same), replace(validation, items=same)
    deaf, hearing = (
        baseline("lora", item_vectors=flag, rate=1e-2, num_epochs=1, **SMALL)().fit(
            training, validation, seed=0
        )
        for flag in (0, 1)
    )
    # One pass may not beat the start, which reads nothing: the maps are then zero.
    for ranker in (deaf, hearing):
        torch.nn.init.normal_(ranker.net.last.weight, generator=torch.Generator().manual_seed(0))
    assert (deaf.score([_support([3])]) == deaf.score([_support([21])])).all()
    assert not (hearing.score([_support([3])]) == hearing.score([_support([21])])).all()


def test_titles_are_read_without_their_year(few):
    training, validation = few
    undated = training.items.with_columns(pl.col("title").str.replace(r" \(\d{4}\)$", ""))
    assert (undated["title"] != training.items["title"]).all()
    with_year, plain = (
        baseline("lora", **STILL)().fit(replace(training, items=items), validation, seed=0).words.titles
        for items in (training.items, undated)
    )
    assert plain == with_year


def test_what_is_said_about_a_user_counts_without_any_event(trained):
    popular, attributes, about = trained.score(
        [_support([]), _support([], attributes={"occupation": "farmer"}), _support([], about="I love war.")]
    )
    assert (popular != attributes).any()
    assert (attributes != about).any()


@pytest.mark.parametrize(
    ("wrong", "words"), [({"backbone": "tiny-encoder"}, "decoder"), ({"rank": 0}, "rank")]
)
def test_an_encoder_and_settings_out_of_range_are_refused(few, wrong, words):
    with pytest.raises(BadInputError, match=words):
        baseline("lora", **{**SMALL, **wrong})().fit(*few, seed=0)


def test_a_backbone_is_named():
    with pytest.raises(BadInputError, match="lora backbone"):
        baseline("lora", backbone=3)
