"""Where a user's events lead: a small network in place of the gradient of a loss written by hand.

With v_k an event's support vector, m the mean support vector under the scores before any event, and w_k
its evidence weight, an event pulls by p_k = w_k (v_k - m): minus the gradient of its softmax loss at the
start. One gradient step would move the user vector along the sum s of the pulls. The network begins as
exactly that step, with a gain per number of events, and learns to depart from it:

    u = gain_n s A / sqrt(n) + b sum_h share_h(p) W_h        A, W_h learned; four heads of attention over
    moved = u + b MLP(norm u)                                the pulls, asked by seeds and by s

Attention and second layer start at zero. No events, no move.

B is users, K support events (padded), V items, D factors, R heads, X hidden width of the second layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.meta.model import Catalogue, Events, Params, evidence_weights
from warmprompt.rng import derive_seed

NUM_HEADS = 4
BRANCH = 0.3
_INIT_SCALE = 0.02
_GAIN = 1.6


def initial_target(width: int, *, max_support: int, kappa: float, seed: int) -> dict[str, Tensor]:
    """Return the network that is one gradient step of rate 1.6 on the mean loss times n / (n + kappa).

    Args:
        width: D.
        max_support: Gains are learned for up to this many events.
        kappa: Events at which half of the way is gone.
        seed: Of the draw of what is not zero.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "target"))

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    counts_N = torch.arange(max_support + 1).clamp(min=1).float()
    return {
        "target.fold": torch.eye(width),
        "target.log_gain": torch.log(_GAIN * counts_N.sqrt() / (counts_N + kappa)),
        "target.seeds": _INIT_SCALE * draw(NUM_HEADS, width),
        "target.ask": _INIT_SCALE * draw(width, NUM_HEADS * width),
        "target.value": torch.zeros(NUM_HEADS, width, width),
        "target.inner": draw(width, 2 * width) / math.sqrt(width),
        "target.bias": torch.zeros(2 * width),
        "target.outer": torch.zeros(2 * width, width),
    }


def target_displacement(catalogue: Catalogue, events: Events) -> Tensor:
    """Return where each user's events lead the user vector, (B, D), relative to its prior."""
    params = catalogue.params
    width = len(params["prior.start"])
    pulls_BKD = _pulls(catalogue, events)
    count_B = events.mask_BK.sum(1)
    sum_BD = pulls_BKD.sum(1) / count_B.clamp(min=1)[:, None].sqrt()
    moved_BD = _gain(params, count_B)[:, None] * (sum_BD @ params["target.fold"])
    normed_BKD = F.layer_norm(pulls_BKD, (width,)) * events.mask_BK[:, :, None]
    asked_BRD = (F.layer_norm(sum_BD, (width,)) @ params["target.ask"]).view(-1, NUM_HEADS, width)
    heat_BRK = (params["target.seeds"] + asked_BRD) @ normed_BKD.transpose(1, 2) / math.sqrt(width)
    share_BRK = heat_BRK.masked_fill(~events.mask_BK[:, None], -1e9).softmax(2)
    read_BRD = share_BRK @ normed_BKD
    moved_BD = moved_BD + BRANCH * torch.einsum("brd,rde->be", read_BRD, params["target.value"])
    hidden_BX = F.layer_norm(moved_BD, (width,)) @ params["target.inner"] + params["target.bias"]
    moved_BD = moved_BD + BRANCH * (F.gelu(hidden_BX) @ params["target.outer"])
    return moved_BD * (count_B > 0)[:, None]


def _pulls(catalogue: Catalogue, events: Events) -> Tensor:
    """Return minus the gradient of each event's softmax loss at the common start, (B, K, D)."""
    weights_BK = evidence_weights(catalogue, events)
    return (catalogue.support_VD[events.items_BK] - catalogue.mean_D) * weights_BK[:, :, None]


def _gain(params: Params, count_B: Tensor) -> Tensor:
    """Return the gain for each number of events, (B,); beyond those of training it goes on as it begins."""
    log_gain_N = params["target.log_gain"]
    largest = len(log_gain_N) - 1
    kappa = params["support.log_kappa"].exp().detach()
    known_B = count_B.clamp(max=largest)
    beyond_B = (count_B / known_B.clamp(min=1)).clamp(min=1).sqrt()
    beyond_B = beyond_B * (known_B + kappa) / (torch.maximum(count_B, known_B) + kappa)
    return log_gain_N.exp()[known_B] * beyond_B
