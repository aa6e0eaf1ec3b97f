"""A page per table: what it shows, every number, every setting, what is missing, and how to rerun it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.report import count_table, listed, markdown_table, p_text
from warmprompt.evaluation.results import Row, SeedCounts
from warmprompt.evidence.compact_json import compact_json
from warmprompt.evidence.jobs import wanted_cells
from warmprompt.evidence.listing import list_of_pages, mean_text
from warmprompt.evidence.measured_table import MeasuredTable, read_cells
from warmprompt.evidence.plan import EvidencePlan, Table
from warmprompt.evidence.plots import plot_gains, plot_metrics_over_k, plot_parts, plot_times, with_seeds
from warmprompt.evidence.sections import cost_section, settings_section
from warmprompt.evidence.statistics import (
    Gain,
    MeanGain,
    baseline_candidates,
    chosen_at,
    further_gains,
    headline_gains,
    mean_gains,
    rows,
)
from warmprompt.evidence.stored_cells import store_cells
from warmprompt.evidence.tuning import tuning_page
from warmprompt.files import finite, write_atomic


def write_pages(
    plan: EvidencePlan,
    root: Path,
    out: Path,
    *,
    searches: Path | None = None,
    whole: EvidencePlan | None = None,
    replace_fuller: bool = False,
) -> list[str]:
    """Write the page, pictures, rows and stored cells of each table with cells, and the page of all.

    A page that was made of more cells than are here stays as it is: a clone that has measured little keeps
    the pages that it came with.

    Args:
        plan: The tables to write.
        root: The evidence's folder.
        out: Where the pages go.
        searches: Trials of searches, for a page of them; None writes none.
        whole: All tables, for the list, which is made of the rows that lie in `out`; None is `plan`.
        replace_fuller: Replace pages made of more cells, too.

    Returns:
        A line per table for whoever called.

    Raises:
        IntegrityError: A cell is damaged.
        StorageError: A page cannot be written.
    """
    lines = []
    for table in plan.tables:
        measured = read_cells(plan, table, root / "cells")
        num_missing = sum(map(len, measured.missing.values()))
        before = _cells_of(out / f"{table.name}.json")
        if measured.cells and before > len(measured.cells) and not replace_fuller:
            lines.append(
                f"kept {out / table.name}.md: made of {before} cells, here are {len(measured.cells)}; "
                "--replace-fuller writes it all the same"
            )
        elif measured.cells:
            _write_page(replace(plan, product=table.product or plan.product), measured, out)
            lines.append(f"wrote {out / table.name}.md: {len(measured.cells)} cells, {num_missing} missing")
        else:
            lines.append(f"no page {table.name}: all {num_missing} cells are missing")
    write_atomic(out / "index.md", list_of_pages(whole or plan, out).encode())
    tuning = "" if searches is None else tuning_page(searches)
    if tuning:
        write_atomic(out / "tuning.md", tuning.encode())
    return lines


def _cells_of(file: Path) -> int:
    """Return of how many cells a page's rows were made, 0 where there is no page."""
    return len(json.loads(file.read_text(encoding="utf-8"))["costs"]) if file.is_file() else 0


def _write_page(plan: EvidencePlan, measured: MeasuredTable, out: Path) -> None:
    name = measured.table.name
    values = rows(measured)
    best, others = headline_gains(plan, measured), further_gains(plan, measured)
    average = () if _is_ablation(measured.table) else mean_gains(plan, measured, best)
    machines = {json.dumps(dict(cell.machine), sort_keys=True) for cell in measured.cells.values()}
    kept = {
        "table": name,
        "dataset": measured.table.dataset,
        "protocol": measured.table.protocol.label,
        "missing": measured.missing,
        "commits": _commits(measured),
        "machines": [json.loads(one) for one in sorted(machines)],
        "rows": [asdict(row) for row in values],
        "mean_gains": [asdict(one) for one in average],
        "candidates": baseline_candidates(plan, measured),
        "headline": [finite(asdict(one)) for one in best],
        "further": [finite(asdict(one)) for one in others],
        "costs": [asdict(cell.cost) for cell in measured.cells.values()],
        "models": {model: dict(about) for model, about in measured.about.items()},
    }
    write_atomic(out / f"{name}.json", compact_json(kept).encode())
    there = (
        (wanted, (wanted.model, wanted.seed)) for _, _, wanted in wanted_cells(plan, tables=[measured.table])
    )
    store_cells(
        [(one, measured.cells[at]) for one, at in there if at in measured.cells], out / f"{name}.json"
    )
    pictures = _pictures(plan, measured, values, (best, others), out)
    parts = [
        _head(plan, measured),
        _gain_section(plan, measured, best, average),
        pictures[0],
        *(_metric_section(measured, values, metric) for metric in METRICS),
        _further_section(plan, others),
        *pictures[1:],
        cost_section(measured),
        settings_section(measured),
        _counts_section(measured),
        _made_section(measured),
    ]
    write_atomic(out / f"{name}.md", "\n".join(part for part in parts if part).encode())


def _pictures(
    plan: EvidencePlan,
    measured: MeasuredTable,
    values: Sequence[Row],
    gains: tuple[Sequence[Gain], Sequence[Gain]],
    out: Path,
) -> list[str]:
    """Draw a table; return how its page shows the pictures. Ablations have one, of what each part brings."""
    name, (best, others) = measured.table.name, gains
    if _is_ablation(measured.table) and others:
        plot_parts(measured, others, plan.product, out / f"{name}.png")
        return [f"![{name}: gain over each row]({name}.png)\n"]
    plot_metrics_over_k(measured, values, plan.product, out / f"{name}.png")
    pictures = [f"![{name}: metrics over K]({name}.png)\n"]
    if best:
        plot_gains(measured, best, plan.product, out / f"{name}-gain.png")
        pictures.append(f"![{name}: gain over the best baseline]({name}-gain.png)\n")
    plot_times(measured, values, plan.product, out / f"{name}-time.png")
    pictures.append(f"![{name}: accuracy against adaptation time]({name}-time.png)\n")
    return pictures


def _head(plan: EvidencePlan, measured: MeasuredTable) -> str:
    table = measured.table
    title = table.title or f"{table.dataset}: {table.protocol.label}"
    lines = [f"# {title}\n"]
    seeds = listed(table.seeds)
    lines.append(
        f"Data set {table.dataset}, protocol `{table.protocol.label}`, split seeds {seeds}. Users "
        "that no model has "
        "trained on, full ranking of the catalogue unless the protocol says otherwise; mean over "
        "users (seeds "
        "averaged within the user) with its 95 % bootstrap interval over users.\n"
    )
    if table.fewer:
        fewer = "; ".join(
            f"{listed([row for row, own in table.fewer.items() if own == seeds])} (seed {listed(seeds)})"
            for seeds in dict.fromkeys(table.fewer.values())
        )
        lines.append(
            f"On fewer splits than the others, for what they cost: {fewer}. Their values are means over "
            "other users; gains over them are over the users that both have.\n"
        )
    if measured.missing:
        absent = "; ".join(f"{model}: seed {listed(seeds)}" for model, seeds in measured.missing.items())
        lines.append(f"**Not measured yet:** {absent}. What follows is of the cells that are there.\n")
    if plan.product not in measured.models:
        lines.append("The product has no cell here yet, so there is no comparison.\n")
    return "\n".join(lines)


def _gain_section(
    plan: EvidencePlan, measured: MeasuredTable, gains: Sequence[Gain], average: Sequence[MeanGain]
) -> str:
    if not gains:
        return ""
    head = [
        "K",
        "metric",
        "against",
        plan.product,
        "other",
        "difference",
        "gain, %",
        "p",
        "Holm p",
        "users",
        "seeds",
    ]
    body = [
        [
            str(one.k),
            one.metric,
            f"{one.other} ({one.role})",
            f"{one.product_value:.4f}",
            f"{one.other_value:.4f}",
            f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]",
            _percent(one, interval=True),
            p_text(one.p),
            f"**{p_text(one.p_holm)}**" if one.p_holm < 0.05 else p_text(one.p_holm),
            str(one.num_users),
            listed(one.seeds),
        ]
        for one in gains
    ]
    means = "; ".join(
        f"{mean_text(one)} over the {'best baseline' if one.role == 'best' else one.role} "
        f"(K = {listed(one.ks)})"
        for one in average
    )
    summary = f"Mean gain in NDCG@10: {means}.\n\n" if means else ""
    return (
        f"## {plan.product} against the best baseline and the blend\n\n{summary}"
        f"{_choice_text(plan, measured)}"
        "Paired by user; p by permutation of signs, corrected by Holm over all rows of this table "
        "(rows that compare the same count once), bold below .05.\n\n" + markdown_table(head, body)
    )


def _choice_text(plan: EvidencePlan, measured: MeasuredTable) -> str:
    """Return among which baselines the best was chosen, and for which K at a smaller one; "" without any."""
    names = baseline_candidates(plan, measured)
    if not names:
        return ""
    moved = [(k, at) for k in measured.ks if (at := chosen_at(plan, measured, k)) not in (None, k)]
    parts = [
        (
            "The best baseline is chosen per K and metric on validation users (mean over each seed's "
            f"own), the blend aside, among {listed(names)}. "
        ),
        *(f"Too few validation users carry K = {k}: its best is chosen at K = {at}. " for k, at in moved),
    ]
    return "".join(parts)


def _is_ablation(table: Table) -> bool:
    """Return whether a table compares the product with parts of itself: it has too few baselines."""
    return "all" in table.compare


def _percent(one: Gain, *, interval: bool = False) -> str:
    """Return the gain in percent, or a dash over a model that scores next to nothing."""
    if not one.has_ratio:
        return "-"
    if interval:
        return f"{one.percent:+.1f} [{one.percent_low:+.1f}, {one.percent_high:+.1f}]"
    return f"{one.percent:+.1f} %"


def _metric_section(measured: MeasuredTable, values: Sequence[Row], metric: str) -> str:
    found = {(row.model, row.k): row for row in values if row.metric == metric}
    # Of those with all seeds: others were measured on other users.
    whole = [model for model in measured.models if measured.seeds_of(model) == measured.table.seeds]
    best = {
        k: max((row.value for row in found.values() if row.k == k and row.model in whole), default=None)
        for k in measured.ks
    }

    def cell(model: str, k: int) -> str:
        row = found.get((model, k))
        if row is None:
            return ""
        is_best = model in whole and row.value == best[k]
        value = f"**{row.value:.4f}**" if is_best else f"{row.value:.4f}"
        return f"{value} [{row.low:.4f}, {row.high:.4f}]"

    body = [
        [with_seeds(measured, model), *(cell(model, k) for k in measured.ks)] for model in measured.models
    ]
    num_users = {k: max(row.num_users for row in found.values() if row.k == k) for k in measured.ks}
    body.append(["users", *(f"{num_users[k]:,}" for k in measured.ks)])
    legend = "Bold: the highest of a column, among rows with all seeds."
    return f"## {metric}\n\n{legend}\n\n" + markdown_table(["", *(f"K = {k}" for k in measured.ks)], body)


def _further_section(plan: EvidencePlan, gains: Sequence[Gain]) -> str:
    if not gains:
        return ""
    head = ["against", "metric", *(f"K = {k}" for k in sorted({one.k for one in gains}))]
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for one in gains:
        mark = "\\*" if one.p_holm < 0.05 else ""
        cells.setdefault((one.other, one.metric), {})[one.k] = (
            f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}] ({_percent(one)}){mark}"
        )
    ks = sorted({one.k for one in gains})
    body = [[other, metric, *(of_k.get(k, "") for k in ks)] for (other, metric), of_k in cells.items()]
    return (
        f"## {plan.product} against other rows\n\nThe product's difference, paired by user, with its "
        "95 % interval and "
        "the gain in percent; \\*: p < .05 by paired permutation, corrected by Holm over all cells "
        "of this table.\n\n" + markdown_table(head, body)
    )


def _counts_section(measured: MeasuredTable) -> str:
    of_seed: dict[int, SeedCounts] = {}
    for (_, seed), cell in sorted(measured.cells.items(), key=lambda item: item[0][1]):
        of_seed.setdefault(seed, cell.counts)
    return count_table(tuple(of_seed.values()))


def _made_section(measured: MeasuredTable) -> str:
    machines = sorted(
        {
            ", ".join(f"{name} {value}" for name, value in cell.machine.items())
            for cell in measured.cells.values()
        }
    )
    return (
        "## How this page was made\n\n"
        f"`make evidence`, or `warmprompt evidence build --only table={measured.table.name}` and "
        "`warmprompt evidence "
        f"report`. warmprompt {version('warmprompt')}; cells measured at commits "
        f"{listed(_commits(measured))}. {_rounded_text(measured)}"
        f"Machine: {'; '.join(machines)}. Data set hash {_content_hash(measured)[:12]}.\n"
    )


def _rounded_text(measured: MeasuredTable) -> str:
    """Return what is said of cells that were read back from the page's own file, "" without any."""
    num_rounded = sum(cell.rounded for cell in measured.cells.values())
    if not num_rounded:
        return ""
    return (
        f"Of {len(measured.cells)} cells {num_rounded} were read back from `{measured.table.name}.parquet`, "
        "their users' metrics rounded to float16 (at most .05 %). "
    )


def _content_hash(measured: MeasuredTable) -> str:
    from warmprompt.data.fetch import ensure_dataset
    from warmprompt.data.tables import read_data_manifest

    return read_data_manifest(ensure_dataset(measured.table.dataset)).content_hash


def _commits(measured: MeasuredTable) -> list[str]:
    return sorted({cell.commit or "unknown" for cell in measured.cells.values()})
