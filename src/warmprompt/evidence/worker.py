"""One job: fit a model once, rank under each protocol, keep the cells.

    python -m warmprompt.evidence.worker < job.json

A job has a process of its own, so that its memory and threads are its own too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from warmprompt.backbone.threads import use_threads
from warmprompt.data.dataset import Dataset
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import MismatchError, WarmpromptError
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.protocols import EvaluationTask, build_task
from warmprompt.evaluation.results import SeedCounts
from warmprompt.evaluation.runner import measure_cost, score_cases
from warmprompt.evidence.cells import Cell, PerK, Wanted, save_cell
from warmprompt.evidence.jobs import EvaluationJob, job_from_json
from warmprompt.evidence.models import build_model, code_hash
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import peak_memory_mb
from warmprompt.training.start import users_hash
from warmprompt.types import Ranker


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted model, and what the fit took.

    Attributes:
        ranker: The model.
        users: The hash of who trained it, on which events.
        fit_s: Seconds.
        fit_cpu_s: Processor seconds, or None where training was done earlier.
        train_memory_mb: Most memory that training held where it was done earlier, MiB.
    """

    ranker: Ranker
    users: str
    fit_s: float
    fit_cpu_s: float | None
    train_memory_mb: float


def do_job(
    job: EvaluationJob, root: Path, *, threads: int = 1, progress: ProgressCallback = no_progress
) -> None:
    """Measure the cells of a job.

    Args:
        job: What to measure.
        root: The evidence's folder.
        threads: For torch; other libraries take theirs from the environment.
        progress: Called with what begins.

    Raises:
        MismatchError: The data set has changed since the job was made.
        WarmpromptError: As the model or the protocol raises.
    """
    use_threads(threads)
    dataset = _open(job)
    build = build_model(job.spec, dataset, job.cells[0], fits=root / "fits", view=job.view, progress=progress)
    fitted: Fitted | None = None
    for wanted in job.cells:
        progress(f"{wanted.protocol.label}: cutting cases")
        task = build_task(dataset, wanted.protocol, seed=wanted.seed)
        users = users_hash(task.training, task.validation)
        if fitted is None or fitted.users != users:
            progress(f"fitting {wanted.model}")
            fitted = _fit(build(), task, users)
        progress(f"{wanted.protocol.label}: ranking")
        start, start_cpu = time.perf_counter(), time.process_time()
        tested = _scored(fitted.ranker, task, wanted.model)
        # They choose the best baseline, and nothing of the product.
        is_baseline = job.spec.baseline is not None
        validation = _on_validation(fitted.ranker, dataset, task, wanted) if is_baseline else {}
        cost = measure_cost(fitted.ranker, task, label=wanted.model, fit_s=fitted.fit_s)
        cell = Cell(
            tested=tested,
            validation=validation,
            cost=replace(
                cost,
                fit_cpu_s=fitted.fit_cpu_s,
                peak_memory_mb=max(peak_memory_mb(), fitted.train_memory_mb),
            ),
            counts=SeedCounts(seed=task.seed, **asdict(task.counts)),
            users_hash=users,
            commit=_commit(),
            code_hash=code_hash(fitted.ranker),
            machine=describe_machine(),
            threads=threads,
            seconds=time.perf_counter() - start,
            cpu_seconds=time.process_time() - start_cpu,
        )
        save_cell(root / "cells", wanted, cell)


def _on_validation(ranker: Ranker, dataset: Dataset, task: EvaluationTask, wanted: Wanted) -> PerK:
    protocol = replace(wanted.protocol, users="validation", ks=tuple(task.cases))
    return _scored(ranker, build_task(dataset, protocol, seed=wanted.seed), wanted.model)


def main() -> int:
    """Read a job from standard input and do it; return the exit code."""
    message: Mapping[str, Any] = json.load(sys.stdin)
    try:
        do_job(
            job_from_json(message["job"]),
            Path(message["root"]),
            threads=int(message["threads"]),
            progress=_print_line,
        )
    except WarmpromptError as error:
        sys.stdout.write(f"error: {error.line()}\n")
        return 1
    return 0


def _print_line(step: object) -> None:
    """Write what begins as it is, and a step of training as a short line."""
    if isinstance(step, str):
        line = step
    else:
        parts = {
            name: getattr(step, name, None) for name in ("stage", "epoch", "batch", "batches", "validation")
        }
        line = "training: " + ", ".join(
            f"{name} {value}" for name, value in parts.items() if value is not None
        )
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _open(job: EvaluationJob) -> Dataset:
    dataset = open_dataset(ensure_dataset(job.cells[0].dataset))
    wanted = job.cells[0].content_hash
    if dataset.content_hash != wanted:
        raise MismatchError(
            field="data set",
            value=f"{dataset.name} {dataset.content_hash[:12]}",
            remedy="Build again; it has changed.",
        )
    return dataset


def _fit(ranker: Ranker, task: EvaluationTask, users: str) -> Fitted:
    start, start_cpu = time.perf_counter(), time.process_time()
    fitted = ranker.fit(task.training, task.validation, seed=task.seed)
    fit_s, fit_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    inner = getattr(fitted, "inner", fitted)
    # What was loaded took training all the same.
    return Fitted(
        ranker=fitted,
        users=users,
        fit_s=getattr(inner, "train_s", fit_s),
        fit_cpu_s=None if hasattr(inner, "train_s") else fit_cpu_s,
        train_memory_mb=getattr(inner, "train_memory_mb", 0.0),
    )


def _scored(ranker: Ranker, task: EvaluationTask, label: str) -> PerK:
    return {k: score_cases(ranker, task, cases, label=label) for k, cases in task.cases.items()}


def _commit() -> str | None:
    """Return the commit of the code, marked where tracked source differs; None outside a checkout."""
    source = Path(__file__).parents[1]
    head = _git(source, "rev-parse", "--short=10", "HEAD")
    if head is None:
        return None
    changed = _git(source, "status", "--porcelain", "--untracked-files=no", "--", str(source))
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *words: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=environment
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
