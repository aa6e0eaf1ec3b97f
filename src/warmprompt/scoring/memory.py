"""What training users leave behind beside learned parameters, and what of it a few events recall.

    neighbours   the share of the nearest training users who have an event with the item; near are those who
                 share items with the user, or have items with alike words
    posterior    the percentage of the next choice, by those training users who would have made the events
                 (`scoring.posterior`)
    together     how often the item comes with the user's items, by cosine
    words        the mean cosine of the item's words and those of the user's items, by TF-IDF
    text         the cosine of the item's text and the mean of the user's items' texts, by a frozen model

Nothing here is trained: all but the posterior are counted, and a model adds them to its scores with one
weight each. A user vector generalises and cannot hold every pair of items; counts remember pairs and do not
generalise. The posterior stands between them: people as they are believed to be, weighed by what they did.
Rows are computed one by one, so a score does not depend on who else is in a batch.

U is training users, V items, B users, K support events, X width of text vectors, F kinds of recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset
from warmprompt.data.factors import user_item_matrix
from warmprompt.scoring.posterior import Believed, Posterior
from warmprompt.scoring.words import Words, read_words
from warmprompt.types import Floats, Ints, Support, fields_only, short_repr

KINDS = ("neighbours", "posterior", "together", "words", "text")

# Histories count by length^-damping; an item shared counts by popularity^-rarity.
_DAMPING = 0.25
_RARITY = 0.5
_SHRINKAGE = 10.0
_KEPT_ITEMS = 200
_ALIKE_ITEMS = 30


@dataclass(frozen=True, kw_only=True)
class RecallWeights:
    """What one unit of each kind of recall adds to a score; 0 leaves it out."""

    neighbours: float = 0.0
    together: float = 0.0
    words: float = 0.0
    text: float = 0.0
    posterior: float = 0.0

    def of(self, kind: str) -> float:
        """Return the weight of one of `KINDS`."""
        return float(getattr(self, kind))


NOTHING = RecallWeights()


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """Training users' items, and each item's nearest items, both as compressed rows.

    Attributes:
        num_neighbours: Nearest training users that are asked.
        offsets_U: Where each training user's items begin, (U + 1,) int64.
        items: Their items, sorted per user, int32.
        near_offsets_V: Where each item's nearest items begin, (V + 1,) int64.
        near_items: Those items, int32.
        near_shares: Their cosines, float32.
        words: Of the items' texts, those added later too; None where they are not recalled.
        alike_share: What an item with alike words counts of one that is shared, times their cosine.
        kappa: Number of events at which memory weighs half of what it weighs after many.
        believed: What the model believes of training users; None where they are not weighed by likelihood.
    """

    num_neighbours: int
    offsets_U: NDArray[np.int64]
    items: Ints
    near_offsets_V: NDArray[np.int64]
    near_items: Ints
    near_shares: Floats
    words: Words | None = None
    alike_share: float = 0.0
    kappa: float = 0.0
    believed: Believed | None = None

    __repr__ = short_repr
    __getstate__ = fields_only

    @property
    def num_items(self) -> int:
        """V of the training data; what items added later did is in nobody's memory."""
        return len(self.near_offsets_V) - 1

    @cached_property
    def _users_of(self) -> tuple[NDArray[np.int64], Ints]:
        """The same events by item: where each item's users begin, and the users."""
        users = np.repeat(np.arange(len(self.offsets_U) - 1, dtype=np.int32), np.diff(self.offsets_U))
        order = np.argsort(self.items, kind="stable")
        counts_V = np.bincount(self.items, minlength=self.num_items)
        return np.concatenate([[0], np.cumsum(counts_V)]), users[order]

    @cached_property
    def _posterior(self) -> Posterior | None:
        if self.believed is None:
            return None
        return Posterior(believed=self.believed, offsets_U=self.offsets_U, items=self.items)

    @cached_property
    def _rarity_V(self) -> Floats:
        counts_V = np.diff(self._users_of[0])
        share_V = np.maximum(counts_V, 1) / max(1, len(self.offsets_U) - 1)
        rare: Floats = (share_V**-_RARITY).astype(np.float32)
        return rare

    @cached_property
    def _damping_U(self) -> Floats:
        damped: Floats = (np.maximum(np.diff(self.offsets_U), 1) ** -_DAMPING).astype(np.float32)
        return damped

    def neighbours(self, items_K: Ints) -> Floats:
        """Return the weighted share of the nearest users who have an event with each item, (V,), 0 to 1.

        Source: user-based nearest neighbours for implicit feedback (Herlocker et al. 1999), with rare
        items weighing more and long histories less.

        Args:
            items_K: The user's items; one added later counts through those with alike words.
        """
        starts, users = self._users_of
        shared_V = self._shared(items_K)
        nearness_U = np.zeros(len(self._damping_U), dtype=np.float32)
        shared = np.flatnonzero(shared_V)
        cells, lengths = _cells_of(starts, shared)
        # Unbuffered and in order: the same sums, to the bit, as one item after the other.
        np.add.at(nearness_U, users[cells], np.repeat(shared_V[shared] * self._rarity_V[shared], lengths))
        nearness_U *= self._damping_U
        nearest = _largest(nearness_U, self.num_neighbours)
        shares_V = np.zeros(self.num_items, dtype=np.float32)
        if len(nearest):
            votes = nearness_U[nearest] / nearness_U[nearest].sum()
            cells, lengths = _cells_of(self.offsets_U, nearest)
            np.add.at(shares_V, self.items[cells], np.repeat(votes, lengths))
        return shares_V

    def _shared(self, items_K: Ints) -> Floats:
        """Return how much of each item a training user shares who has it, (V,)."""
        shared_V = np.zeros(self.num_items, dtype=np.float32)
        shared_V[items_K[items_K < self.num_items]] = 1
        if self.words is None or not self.alike_share:
            return shared_V
        for item in items_K:
            near_V = self.words.cosines(item)[: self.num_items]
            near_V[item : item + 1] = 0
            alike = _largest(near_V, _ALIKE_ITEMS)
            shared_V[alike] += np.float32(self.alike_share) * near_V[alike]
        return shared_V

    def warm(self) -> None:
        """Make the table of training users' choices, where there is one: no ranking should wait for it."""
        if self._posterior is not None:
            _ = self._posterior.choices_VU

    def chosen_next(self, items_K: Ints) -> Floats:
        """Return the percentage of the next choice that each item has, (V,); 0 where nobody is believed in.

        Args:
            items_K: The user's items, distinct; those added later say nothing.
        """
        if self._posterior is None:
            return np.zeros(self.num_items, dtype=np.float32)
        return np.float32(100) * self._posterior.predict(items_K[items_K < self.num_items])

    def together(self, items_K: Ints) -> Floats:
        """Return the summed cosines with the user's items over sqrt(K), (V,).

        Source: item-based nearest neighbours (Sarwar et al. 2001), cosine with shrinkage.
        """
        sums_V = np.zeros(self.num_items, dtype=np.float32)
        for item in items_K:
            row = slice(self.near_offsets_V[item], self.near_offsets_V[item + 1])
            sums_V[self.near_items[row]] += self.near_shares[row]
        return sums_V / np.float32(np.sqrt(max(1, len(items_K))))


def remember(
    training: Dataset,
    *,
    num_neighbours: int,
    texts: Sequence[str] | None = None,
    alike_share: float = 0.0,
    kappa: float = 0.0,
) -> Memory:
    """Keep what training users did, and count which items come together.

    Args:
        training: Events of training users.
        num_neighbours: Nearest training users to ask, at least 1.
        texts: One line per item, to recall by words; None does without.
        alike_share: What an item with alike words counts of one that is shared, 0 to 1; needs `texts`.
        kappa: Number of events at which memory weighs half, 0 or more.
    """
    seen_UV = user_item_matrix(training)
    near_VV = _near_items(seen_UV)
    return Memory(
        num_neighbours=num_neighbours,
        offsets_U=seen_UV.indptr.astype(np.int64),
        items=seen_UV.indices.astype(np.int32),
        near_offsets_V=near_VV.indptr.astype(np.int64),
        near_items=near_VV.indices.astype(np.int32),
        near_shares=near_VV.data.astype(np.float32),
        words=None if texts is None else read_words(texts),
        alike_share=alike_share,
        kappa=kappa,
    )


def with_words(memory: Memory | None, texts: Sequence[str]) -> Memory | None:
    """Return the same memory with the words of items added later, one line each, where it recalls words."""
    if memory is None or memory.words is None:
        return memory
    return replace(memory, words=memory.words.with_texts(texts))


def recall(
    memory: Memory,
    weights: RecallWeights,
    supports: Sequence[Support],
    *,
    text_VX: Floats,
    least_rating: float | None = None,
) -> Floats:
    """Return what memory adds to each user's scores, (B, V); nothing for users without events.

    Args:
        memory: From `remember`.
        weights: One per kind.
        supports: The users' events.
        text_VX: Item texts, of unit length; more rows than the memory has items where items were added.
        least_rating: Events rated below it recall nothing: what is disliked says nothing of who is near.
    """
    added_BV = np.zeros((len(supports), len(text_VX)), dtype=np.float32)
    for kind in KINDS:
        if weights.of(kind):
            for row, support in enumerate(supports):
                added_BV[row] += weights.of(kind) * _recalled(memory, kind, support, text_VX, least_rating)
    return added_BV


def recalled(
    memory: Memory,
    kind: str,
    supports: Sequence[Support],
    *,
    text_VX: Floats,
    least_rating: float | None = None,
) -> Floats:
    """Return one kind of recall of each user, (B, V); arguments as `recall`."""
    rows = [_recalled(memory, kind, support, text_VX, least_rating) for support in supports]
    return np.stack(rows) if rows else np.zeros((0, len(text_VX)), dtype=np.float32)


def _recalled(
    memory: Memory, kind: str, support: Support, text_VX: Floats, least_rating: float | None
) -> Floats:
    items_K = np.asarray(support.items_K)
    if least_rating is not None:
        items_K = items_K[~(support.ratings_K < least_rating)]
    items_K = np.unique(items_K).astype(np.int32)
    full_V = np.zeros(len(text_VX), dtype=np.float32)
    if not len(items_K):
        return full_V
    if kind == "text":
        full_V += text_VX @ text_VX[items_K].mean(axis=0)
    elif kind == "words":
        if memory.words is not None:
            full_V[: memory.words.num_items] = memory.words.nearness(items_K)
    elif kind == "neighbours":
        full_V[: memory.num_items] = memory.neighbours(items_K)
    elif kind == "posterior":
        full_V[: memory.num_items] = memory.chosen_next(items_K)
    else:
        full_V[: memory.num_items] = memory.together(items_K[items_K < memory.num_items])
    return full_V * np.float32(len(items_K) / (len(items_K) + memory.kappa)) if memory.kappa else full_V


def _cells_of(
    offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where some compressed rows' entries lie, one row after the other, and how many each has."""
    lengths = offsets[rows + 1] - offsets[rows]
    before = np.cumsum(lengths) - lengths
    cells = np.arange(lengths.sum()) + np.repeat(offsets[rows] - before, lengths)
    return cells, lengths


def _largest(values_U: Floats, num_kept: int) -> NDArray[np.int64]:
    """Return the places of the largest values above 0, largest first; of equal ones the lowest places."""
    reaching = np.flatnonzero(values_U > 0)
    if num_kept < len(reaching):
        least = np.partition(values_U[reaching], -num_kept)[-num_kept]
        reaching = reaching[values_U[reaching] >= least]
    return reaching[np.argsort(-values_U[reaching], kind="stable")[:num_kept]]


def _near_items(seen_UV: csr_matrix) -> csr_matrix:
    """Return each item's nearest items, (V, V): cosine with shrinkage, the largest of each row, no self."""
    counts_V = np.asarray(seen_UV.sum(axis=0)).ravel()
    lengths_V = np.sqrt(np.maximum(counts_V, 1.0))
    together_VV = (seen_UV.T @ seen_UV).tocsr()
    together_VV.setdiag(0)
    together_VV.eliminate_zeros()
    rows = np.repeat(np.arange(len(counts_V)), np.diff(together_VV.indptr))
    together_VV.data /= lengths_V[rows] * lengths_V[together_VV.indices] + _SHRINKAGE
    together_VV.sort_indices()
    kept = np.ones(together_VV.nnz, dtype=np.bool_)
    for row in np.flatnonzero(np.diff(together_VV.indptr) > _KEPT_ITEMS):
        cells = slice(together_VV.indptr[row], together_VV.indptr[row + 1])
        order = np.argsort(-together_VV.data[cells], kind="stable")
        kept[cells][order[_KEPT_ITEMS:]] = False
    together_VV.data[~kept] = 0
    together_VV.eliminate_zeros()
    return together_VV.astype(np.float32)
