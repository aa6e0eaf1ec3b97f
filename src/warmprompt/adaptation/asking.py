"""Which items to ask a user about: known to many, and telling about the rest of the user's taste.

One item after the other that, together with those before it, leaves least unexplained of who has which
popular item. Training users count as much as they agree with the user's answers so far, so the first screen
is the same for everybody and the next ones depend on the answers. No model adapts for a question.

N is training users, A items that may be asked about, most popular first.

Sources: greedy selection of columns (Farahat, Ghodsi & Kamel 2013), as in bootstrapping recommenders by
questions (Golbandi, Koren & Lempel 2011).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmprompt.adaptation.engine import Engine
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.selection import Mask, check_count
from warmprompt.experts.histories import UserItems, picked
from warmprompt.experts.user_neighbours import UserNeighbours
from warmprompt.experts.user_posterior import UserPosterior
from warmprompt.runs.format import Trained
from warmprompt.types import Floats, Ints, fields_only, short_repr

DEFAULT_ITEMS = 12
"""Items of a screen."""
_POOL = 300
_MOST_USERS = 5_000
# Variance of an answer put down to chance; as good as any on validation users of MovieLens.
_NOISE = 0.01
# Probability that two users of one taste answer differently; of .2 and .35 the better there.
_P_DIFFERENT = 0.2
# Beyond two screens each answer counts less, so that not one training user alone speaks for the user.
_FULL_ANSWERS = 24
_WITH_USERS = (UserNeighbours, UserPosterior)


@dataclass(frozen=True, kw_only=True, eq=False)
class Questionnaire:
    """What training users would answer.

    Attributes:
        items_A: Positions of the items that may be asked about, most popular first.
        has_NA: 1 where a training user has an event with one of them, else 0.
    """

    items_A: Ints
    has_NA: Floats

    __repr__ = short_repr
    __getstate__ = fields_only

    def screen(self, n: int, *, shown: Collection[int], marked: Collection[int]) -> tuple[Ints, Floats]:
        """Return the items to ask about next, most telling first, and how telling each is.

        Args:
            n: Items at most.
            shown: Positions of items that the user was asked about.
            marked: Positions of items that the user has an event with, asked about or not.
        """
        marked_A = np.isin(self.items_A, list(marked))
        asked_A = marked_A | np.isin(self.items_A, list(shown))
        left_AA = self._covariance(asked_A, marked_A)
        taken = np.flatnonzero(asked_A).tolist()
        order: list[int] = []
        values: list[float] = []
        for _ in range(min(n, len(left_AA) - len(taken))):
            explained_A = (left_AA**2).sum(axis=0) / (np.diag(left_AA) + _NOISE)
            explained_A[taken + order] = -1
            best = int(explained_A.argmax())
            order.append(best)
            values.append(float(explained_A[best]))
            column_A = left_AA[best].copy()
            left_AA -= np.outer(column_A, column_A) / (column_A[best] + _NOISE)
        return self.items_A[order], np.array(values, dtype=np.float32)

    def _covariance(self, asked_A: Mask, marked_A: Mask) -> Floats:
        """Return the covariance of answers, (A, A), among users weighted by their agreement with the user."""
        if not asked_A.any():
            return self._plain_covariance_AA.copy()
        num_alike_N = (self.has_NA[:, asked_A] == marked_A[asked_A]).sum(axis=1)
        strength = min(1.0, _FULL_ANSWERS / asked_A.sum()) * np.log(1 / _P_DIFFERENT - 1)
        weights_N = np.exp(strength * (num_alike_N - num_alike_N.max()))
        return covariance(self.has_NA, (weights_N / weights_N.sum()).astype(np.float32))

    @cached_property
    def _plain_covariance_AA(self) -> Floats:
        num_users = len(self.has_NA)
        return covariance(self.has_NA, np.full(num_users, 1 / num_users, dtype=np.float32))


def covariance(has_NA: Floats, weights_N: Floats) -> Floats:
    """Return the covariance of columns, (A, A), among rows whose weights sum to 1."""
    means_A = weights_N @ has_NA
    together_AA = np.asarray((has_NA * weights_N[:, None]).T @ has_NA, dtype=np.float32)
    together_AA -= np.outer(means_A, means_A)
    return together_AA


def make_questionnaire(engine: Engine, mask: Mask | None) -> Questionnaire:
    """Return the questionnaire of a model; without training users' histories it goes by popularity alone.

    Args:
        engine: The model.
        mask: Items that may be ranked, (V,), or None for all.
    """
    experts = engine.mixture.experts.values()
    histories = next((one.histories for one in experts if isinstance(one, _WITH_USERS)), None)
    if histories is None:
        order = np.argsort(-engine.popularity_V.cpu().numpy(), kind="stable")
    else:
        popular = np.argsort(-histories.counts_V, kind="stable")
        order = popular[histories.counts_V[popular] > 0]
    items_A = order[: _POOL if mask is None else None].astype(np.int32)
    if mask is not None:
        items_A = items_A[mask[items_A]][:_POOL]
    return Questionnaire(items_A=items_A, has_NA=_answers(histories, items_A))


def screen_of(
    questionnaire: Questionnaire, trained: Trained, n: int, *, shown: Collection[int], marked: Collection[int]
) -> Ranking:
    """Return the items to ask about next; arguments as those of `Questionnaire.screen`.

    Raises:
        BadInputError: `n` is no whole number of at least 1.
    """
    check_count(n)
    items, values = questionnaire.screen(n, shown=shown, marked=marked)
    return Ranking(
        items=tuple(trained.item_ids[item] for item in items),
        titles=tuple(trained.titles[item] for item in items),
        scores=tuple(values.tolist()),
    )


def _answers(histories: UserItems | None, items_A: Ints) -> Floats:
    """Return what training users, or evenly spaced ones of very many, have an event with, (N, A)."""
    if histories is None:
        return np.zeros((1, len(items_A)), dtype=np.float32)
    num_users = len(histories.lengths_U)
    kept = np.linspace(0, num_users - 1, min(num_users, _MOST_USERS)).astype(np.int64)
    items, lengths = picked(histories.items, histories.offsets_U, kept)
    columns_V = np.full(histories.num_items, -1)
    columns_V[items_A] = np.arange(len(items_A))
    rows, columns = np.repeat(np.arange(len(kept)), lengths), columns_V[items]
    has_NA = np.zeros((len(kept), len(items_A)), dtype=np.float32)
    has_NA[rows[columns >= 0], columns[columns >= 0]] = 1
    return has_NA
