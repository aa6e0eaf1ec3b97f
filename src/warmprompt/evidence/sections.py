"""The sections of a page that need nothing but its cells: what rows cost, and how they were set."""

from __future__ import annotations

from collections.abc import Sequence

from warmprompt.evaluation.report import listed, markdown_table
from warmprompt.evidence.describing import described
from warmprompt.evidence.measured_table import MeasuredTable


def cost_section(measured: MeasuredTable) -> str:
    """Return what each row cost to train and costs to use, means over its seeds."""
    head = [
        "",
        "trained parameters",
        "fit, s",
        "fit, CPU s",
        "one user p50, ms",
        "p50, CPU ms",
        "one user p99, ms",
        "users per s",
        "peak memory, MiB",
        "threads",
    ]
    body = []
    for model in measured.models:
        cells = [measured.cells[model, seed] for seed in measured.seeds_of(model)]
        costs = [cell.cost for cell in cells]
        body.append(
            [
                model,
                f"{round(sum(one.num_parameters for one in costs) / len(costs)):,}",
                _mean_of([one.fit_s for one in costs], 1),
                _mean_of([one.fit_cpu_s for one in costs], 1),
                _mean_of([one.p50_ms for one in costs], 2),
                _mean_of([one.p50_cpu_ms for one in costs], 2),
                _mean_of([one.p99_ms for one in costs], 2),
                f"{sum(one.users_per_s for one in costs) / len(costs):,.0f}",
                f"{max(one.peak_memory_mb or 0 for one in costs):,.0f}",
                listed(sorted({cell.threads for cell in cells})),
            ]
        )
    one = next(iter(measured.cells.values())).cost
    return (
        "## Cost\n\n"
        + markdown_table(head, body)
        + "\nMeans over seeds, of memory the largest. One user: adaptation and scores of the whole catalogue "
        f"at K = {one.k}, {one.num_timed} users timed alone; users per second in batches of {one.batch}. "
        "Memory is that of a process with data, libraries and model; training that was done earlier counts.\n"
    )


def _mean_of(values: Sequence[float | None], digits: int) -> str:
    """Return the mean of the values that are known, "" where none is."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.{digits}f}" if known else ""


def settings_section(measured: MeasuredTable) -> str:
    """Return each row's settings in words."""
    body = [[model, described(measured.about[model])] for model in measured.models]
    return "## Settings\n\n" + markdown_table(["", "settings"], body)
