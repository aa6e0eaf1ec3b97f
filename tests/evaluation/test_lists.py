"""Further metrics against ir_measures, written arithmetic and brute force; TREC files against ir_measures."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log2, sqrt

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, nDCG

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.lists import (
    COVERAGE,
    MEANINGS,
    FurtherMetrics,
    average_precision,
    item_statistics,
    metric_names,
    precision,
    recall,
)
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.report import render_markdown
from warmprompt.evaluation.runner import EvaluationPlan, evaluate
from warmprompt.evaluation.trec import TrecFiles, trec_id
from warmprompt.rng import derive
from warmprompt.scoring.ranking import ranks, top_n
from warmprompt.types import Support

QUICK = EvaluationPlan(num_resamples=50, num_timed=1, batch=7)
SETTINGS = ProtocolSettings(ks=(0, 3))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([1], (1, 1 / 10, 1)),
        ([2, 4], (1, 2 / 10, (1 / 2 + 2 / 4) / 2)),
        ([4, 2, 11, inf], (2 / 4, 2 / 10, (1 / 2 + 2 / 4) / 4)),
        ([inf, 30], (0, 0, 0)),
    ],
)
def test_accuracy_as_written_arithmetic(found, wanted):
    found = np.array(found, dtype=float)
    assert (recall(found), precision(found), average_precision(found)) == pytest.approx(wanted)


def test_accuracy_equals_ir_measures_on_random_rankings():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 60)).astype(np.float32)
    # At most ten items, as in every protocol: ir_measures divides AP@10 by all of the query.
    queries = [rng.permutation(60)[: rng.integers(1, 11)] for _ in range(40)]
    qrels = [Qrel(str(user), str(item), 1) for user, query in enumerate(queries) for item in query]
    run = [ScoredDoc(str(u), str(v), float(scores[u, v])) for u in range(40) for v in range(60)]
    theirs = {
        (m.query_id, str(m.measure)): m.value
        for m in ir_measures.iter_calc([R @ 10, P @ 10, AP @ 10], qrels, run)
    }
    for user, ranks_Q in enumerate(ranks(scores, queries)):
        ours = (recall(ranks_Q), precision(ranks_Q), average_precision(ranks_Q))
        expected = [theirs[str(user), name] for name in ("R@10", "P@10", "AP@10")]
        assert ours == pytest.approx(expected, abs=1e-6)  # pytrec_eval returns float32 sums


def test_what_lists_are_like_as_written_arithmetic(worlds):
    # Item 0 has three of four users, items 1 and 2 the same two of them, item 3 another one, item 4 nobody.
    data = worlds.make_dataset([[0, 1, 2], [0, 1, 2], [0], [3]], num_items=5)
    statistics = item_statistics(data)
    assert statistics.novelty(np.array([0, 1, 3])) == pytest.approx((log2(4 / 3) + log2(4 / 2) + log2(4)) / 3)
    assert statistics.novelty(np.array([4])) == pytest.approx(log2(4))  # as if one user had it
    both = 2 / sqrt(3 * 2)
    assert statistics.similarity(np.array([0, 1, 2])) == pytest.approx((both + both + 1) / 3)
    assert statistics.similarity(np.array([1, 3])) == 0
    assert statistics.similarity(np.array([1])) == 0
    assert statistics.similarity(np.array([], dtype=int)) == statistics.novelty(np.array([], dtype=int)) == 0


@pytest.fixture(scope="module")
def measured(worlds):
    """Return (data, the rows of every further metric, the results of the same run)."""
    data = worlds.random_dataset(0)
    further = FurtherMetrics(metric_names(["all"]))
    plan = replace(QUICK, seeds=(0, 1), product="ease")
    rankers = {"ease": baseline("ease", l2=20.0), "toppop": baseline("toppop")}
    results = evaluate(rankers, data, SETTINGS, plan, on_scores=further)
    return data, further.rows("random", own=["ease"]), results


def test_rows_are_means_of_the_users_lists(measured):
    data, rows, _ = measured
    value = {(row.model, row.k, row.seed, row.metric): row.value for row in rows}
    assert {row.metric for row in rows} == set(MEANINGS)
    assert {row.model for row in rows if row.is_product} == {"ease"}
    task = build_task(data, SETTINGS, seed=1)
    ranker = baseline("ease", l2=20.0)().fit(task.training, task.validation, seed=1)
    supports = [case.support.items_K for case in task.cases[3]]
    scores = ranker.score([case.support for case in task.cases[3]])
    lists = top_n(scores, 10, excluded=supports, candidates=task.candidates_V)
    hits = [len(set(listed) & set(case.query)) for listed, case in zip(lists, task.cases[3], strict=True)]
    assert value["ease", 3, 1, "Recall@10"] == pytest.approx(np.mean(hits) / 10)
    assert value["ease", 3, 1, "Precision@10"] == pytest.approx(np.mean(hits) / 10)
    assert value["ease", 3, 1, COVERAGE] == len(np.unique(lists)) / task.candidates_V.sum()
    # Ten items, the same for all at K = 0: popularity.
    assert value["toppop", 0, 1, COVERAGE] == 10 / task.candidates_V.sum()
    statistics = item_statistics(task.training)
    assert value["ease", 3, 1, "ILS@10"] == pytest.approx(np.mean([*map(statistics.similarity, lists)]))
    assert value["ease", 3, 1, "Novelty@10"] == pytest.approx(np.mean([*map(statistics.novelty, lists)]))
    both = [value["ease", 3, seed, COVERAGE] for seed in (0, 1)]
    assert value["ease", 3, None, COVERAGE] == pytest.approx(np.mean(both))


def test_report_explains_list_metrics(measured):
    _, rows, results = measured
    page = render_markdown(replace(results, rows=(*results.rows, *rows)))
    plain = render_markdown(results)
    for metric, meaning in MEANINGS.items():
        assert f"## {metric}\n\n{meaning}\n" in page
        section = page.split(f"## {metric}\n")[1].split("##")[0]
        assert ("**" in section) == (metric in ("Recall@10", "Precision@10", "MAP@10"))
        assert ("[" in section) == (metric != COVERAGE)
        assert metric not in plain
    # The main three and the tests are the same with and without them.
    assert (
        page.split("## HR@10")[1].split("## Recall@10")[0] == plain.split("## HR@10")[1].split("## ease")[0]
    )


def test_metrics_are_named_in_any_case_and_unknown_ones_refused():
    assert metric_names(["ils@10", "RECALL@10", "NDCG@10"]) == ("Recall@10", "ILS@10")
    assert metric_names(["all"]) == tuple(MEANINGS)
    assert metric_names([]) == ()
    with pytest.raises(UnknownNameError, match=r"metric: 'Recall@5'\. Choose all, or some of HR@10"):
        metric_names(["Recall@5"])


def test_metrics_of_lists_and_runs_are_of_the_whole_catalogue(tmp_path):
    with pytest.raises(BadInputError, match="metrics: 'ILS@10'"):
        FurtherMetrics(["ILS@10"], candidates="sampled100")
    FurtherMetrics([], candidates="sampled100")
    with pytest.raises(BadInputError, match="--trec: 'sampled100'"):
        TrecFiles(tmp_path, candidates="sampled100")


class Tied:
    """Scores every item 0, 1 or 2: nearly everything is a tie."""

    name, num_parameters = "tied scores", 0

    def fit(self, training, validation, *, seed):
        self.num_items = training.num_items
        return self

    def score(self, supports):
        return np.tile(np.arange(self.num_items, dtype=np.float32) % 3, (len(supports), 1))


class Chance(Tied):
    """Scores every item by a draw of the user's own: no ties."""

    name = "chance"

    def score(self, supports):
        return np.array(
            [derive(0, one.user, len(one.items_K)).normal(size=self.num_items) for one in supports],
            dtype=np.float32,
        )


@pytest.mark.parametrize("protocol", ["random", "next10"])
def test_run_files_give_ir_measures_the_tables_own_numbers(worlds, tmp_path, protocol):
    data = worlds.random_dataset(3)
    # Popularity has many ties, among query items too; the files keep the order that the table counts.
    rankers = {"chance": Chance, "tied scores": Tied, "toppop": baseline("toppop")}
    settings = ProtocolSettings(protocol=protocol, ks=(0, 3))
    results = evaluate(rankers, data, settings, replace(QUICK, seeds=(0, 1)), on_scores=TrecFiles(tmp_path))
    value = {(row.model, row.k, row.seed, row.metric): row.value for row in results.rows}
    for model in rankers:
        for seed in (0, 1):
            for k in (0, 3):
                qrels = list(ir_measures.read_trec_qrels(str(tmp_path / f"qrels.seed{seed}.k{k}.txt")))
                run = list(
                    ir_measures.read_trec_run(
                        str(tmp_path / f"{model.replace(' ', '-')}.seed{seed}.k{k}.run")
                    )
                )
                theirs = ir_measures.calc_aggregate([nDCG @ 10, RR], qrels, run)
                wanted = [value[model, k, seed, metric] for metric in ("NDCG@10", "MRR")]
                assert [theirs[nDCG @ 10], theirs[RR]] == pytest.approx(wanted, abs=1e-6)
    assert len(list(tmp_path.iterdir())) == 3 * 2 * 2 + 2 * 2


def test_ties_in_run_files_count_against_the_model_in_one_real_ordering(worlds, tmp_path):
    data = worlds.random_dataset(3)
    evaluate({"tied scores": Tied}, data, ProtocolSettings(ks=(3,)), QUICK, on_scores=TrecFiles(tmp_path))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.seed0.k3.txt")))
    run = list(ir_measures.read_trec_run(str(tmp_path / "tied-scores.seed0.k3.run")))
    task = build_task(data, ProtocolSettings(ks=(3,)), seed=0)
    wanted = []
    for case in task.cases[3]:
        free = set(np.flatnonzero(task.candidates_V)) - set(case.support.items_K)
        best = sorted(free, key=lambda item, query=set(case.query): (-(item % 3), item in query))
        wanted.append(1 / (1 + next(index for index, item in enumerate(best) if item in case.query)))
    assert ir_measures.calc_aggregate([RR], qrels, run)[RR] == pytest.approx(np.mean(wanted), abs=1e-6)
    # No reader can order the lines otherwise: scores fall strictly as 32-bit numbers.
    by_user: dict = {}
    for line in run:
        by_user.setdefault(line.query_id, []).append(np.float32(line.score))
    assert all((np.diff(scores) < 0).all() for scores in by_user.values())


def test_runs_are_cut_at_their_depth_and_ids_are_one_word(worlds, tmp_path):
    data = replace(worlds.random_dataset(3), item_ids=tuple(f"a b\t{v}%" for v in range(50)))
    trec = TrecFiles(tmp_path, depth=5)
    evaluate({"toppop": baseline("toppop")}, data, ProtocolSettings(ks=(3,)), QUICK, on_scores=trec)
    lines = [line.split(" ") for line in (tmp_path / "toppop.seed0.k3.run").read_text().splitlines()]
    assert {len(line) for line in lines} == {6}
    assert {line[3] for line in lines} == {"1", "2", "3", "4", "5"}
    assert all(line[2].startswith("a%20b%09") and line[2].endswith("%25") for line in lines)
    assert (trec_id("kö-7"), trec_id(7), trec_id("a b")) == ("kö-7", "7", "a%20b")


def test_the_support_is_in_no_list(worlds):
    data = worlds.make_dataset([[0, 1], [0, 1], [2]], num_items=3)
    task = replace(
        build_task(worlds.random_dataset(0), SETTINGS, seed=0),
        training=data,
        candidates_V=np.ones(3, dtype=bool),
    )
    case = replace(
        task.cases[3][0],
        support=Support(user="new", items_K=np.array([0], dtype=np.int32), ratings_K=np.ones(1, np.float32)),
        query=np.array([1], dtype=np.int32),
    )
    further = FurtherMetrics((COVERAGE,))
    further("x", task, [case], np.array([[9.0, 2.0, 1.0]], dtype=np.float32))
    assert [row.value for row in further.rows("random")] == [2 / 3, 2 / 3]
