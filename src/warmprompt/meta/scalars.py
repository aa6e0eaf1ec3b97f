"""Training as TensorBoard scalars: loss, gradient norm, rate and speed per step, validation per epoch.

The records are written by this thread, not by a writer's own, so that a full disk is an error here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from warmprompt.meta.trainer import TrainingProgress


@contextmanager
def write_scalars(folder: Path) -> Iterator[Callable[[TrainingProgress], None]]:
    """Yield a function that writes what a step or a validation looks like; closed when the block ends.

    Steps count within their stage. Training that goes on writes a further file, and TensorBoard shows
    the steps that were taken twice as one.

    Raises:
        OSError: The disk is full, or the place may not be written.
    """
    # Imported here: ranking writes no scalars.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    begun_s = time.time()
    name = f"events.out.tfevents.{int(begun_s)}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
    with (folder / name).open("xb", buffering=0) as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=begun_s, file_version="brain.Event:2").SerializeToString())

        def write(progress: TrainingProgress) -> None:
            values = [
                Summary.Value(tag=f"{progress.stage}/{name}", simple_value=value)
                for name, value in _values(progress).items()
            ]
            event = Event(wall_time=time.time(), step=progress.step, summary=Summary(value=values))
            records.write(event.SerializeToString())

        yield write


def _values(progress: TrainingProgress) -> dict[str, float]:
    values = {"validation": progress.validation, "best": progress.best}
    if progress.report is not None:
        values |= {
            "loss": progress.report.loss,
            "gradient_norm": progress.report.gradient_norm,
            "rate": progress.rate,
            "users_per_s": progress.users_per_s,
        }
    return {name: value for name, value in values.items() if value is not None}
