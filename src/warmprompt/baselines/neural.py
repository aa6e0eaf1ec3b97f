"""What the trained baselines share: seeded torch, padded supports, epochs that keep the best weights.

B is users in a batch, K support events (padded), V items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from warmprompt.baselines.common import distinct
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.episodes import batch_supports
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.rng import derive, derive_seed
from warmprompt.types import Floats, Support

MASKED = -1e9
"""A logit that is as good as minus infinity and still has a finite gradient."""


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Draw torch's random numbers inside the block from a derived seed, and none of the caller's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *path))
        yield


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """How long to train.

    Attributes:
        num_epochs: Passes over the training users; the rate falls to 0 over them as a half cosine.
        patience: Looks at the validation users without a new best before training ends.
        look_every: Epochs between two looks.
        warm_share: Share of the steps over which the rate rises from 0.
        decay: What a step leaves of the running average of the weights, 0 to below 1. The average is what
            is looked at and kept: it ranks better than the last step's weights, at no cost afterwards.
    """

    num_epochs: int
    patience: int = 4
    look_every: int = 5
    warm_share: float = 0.05
    decay: float = 0.98


def train_net(
    net: nn.Module,
    optimizer: Optimizer,
    batches: Callable[[int], Sequence[NDArray[np.int64]]],
    loss: Callable[[NDArray[np.int64], int], Tensor],
    value: Callable[[], float],
    plan: Epochs,
) -> None:
    """Train a net in place and leave it with the weights that were best on the validation users.

    Args:
        net: Put into training mode for the steps and into evaluation mode for the looks.
        optimizer: Over the net's parameters; its rates are the highest of the schedule.
        batches: Epoch to the users of each of its batches; as many each epoch.
        loss: Mean loss of a batch of users in an epoch.
        value: What is to be large, on validation users; looked at before the first epoch too.
        plan: How long.

    Raises:
        BadInputError: No epoch was asked for.
        NotFiniteError: A loss is NaN or infinite; names the epoch.
    """
    if plan.num_epochs < 1:
        raise BadInputError(field="num_epochs", value=plan.num_epochs, remedy="Give at least 1.")
    highest = [group["lr"] for group in optimizer.param_groups]
    num_steps, step, waited = plan.num_epochs * len(batches(0)), 0, 0
    average = [one.detach().clone() for one in net.parameters()]
    net.eval()
    best, state = value(), deepcopy(net.state_dict())
    for epoch in range(plan.num_epochs):
        net.train()
        for users in batches(epoch):
            _set_rates(optimizer, highest, _share(step, num_steps, plan.warm_share))
            found = loss(users, epoch)
            if not bool(torch.isfinite(found)):
                raise NotFiniteError(
                    field=f"loss in epoch {epoch}", value=found.item(), remedy="Lower the learning rate."
                )
            optimizer.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            _follow(average, net, decay=min(plan.decay, step / (step + 9)))
        if (epoch + 1) % plan.look_every and epoch + 1 < plan.num_epochs:
            continue
        net.eval()
        with _swapped(net, average):
            now = value()
            waited = 0 if now > best else waited + 1
            if now > best:
                best, state = now, deepcopy(net.state_dict())
        if waited >= plan.patience:
            break
    net.load_state_dict(state)
    net.eval()


def user_batches(
    users: NDArray[np.int64], size: int, *, seed: int, name: str
) -> Callable[[int], list[NDArray[np.int64]]]:
    """Return a function from the epoch to its batches: all users once, in an order of the epoch's own."""

    def of_epoch(epoch: int) -> list[NDArray[np.int64]]:
        order = derive(seed, name, "order", epoch).permutation(users)
        return [order[start : start + size] for start in range(0, len(order), size)]

    return of_epoch


def adamw(net: nn.Module, *, rate: float, slow: Sequence[Tensor] = (), slow_rate: float = 0.0) -> AdamW:
    """Return AdamW with small weight decay; the parameters in `slow` get a rate of their own."""
    ids = {id(one) for one in slow}
    others = [one for one in net.parameters() if id(one) not in ids]
    groups = [{"params": others, "lr": rate}]
    if slow:
        groups.append({"params": list(slow), "lr": slow_rate})
    return AdamW(groups, weight_decay=1e-4, fused=True)


def padded(supports: Sequence[Support], *, ordered: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return items (B, K), ratings (B, K) with NaN where unknown, and a mask (B, K), K at least 1."""
    batch = batch_supports([distinct(support, ordered=ordered) for support in supports])
    short = max(0, 1 - batch.items_BK.shape[1])
    widen = ((0, 0), (0, short))
    return (
        torch.from_numpy(np.pad(batch.items_BK, widen)),
        torch.from_numpy(np.pad(batch.ratings_BK, widen)),
        torch.from_numpy(np.pad(batch.mask_BK, widen)),
    )


def log_share(dataset: Dataset) -> Floats:
    """Return the logarithm of each item's share of all events, one event more for each, (V,)."""
    counts_V = popularity(dataset) + 1.0
    log_share_V: Floats = np.log(counts_V / counts_V.sum()).astype(np.float32)
    return log_share_V


def in_batches(
    score: Callable[[Sequence[Support]], Floats], supports: Sequence[Support], num_items: int, *, size: int
) -> Floats:
    """Return the scores of all supports, (B, V), computed for `size` users at a time."""
    parts = [score(supports[start : start + size]) for start in range(0, len(supports), size)]
    return np.concatenate(parts) if parts else np.zeros((0, num_items), dtype=np.float32)


@torch.no_grad()
def _follow(average: Sequence[Tensor], net: nn.Module, *, decay: float) -> None:
    """Move the running average towards the net; its first steps count more, as it starts at the start."""
    for mean, one in zip(average, net.parameters(), strict=True):
        mean.lerp_(one, 1.0 - decay)


@contextmanager
def _swapped(net: nn.Module, average: Sequence[Tensor]) -> Iterator[None]:
    """Give the net the averaged weights inside the block."""
    last = [one.detach().clone() for one in net.parameters()]
    _copy(average, net)
    yield
    _copy(last, net)


@torch.no_grad()
def _copy(weights: Sequence[Tensor], net: nn.Module) -> None:
    for one, given in zip(net.parameters(), weights, strict=True):
        one.copy_(given)


def _share(step: int, num_steps: int, warm_share: float) -> float:
    rising = (step + 1) / max(1.0, warm_share * num_steps)
    return min(1.0, rising) * 0.5 * (1.0 + cos(pi * step / num_steps))


def _set_rates(optimizer: Optimizer, highest: Sequence[float], share: float) -> None:
    for group, rate in zip(optimizer.param_groups, highest, strict=True):
        group["lr"] = rate * share
