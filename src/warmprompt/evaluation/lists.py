"""Further metrics of the ten items that a user is shown: more of accuracy, and what the lists are like.

They are asked for by name and change nothing else of a table: neither its three metrics nor its tests.
Everything is counted on training users. U is training users, V items, B users in a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, diags

from warmprompt.data.dataset import Dataset, popularity
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.comparing import comparison_rows
from warmprompt.evaluation.metrics import METRICS, Ranks
from warmprompt.evaluation.protocols import EvaluationTask
from warmprompt.evaluation.results import Row
from warmprompt.evaluation.significance import Doubles
from warmprompt.scoring.ranking import CUT_OFF, ranks, top_n
from warmprompt.types import Floats, Ints, UserId

COVERAGE = "Coverage@10"
MEANINGS: Mapping[str, str] = {
    "Recall@10": "Share of the query items that are in the top 10.",
    "Precision@10": "Share of the top 10 that are query items.",
    "MAP@10": "Mean over the query items of the precision at their rank, 0 for those outside the top 10.",
    "Novelty@10": "Mean self-information of the top 10, in bits: -log2 of the share of training users who "
    "have the item. Higher is less popular.",
    "ILS@10": "Intra-list similarity: mean cosine between two items of the top 10, by the training users who "
    "have them. Lower is more diverse.",
    COVERAGE: "Share of the catalogue that is in the top 10 of any tested user. It is of all lists together "
    "and has no interval.",
}
"""Name to meaning, in the order of tables."""

ACCURACY = (*METRICS, "Recall@10", "Precision@10", "MAP@10")
"""Metrics of which higher is better."""


def recall(ranks_Q: Ranks) -> float:
    """Return Recall@10: the share of the query in the top 10; what is no candidate counts in the query."""
    return float((ranks_Q <= CUT_OFF).mean())


def precision(ranks_Q: Ranks) -> float:
    """Return Precision@10: query items in the top 10, divided by 10."""
    return float((ranks_Q <= CUT_OFF).sum() / CUT_OFF)


def average_precision(ranks_Q: Ranks) -> float:
    """Return AP@10: the sum over query items in the top 10 of the precision at their rank, over |query|.

    Source: Manning, Raghavan & Schutze 2008, eq. 8.8, cut at 10. A query holds ten items at most, so
    dividing by min(10, |query|), as others do, is the same.
    """
    found = np.sort(ranks_Q[ranks_Q <= CUT_OFF])
    return float((np.arange(1, len(found) + 1) / found).sum() / len(ranks_Q))


def metric_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return which further metrics are meant, in the order of tables; "all" means each.

    The main three may be named too: every table has them. Upper and lower case are the same.

    Raises:
        UnknownNameError: No such metric.
    """
    known = {name.lower(): name for name in (*METRICS, *MEANINGS)}
    meant: set[str] = set()
    for name in names:
        if name.lower() != "all" and name.lower() not in known:
            raise UnknownNameError(
                field="metric", value=name, remedy=f"Choose all, or some of {', '.join(known.values())}."
            )
        meant |= set(MEANINGS) if name.lower() == "all" else {known[name.lower()]}
    return tuple(name for name in MEANINGS if name in meant)


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemStatistics:
    """Statistics of the items over training users.

    Attributes:
        information_V: Self-information in bits, (V,); an item that nobody has counts as if one had it.
        unit_UV: Who has which item, each column of length 1.
    """

    information_V: Doubles
    unit_UV: csc_matrix

    def novelty(self, items: Ints) -> float:
        """Return the mean self-information of a list, in bits; 0 of an empty one.

        Source: Zhou et al. 2010, self-information.
        """
        return float(self.information_V[items].mean()) if len(items) else 0.0

    def similarity(self, items: Ints) -> float:
        """Return the mean cosine over the pairs of a list; 0 where there is no pair.

        Source: Ziegler et al. 2005, intra-list similarity, as a mean.
        """
        if len(items) < 2:
            return 0.0
        columns = self.unit_UV[:, items]
        cosines = (columns.T @ columns).toarray()
        return float(cosines[np.triu_indices(len(items), 1)].mean())


def item_statistics(training: Dataset) -> ItemStatistics:
    """Return the statistics of the training users' events."""
    from warmprompt.data.matrices import user_item_matrix

    counts_V = popularity(training)
    share_V = np.maximum(counts_V, 1) / max(1, training.num_users)
    seen = user_item_matrix(training).astype(np.float64)
    lengths_V = np.sqrt(np.asarray(seen.multiply(seen).sum(axis=0)).ravel())
    unit = seen @ diags(1 / np.maximum(lengths_V, 1e-300))
    return ItemStatistics(information_V=-np.log2(share_V), unit_UV=csc_matrix(unit))


class FurtherMetrics:
    """Collects the scores of an evaluation (`runner.OnScores`) and turns them into rows.

    Args:
        names: Of `MEANINGS`, as `metric_names` returns them.
        candidates: The protocol's; lists are of the whole catalogue.

    Raises:
        BadInputError: Metrics were asked for, and other candidates.
    """

    def __init__(self, names: Sequence[str], *, candidates: str = "full") -> None:
        if names and candidates != "full":
            raise BadInputError(
                field="metrics",
                value=", ".join(names),
                remedy=f"They are of lists from the whole catalogue; leave them or {candidates} out.",
            )
        self._names = tuple(names)
        self._per_user_names = tuple(name for name in names if name != COVERAGE)
        self._statistics: dict[int, ItemStatistics] = {}
        self._per_user: dict[tuple[str, int, int], dict[UserId, Doubles]] = {}
        self._shown: dict[tuple[str, int, int], NDArray[np.bool_]] = {}
        self._catalogues: dict[int, int] = {}

    def __call__(self, label: str, task: EvaluationTask, cases: Sequence[Case], scores_BV: Floats) -> None:
        """Take some cases of a row and their scores."""
        if not self._names:
            return
        if task.seed not in self._statistics:
            self._statistics[task.seed] = item_statistics(task.training)
            self._catalogues[task.seed] = int(task.candidates_V.sum())
        supports = [case.support.items_K for case in cases]
        queries = [case.query for case in cases]
        found = ranks(scores_BV, queries, excluded=supports, candidates=task.candidates_V)
        lists = top_n(scores_BV, CUT_OFF, excluded=supports, candidates=task.candidates_V)
        rank = (label, task.seed, cases[0].k)
        shown = self._shown.setdefault(rank, np.zeros(scores_BV.shape[1], dtype=bool))
        of_users = self._per_user.setdefault(rank, {})
        for case, ranks_Q, listed in zip(cases, found, lists, strict=True):
            items = listed[listed >= 0]
            shown[items] = True
            of_users[case.support.user] = self._values(self._statistics[task.seed], ranks_Q, items)

    def rows(self, protocol: str, *, own: Collection[str] = ()) -> tuple[Row, ...]:
        """Return the rows of every model, K and seed, and over all seeds, as `Results.rows` holds them."""
        labels = list(dict.fromkeys(label for label, _, _ in self._per_user))
        seeds = tuple(self._statistics)
        found = [
            row
            for seed in (*seeds, None)
            for row in (
                *self._user_rows(labels, protocol, seeds, seed),
                *self._coverage_rows(protocol, seeds, seed),
            )
        ]
        return tuple(replace(row, is_product=row.model in own) for row in found)

    def _values(self, statistics: ItemStatistics, ranks_Q: Ranks, items: Ints) -> Doubles:
        computed = {
            "Recall@10": lambda: recall(ranks_Q),
            "Precision@10": lambda: precision(ranks_Q),
            "MAP@10": lambda: average_precision(ranks_Q),
            "Novelty@10": lambda: statistics.novelty(items),
            "ILS@10": lambda: statistics.similarity(items),
        }
        return np.array([computed[name]() for name in self._per_user_names], dtype=np.float64)

    def _user_rows(
        self, labels: Sequence[str], protocol: str, seeds: tuple[int, ...], seed: int | None
    ) -> list[Row]:
        if not self._per_user_names:
            return []
        return comparison_rows(
            self._per_user,
            labels,
            protocol,
            seeds=seeds if seed is None else (seed,),
            seed=seed,
            metrics=self._per_user_names,
        )

    def _coverage_rows(self, protocol: str, seeds: tuple[int, ...], seed: int | None) -> list[Row]:
        """Return the share of the catalogue in anybody's list; over several seeds the mean of the shares."""
        if COVERAGE not in self._names:
            return []
        found = []
        for label, k in dict.fromkeys((label, k) for label, _, k in self._shown):
            wanted = seeds if seed is None else (seed,)
            known = [one for one in wanted if (label, one, k) in self._shown]
            if not known:
                continue
            value = float(
                np.mean([self._shown[label, one, k].sum() / self._catalogues[one] for one in known])
            )
            users = {user for one in known for user in self._per_user[label, one, k]}
            found.append(
                Row(
                    model=label,
                    protocol=protocol,
                    k=k,
                    seed=seed,
                    metric=COVERAGE,
                    value=value,
                    low=value,
                    high=value,
                    num_users=len(users),
                )
            )
        return found
