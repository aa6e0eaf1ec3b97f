"""The sections of a page that need nothing but its cells: what rows cost, and how they were set."""

from __future__ import annotations

from collections.abc import Sequence

from warmprompt.baselines.registry import MEMBERS, SEARCH_SPACES
from warmprompt.baselines.tuned import is_tuned_on
from warmprompt.evaluation.protocols import IN_TIME
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
    """Return each row's settings in words, and which were searched on episodes of the table's protocol."""
    body = [[model, described(measured.about[model])] for model in measured.models]
    return "## Settings\n\n" + markdown_table(["", "settings"], body) + _searched_text(measured)


def _searched_text(measured: MeasuredTable) -> str:
    """Return which baselines of a time-ordered table were searched on its own episodes; "" for others."""
    dataset, protocol = measured.table.dataset, measured.table.protocol.protocol
    if protocol not in IN_TIME:
        return ""
    names = {spec.name: spec.baseline for spec in measured.table.models if spec.name in measured.models}
    own, other = list[str](), list[str]()
    for row, name in names.items():
        if name is not None and any(SEARCH_SPACES.get(one) for one in MEMBERS.get(name, (name,))):
            (own if is_tuned_on(dataset, name, protocol) else other).append(row)
    return (
        f"\nSearched on validation episodes of `{protocol}` itself: {listed(own) or 'none'}. "
        f"Searched on other episodes, or left at the defaults: {listed(other) or 'none'}.\n"
    )
