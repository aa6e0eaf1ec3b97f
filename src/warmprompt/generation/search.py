"""Beam search that can only write texts of a trie.

B is rows, X nodes of a trie, N tokens of one pass, S tree tokens so far, W tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.errors import BadInputError
from warmprompt.generation.lm import LanguageModel, Tree, grow
from warmprompt.generation.trie import TokenTrie

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What makes one text better than another.

    A text of L tokens (the end token is one of them) with log-likelihood l behind the context and l0
    without the user scores (l - correction l0) / L ** length_power.

    Attributes:
        length_power: 0 compares whole texts, 1 means per token.
        correction: 0 takes the likelihood as it is, 1 the pointwise mutual information with the user.
    """

    length_power: float = 1.0
    correction: float = 0.0

    def __post_init__(self) -> None:
        for name in ("length_power", "correction"):
            value = getattr(self, name)
            if not 0 <= value <= 2:
                raise BadInputError(field=name, value=value, remedy="Give 0 to 2.")

    def __call__(self, log_p: Doubles, base: Doubles, depth: NDArray[np.int64]) -> Doubles:
        """Return scores of beginnings or whole texts, elementwise; all in nats, depth in tokens."""
        scored: Doubles = (log_p - self.correction * base) / np.asarray(
            depth, dtype=float
        ) ** self.length_power
        return scored


@dataclass(frozen=True, kw_only=True)
class Written:
    """One text that a search has found.

    Attributes:
        node: Where it ends in the trie.
        log_p: Its log-likelihood behind the context, nats.
        score: By which it competes.
    """

    node: int
    log_p: float
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Beam:
    """A beginning that is still growing: its node, the tree position of its last token, what may follow."""

    node: int
    slot: int
    log_p: float
    next_W: Tensor


@dataclass(kw_only=True, eq=False)
class _Row:
    """One row of the batch: its trie, its beams, what is finished."""

    trie: TokenTrie
    base_X: Doubles
    beams: list[_Beam]
    written: list[Written] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """Tokens that one beam adds in a pass: the first is selected, the others leave no choice."""

    nodes: list[int]
    parent: int
    log_p: float


def beam_search(  # noqa: PLR0913 - what to search in, and by keyword how
    lm: LanguageModel,
    tree: Tree,
    tries: Sequence[TokenTrie],
    *,
    width: int,
    scoring: Scoring,
    base: Sequence[Doubles] | None = None,
    stride: int = 1,
) -> list[list[Written]]:
    """Return the texts that each row's search has finished, best first.

    Beginnings compete within their row and pass, by the score that they would have if they ended there; a
    text that ends takes no beam away. With a beam for every beginning nothing is pruned, and the result is
    the whole language with its exact likelihoods.

    Args:
        lm: The model.
        tree: Contexts, nothing grown behind them.
        tries: One per row.
        width: Beams per row.
        scoring: What to maximise.
        base: Per row, log-probability of each node without the user, (X,); needed for a correction.
        stride: Tokens that a beam may add in one pass while the trie leaves no choice; with more than 1
            beams of unlike length meet, for fewer passes.

    Raises:
        BadInputError: Sizes that do not fit, or a correction without a base.
    """
    if width < 1 or stride < 1:
        raise BadInputError(field="width, stride", value=(width, stride), remedy="Give at least 1.")
    if len(tries) != len(tree.next_BW):
        raise BadInputError(field="tries", value=len(tries), remedy=f"Give one per row, {len(tree.next_BW)}.")
    if base is None and scoring.correction:
        raise BadInputError(field="base", value=None, remedy="Give the log-probabilities without the user.")
    rows = [
        _Row(
            trie=trie,
            base_X=np.zeros(len(trie)) if base is None else base[row],
            beams=[_Beam(node=0, slot=-1, log_p=0.0, next_W=tree.next_BW[row])],
        )
        for row, trie in enumerate(tries)
    ]
    while any(row.beams for row in rows):
        runs = [_choose(row, width=width, scoring=scoring, stride=stride) for row in rows]
        if not any(runs):
            break
        before = tree.num_tokens
        ids_BN, parents_BN = _layout(rows, runs, before)
        tree, log_p_BNW = grow(lm, tree, ids_BN, parents_BN)
        for row, own, log_p_NW in zip(rows, runs, log_p_BNW, strict=True):
            _advance(row, own, log_p_NW, before)
    return [sorted(row.written, key=lambda one: (-one.score, one.node)) for row in rows]


def _choose(row: _Row, *, width: int, scoring: Scoring, stride: int) -> list[_Run]:
    """Finish the texts that end here and return the best of the beginnings that go on."""
    trie, found = row.trie, []
    for beam in row.beams:
        children = list(trie.children[beam.node])
        steps = beam.next_W[trie.token_X[children]].double().cpu().numpy()
        log_p = beam.log_p + steps
        scores = scoring(log_p, row.base_X[children], trie.depth_X[children])
        found += [
            (float(s), node, beam.slot, float(p)) for s, node, p in zip(scores, children, log_p, strict=True)
        ]
    row.beams = []
    row.written += [Written(node=node, log_p=p, score=s) for s, node, _, p in found if trie.texts[node]]
    going = sorted((-s, node, slot, p) for s, node, slot, p in found if not trie.texts[node])[:width]
    return [_Run(nodes=_forced(trie, node, stride), parent=slot, log_p=p) for _, node, slot, p in going]


def _forced(trie: TokenTrie, node: int, stride: int) -> list[int]:
    """Return a node and those below it as long as there is no choice and the text does not end."""
    nodes = [node]
    while len(nodes) < stride and len(trie.children[nodes[-1]]) == 1:
        (child,) = trie.children[nodes[-1]]
        if trie.texts[child]:
            break
        nodes.append(child)
    return nodes


def _layout(
    rows: Sequence[_Row], runs: Sequence[Sequence[_Run]], before: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay the rows' runs side by side, (B, N) tokens and parents; shorter rows are padded."""
    longest = max(sum(len(run.nodes) for run in own) for own in runs)
    ids_BN = np.zeros((len(rows), longest), dtype=np.int64)
    parents_BN = np.full((len(rows), longest), -1, dtype=np.int64)
    for index, (row, own) in enumerate(zip(rows, runs, strict=True)):
        position = 0
        for run in own:
            for step, node in enumerate(run.nodes):
                ids_BN[index, position] = row.trie.token_X[node]
                parents_BN[index, position] = before + position - 1 if step else run.parent
                position += 1
    return ids_BN, parents_BN


def _advance(row: _Row, runs: Sequence[_Run], log_p_NW: Tensor, before: int) -> None:
    """Turn runs into beams: the selected token is counted already, the forced ones are counted here."""
    position = 0
    for run in runs:
        log_p = run.log_p
        for step, node in enumerate(run.nodes[1:]):
            log_p += float(log_p_NW[position + step, row.trie.token_X[node]])
        position += len(run.nodes)
        row.beams.append(
            _Beam(node=run.nodes[-1], slot=before + position - 1, log_p=log_p, next_W=log_p_NW[position - 1])
        )
