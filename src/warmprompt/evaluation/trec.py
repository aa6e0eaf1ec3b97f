"""Rankings as TREC run files, and what was to be found as qrels, for trec_eval, ir_measures and the like.

One run file per row, split seed and K; one file of qrels per split seed and K, because who has a case, and in
time order also what is to be found, depends on K. A line of a run is `USER Q0 ITEM RANK SCORE ROW`, one of
the qrels `USER 0 ITEM 1`.

The order is the one that the table's metrics are of. Where scores are equal, items outside the query come
first; scores that are written fall from line to line, equal ones by the smallest step that a 32-bit number
takes, so that no reader orders them differently. B is users in a batch, V items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.protocols import EvaluationTask
from warmprompt.files import writing_to
from warmprompt.types import Floats, ItemId, UserId

DEPTH = 1000
"""Items per user, as TREC asks for. A reciprocal rank beyond it would be below .001, and counts as 0."""


class TrecFiles:
    """Writes what an evaluation ranks (`runner.OnScores`) into a folder.

    Args:
        folder: Empty; to be filled.
        candidates: The protocol's; runs are of the whole catalogue.
        depth: Items per user at most.

    Raises:
        BadInputError: Other candidates than "full".
    """

    def __init__(self, folder: Path, *, candidates: str = "full", depth: int = DEPTH) -> None:
        if candidates != "full":
            raise BadInputError(
                field="--trec",
                value=candidates,
                remedy="Runs are rankings of the whole catalogue; leave out --candidates.",
            )
        self._folder = folder
        self._depth = depth
        self._item_ids: dict[int, list[str]] = {}
        self._first: dict[tuple[int, int], str] = {}

    def __call__(self, label: str, task: EvaluationTask, cases: Sequence[Case], scores_BV: Floats) -> None:
        """Add some cases of a row: their rankings, and for the first row of the table what is to be found.

        Raises:
            StorageError: A file could not be written.
        """
        at = (task.seed, cases[0].k)
        if task.seed not in self._item_ids:
            self._item_ids[task.seed] = [trec_id(item) for item in task.training.item_ids]
        ids = self._item_ids[task.seed]
        run, judged = [], []
        for case, scores_V in zip(cases, scores_BV, strict=True):
            user = trec_id(case.support.user)
            items, scores = ordered(scores_V, case, task.candidates_V, depth=self._depth)
            run += [
                f"{user} Q0 {ids[item]} {rank} {score!s} {_slug(label)}\n"
                for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1)
            ]
            judged += [f"{user} 0 {ids[item]} 1\n" for item in case.query]
        self._append(f"{_slug(label)}.seed{at[0]}.k{at[1]}.run", run)
        if self._first.setdefault(at, label) == label:
            self._append(f"qrels.seed{at[0]}.k{at[1]}.txt", judged)

    def _append(self, name: str, lines: Sequence[str]) -> None:
        with writing_to(self._folder / name), (self._folder / name).open("a", encoding="utf-8") as file:
            file.writelines(lines)


def ordered(
    scores_V: Floats, case: Case, candidates_V: NDArray[np.bool_], *, depth: int
) -> tuple[NDArray[np.intp], Floats]:
    """Return a user's best candidates and scores that fall strictly; among equals the query is last."""
    free_V = candidates_V.copy()
    free_V[case.support.items_K] = False
    items = np.flatnonzero(free_V)
    scores = np.asarray(scores_V, dtype=np.float32)[items]
    order = np.lexsort((items, np.isin(items, case.query), -scores))[:depth]
    items, falling = items[order], scores[order]
    if (np.diff(falling) >= 0).any():
        for position in range(1, len(falling)):
            below = np.nextafter(falling[position - 1], np.float32(-np.inf))
            falling[position] = min(falling[position], below)
    return items, falling


def trec_id(value: UserId | ItemId) -> str:
    """Return an id as one word: white space and per cent signs as %20 and the like, all else as it is."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), str(value))


def _slug(label: str) -> str:
    return re.sub(r"[^\w.-]+", "-", label).strip("-")
