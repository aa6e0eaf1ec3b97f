"""Directions in which users differ, read off the gradients of their texts: a start for `SubspacePrompt`.

Near a shared prompt a user's loss is about linear in the prompt, with a slope that differs by user, and bends
about alike for everybody. The slope is seen through K noisy gradients, one per text. Its posterior mean times
the inverse curvature is the step that a user's texts call for. Both matrices are taken as diagonal in the
principal components of all gradients.

N is texts, X numbers of a prompt, Z directions, B users, K texts of a user.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class UserDirections:
    """Principal components of the gradients, whitened.

    Attributes:
        mean_X: Mean gradient.
        directions_ZX: A gradient times a row has variance 1; rows are orthogonal to one another.
        shared_Z: Share of that variance that texts of one user have in common, 0 to 1 (intraclass
            correlation), shrunk to the mean over directions as far as pairs of texts are few.
    """

    mean_X: Tensor
    directions_ZX: Tensor
    shared_Z: Tensor


def fit_user_directions(gradients_NX: Tensor, owner_N: Tensor, *, num_directions: int) -> UserDirections:
    """Return the directions of most variance, and how much of it is the user's.

    Args:
        gradients_NX: One gradient per text, all at the same prompt.
        owner_N: Whose text it is; users with two texts or more count.
        num_directions: Z, cut to N - 1.

    Source: intraclass correlation by products of pairs, Harris 1913; shrinking, Efron & Morris 1975.
    """
    gradients_NX = gradients_NX.double()
    mean_X = gradients_NX.mean(0)
    centred_NX = gradients_NX - mean_X
    _, spread, basis = torch.linalg.svd(centred_NX, full_matrices=False)
    keep = min(num_directions, len(gradients_NX) - 1)
    directions_ZX = basis[:keep] / (spread[:keep, None] / len(gradients_NX) ** 0.5)
    scores_NZ = centred_NX @ directions_ZX.T
    num_users = int(owner_N.max()) + 1
    sums_UZ = scores_NZ.new_zeros((num_users, keep)).index_add(0, owner_N, scores_NZ)
    counts_U = torch.bincount(owner_N, minlength=num_users)
    num_pairs = (counts_U * (counts_U - 1)).sum() / 2
    shared_Z = (sums_UZ.square().sum(0) - scores_NZ.square().sum(0)) / (2 * num_pairs)
    # Without anything shared, an estimate varies by 1 / pairs: what varies more are true differences.
    variance = shared_Z.var(correction=0).clamp(min=1e-12)
    trust = (1 - 1 / (num_pairs * variance)).clamp(min=0.0)
    shrunk_Z = shared_Z.mean() + trust * (shared_Z - shared_Z.mean())
    return UserDirections(mean_X=mean_X, directions_ZX=directions_ZX, shared_Z=shrunk_Z.clamp(0.0, 1.0))


def posterior_step(
    found: UserDirections, mean_gradients_BX: Tensor, num_texts: int, *, rate: float, damping: float = 0.0
) -> Tensor:
    """Return how far each user's prompt goes, (B, X): minus rate times posterior slope over curvature.

    Args:
        found: Directions.
        mean_gradients_BX: Mean over the user's texts.
        num_texts: K, how many.
        rate: Inverse of the curvature in units of the gradients' variance; about 1 / tokens of a text, where
            the variance of a text's gradient is the Fisher information of a token over its tokens.

        damping: Added to the variance of each direction, as a share of the largest one: the curvature falls
            off more slowly than the variance of few gradients.

    Source: Spearman 1910 and Brown 1910 (reliability of a mean of K), which is the posterior's weight here;
    damping, Levenberg 1944.
    """
    precision_Z = found.directions_ZX.square().sum(1)
    damped_Z = 1 / (1 + damping * precision_Z / precision_Z.min())
    scores_BZ = (mean_gradients_BX.double() - found.mean_X) @ found.directions_ZX.T
    weights_Z = num_texts * found.shared_Z / (1 + (num_texts - 1) * found.shared_Z)
    return -rate * (scores_BZ * weights_Z * damped_Z) @ found.directions_ZX
