"""A study as a page and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from warmprompt.files import finite
from warmprompt.risk.study.plan import Study
from warmprompt.risk.study.summary import Estimate, Line, StudySummary

_NOTE = (
    "Simulation on synthetic networks under stated assumptions; no statement about the real Fedwire or any "
    "other system. Losses are in per cent of the value due over the days of a scenario, beyond the same days "
    "without incident; brackets are 95 % bootstrap intervals over scenarios."
)


def study_json(study: Study, summary: StudySummary) -> str:
    """Return settings, summary and every run as JSON; what is infinite is null."""
    content = {
        "note": _NOTE,
        "seed": study.seed,
        "settings": asdict(study.settings),
        "summary": asdict(summary),
        "thresholds": dict(study.thresholds),
        "latency_ms": dict(study.latency),
        "num_clean_days": study.num_clean_days,
        "size_classes_hit": list(study.banks),
        "runs": [{**asdict(run), "loss": run.loss.as_row()} for run in study.runs],
        "seen": [asdict(row) for row in study.seen],
    }
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def study_report(
    study: Study, summary: StudySummary, *, title: str = "What earlier detection is worth"
) -> str:
    """Return the study as Markdown."""
    lines = [
        f"# {title}",
        "",
        _NOTE,
        "",
        _setting(study, summary),
        "",
        "## Loss by total delay",
        "",
        "The same measure, so long after the onset. Oracle is delay 0.",
        "",
        *_table(summary, "bound"),
        *_table(summary, "delay", head=False),
        "",
        "## Loss by policy",
        "",
        _thresholds(study),
        "",
        *_table(summary, "policy"),
        "",
        "## What being later costs",
        "",
        "| | earlier | later | spill-over, later less earlier, in 0.01 % | same to the bit | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {each.part} | {each.earlier} | {each.later} | {_shown(each.cost, unit='', scale=100)} | "
            f"{each.identical:.0%} | {_verdict(each.cost)} |"
            for each in summary.contrasts
        ),
        "",
        "## From onset to alarm",
        "",
        "| watcher | in time | onset to signal, median | accumulation, median | wrong alarms a day |",
        "|---|---|---|---|---|",
        *(
            f"| {each.watcher} | {each.detected:.0%} | {seconds(each.signal_s)} | "
            f"{seconds(each.accumulation_s)} | {_shown(each.wrong_per_day, unit='')} |"
            for each in summary.watchers
        ),
        "",
        _latency(study),
        "",
        "## Wrong alarms",
        "",
        _wrong(study, summary),
        "",
        "| wrong alarms a day | spill-over | saved | acted in time |",
        "|---|---|---|---|",
        *(
            f"| {line.name} | {_shown(line.spillover)} | {_shown(line.saved)} | {line.acted:.0%} |"
            for line in sorted(_lines(summary, "threshold"), key=lambda line: float(line.name))
        ),
    ]
    if _lines(summary, "measure"):
        lines += ["", "## Other measures", "", *_table(summary, "measure", measure=True)]
    return "\n".join(lines) + "\n"


def seconds(value: float) -> str:
    """Return a time in the unit a person would say it in."""
    if math.isinf(value):
        return "never"
    for limit, size, unit in ((1, 1e-3, "ms"), (120, 1, "s"), (7_200, 60, "min"), (math.inf, 3_600, "h")):
        if value < limit:
            return f"{value / size:.3g} {unit}"
    raise AssertionError(value)


def _setting(study: Study, summary: StudySummary) -> str:
    settings = study.settings
    return (
        f"{summary.num_scenarios} scenarios of {settings.num_days} days, seed {study.seed}: "
        f"{settings.world.num_banks} banks, {settings.world.payments_per_day:,} payments a day, incident "
        f"`{settings.incident.kind}`, bank drawn by {settings.incident.drawn_by}, measure "
        f"`{settings.response.measure}`. Without incident {_shown(summary.clean_total)} is lost."
    )


def _thresholds(study: Study) -> str:
    return (
        f"All set to {study.settings.alarms_per_day:g} wrongly alarmed banks a day, on "
        f"{study.num_clean_days} days of other worlds. From alarm to action there are the stated latency "
        f"and {study.settings.decision_s:g} s for the decision."
    )


def _latency(study: Study) -> str:
    p50, p99 = study.latency["p50_ms"], study.latency["p99_ms"]
    return f"Adapt and score on one payment, measured: median {p50:.4f} ms, 99th percentile {p99:.4f} ms."


def _wrong(study: Study, summary: StudySummary) -> str:
    return (
        f"One wrong alarm costs {_shown(summary.wrong_spillover)} of spill-over and "
        f"{_shown(summary.wrong_total)} in all. {_break_even(summary, study.settings.alarms_per_day)}"
    )


def _lines(summary: StudySummary, part: str) -> list[Line]:
    return [line for line in summary.lines if line.part == part]


def _table(summary: StudySummary, part: str, *, head: bool = True, measure: bool = False) -> list[str]:
    first = "| measure, delay " if measure else "| "
    rows = [f"{first}| spill-over | saved | all losses | acted in time | onset to action, median |"] * head
    rows += ["|---|---|---|---|---|---|"] * head
    for line in _lines(summary, part):
        name = f"{line.measure}, {line.name}" if measure else line.name
        rows.append(
            f"| {name} | {_shown(line.spillover)} | {_shown(line.saved)} | {_shown(line.total)} | "
            f"{line.acted:.0%} | {seconds(line.median_acted_s)} |"
        )
    return rows


def _break_even(summary: StudySummary, rate: float) -> str:
    days = summary.days_per_incident
    if days == 0:
        return "The policy `1 s` saved nothing on average, so no rate of incidents pays for its wrong alarms."
    if math.isinf(days):
        return "On average wrong alarms cost no spill-over here, so no rate of incidents is too low for them."
    return (
        f"At {rate:g} a day, wrong alarms cost as much spill-over as the policy `1 s` saves if an incident "
        f"comes once in {days:,.0f} days."
    )


def _verdict(cost: Estimate) -> str:
    if cost.covers_zero:
        return "not distinguishable"
    return "nothing to speak of" if max(abs(cost.low), abs(cost.high)) < 5e-6 else ""


def _shown(value: Estimate, *, unit: str = " %", scale: float = 1.0) -> str:
    mean, low, high = (scale * each for each in (value.mean, value.low, value.high))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(mean, 3) + 0.0:.3f}{unit} [{round(low, 3) + 0.0:.3f}, {round(high, 3) + 0.0:.3f}]"
