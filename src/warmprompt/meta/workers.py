"""Processes that train one model together: which one this is, and how they add up what each has found.

A launcher such as `torchrun` starts the processes and gives each its rank in the variables RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT. Without them there is one process, `ALONE`, and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from warmprompt.errors import BadInputError, WorkerLostError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

# How long the others wait while the first one works alone; a launcher ends them when it dies.
_LONGEST_WAIT = timedelta(days=30)


@dataclass(frozen=True, kw_only=True, eq=False)
class Workers:
    """One of several processes, seen from inside it.

    Attributes:
        rank: Which one this is, from 0.
        size: How many there are.
        sums: Process group of sums, whose time-out is short.
        waits: Process group of what the first one sends, however long it takes.
    """

    rank: int = 0
    size: int = 1
    sums: Any = None
    waits: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """What of a sequence is this one's: in turn, so that shares differ by one at most."""
        return slice(self.rank, None, self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all workers; it is the same on each, to the bit.

        Raises:
            WorkerLostError: Another one has ended, or did not answer within the time-out.
        """
        if self.size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.detach().clone()
        with _reporting_loss():
            dist.all_reduce(total, group=self.sums)
        return total

    def share(self, value: T | None = None) -> T:
        """Return what the first one gives, on every worker; the others give nothing and wait for it.

        Raises:
            WorkerLostError: The first one has ended.
        """
        if self.size == 1:
            return value  # type: ignore[return-value]  # the first one gives a T
        import torch
        import torch.distributed as dist

        buffer, box = BytesIO(), [b""]
        if self.is_first:
            # Written by torch: tensors that are views of one memory are sent once.
            torch.save(value, buffer)
            box = [buffer.getvalue()]
        with _reporting_loss():
            dist.broadcast_object_list(box, src=0, group=self.waits)
        if self.is_first:
            return value  # type: ignore[return-value]
        own = {"cuda:0": f"cuda:{torch.cuda.current_device()}"} if torch.cuda.is_available() else None
        given: T = torch.load(BytesIO(box[0]), map_location=own, weights_only=False)
        return given


ALONE = Workers()
"""The only process there is."""


@contextmanager
def joined_workers(
    *, device: str, timeout_s: float, environment: Mapping[str, str] = os.environ
) -> Iterator[Workers]:
    """Yield this process as one of those that its launcher has started; `ALONE` without a launcher.

    Args:
        device: "cpu" adds up by gloo; "cuda" by nccl, on the card that LOCAL_RANK names.
        timeout_s: How long a sum waits for the slowest worker.
        environment: Where the launcher's variables are.

    Raises:
        BadInputError: Some of the launcher's variables are missing or wrong.
        WorkerLostError: The others did not come within the time-out.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")))
    timeout = timedelta(seconds=timeout_s)
    with _reporting_loss():
        try:
            dist.init_process_group("gloo", timeout=timeout)
        except ValueError as error:
            remedy = "Start it by torchrun, or unset WORLD_SIZE to train in one process."
            raise BadInputError(field="launcher", value=str(error), remedy=remedy) from error
        sums = dist.new_group(backend="nccl" if on_gpu else "gloo", timeout=timeout)
        waits = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    try:
        yield Workers(rank=dist.get_rank(), size=dist.get_world_size(), sums=sums, waits=waits)
    finally:
        dist.destroy_process_group()


@contextmanager
def _reporting_loss() -> Iterator[None]:
    """Turn a failed exchange into one line."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerLostError(
            field="another worker",
            value=str(error).splitlines()[0],
            remedy="It has ended or does not answer; see its own message, then give the same command again.",
        ) from error
