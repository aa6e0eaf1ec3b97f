"""The learned target in the linear response, in NumPy and without a gradient.

The same formula as `meta.target`, equal to a millionth. The time of a few users is the start of each
operation, which costs PyTorch several times what it costs NumPy.

B is users, K support events (padded), D factors, R heads, X hidden width of the second layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import erf

from warmprompt.data.episodes import EventBatch
from warmprompt.meta.model import Catalogue
from warmprompt.meta.target import BRANCH, NUM_HEADS
from warmprompt.types import Floats


def users_at_target(catalogue: Catalogue, features_BT: Floats, events: EventBatch) -> Floats:
    """Return the user vectors, (B, D), that inner steps towards the target reach in the linear response.

    Args:
        catalogue: On a processor, without gradients.
        features_BT: Text features of the users' texts.
        events: The users' events.
    """
    own = catalogue.arrays
    users_BD: Floats = own["prior.start"] + features_BT @ own["prior.text_head"]
    if events.mask_BK.any():
        # Each step of rate r leaves the share 1 - r of the way.
        left = np.prod(1 - np.exp(own["inner.log_rates"]))
        pulls_BKD = catalogue.support_VD.numpy()[events.items_BK] - own["mean_D"]
        pulls_BKD *= _weights(own, events)[:, :, None]
        users_BD = users_BD + (1 - left) * _displacement(own, pulls_BKD, events)
    return users_BD


def _displacement(own: Mapping[str, Floats], pulls_BKD: Floats, events: EventBatch) -> Floats:
    """See `meta.target.target_displacement`."""
    count_B1 = events.mask_BK.sum(1, keepdims=True)
    width = pulls_BKD.shape[-1]
    sum_BD = pulls_BKD.sum(1) / np.sqrt(np.maximum(count_B1, 1).astype(np.float32))
    moved_BD = _gain(own, count_B1) * (sum_BD @ own["target.fold"])
    normed_BKD = _normed(pulls_BKD) * events.mask_BK[:, :, None]
    asked_BRD = (_normed(sum_BD) @ own["target.ask"]).reshape(-1, NUM_HEADS, width)
    heat_BRK = (own["target.seeds"] + asked_BRD) @ normed_BKD.transpose(0, 2, 1) / math.sqrt(width)
    share_BRK = np.exp(heat_BRK - heat_BRK.max(2, keepdims=True)) * events.mask_BK[:, None]
    share_BRK /= share_BRK.sum(2, keepdims=True).clip(min=1e-30)
    read_BX = (share_BRK @ normed_BKD).reshape(len(count_B1), -1)
    moved_BD = moved_BD + BRANCH * (read_BX @ own["target.value"].reshape(-1, width))
    hidden_BX = _normed(moved_BD) @ own["target.inner"] + own["target.bias"]
    hidden_BX *= 0.5 * (1 + erf(hidden_BX * math.sqrt(0.5)))
    moved_BD = moved_BD + BRANCH * (hidden_BX @ own["target.outer"])
    displacement: Floats = moved_BD * (count_B1 > 0)
    return displacement


def _weights(own: Mapping[str, Floats], events: EventBatch) -> Floats:
    """See `meta.model.evidence_weights`."""
    levels_R, (low, high) = own["rating_levels_R"], own["rating_range"].tolist()
    weights_BK = events.mask_BK.astype(np.float32)
    if len(levels_R):
        scaled_BK = (events.ratings_BK - low) / (high - low)
        found_BK = np.interp(scaled_BK, levels_R, own["level_weights_R"])
        weights_BK *= np.where(np.isfinite(scaled_BK), found_BK, 1).astype(np.float32)
    return weights_BK if events.strengths_BK is None else weights_BK * events.strengths_BK


def _gain(own: Mapping[str, Floats], count_B1: Floats) -> Floats:
    """See `meta.target._gain`."""
    log_gain_N = own["target.log_gain"]
    known_B1 = np.minimum(count_B1, len(log_gain_N) - 1)
    gain_B1: Floats = np.exp(log_gain_N[known_B1])
    if (count_B1 > known_B1).any():
        kappa = np.exp(own["support.log_kappa"])
        beyond_B1 = np.sqrt(np.maximum(count_B1 / np.maximum(known_B1, 1), 1))
        beyond_B1 = beyond_B1 * (known_B1 + kappa) / (count_B1 + kappa)
        gain_B1 = (gain_B1 * beyond_B1).astype(np.float32)
    return gain_B1


def _normed(values: Floats) -> Floats:
    width = values.shape[-1]
    centred = values - values.sum(-1, keepdims=True) / width
    normed: Floats = centred / np.sqrt(np.square(centred).sum(-1, keepdims=True) / width + 1e-5)
    return normed
