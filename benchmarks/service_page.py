"""The page of what the service did under load and under kills, from the results that lie in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmprompt.files import write_atomic

_METHOD = """
What load does the service hold on two cores, what does it cost beside a service of some 40 lines around EASE
fold-in, and does it lose events when it is killed?

Open loop: requests begin at scheduled times, whether or not earlier ones have ended, and a latency counts
from the scheduled moment, so a service that falls behind cannot hide it. The load comes from a process of its
own; where there are two cores, it takes part of one. Each service has one thread.

One unit of load is what an application does: POST one event of a user, then GET that user's ranking. Its
latency is that of both together, and it counts as fresh if the ranking knows the event. A rate is held when
the p99 of that latency stays under the limit, nothing but 2xx is answered, and no ranking is stale. "Alone"
runs units one after the other. Processor time is that of the whole service process for a unit, states
that are stored after it included.

EASE (`benchmarks/ease_service.py`) has the same two routes, and each event is on the disk before it is
acknowledged. It runs in the same minutes, so ratios to it hold on a machine that is shared.

"First rankings" are those of new users, each asked for once, right after an event, a sentence nobody has said
before, or both. A stranger's ranking has the scores of a user without history.
"""
_KILLS = """
In each round six clients send events of five users and ask for rankings, and the service is killed with
SIGKILL 0.2 to 1.5 s later; on PostgreSQL the server crashes first in every second round. Requests without an
answer are sent again in the next round under the same key. After each round every acknowledged event is in
its place, every log consists of its keyed requests, each once and whole, and every state in the store equals
its rebuild from the log bit for bit. The benchmark would stop at the first breach; there was none.
"""


def write_page(out: Path) -> None:
    """Renew the page from all results in a folder."""
    reports = [json.loads(file.read_text()) for file in sorted(out.glob("service-load*.json"))]
    kills = out / "service-kills.json"
    phase = json.loads(kills.read_text()) if kills.is_file() else None
    write_atomic(out / "service-load.md", page(reports, phase).encode())


def page(reports: Sequence[dict[str, Any]], kills: dict[str, Any] | None) -> str:
    """Return the page of results, one part a report, then the kills."""
    lines = ["# The service under load", "", *_METHOD.strip().splitlines()]
    for report in reports:
        held = [one["rate"] for one in report["phases"] if one["held"] and one["phase"].startswith("event")]
        best = f"{max(held):g} a second" if held else "none of these"
        rival = [
            one["rate"] for one in report["phases"] if one["held"] and one["phase"].startswith("EASE: e")
        ]
        best += f"; EASE's: {max(rival):g}" if rival else ""
        machine = report["machine"]
        scope = (
            f"Texts in batches of up to {report['max_batch']}, a queue of {report['queue']}, users "
            f"drawn from {report['users']:,}; ready to answer in {report['ready_s']} s. "
            f"Highest rate held: **{best}**."
        )
        where = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}; both "
            f"scheduled as {report['scheduling']}{_company(report)}; commit `{report['commit']}`; "
            f"`{report['command']}`. {report['note']}".strip()
        )
        lines += [
            "",
            f"## {report['store']}",
            "",
            scope,
            "",
            (
                "| phase | rate | for, s | done, per s | p50, ms | p95, ms | p99, ms | processor, ms "
                "| stale, stranger's | answers | held |"
            ),
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(_row(one) for one in report["phases"] if one["phase"] != "warm-up"),
            "",
            where,
        ]
    return "\n".join([*lines, *_kills_part(kills), ""])


def _kills_part(kills: dict[str, Any] | None) -> list[str]:
    if kills is None:
        return ["", "Not measured here: `benchmarks/service_kills.py`."]
    machine = kills["machine"]
    lines = [
        "",
        "## Kills",
        "",
        *_KILLS.strip().splitlines(),
        "",
        "| database | rounds | server crashes | requests acknowledged | events | in the logs | rankings |",
        "|---|---|---|---|---|---|---|",
    ]
    names = ("rounds", "server_crashes", "acknowledged", "acknowledged_events", "entries", "rankings")
    for database, found in kills["databases"].items():
        lines.append(f"| {database} | {' | '.join(f'{found[name]:,}' for name in names)} |")
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}"
    more = "Events in the logs beyond those acknowledged were on the disk when the service was killed."
    made = f"{where}; `benchmarks/service_kills.py`, commit `{kills['commit']}`. {kills.get('note', '')}"
    return [*lines, "", more, "", made.strip()]


def _company(report: dict[str, Any]) -> str:
    if report.get("alone"):
        return ", the machine's other jobs at rest"
    return f" while other jobs ran, load average {report['load_average']} at the beginning"


def _row(phase: dict[str, Any]) -> str:
    answers = ", ".join(f"{status}: {num}" for status, num in phase["statuses"].items())
    answers += f", none: {phase['failed']}" if phase["failed"] else ""
    rate = f"{phase['rate']:g}/s" if phase["rate"] else "one by one"
    rate = "32 clients" if phase["phase"] == "cached rankings" else rate
    rate = "4 clients" if phase["phase"].startswith("first") else rate
    is_held = "event + fresh ranking" in phase["phase"] or phase["phase"].startswith("5 s")
    held = ("yes" if phase["held"] else "no") if is_held else ""
    cpu = phase.get("cpu_ms") or ""
    return (
        f"| {phase['phase']} | {rate} | {phase['seconds']:g} | {phase['per_s']:g} | {phase['p50_ms']} "
        f"| {phase['p95_ms']} | {phase['p99_ms']} | {cpu} | {phase['stale']}, {phase.get('strangers', 0)} "
        f"| {answers} | {held} |"
    )
