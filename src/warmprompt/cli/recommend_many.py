"""`warmprompt recommend RUN --users FILE`: rank the catalogue for every user of a file."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmprompt.cli.console import results_console
from warmprompt.cli.progress import counting
from warmprompt.cli.selecting import selection_options
from warmprompt.errors import BadInputError

if TYPE_CHECKING:
    from warmprompt.assembly.batch import BatchReport
    from warmprompt.assembly.sharding import ShardReport

_SHOWN = 10


def refuse_together(
    users: str | None, out: str | None, alone: Mapping[str, Any], many: Mapping[str, Any]
) -> None:
    """Refuse options of one person together with a file of users, and options of a file without one.

    Args:
        users: The file, or None.
        out: Where rankings go.
        alone: Options that tell of one person, by name.
        many: Options that need a file, by name.
    """
    if users is None:
        for name, value in {"--out": out, **many}.items():
            if value is not None and value is not False:
                raise BadInputError(field=name, value=value, remedy="Name a file of users with --users.")
        return
    named = next((name for name, value in alone.items() if value), None)
    if named is not None:
        raise BadInputError(
            field=named, value=alone[named], remedy="Leave it out: --users tells of the people."
        )
    if out is None:
        raise BadInputError(
            field="--users", value=users, remedy="Say where rankings go: --out FILE.parquet, .csv or .jsonl."
        )


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How the work is shared among processes; see the options of the same names."""

    shard: str | None
    vectors: bool
    engine: str | None
    workers: int | None
    address: str | None

    def part(self) -> tuple[int, int] | None:
        """Return (i, n) of a shard, or None where the work is not shared so.

        Raises:
            BadInputError: The options do not go together, or one is written otherwise.
        """
        blocks = self.shard is not None or self.engine is not None
        for option, value, needs, remedy in (
            ("--vectors", self.vectors, blocks, "Give --shard or --engine with it."),
            ("--workers", self.workers, self.engine, "Give --engine with it."),
            ("--address", self.address, self.engine, "Give --engine with it."),
            ("--shard", self.engine and self.shard, False, "Leave it out: --engine shares the users."),
        ):
            if value and not needs:
                raise BadInputError(field=option, value=value, remedy=remedy)
        if self.engine not in (None, "ray"):
            raise BadInputError(field="--engine", value=self.engine, remedy="Known is ray.")
        if self.workers is not None and self.workers < 1:
            raise BadInputError(field="--workers", value=self.workers, remedy="Give at least 1.")
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if found is None:
            remedy = "Write it as i/n, i from 1 to n: --shard 1/8 ... --shard 8/8."
            raise BadInputError(field="--shard", value=self.shard, remedy=remedy)
        return int(found[1]), int(found[2])


def recommend_many(
    run: Path,
    users: str,
    out: str,
    num: int,
    *,
    sharing: Sharing,
    users_map: str | None,
    exact: bool | None,
    max_rejects: float,
    exclude: list[str] | None,
    filters: list[str] | None,
    drop: tuple[str, ...],
    ordered: bool,
) -> None:
    """Rank for every user of a file, and say what was done and what was left out."""
    part = sharing.part()
    from warmprompt.adaptation.opening import open_run
    from warmprompt.assembly.batch import recommend_file
    from warmprompt.assembly.sharding import BatchJob, rank_shard
    from warmprompt.cli.data import mapping_of

    model = open_run(run)
    columns = None if users_map is None else mapping_of("--users-map", users_map)
    selection = {**selection_options(model, exclude, filters), "drop": drop, "ordered": ordered}
    common: dict[str, Any] = {
        "columns": columns, "exact": exact, "max_rejects": max_rejects, "selection": selection
    }  # fmt: skip
    job = BatchJob(users=users, out=out, n=num, vectors=sharing.vectors, **common)
    begun_s, cpu_s = time.monotonic(), time.process_time()
    if sharing.engine is not None:
        from warmprompt.integrations.ray_shards import rank_on_ray

        with counting("shards") as progress:
            done = rank_on_ray(
                model, run, job, workers=sharing.workers, address=sharing.address, progress=progress
            )
        _report_blocks(done, out, wall_s=time.monotonic() - begun_s, cpu_s=None)
        return
    with counting("users") as progress:
        if part is not None:
            done = rank_shard(model, job, shard=part[0], num_shards=part[1], progress=progress)
        else:
            report = recommend_file(model, Path(users), Path(out), num, progress=progress, **common)
    spent = {"wall_s": time.monotonic() - begun_s, "cpu_s": time.process_time() - cpu_s}
    if part is not None:
        _report_blocks(done, out, **spent)
    else:
        _report(report, out, **spent)


def _report(report: BatchReport, out: str, *, wall_s: float, cpu_s: float) -> None:
    done = f"{out}: {report.num_rows:,} rows for {report.num_users:,} users in {wall_s:.1f} s"
    results_console().print(f"{done} ({_rate(report.num_users, cpu_s)})")
    _report_left_out(report, report.num_events)


def _report_blocks(report: ShardReport, out: str, *, wall_s: float, cpu_s: float | None) -> None:
    console = results_console()
    done = f"{out}: {report.num_written:,} blocks with {report.num_users:,} users in {wall_s:.1f} s"
    rate = "" if cpu_s is None else f" ({_rate(report.num_users, cpu_s)})"
    console.print(f"{done}{rate}; {report.num_there:,} blocks were there")
    _report_left_out(report, report.num_rows_read)
    missing = ", ".join(map(str, report.missing[:_SHOWN])) + (", ..." if len(report.missing) > _SHOWN else "")
    left = f"missing: {len(report.missing):,} of {report.num_blocks:,} blocks: {missing}"
    console.print(left if report.missing else f"complete: {report.num_blocks:,} blocks, none is missing")


def _rate(num_users: int, cpu_s: float) -> str:
    return f"{num_users / max(cpu_s, 1e-9):,.0f} users a processor second, reading and writing included"


def _report_left_out(report: BatchReport | ShardReport, num_events: int) -> None:
    console = results_console()
    if report.num_unknown:
        console.print(
            f"left out: {report.num_unknown:,} of {num_events:,} events, whose items the model "
            f"does not know, such as {', '.join(report.unknown_items)}"
        )
    for reason, (count, lines) in report.rejects.items():
        console.print(f"left out: {count:,} x {reason}, line {', '.join(map(str, lines))}")
