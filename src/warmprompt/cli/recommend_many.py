"""`warmprompt recommend RUN --users FILE`: rank the catalogue for every user of a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmprompt.cli.console import results_console
from warmprompt.cli.progress import counting
from warmprompt.cli.selecting import selection_options
from warmprompt.errors import BadInputError

if TYPE_CHECKING:
    from warmprompt.assembly.batch import BatchReport


def refuse_together(
    users: Path | None, out: Path | None, alone: Mapping[str, Any], many: Mapping[str, Any]
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


def recommend_many(
    run: Path,
    users: Path,
    out: Path,
    num: int,
    *,
    users_map: str | None,
    exact: bool | None,
    max_rejects: float,
    exclude: list[str] | None,
    filters: list[str] | None,
    drop: tuple[str, ...],
    ordered: bool,
) -> None:
    """Rank for every user of a file, and say what was done and what was left out."""
    from warmprompt.adaptation.opening import open_run
    from warmprompt.assembly.batch import recommend_file
    from warmprompt.cli.data import mapping_of

    model = open_run(run)
    begun_s, cpu_s = time.monotonic(), time.process_time()
    with counting("users") as progress:
        report = recommend_file(
            model,
            users,
            out,
            num,
            columns=None if users_map is None else mapping_of("--users-map", users_map),
            exact=exact,
            max_rejects=max_rejects,
            selection={**selection_options(model, exclude, filters), "drop": drop, "ordered": ordered},
            progress=progress,
        )
    _report(report, out, wall_s=time.monotonic() - begun_s, cpu_s=time.process_time() - cpu_s)


def _report(report: BatchReport, out: Path, *, wall_s: float, cpu_s: float) -> None:
    console = results_console()
    console.print(
        f"{out}: {report.num_rows:,} rows for {report.num_users:,} users in {wall_s:.1f} s "
        f"({report.num_users / max(cpu_s, 1e-9):,.0f} users a processor second, reading and writing included)"
    )
    if report.num_unknown:
        console.print(
            f"left out: {report.num_unknown:,} of {report.num_events:,} events, whose items the model "
            f"does not know, such as {', '.join(report.unknown_items)}"
        )
    for reason, (count, lines) in report.rejects.items():
        console.print(f"left out: {count:,} x {reason}, line {', '.join(map(str, lines))}")
