"""The map for new items in a run: learned where texts say something, for as long as validation users gain."""

from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from tests.assembly.small import small_settings

from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.data.verbalise import item_texts
from warmprompt.meta import new_items as maps
from warmprompt.meta.item_text import WordReader
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import NEW_LEVEL, NEW_MAP, NEW_POPULARITY, catalogue_vectors, make_catalogue
from warmprompt.meta.new_items import fit_new_items
from warmprompt.runs.format import load_trained
from warmprompt.training import new_items as stage
from warmprompt.training.new_items import MAX_PASSES, choose_scales, place_new_items
from warmprompt.training.run import train_run

TEXTS = "backbone.item_text=tiny-encoder"
draw_adapted_episodes = partial(maps.draw_adapted_episodes, num_episodes=2000)
NEW = {NEW_MAP, NEW_POPULARITY, NEW_LEVEL}


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=120, num_items=60, num_tastes=3, seed=0).dataset


@pytest.fixture(scope="module", autouse=True)
def _few_episodes():
    """Draw a tenth of the usual episodes; no claim here rests on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "draw_adapted_episodes", draw_adapted_episodes)
        yield


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_run(small_settings(TEXTS, "model.new_item_passes=1"), folder / "run", dataset=world)
    return load_trained(folder / "run")


def test_a_run_keeps_its_map_and_none_where_it_is_switched_off_or_there_are_no_texts(
    world, trained, tmp_path
):
    assert set(trained.params) >= NEW
    assert trained.params[NEW_MAP].shape == (trained.data.item_text_VX.shape[1], 4)
    for name, setting in (("off", "model.new_item_passes=0"), ("bare", "backbone.item_text=")):
        train_run(small_settings(TEXTS, setting), tmp_path / name, dataset=world)
        assert not set(load_trained(tmp_path / name).params) & NEW


def test_a_further_reader_is_kept_and_moves_no_item_with_events(world, trained, tmp_path):
    readers = "backbone.item_text=tiny-encoder,tfidf"
    train_run(small_settings(readers, "model.new_item_passes=1"), tmp_path / "run", dataset=world)
    both = load_trained(tmp_path / "run")
    width = trained.data.item_text_VX.shape[1]
    assert both.data.text_widths_B[0] == width
    read_VC = WordReader.of_data(both.data).read(item_texts(world))
    np.testing.assert_array_equal(read_VC, both.data.item_text_VX[:, width:].numpy())
    assert both.params[NEW_MAP].shape == (width + read_VC.shape[1], 4)
    one, two = (make_catalogue(run.params, run.data) for run in (trained, both))
    warm_V = trained.data.warm_V > 0
    for name in ("support_VD", "vectors_VD", "popularity_V"):
        assert torch.equal(getattr(one, name)[warm_V], getattr(two, name)[warm_V])


@pytest.mark.parametrize(
    ("found", "wanted"), [([0.1, 0.3, 0.2, 0.2, 0.1], 1), ([0.3, 0.2, 0.2, 0.1, 0.1], 0)]
)
def test_the_number_of_passes_is_the_best_on_items_left_out(world, trained, monkeypatch, found, wanted):
    values = iter(found)
    seen = []

    def recorded(_trained, _new, _probe, _users, left_out_V):
        seen.append(left_out_V)
        return next(values)

    monkeypatch.setattr(stage, "_ndcg", recorded)
    chosen = _place(world, trained, passes=None)
    assert len(seen) == MAX_PASSES + 1
    assert 0 < seen[0].sum() < 30
    assert set(chosen) == NEW
    expected = _after(world, trained, wanted)
    assert all(torch.equal(chosen[name], expected[name]) for name in NEW)
    other = _after(world, trained, wanted + 1)
    assert not any(torch.equal(chosen[name], other[name]) for name in NEW)


def test_what_is_found_on_items_left_out_is_a_metric(world, trained, monkeypatch):
    kept = []
    real = stage._ndcg

    def recorded(*given):
        kept.append(real(*given))
        return kept[-1]

    monkeypatch.setattr(stage, "_ndcg", recorded)
    _place(world, trained, passes=None)
    assert all(0 < value < 1 for value in kept)
    assert len(np.unique(kept)) > 1


@pytest.mark.parametrize("wanted", [[1.0, 0.0], [0.5, 2.0], [0.0, 1.0], [1.0, 1.0]])
def test_each_reader_takes_its_best_scale(wanted):
    def nearness(scales_X):
        assert scales_X[0] == scales_X[1]
        assert len(scales_X) == 3
        return float(-(scales_X[1:] - torch.tensor(wanted)).abs().sum())

    assert choose_scales(nearness, torch.tensor([2, 1])).tolist() == [wanted[0], *wanted]


@pytest.mark.parametrize("passes", [0, 2])
def test_the_map_takes_texts_as_they_are(world, trained, monkeypatch, passes):
    # A map over columns that are halved is the half of a map over these columns.
    halves = torch.full((trained.data.item_text_VX.shape[1],), 0.5)
    bare = {name: value for name, value in trained.params.items() if name not in NEW}
    halved = replace(trained.data, item_text_VX=trained.data.item_text_VX * 0.5)
    episodes = _episodes(world, trained)
    own_VD = catalogue_vectors(bare, trained.data)
    monkeypatch.setattr(maps, "catalogue_vectors", lambda *_: own_VD)
    scaled = next(islice(fit_new_items(bare, trained.data, episodes, seed=0, scales_X=halves), passes, None))
    plain = next(islice(fit_new_items(bare, halved, episodes, seed=0), passes, None))
    for name, factor in ((NEW_MAP, 0.5), (NEW_POPULARITY, 0.5), (NEW_LEVEL, 1.0)):
        assert torch.equal(scaled[name], factor * plain[name])


def test_the_scales_found_are_the_maps(world, trained, monkeypatch):
    width = trained.data.item_text_VX.shape[1]
    two = replace(trained, data=replace(trained.data, text_widths_B=torch.tensor([2, width - 2])))
    monkeypatch.setattr(
        stage, "choose_scales", lambda _, widths_B: torch.tensor([1.0] * 2 + [0.0] * (width - 2))
    )
    placed = _place(world, two, passes=1)
    assert placed[NEW_MAP][:2].any()
    assert not placed[NEW_MAP][2:].any()
    assert not placed[NEW_POPULARITY][2:].any()


def _after(world, trained, passes):
    """Return the map that has seen every item, after this many passes."""
    bare = {name: value for name, value in trained.params.items() if name not in NEW}
    maps_found = fit_new_items(bare, trained.data, _episodes(world, trained), seed=0)
    return next(islice(maps_found, passes, None))


def _episodes(world, trained):
    split = split_users(world.num_users, seed=0)
    return draw_adapted_episodes(
        {name: value for name, value in trained.params.items() if name not in NEW},
        trained.data,
        take_users(world, split.train),
        features_T=torch.zeros(len(trained.params["prior.text_head"])),
        learner=learner_of(trained.learner),
        seed=0,
    )


def _place(world, trained, *, passes):
    split = split_users(world.num_users, seed=0)
    bare = {name: value for name, value in trained.params.items() if name not in NEW}
    return place_new_items(
        replace(trained, params=bare),
        take_users(world, split.train),
        take_users(world, split.validation),
        passes=passes,
        no_text_T=torch.zeros(len(trained.params["prior.text_head"])),
        seed=0,
        order="random",
    )
