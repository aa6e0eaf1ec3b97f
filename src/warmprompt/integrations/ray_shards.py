"""Shards of a batch on Ray: actors that load the model once, on this machine or on a cluster.

Needs the extra `warmprompt[ray]`. Ray Data hands out shards, restarts an actor that died and gives its shard
to another one, which makes only the blocks that are not there. Every machine of a cluster has to reach the
run, the users' files and the folder of blocks under the same names.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from warmprompt import errors
from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.assembly.batch import BatchProgress
from warmprompt.assembly.sharding import BatchJob, ShardReport, rank_shard
from warmprompt.errors import BadInputError, WarmpromptError

_SHARDS_PER_WORKER = 2
_OBJECT_STORE_BYTES = 200 * 2**20  # Ray moves numbers of shards and counts alone.


class ShardRanker:
    """An actor: opens the run when it starts, then ranks shard by shard.

    Args:
        run: Folder of the run.
        job: What is to be ranked for whom.
        num_shards: How many shards there are.
    """

    def __init__(self, run: str, job: BatchJob, num_shards: int) -> None:
        self.model = open_run(run)
        self.job = job
        self.num_shards = num_shards

    def __call__(self, shards: Mapping[str, Any]) -> dict[str, list[str]]:
        """Rank some shards; return as JSON a report of each, or its error, which Ray would wrap."""
        answers: list[dict[str, Any]] = []
        for shard in shards["shard"]:
            try:
                report = rank_shard(self.model, self.job, shard=int(shard), num_shards=self.num_shards)
                answers.append({"report": asdict(report)})
            except WarmpromptError as error:
                parts = {"field": error.field, "value": str(error.value), "remedy": error.remedy}
                answers.append({"error": type(error).__name__, "parts": parts})
        return {"answer": [json.dumps(answer) for answer in answers]}


def rank_on_ray(
    model: Personaliser,
    run: Path | str,
    job: BatchJob,
    *,
    workers: int | None = None,
    address: str | None = None,
    progress: BatchProgress = lambda _done, _total: None,
) -> ShardReport:
    """Write all blocks that are not there yet, with actors on Ray.

    Args:
        model: The run, opened here.
        run: Its folder, with the same name on every machine.
        job: What is to be ranked for whom.
        workers: Actors, each with one processor core; None has one per core of the cluster.
        address: Of a cluster; None uses the Ray that is running in this process, or starts one here.
        progress: Receives how many shards are done, and how many there are.

    Raises:
        BadInputError: Ray is not installed; or as `rank_shard`.
        MismatchError, RejectsError, IntegrityError, StorageError: As `rank_shard`.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        remedy = "Install the extra: pip install 'warmprompt[ray]'."
        raise BadInputError(field="--engine", value="ray", remedy=remedy) from error
    with _cluster(address):
        workers = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        num_shards = _SHARDS_PER_WORKER * workers
        ray.data.DataContext.get_current().enable_progress_bars = False
        shards = ray.data.from_items(
            [{"shard": shard} for shard in range(1, num_shards + 1)], override_num_blocks=num_shards
        )
        ranked = shards.map_batches(
            ShardRanker,
            fn_constructor_args=(str(run), job, num_shards),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        reports: list[ShardReport] = []
        for row in ranked.iter_rows():
            answer = json.loads(row["answer"])
            if "error" in answer:
                raise getattr(errors, answer["error"])(**answer["parts"])
            reports.append(ShardReport(**answer["report"]))
            progress(len(reports), num_shards)
    # Finds every block there, and notes in the manifest that none is missing.
    return _sum(reports, rank_shard(model, job))


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Hold a connection to Ray; a Ray of this process stays as it is."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here: dict[str, Any] = {
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else here))
    try:
        yield
    finally:
        ray.shutdown()


def _sum(reports: list[ShardReport], last: ShardReport) -> ShardReport:
    """Return one report for all shards; what is missing is what the last one found."""
    names = ("num_written", "num_there", "num_users", "num_rows_read", "num_unknown")
    counts = Counter[str]()
    rejects: dict[str, tuple[int, tuple[int, ...]]] = {}
    for one in reports:
        counts.update({name: getattr(one, name) for name in names})
        for reason, (count, lines) in one.rejects.items():
            before, first = rejects.get(reason, (0, ()))
            rejects[reason] = (before + count, tuple(sorted([*first, *lines]))[:5])
    unknown = dict.fromkeys(item for one in reports for item in one.unknown_items)
    summed: dict[str, Any] = {**counts, "unknown_items": tuple(unknown)[:5], "rejects": rejects}
    return replace(last, **summed)
