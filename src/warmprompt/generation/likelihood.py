"""How likely every text of a trie is behind a context, exactly: each shared beginning is read once.

B is rows, X nodes of the trie, N tokens of one pass, W tokens of the vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.generation.lm import LanguageModel, Tree, grow
from warmprompt.generation.trie import TokenTrie

Doubles = NDArray[np.float64]

_PASS = 256


def node_log_p(lm: LanguageModel, tree: Tree, trie: TokenTrie, *, num_tokens: int = _PASS) -> Doubles:
    """Return the log-probability of each beginning that the trie holds, in nats, (B, X); 0 at the root.

    A node's value is the sum of log p(token | context, tokens before) from the root down to it; where a
    text ends, that is the text's own log-likelihood, its end token included.

    Args:
        lm: The model.
        tree: Contexts, nothing grown behind them.
        trie: The texts.
        num_tokens: Tokens in one pass at most, apart from the ancestors of the first.
    """
    num_rows = len(tree.next_BW)
    steps_BX = np.zeros((num_rows, len(trie)))
    first = list(trie.children[0])
    steps_BX[:, first] = tree.next_BW[:, trie.token_X[first]].cpu().numpy()
    inner = [node for node in range(1, len(trie)) if trie.children[node]]
    for start in range(0, len(inner), num_tokens):
        part = inner[start : start + num_tokens]
        nodes = [*trie.path(part[0])[:-1], *part]
        position = {node: index for index, node in enumerate(nodes)}
        parents_N = np.array([position.get(int(trie.parent_X[node]), -1) for node in nodes])
        _, log_p_BNW = grow(
            lm,
            tree,
            np.tile(trie.token_X[nodes], (num_rows, 1)),
            np.tile(parents_N, (num_rows, 1)),
        )
        pairs = [(position[node], child) for node in part for child in trie.children[node]]
        rows, below = (list(column) for column in zip(*pairs, strict=True))
        chosen_BN = log_p_BNW[:, rows, torch.as_tensor(trie.token_X[below])]
        steps_BX[:, below] = chosen_BN.cpu().numpy()
    for node in range(1, len(trie)):
        steps_BX[:, node] += steps_BX[:, trie.parent_X[node]]
    return steps_BX
