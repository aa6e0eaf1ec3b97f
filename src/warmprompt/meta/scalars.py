"""Training as TensorBoard scalars: loss, gradient norm, rate and speed per step, validation per epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from warmprompt.meta.trainer import Progress


@contextmanager
def write_scalars(folder: Path) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that writes what a step or a validation looks like; closed when the block ends.

    Steps count within their stage. Training that goes on writes a further file, and TensorBoard shows
    the steps that were taken twice as one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), flush_secs=10)

    def write(progress: Progress) -> None:
        values = {"validation": progress.validation, "best": progress.best}
        if progress.report is not None:
            values |= {
                "loss": progress.report.loss,
                "gradient_norm": progress.report.gradient_norm,
                "rate": progress.rate,
                "users_per_s": progress.users_per_s,
            }
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(f"{progress.stage}/{name}", value, progress.step)

    try:
        yield write
    finally:
        writer.close()
