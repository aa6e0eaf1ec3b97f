"""The texts that may be written, as a tree of tokens in which equal beginnings are stored once.

Nodes are numbered depth first, so a node comes after its parent and right before the first of its children,
and any stretch of nodes together with the ancestors of its first one is a tree again. X is nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.types import short_repr

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTrie:
    """A finite language over tokens; make it with `make_trie`.

    Attributes:
        token_X: Token of each node; -1 at the root, which is node 0.
        parent_X: Its parent; -1 at the root.
        depth_X: Tokens from the root.
        children: Per node, its children in order.
        texts: Per node, the texts that end there; several where they are equal.
    """

    token_X: Positions
    parent_X: Positions
    depth_X: Positions
    children: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[int, ...], ...]

    __repr__ = short_repr

    def __len__(self) -> int:
        """X."""
        return len(self.token_X)

    def path(self, node: int) -> list[int]:
        """Return the nodes from below the root down to `node`."""
        nodes = []
        while node > 0:
            nodes.append(node)
            node = int(self.parent_X[node])
        return nodes[::-1]


def make_trie(texts: Sequence[Sequence[int]], *, end_id: int) -> TokenTrie:
    """Return the trie of texts, each given as its tokens and closed by the end token.

    The end token is what lets a text be the beginning of another.

    Raises:
        BadInputError: No texts, an empty one, or one that holds the end token.
    """
    if not texts:
        raise BadInputError(field="texts", value="none", remedy="Give at least one text.")
    for index, text in enumerate(texts):
        if not len(text) or end_id in text:
            raise BadInputError(
                field=f"text {index}", value=list(text), remedy="Give tokens, the end token not among them."
            )
    order = sorted(range(len(texts)), key=lambda index: (*texts[index], end_id))
    tokens, parents, depths, ends = [-1], [-1], [0], [[]]  # type: list[int], list[int], list[int], list[list[int]]
    path, before = [0], ()  # type: list[int], tuple[int, ...]
    for index in order:
        text = (*texts[index], end_id)
        shared = _shared(text, before)
        del path[shared + 1 :]
        for token in text[shared:]:
            tokens.append(token)
            parents.append(path[-1])
            depths.append(len(path))
            ends.append([])
            path.append(len(tokens) - 1)
        ends[path[-1]].append(index)
        before = text
    children: list[list[int]] = [[] for _ in tokens]
    for node, parent in enumerate(parents[1:], start=1):
        children[parent].append(node)
    return TokenTrie(
        token_X=np.array(tokens, dtype=np.int64),
        parent_X=np.array(parents, dtype=np.int64),
        depth_X=np.array(depths, dtype=np.int64),
        children=tuple(map(tuple, children)),
        texts=tuple(tuple(sorted(one)) for one in ends),
    )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
