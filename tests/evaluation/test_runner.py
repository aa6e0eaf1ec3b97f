"""The harness with rankers whose result is known beforehand: oracle, constant, chance, cheat."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, MismatchError, NotFiniteError, UnknownNameError
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import EvaluationPlan, evaluate, score_cases
from warmprompt.rng import derive

QUICK = EvaluationPlan(num_resamples=200, num_timed=2)


@dataclass(frozen=True, eq=False)
class Fixed:
    """Scores users by a function of the support; keeps all it was ever given."""

    scores: Any
    label: str = "fixed"
    given: list = field(default_factory=list)
    num_items: int = 0

    @property
    def name(self):
        return self.label

    @property
    def num_parameters(self):
        return 0

    def fit(self, training, validation, *, seed):
        self.given.extend([training, validation])
        return replace(self, num_items=training.num_items)

    def score(self, supports):
        self.given.extend(supports)
        rows = [self.scores(support, self.num_items) for support in supports]
        return np.array(rows, dtype=np.float32)


def _constant(support, num_items):
    return np.zeros(num_items)


def _chance(support, num_items):
    return derive(0, "chance", support.user, len(support.items_K)).normal(size=num_items)


def _peek(data: Dataset, settings: ProtocolSettings):
    """Return a cheat that holds the full data and cuts the queries itself, behind the harness's back."""
    task = build_task(data, settings, seed=0)
    queries = {case.support.user: case.query for cases in task.cases.values() for case in cases}
    return lambda support, num_items: np.isin(np.arange(num_items), queries[support.user]) * 9.0


def _value(results, model, k, metric="NDCG@10", seed=None):
    (row,) = [r for r in results.rows if (r.model, r.k, r.metric, r.seed) == (model, k, metric, seed)]
    return row.value


def _evaluate(data, scorers, *, plan=QUICK, **settings):
    settings = ProtocolSettings(**{"ks": (0, 3), **settings})
    return evaluate(
        {name: lambda s=scores: Fixed(s) for name, scores in scorers.items()}, data, settings, plan
    )


def test_constant_scores_gain_nothing_since_ties_count_against(worlds):
    found = _evaluate(worlds.random_dataset(0, num_items=90), {"constant": _constant})
    assert _value(found, "constant", 3, "HR@10") == 0
    assert _value(found, "constant", 3) == 0


def test_chance_reaches_what_chance_reaches(worlds):
    data = worlds.random_dataset(0, num_users=800, num_items=100, lengths=(14, 14))
    found = _evaluate(data, {"chance": _chance}, ks=(0,))
    # 10 of 100 candidates are positives and the top 10 is a random draw: 1 - C(90, 10) / C(100, 10).
    none = np.prod([(90 - i) / (100 - i) for i in range(10)])
    # 160 users: four standard errors of a share of .67 are .15.
    assert _value(found, "chance", 0, "HR@10") == pytest.approx(1 - none, abs=0.15)
    # Each place holds a positive with probability 1 / 10, so DCG over its ideal is 1 / 10 on average.
    assert _value(found, "chance", 0) == pytest.approx(0.1, abs=0.03)


def test_rankers_never_reach_a_query(worlds):
    """Follow every reference from what the ranker was given: no query array, no full data set."""
    data = worlds.random_dataset(0)
    settings = ProtocolSettings(ks=(0, 3))
    spy = Fixed(_constant)
    evaluate({"spy": lambda: spy}, data, settings, QUICK)
    task = build_task(data, settings, seed=0)
    held_out = {case.support.user: set(case.query.tolist()) for case in task.cases[0]}
    supports = [item for item in spy.given if not isinstance(item, Dataset)]
    assert {support.user for support in supports} == set(held_out)
    for support in supports:
        assert not set(support.items_K.tolist()) & held_out[support.user]
        # A view would lead through `.base` to the whole event table.
        assert support.items_K.base is None
        assert support.ratings_K.base is None
        assert not any(item is data for item in _reachable(support))
    for view in spy.given:
        if isinstance(view, Dataset):
            assert not set(view.user_ids) & set(held_out)
            assert view.interactions.items.base is None


def _reachable(root):
    """Return every plain object that can be reached from `root` through attributes and containers."""
    seen, todo = {}, [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen[id(item)] = item
        todo += [x for x in gc.get_referents(item) if not callable(x)]
    return seen.values()


def test_permuted_query_labels_bring_a_learner_down_to_chance(worlds):
    """A learner's gain must come from the supports: give each user another user's query and it is gone."""
    data = worlds.two_tastes(0)
    task = build_task(data, ProtocolSettings(ks=(10,)), seed=0)
    ranker = baseline("itemknn")().fit(task.training, task.validation, seed=0)
    honest = np.mean(list(score_cases(ranker, task, task.cases[10], label="x").values()), axis=0)[1]
    rng = np.random.default_rng(0)
    shuffled = []
    for case in task.cases[10]:
        free = np.setdiff1d(np.flatnonzero(task.candidates_V), case.support.items_K)
        shuffled.append(replace(case, query=rng.permutation(free)[:10].astype(np.int32)))
    permuted = np.mean(list(score_cases(ranker, task, shuffled, label="x").values()), axis=0)[1]
    # 10 positives among 50 candidates: each place holds one with probability .2. Thirty users: four
    # standard errors are about .1. Inside the taste 10 of 20 remaining candidates are positives.
    assert permuted == pytest.approx(0.2, abs=0.1)
    assert honest > 0.4


def test_cheats_score_above_honest_models(worlds):
    # With random histories nothing honest beats chance, so such a value can only be a leak.
    data = worlds.random_dataset(0, num_items=90)
    cheat = _peek(data, ProtocolSettings(ks=(0, 3)))
    found = _evaluate(data, {"cheat": cheat, "chance": _chance}, plan=replace(QUICK, product="cheat"))
    # Its ten query items tie above all others: one after another they take the first ten places.
    for k in (0, 3):
        assert _value(found, "cheat", k, "HR@10") == 1
        assert _value(found, "cheat", k) == pytest.approx(1)
        assert _value(found, "chance", k) < 0.3
    (row,) = [row for row in found.differences if (row.k, row.metric) == (3, "NDCG@10")]
    assert row.low > 0.3


def test_rows_are_means_over_users(worlds):
    found = _evaluate(worlds.random_dataset(0), {"chance": _chance}, plan=replace(QUICK, seeds=(0, 1)))
    for seed in (0, 1):
        users = found.per_user["chance", seed, 3]
        assert _value(found, "chance", 3, "MRR", seed) == pytest.approx(
            np.mean([m[2] for m in users.values()])
        )
    one, other = found.per_user["chance", 0, 3], found.per_user["chance", 1, 3]
    means = [np.mean([part[user][2] for part in (one, other) if user in part]) for user in {**one, **other}]
    assert _value(found, "chance", 3, "MRR") == pytest.approx(np.mean(means))
    (row,) = [r for r in found.rows if (r.k, r.metric, r.seed) == (3, "MRR", None)]
    assert row.low < row.value < row.high
    assert row.num_users == len(means)


def test_differences_are_paired_and_corrected_over_the_table(worlds):
    data = worlds.two_tastes(1)
    found = evaluate(
        {"itemknn": baseline("itemknn"), "constant": lambda: Fixed(_constant), "toppop": baseline("toppop")},
        data, ProtocolSettings(ks=(0, 5)), EvaluationPlan(product="itemknn", num_resamples=500, num_timed=1),
    )  # fmt: skip
    cells = {(row.baseline, row.k, row.metric): row for row in found.differences}
    assert len(cells) == 2 * 2 * 3
    row = cells["toppop", 5, "NDCG@10"]
    assert row.value == pytest.approx(_value(found, "itemknn", 5) - _value(found, "toppop", 5))
    assert row.low > 0
    # The smallest possible p of 500 resamples, at most times the 12 cells.
    assert row.p <= row.p_holm <= 12 / 501
    assert cells["toppop", 0, "NDCG@10"].p_holm == 1  # without history both are popularity
    assert row.best
    assert not cells["constant", 5, "NDCG@10"].best


def test_the_product_in_another_form_is_never_the_best_baseline(worlds):
    """EASE is better than popularity at K = 5, and is declared a form of the product."""
    found = evaluate(
        {"itemknn": baseline("itemknn"), "ease": baseline("ease", l2=50.0), "toppop": baseline("toppop")},
        worlds.two_tastes(1), ProtocolSettings(ks=(5,)),
        EvaluationPlan(product="itemknn", variants=("ease",), num_resamples=50, num_timed=1),
    )  # fmt: skip
    assert _value(found, "ease", 5) > _value(found, "toppop", 5)
    assert {row.baseline for row in found.differences if row.best} == {"toppop"}
    assert {row.baseline for row in found.differences if row.is_product} == {"ease"}
    assert {row.model for row in found.rows if row.is_product} == {"itemknn", "ease"}
    assert {row.model for row in found.rows if not row.is_product} == {"toppop"}


def test_every_batch_of_tested_users_is_handed_on_with_its_scores(worlds):
    handed = []
    evaluate(
        {"chance": lambda: Fixed(_chance)}, worlds.random_dataset(0), ProtocolSettings(ks=(0, 3)),
        EvaluationPlan(product="chance", num_resamples=10, num_timed=1, batch=5),
        on_scores=lambda label, task, cases, scores_BV: handed.append((label, task.seed, cases, scores_BV)),
    )  # fmt: skip
    task = build_task(worlds.random_dataset(0), ProtocolSettings(ks=(0, 3)), seed=0)
    users = [(case.k, case.support.user) for *_, cases, _ in handed for case in cases]
    # Each tested user once per K; validation users, on whom the best baseline is chosen, are not among them.
    assert users == [(k, case.support.user) for k in (0, 3) for case in task.cases[k]]
    for label, seed, cases, scores_BV in handed:
        assert (label, seed) == ("chance", 0)
        wanted = [_chance(case.support, scores_BV.shape[1]) for case in cases]
        np.testing.assert_allclose(scores_BV, np.array(wanted, dtype=np.float32))


def test_costs_count_parameters_and_time_at_ten_events_or_fewer(worlds):
    found = evaluate(
        {"ease": baseline("ease")}, worlds.random_dataset(0), ProtocolSettings(ks=(0, 3)),
        EvaluationPlan(num_resamples=10, num_timed=4),
    )  # fmt: skip
    (cost,) = found.costs
    known = found.counts[0].catalogue_size
    assert cost.num_parameters == known * (known - 1)
    assert (cost.k, cost.num_timed, cost.batch) == (3, 4, len(found.per_user["ease", 0, 3]))
    assert 0 < cost.p50_ms <= cost.p99_ms
    assert cost.users_per_s > 0


def test_progress_counts_every_fit_and_every_ranked_k(worlds):
    steps = []
    evaluate(
        {"toppop": baseline("toppop")}, worlds.random_dataset(0), ProtocolSettings(ks=(0, 3)),
        replace(QUICK, seeds=(0, 1)), progress=steps.append,
    )  # fmt: skip
    assert [step.done for step in steps] == list(range(1, 7))
    assert {step.total for step in steps} == {6}
    assert steps[0].what == "fitted toppop, seed 0"


def test_metrics_do_not_depend_on_the_batch(worlds):
    data = worlds.random_dataset(0)
    one = _evaluate(data, {"chance": _chance}, plan=replace(QUICK, batch=1))
    many = _evaluate(data, {"chance": _chance}, plan=replace(QUICK, batch=256))
    assert one.rows == many.rows


def test_query_only_ranks_the_query_events_among_themselves(worlds):
    data = worlds.random_dataset(0, num_items=90)

    def by_rating(support, num_items):
        user = data.user_ids.index(support.user)
        rows = data.interactions.events_of(user)
        scores = np.full(num_items, 100.0)  # other items would come first if they were candidates
        scores[data.interactions.items[rows]] = data.interactions.ratings[rows]
        return scores + np.arange(num_items) / 1000

    found = _evaluate(data, {"oracle": by_rating}, candidates="query-only", min_rating=4)
    assert _value(found, "oracle", 0) == pytest.approx(1)


def test_sampled_candidates_bring_chance_to_ten_of_a_hundred_and_one(worlds):
    data = worlds.random_dataset(0, num_users=300, num_items=300, lengths=(14, 20))
    found = _evaluate(data, {"chance": _chance}, ks=(0,), candidates="sampled100")
    # 60 users x 10 positives share their negatives within the user: four standard errors about .05.
    assert _value(found, "chance", 0, "HR@10") == pytest.approx(10 / 101, abs=0.05)


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        (lambda support, num_items: np.full(num_items, np.nan), NotFiniteError),
        (lambda support, num_items: np.zeros(num_items - 1), MismatchError),
    ],
)
def test_bad_scores_name_model_seed_and_k(worlds, scores, error):
    with pytest.raises(error, match="scores of bad, seed 0, K = 0"):
        _evaluate(worlds.random_dataset(0), {"bad": scores})


@pytest.mark.parametrize(
    "wrong", [{"seeds": ()}, {"seeds": (1, 1)}, {"batch": 0}, {"batch": 257}, {"num_timed": 0}]
)
def test_wrong_plans_are_refused(wrong):
    with pytest.raises(BadInputError):
        EvaluationPlan(**wrong)


@pytest.mark.parametrize("wrong", [{"product": "chanc"}, {"product": "chance", "variants": ("chanc",)}])
def test_an_unknown_product_is_refused(worlds, wrong):
    with pytest.raises(UnknownNameError, match="product: 'chanc'"):
        _evaluate(worlds.random_dataset(0), {"chance": _chance}, plan=EvaluationPlan(**wrong))


@pytest.mark.parametrize(
    ("settings", "said"), [({"ks": (90,)}, "too short"), ({"min_rating": 9.0}, "rated so high")]
)
def test_no_case_at_any_k_is_refused_before_anything_is_fitted(worlds, settings, said):
    def expensive():
        raise AssertionError("built")

    settings = ProtocolSettings(**{"ks": (0, 3), **settings})
    with pytest.raises(BadInputError, match=said):
        evaluate({"chance": expensive}, worlds.random_dataset(0), settings, QUICK)
