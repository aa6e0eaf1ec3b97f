"""Events as sparse matrices: who has an event with what, and which items come together.

N is users, V items.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset


def user_item_matrix(dataset: Dataset, *, weighted: bool = False) -> csr_matrix:
    """Return who has an event with what, (N, V) float32, sorted by item.

    Args:
        dataset: Users and items.
        weighted: Put the event's strength where there is one, if the data set has weights; otherwise 1.
    """
    events = dataset.interactions
    counted = dataset.strengths_at(slice(None)) if weighted else None
    values = np.ones(len(events), dtype=np.float32) if counted is None else counted
    shape = (dataset.num_users, dataset.num_items)
    matrix = csr_matrix((values, events.items.astype(np.int32), events.offsets.astype(np.int32)), shape=shape)
    matrix.sum_duplicates()
    if counted is None:
        matrix.data[:] = 1.0
    return matrix


def item_cosines(training: Dataset, *, shrinkage: float, num_kept: int) -> csr_matrix:
    """Return each item's largest cosines with other items over training users, (V, V) float32 by row.

    similarity(i, j) = c_ij / (sqrt(c_i c_j) + shrinkage), where c counts training users.

    Source: Deshpande & Karypis 2004; shrinkage after Bell & Koren 2007.

    Args:
        training: Users and items.
        shrinkage: Distrust of similarities that rest on few users, 0 or more.
        num_kept: Items kept per row.
    """
    seen_NV = user_item_matrix(training)
    together_VV = (seen_NV.T @ seen_NV).tocsr()
    root_V = np.sqrt(together_VV.diagonal())
    together_VV.setdiag(0)
    together_VV.eliminate_zeros()
    rows = np.repeat(np.arange(len(root_V)), np.diff(together_VV.indptr))
    together_VV.data /= root_V[rows] * root_V[together_VV.indices] + np.float32(shrinkage)
    return keep_largest(together_VV, num_kept)


def keep_largest(matrix: csr_matrix, num_kept: int) -> csr_matrix:
    """Return the matrix with only each row's largest stored values; equal values keep the lowest column."""
    matrix.sort_indices()
    keep = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > num_kept):
        cells = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = np.argsort(-matrix.data[cells], kind="stable")
        keep[cells][order[num_kept:]] = False
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    offsets = kept_before[matrix.indptr].astype(matrix.indptr.dtype)
    return csr_matrix((matrix.data[keep], matrix.indices[keep], offsets), shape=matrix.shape)
