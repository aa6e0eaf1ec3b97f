"""A trained run knows what its data set's genres are called, and ranks them for those who name them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.assembly.small import small_settings

from warmprompt.adaptation.engine import adapt_batch, encode, score, users_linearly
from warmprompt.adaptation.opening import open_engine
from warmprompt.data.episodes import batch_supports
from warmprompt.data.synthetic import planted_world
from warmprompt.data.verbalise import genre_table
from warmprompt.meta.named_genres import HEAD
from warmprompt.runs.format import load_trained
from warmprompt.training import genre_prior as naming
from warmprompt.training.run import train_run
from warmprompt.types import Support

NOBODY = Support(user="new", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=160, num_items=60, num_tastes=3, seed=0).dataset


@pytest.fixture(scope="module")
def engine(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    train_run(small_settings(), folder, dataset=world)
    return open_engine(load_trained(folder))


def _scores(engine, text):
    users_BD = adapt_batch(engine, encode(engine, [text]), batch_supports([NOBODY])).users_BD
    np.testing.assert_allclose(users_linearly(engine, [text], [NOBODY]), users_BD, atol=1e-4)
    return score(engine, users_BD, [NOBODY])[0]


def test_whoever_names_a_genre_is_shown_more_of_it(world, engine):
    table = genre_table(world)
    assert engine.trained.genres is not None
    assert len(engine.trained.params[HEAD]) == 2 * len(engine.trained.readout.text_TX) + len(table.names)
    nothing_V = _scores(engine, "")
    for index, genre in enumerate(table.names):
        gained_V = _scores(engine, f"Quite fond of {genre.upper()}, thanks.") - nothing_V
        has_V = table.has_VG[:, index]
        assert gained_V[has_V].mean() > gained_V[~has_V].mean(), genre


def test_a_run_without_genres_has_no_dictionary(world, tmp_path):
    bare = replace(world, items=world.items.drop("genres"))
    train_run(small_settings(), tmp_path / "run", dataset=bare)
    trained = load_trained(tmp_path / "run")
    assert trained.genres is None
    assert len(trained.params[HEAD]) == len(trained.readout.text_TX)


@pytest.mark.parametrize(
    ("found", "gain"), [([0.2, 0.1, 0.1, 0.3, 0.1, 0.1], 1.4), ([0.3, 0.1, 0.2, 0.2, 0.2, 0.2], None)]
)
def test_the_gain_is_what_ranks_best_for_validation_users_or_there_is_no_dictionary(
    world, tmp_path, monkeypatch, found, gain
):
    values, heads = iter(found), []

    def told(_trained, head_XD, judged):
        assert set(judged.users_M) <= set(range(16))
        heads.append(head_XD)
        return next(values)

    monkeypatch.setattr(naming, "_ndcg", told)
    trained = train_run(small_settings(), tmp_path / "run", dataset=world)
    plain_XD, once_XD = heads[:2]
    width = len(trained.readout.text_TX)
    if gain is None:
        assert trained.genres is None
        assert torch.equal(trained.params[HEAD], plain_XD[:width])
    else:
        assert torch.equal(trained.params[HEAD][:width], once_XD[:width])
        torch.testing.assert_close(trained.params[HEAD][width:], gain * once_XD[width:])


def test_what_judges_prefers_genres_that_lead_to_their_items(world, tmp_path, monkeypatch):
    judge, seen = naming._ndcg, []

    def watched(trained, head_XD, judged):
        seen.append((trained, head_XD, judged))
        return judge(trained, head_XD, judged)

    monkeypatch.setattr(naming, "_ndcg", watched)
    train_run(small_settings(), tmp_path / "run", dataset=world)
    trained, head_XD, judged = seen[1]
    width = len(trained.readout.text_TX)
    turned_XD = torch.cat([head_XD[: 2 * width], -head_XD[2 * width :]])
    assert 0 < judge(trained, turned_XD, judged) < judge(trained, head_XD, judged) <= 1
