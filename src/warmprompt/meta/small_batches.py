"""The learned target in the linear response for a few users at a time, in NumPy.

The same formula as `meta.target`, where the time of a call is not arithmetic but the start of each operation,
which costs PyTorch several times what it costs NumPy. Equal to a millionth.

B is users, K support events (padded), D factors, R heads, X hidden width of the second layer.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from warmprompt.data.episodes import EventBatch
from warmprompt.meta.model import Catalogue
from warmprompt.meta.target import BRANCH, NUM_HEADS
from warmprompt.types import Floats

_MAX_EVENTS = 63
_OF_TARGET = ("fold", "log_gain", "seeds", "ask", "value", "inner", "bias", "outer")
_READ = (
    *("prior.start", "prior.text_head", "inner.log_rates", "support.log_kappa"),
    *(f"target.{name}" for name in _OF_TARGET),
)


def is_small(catalogue: Catalogue, events: EventBatch) -> bool:
    """Tell whether this is the faster way: some events, few enough, on a processor."""
    held = catalogue.mean_D
    few = 0 < events.items_BK.size <= _MAX_EVENTS
    return few and held.device.type == "cpu" and not held.requires_grad


def users_at_target(catalogue: Catalogue, features_BT: Floats, events: EventBatch) -> Floats:
    """Return the user vectors, (B, D), that inner steps towards the target reach in the linear response.

    Args:
        catalogue: As in `meta.predict.adapt_linearly`.
        features_BT: Text features of the users' texts.
        events: The users' events.
    """
    own = {name: catalogue.params[name].numpy() for name in _READ}
    # Each step of rate r leaves the share 1 - r of the way.
    left = np.prod(1 - np.exp(own["inner.log_rates"]))
    prior_BD = own["prior.start"] + features_BT @ own["prior.text_head"]
    users_BD: Floats = prior_BD + (1 - left) * _displacement(catalogue, own, events)
    return users_BD


def _displacement(catalogue: Catalogue, own: dict[str, Floats], events: EventBatch) -> Floats:
    """See `meta.target.target_displacement`."""
    width = len(own["prior.start"])
    pulls_BKD = catalogue.support_VD.numpy()[events.items_BK] - catalogue.mean_D.numpy()
    pulls_BKD *= _weights(catalogue, events)[:, :, None]
    count_B = events.mask_BK.sum(1)
    sum_BD = pulls_BKD.sum(1) / np.sqrt(np.maximum(count_B, 1).astype(np.float32))[:, None]
    moved_BD = _gain(own, count_B)[:, None] * (sum_BD @ own["target.fold"])
    normed_BKD = _normed(pulls_BKD) * events.mask_BK[:, :, None]
    asked_BRD = (_normed(sum_BD) @ own["target.ask"]).reshape(-1, NUM_HEADS, width)
    heat_BRK = (own["target.seeds"] + asked_BRD) @ normed_BKD.transpose(0, 2, 1) / math.sqrt(width)
    share_BRK = np.exp(heat_BRK - heat_BRK.max(2, keepdims=True)) * events.mask_BK[:, None]
    share_BRK /= share_BRK.sum(2, keepdims=True).clip(min=1e-30)
    read_BX = (share_BRK @ normed_BKD).reshape(len(count_B), -1)
    moved_BD = moved_BD + BRANCH * (read_BX @ own["target.value"].reshape(-1, width))
    hidden_BX = _normed(moved_BD) @ own["target.inner"] + own["target.bias"]
    hidden_BX *= 0.5 * (1 + erf(hidden_BX * math.sqrt(0.5)))
    moved_BD = moved_BD + BRANCH * (hidden_BX @ own["target.outer"])
    displacement: Floats = moved_BD * (count_B > 0)[:, None]
    return displacement


def _weights(catalogue: Catalogue, events: EventBatch) -> Floats:
    """See `meta.model.evidence_weights`."""
    levels_R, (low, high) = catalogue.data.rating_levels_R.numpy(), catalogue.data.rating_range.tolist()
    weights_BK = np.ones_like(events.ratings_BK)
    if len(levels_R):
        scaled_BK = (events.ratings_BK - low) / (high - low)
        found_BK = np.interp(scaled_BK, levels_R, catalogue.level_weights_R.numpy())
        weights_BK = np.where(np.isfinite(scaled_BK), found_BK, 1).astype(np.float32)
    if events.strengths_BK is not None:
        weights_BK = weights_BK * events.strengths_BK
    return weights_BK * events.mask_BK


def _gain(own: dict[str, Floats], count_B: NDArray[np.int64]) -> Floats:
    """See `meta.target._gain`."""
    largest = len(own["target.log_gain"]) - 1
    kappa, known_B = np.exp(own["support.log_kappa"]), np.minimum(count_B, largest)
    beyond_B = (
        np.sqrt(np.maximum(count_B / np.maximum(known_B, 1), 1)) * (known_B + kappa) / (count_B + kappa)
    )
    gain: Floats = (np.exp(own["target.log_gain"][known_B]) * beyond_B).astype(np.float32)
    return gain


def _normed(values: Floats) -> Floats:
    width = values.shape[-1]
    centred = values - values.sum(-1, keepdims=True) / width
    normed: Floats = centred / np.sqrt(np.square(centred).sum(-1, keepdims=True) / width + 1e-5)
    return normed
