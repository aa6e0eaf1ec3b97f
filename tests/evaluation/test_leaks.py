"""Leak tests for every protocol: what must move a result does, as theory says; a cheat is caught."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.dataset import Dataset, popularity, take_users
from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases

PROTOCOLS = (
    {"protocol": "random"},
    {"protocol": "next"},
    {"protocol": "gap10"},
    {"protocol": "next10"},
    {"protocol": "temporal"},
    {"protocol": "cold-item", "reading": "new-only"},
    {"protocol": "cold-item", "reading": "mixed"},
)
NDCG = METRICS.index("NDCG@10")
K = 5

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: "-".join(one.values()))


@pytest.fixture(scope="module")
def world() -> Dataset:
    """Return 500 users of one taste each, which the titles of items spell out; all are equally popular."""
    knobs = Knobs(share_two_tastes=0.0, p_inside=0.95, popularity_skew=0.0, min_events=24, max_events=32)
    return planted_world(num_users=500, num_items=160, num_tastes=4, seed=0, knobs=knobs).dataset


@dataclass(frozen=True)
class Peeking:
    """A cheat that knows every user's query behind the harness's back."""

    queries: Any
    num_items: int

    def score(self, supports):
        items = np.arange(self.num_items)
        # No two scores are equal, since ties count against.
        rows = [np.isin(items, self.queries[one.user]) + items / (10 * self.num_items) for one in supports]
        return np.array(rows, dtype=np.float32)


def value(ranker, task, cases) -> tuple[float, float]:
    """Return mean NDCG@10 and its standard error."""
    found = np.array(list(score_cases(ranker, task, cases, label="x").values()))[:, NDCG]
    return float(found.mean()), float(found.std() / np.sqrt(len(found)))


def chance(task, cases) -> float:
    """Return the NDCG@10 that any ranking has on average where the query is drawn evenly.

    Each of the first ten places then holds one of q positives among n candidates with probability q / n.
    """
    gains = 1 / np.log2(np.arange(2, 12))
    found = []
    for case in cases:
        free = int(task.candidates_V.sum()) - int(task.candidates_V[case.support.items_K].sum())
        ideal = gains[: min(10, len(case.query))].sum()
        found.append(len(case.query) / free * gains[: min(10, free)].sum() / ideal)
    return float(np.mean(found))


def drawn_evenly(task, cases):
    """Return the cases with as many other positives, drawn among what the user could be shown."""
    rng = np.random.default_rng(0)
    found = []
    for case in cases:
        free = np.setdiff1d(np.flatnonzero(task.candidates_V), case.support.items_K)
        found.append(replace(case, query=rng.permutation(free)[: len(case.query)].astype(np.int32)))
    return found


@every_protocol
def test_permuted_query_labels_bring_a_learner_down_to_chance(world, protocol):
    """What a learner gains must come from the link between a user's support and that user's query."""
    task = build_task(world, ProtocolSettings(ks=(K,), **protocol), seed=0)
    learner = baseline("content-tfidf", sharpness=1.0)().fit(task.training, task.validation, seed=0)
    honest, _ = value(learner, task, task.cases[K])
    permuted, error = value(learner, task, drawn_evenly(task, task.cases[K]))
    assert permuted == pytest.approx(chance(task, task.cases[K]), abs=4 * error)
    # A taste is a quarter of the catalogue, so whoever finds it gains up to fourfold.
    assert honest > 2 * chance(task, task.cases[K])


@every_protocol
def test_queries_of_other_users_bring_a_learner_down_to_popularity(world, protocol):
    """With another user's query, which has the same popularity, nothing is left but popularity."""
    task = build_task(world, ProtocolSettings(ks=(K,), **protocol), seed=0)
    cases = task.cases[K]
    rng = np.random.default_rng(1)
    others = [cases[position] for position in rng.permutation(len(cases))]
    swapped = [replace(own, query=other.query) for own, other in zip(cases, others, strict=True)]
    learner = baseline("content-tfidf", sharpness=1.0)().fit(task.training, task.validation, seed=0)
    permuted, error = value(learner, task, swapped)
    if protocol.get("reading") == "new-only":
        # Nothing is known of the popularity of new items; in this world they are equally popular.
        level, level_error = chance(task, swapped), 0.0
    else:
        popular = baseline("toppop")().fit(task.training, task.validation, seed=0)
        level, level_error = value(popular, task, swapped)
    assert permuted == pytest.approx(level, abs=4 * np.hypot(error, level_error))


@every_protocol
def test_training_on_tested_users_raises_the_result(worlds, protocol):
    """On histories without any pattern nothing can be learned but the tested users themselves."""
    data = worlds.random_dataset(0, num_users=600, num_items=80, lengths=(24, 40))
    # Ten events single a user out: that another has all of them has probability .4 ** 10.
    task = build_task(data, ProtocolSettings(ks=(10,), **protocol), seed=0)
    tested = [data.user_ids.index(case.support.user) for case in task.cases[10]]
    trained = [data.user_ids.index(user) for user in task.training.user_ids]
    leaked = take_users(data, np.array([*trained, *tested]))
    build = baseline("userknn", num_neighbours=10, damping=0.0, sharpness=4.0)
    honest, error = value(build().fit(task.training, task.validation, seed=0), task, task.cases[10])
    leaking, _ = value(build().fit(leaked, task.validation, seed=0), task, task.cases[10])
    if protocol.get("reading") == "new-only":
        # Neighbours know nothing of new items, and ties count against: no more than chance.
        assert honest <= chance(task, task.cases[10]) + 4 * error
    else:
        assert honest == pytest.approx(chance(task, task.cases[10]), abs=4 * error)
    assert leaking > max(honest, chance(task, task.cases[10])) + 4 * error


@every_protocol
def test_query_cheats_exceed_the_supports_limit(worlds, protocol):
    """On such histories chance is the bound of all that is honest, so a value above it is a leak."""
    data = worlds.random_dataset(2, num_users=300, num_items=90, lengths=(24, 40))
    task = build_task(data, ProtocolSettings(ks=(0, K), **protocol), seed=0)
    for cases in task.cases.values():
        cheat = Peeking({case.support.user: case.query for case in cases}, data.num_items)
        found, _ = value(cheat, task, cases)
        # New items alone are few, and a good part of them is positive.
        assert found > 0.95
        assert chance(task, cases) < 0.8
        # Through the contract it cannot know: what it is handed holds nothing of the query.
        for case in cases:
            assert not set(case.support.items_K.tolist()) & set(case.held_out.tolist())
            assert case.support.items_K.base is None


@every_protocol
def test_what_fit_sees_holds_no_event_of_a_tested_user(worlds, protocol):
    data = worlds.random_dataset(3, num_users=120, num_items=80, lengths=(24, 40))
    task = build_task(data, ProtocolSettings(ks=(0,), **protocol), seed=1)
    seen = {*task.training.user_ids, *task.validation.user_ids}
    assert not seen & {case.support.user for case in task.cases[0]}
    # Every event that is counted belongs to somebody who trains.
    assert popularity(task.training).sum() == len(task.training.interactions)
    if protocol["protocol"] == "cold-item":
        new_V = (popularity(task.training) == 0) & (popularity(data) > 0)
        assert not popularity(task.validation)[new_V].any()
