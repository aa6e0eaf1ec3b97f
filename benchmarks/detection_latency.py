"""Run the detection-latency study for an outage and for a stressed bank, and write the page.

    python benchmarks/detection_latency.py [--scenarios 30] [--out docs/results/detection-latency.md]

The page, the picture and every run as JSON are written beside one another. Settings were fixed on seeds
7 and 100, which are not used here. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.plots import plot_losses
from warmprompt.risk.study import (
    IncidentSettings,
    ResponseSettings,
    StudySettings,
    run_study,
    study_json,
    study_report,
    summarise_study,
)

KINDS = {"outage": "credit", "stress": "cut"}
TITLES = {"outage": "An outage: one bank sends nothing", "stress": "Stress: one bank withholds, then fails"}


def main() -> None:
    """Read the options, run both studies, write page, JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", type=int, default=30, help="per kind of incident")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/results/detection-latency.md"))
    chosen = parser.parse_args()
    pages, summaries, studies = [], {}, {}
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    for kind, measure in KINDS.items():
        settings = StudySettings(
            incident=IncidentSettings(kind=kind),
            response=ResponseSettings(measure=measure),
            num_scenarios=chosen.scenarios,
        )
        study = run_study(settings, seed=chosen.seed, tell=lambda done: print(done, end=" ", flush=True))
        summaries[TITLES[kind]] = summarise_study(study)
        studies[kind] = json.loads(study_json(study, summaries[TITLES[kind]]))
        pages.append(study_report(study, summaries[TITLES[kind]], title=TITLES[kind]))
        print(kind, f"{time.monotonic() - begun_s:.0f} s")
    cpu_s = time.process_time() - begun_cpu_s
    machine = describe_machine()
    write_atomic(chosen.out, page(pages, machine, cpu_s, chosen.out).encode())
    # Single runs are made again from the seed; the page's numbers are kept.
    for each in studies.values():
        del each["runs"], each["seen"]
    studies["machine"] = machine
    write_atomic(chosen.out.with_suffix(".json"), (json.dumps(studies, indent=1) + "\n").encode())
    plot_losses(summaries, chosen.out.with_suffix(".png"))


def page(pages: list[str], machine: dict[str, str], cpu_s: float, out: Path) -> str:
    """Return both reports as one page."""
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    head = [
        "# Detection latency",
        "",
        "Does it matter how soon a troubled bank is noticed? In this simulation a second more or less",
        "makes no difference, and hours do.",
        "",
        "What it costs other banks if a troubled bank is noticed later: design, formulas, assumptions and",
        "limits are in [the study](../risk/study.md).",
        "",
        f"![Loss over delay]({out.stem}.png)",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine.items())}.",
        f"{cpu_s:.0f} s of processor time; load average at the end {loads}: the measured latency to adapt",
        "and score includes waiting for other programs. Made by `python benchmarks/detection_latency.py`.",
        "",
    ]
    deeper = [re.sub(r"^#", "##", each, flags=re.MULTILINE) for each in pages]
    return "\n".join(head) + "\n" + "\n".join(deeper)


if __name__ == "__main__":
    main()
