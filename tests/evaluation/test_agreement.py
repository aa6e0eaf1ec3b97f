"""Metrics and closed forms against implementations by other people: ranx, scikit-learn, implicit."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from warmprompt.baselines import baseline
from warmprompt.data.matrices import user_item_matrix
from warmprompt.data.synthetic import planted_world
from warmprompt.evaluation.metrics import user_metrics
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.scoring.ranking import ranks
from warmprompt.types import Support


@pytest.fixture(scope="module")
def task():
    world = planted_world(num_users=300, num_items=90, num_tastes=4, seed=0)
    return build_task(world.dataset, ProtocolSettings(ks=(5,)), seed=0)


def _support(items):
    return Support(
        user="new",
        items_K=np.array(items, dtype=np.int32),
        ratings_K=np.full(len(items), np.nan, dtype=np.float32),
    )


@pytest.mark.slow
# numba, on its first compilation, in colour
@pytest.mark.filterwarnings("ignore:.*unsafe cast from uint64")
def test_metrics_equal_ranx_on_random_rankings():
    ranx = pytest.importorskip("ranx")
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 120)).astype(np.float32)
    queries = [rng.permutation(120)[: rng.integers(1, 15)] for _ in range(50)]
    ours = user_metrics(ranks(scores, queries))
    # ranx sorts users by their names.
    qrels = ranx.Qrels({f"{u:02}": {str(i): 1 for i in query} for u, query in enumerate(queries)})
    run = ranx.Run({f"{u:02}": {str(v): float(scores[u, v]) for v in range(120)} for u in range(50)})
    names = ["hit_rate@10", "ndcg@10", "mrr"]
    theirs = ranx.evaluate(qrels, run, names, return_mean=False)
    for column, name in enumerate(names):
        # Both are doubles; sums of ten terms in another order.
        assert ours[:, column] == pytest.approx(theirs[name], abs=1e-12)


def test_ease_ranks_as_ridge_regressions_by_scikit_learn(task):
    """EASE is, column by column, ridge regression of an item on all others without an intercept."""
    ours = baseline("ease", l2=50.0)().fit(task.training, task.validation, seed=0)
    seen = user_item_matrix(task.training).toarray().astype(np.float64)
    known = np.flatnonzero(seen.sum(axis=0))
    weights = np.zeros((seen.shape[1], seen.shape[1]))
    for item in known:
        others = known[known != item]
        ridge = Ridge(alpha=50.0, fit_intercept=False, solver="cholesky").fit(seen[:, others], seen[:, item])
        weights[others, item] = ridge.coef_
    supports = [case.support for case in task.cases[5]]
    theirs = np.array([weights[support.items_K].sum(axis=0) for support in supports])
    scores = ours.score(supports)
    # float32 scores below 1, and a tie-break of a millionth of a row's largest.
    assert scores == pytest.approx(theirs, abs=3e-6)
    queries = [case.query for case in task.cases[5]]
    found = score_cases(ours, task, task.cases[5], label="ease")
    direct = user_metrics(
        ranks(
            theirs.astype(np.float32),
            queries,
            excluded=[support.items_K for support in supports],
            candidates=task.candidates_V,
        )
    )
    # Ranks of scores that agree to six digits: users whose query lies in a near-tie may differ.
    assert np.array(list(found.values())).mean(axis=0) == pytest.approx(direct.mean(axis=0), abs=2e-3)


def test_itemknn_sums_the_cosines_of_implicit(task):
    ours = baseline("itemknn", num_neighbours=1000, shrinkage=0)().fit(task.training, task.validation, seed=0)
    cosines = _cosines(task, num_kept=1000)
    supports = [case.support for case in task.cases[5]]
    theirs = np.array([cosines[np.unique(support.items_K)].sum(axis=0) for support in supports])
    # float32 sums of five cosines, and a tie-break of a millionth of a row's largest.
    assert ours.score(supports) == pytest.approx(theirs, abs=1e-5)


def test_itemknn_keeps_as_large_cosines_as_implicit(task):
    ours = baseline("itemknn", num_neighbours=7, shrinkage=0)().fit(task.training, task.validation, seed=0)
    # Which of equal cosines is kept may differ, how large they are may not; implicit counts the item itself.
    kept = -np.sort(-ours.neighbours_VV.toarray(), axis=0).T[:, :7]
    theirs = -np.sort(-_cosines(task, num_kept=8), axis=1)[:, :7]
    assert kept == pytest.approx(theirs, abs=1e-6)
    assert np.count_nonzero(ours.neighbours_VV.toarray(), axis=0).max() == 7


def _cosines(task, *, num_kept):
    """Return implicit's cosine between items, its largest per row, the diagonal 0."""
    model = CosineRecommender(K=num_kept, num_threads=1)
    model.fit(user_item_matrix(task.training), show_progress=False)
    cosines = model.similarity.toarray()
    np.fill_diagonal(cosines, 0.0)
    return cosines


def test_ials_folds_in_as_implicit_does(task):
    """The same factors, trained and folded in by implicit itself, give the same scores and rankings."""
    ours = baseline("ials", num_factors=8, regularization=5.0, alpha=4.0)().fit(
        task.training, task.validation, seed=0
    )
    theirs = AlternatingLeastSquares(factors=8, regularization=5.0, alpha=4.0, num_threads=1)
    theirs.item_factors = ours.model.item_factors
    num_items = task.training.num_items
    for case in task.cases[5]:
        items = np.unique(case.support.items_K)
        row = csr_matrix(
            (np.ones(len(items), dtype=np.float32), (np.zeros(len(items), dtype=int), items)),
            shape=(1, num_items),
        )
        listed, values = theirs.recommend(
            0, row, N=10, recalculate_user=True, filter_already_liked_items=True
        )
        scores = ours.score([case.support])[0]
        # Conjugate gradients and Cholesky of the same equations, float32.
        assert scores[listed] == pytest.approx(values, abs=1e-4)
        free = np.setdiff1d(np.arange(num_items), items)
        assert np.sort(scores[free])[::-1][:10] == pytest.approx(values, abs=1e-4)


def test_sasrec_reads_a_sequence_as_the_equations_of_its_paper():
    """The trained network against eSASRec's equations in NumPy: one causal LiGR layer, pre-norm, gated."""
    data = planted_world(num_users=80, num_items=30, num_tastes=2, seed=1).dataset
    ours = baseline("sasrec", width=16, num_blocks=1, num_epochs=1)().fit(data, data, seed=0)
    items = [3, 17, 8, 21]
    state = _read(ours.net, items)
    vectors = ours.net.items.weight.detach().numpy().astype(np.float64)
    expected = vectors[1:] @ state
    assert ours.score([_support(items)])[0] == pytest.approx(expected, abs=1e-4)  # float32 network


def _read(net, items):
    """Return the last state: Kang & McAuley's equations 2 to 4 inside a LiGR layer (arXiv 2508.06450)."""
    part = {name: value.detach().numpy().astype(np.float64) for name, value in net.state_dict().items()}
    length, width = len(items), part["positions.weight"].shape[1]
    x = part["items.weight"][np.array(items) + 1] + part["positions.weight"][np.arange(length)[::-1]]
    x = x + part["indices.weight"][np.arange(length)]
    layer = "layers.0."
    heads = net.layers[0].attention.num_heads
    normed = _norm(x, part, layer + "norm1")
    mixed = normed @ part[layer + "attention.in_proj_weight"].T + part[layer + "attention.in_proj_bias"]
    query, key, value = np.split(mixed, 3, axis=1)
    size, read = width // heads, []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        heat = query[:, own] @ key[:, own].T / np.sqrt(size)
        heat[np.triu_indices(length, 1)] = -np.inf
        weight = np.exp(heat - heat.max(axis=1, keepdims=True))
        read.append(weight / weight.sum(axis=1, keepdims=True) @ value[:, own])
    read = np.concatenate(read, axis=1) @ part[layer + "attention.out_proj.weight"].T
    x = x + _gate(x, part, layer + "gate1") * (read + part[layer + "attention.out_proj.bias"])
    normed = _norm(x, part, layer + "norm2")
    hidden = normed @ part[layer + "linear1.weight"].T
    hidden = hidden / (1 + np.exp(-hidden)) * (normed @ part[layer + "linear3.weight"].T)
    x = x + _gate(x, part, layer + "gate2") * (hidden @ part[layer + "linear2.weight"].T)
    return _norm(x, part, "norm")[-1]


def _gate(x, part, name):
    return 1 / (1 + np.exp(-(x @ part[f"{name}.weight"].T + part[f"{name}.bias"])))


def _norm(x, part, name):
    spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return (x - x.mean(axis=1, keepdims=True)) / spread * part[f"{name}.weight"] + part[f"{name}.bias"]
