"""The page of results that `benchmarks/interbank.py` measured.

python benchmarks/interbank_page.py docs/results/interbank.json docs/results/interbank.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
PRODUCT, PROMPT = "experts", "profile: experts and prompt"


def interval(row: Row, key: str, *, signed: bool = False) -> str:
    """Return a value with its interval."""
    low, high = row[f"{key}, interval"]
    form = "+.3f" if signed else ".3f"
    return f"{row[key]:{form}} [{low:{form}}, {high:{form}}]"


def table(models: dict[str, Row]) -> list[str]:
    """Return one table of models, the best log loss first."""
    lines = [
        "| model | accuracy | macro-F1 | log loss | calibration error | gain: accuracy | log loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(models.items(), key=lambda one: one[1]["log loss"]):
        gains = ["", ""]
        if name != PRODUCT:
            gains = [interval(row, f"{key} gain", signed=True) for key in ("accuracy", "log loss")]
        shown = f"**{name}**" if name == PRODUCT else name
        f1, error = f"{row['macro-F1']:.3f}", f"{row['calibration error']:.3f}"
        cells = [shown, interval(row, "accuracy"), f1, interval(row, "log loss"), error, *gains]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def best_baseline(models: dict[str, Row]) -> str:
    """Return the baseline with the least log loss."""
    rivals = [name for name in models if not name.startswith(PRODUCT)]
    return min(rivals, key=lambda name: models[name]["log loss"])


def summary(results: dict[str, Any]) -> list[str]:
    """Return the gains over the best baseline of each table."""
    lines = [
        "| setting | best baseline | accuracy: experts less baseline | log loss: experts less baseline |",
        "|---|---|---|---|",
    ]
    for protocol, unit in (("A", "own labels"), ("B", "peers")):
        for part, models in results.get(protocol, {}).items():
            name = best_baseline(models)
            gains = [interval(models[name], f"{key} gain", signed=True) for key in ("accuracy", "log loss")]
            lines.append(f"| {protocol}, {part} {unit} | {name} | {gains[0]} | {gains[1]} |")
    return lines


def prompt_share(results: dict[str, Any]) -> list[str]:
    """Return what the language model adds to the same experts."""
    lines = ["| own labels | accuracy: with prompt less without | log loss |", "|---|---|---|"]
    for part, models in results["prompt"].items():
        cells = []
        for key in ("accuracy", "log loss"):
            gain, (low, high) = models[PROMPT][f"{key} gain"], models[PROMPT][f"{key} gain, interval"]
            cells.append(f"{-gain:+.4f} [{-high:+.4f}, {-low:+.4f}]")
        lines.append(f"| {part} | {cells[0]} | {cells[1]} |")
    return lines


def page(results: dict[str, Any]) -> str:
    """Return the page."""
    about = results["about"]
    gain, error = about["prompt's gain on validation"]
    control, control_error = about["gain of the control with shuffled texts"]
    machine = about["machine"]
    lines = [
        "# Ratings of banks",
        "",
        f"Ratings of {about['judged banks']:,} banks that had no part in any fit or choice,",
        f"{about['judged quarters'][0]} to {about['judged quarters'][-1]}, predicted from what was known.",
        "The data are public. Their ratings were mostly filled by machine learning, so this is about",
        "a rating procedure, not about failures. [How a profile works](../risk/entities.md).",
        "",
        "All choices were made on other banks in quarters up to 2021Q2: windows and settings of the",
        "baselines (20 trials each), weights of the experts, the prompt. Intervals are 95 %, banks drawn",
        "with replacement. Gains of accuracy above 0 and of log loss below 0 favour the experts.",
        "",
        "## In short",
        "",
        *summary(results),
        "",
        "The best baseline has the least log loss on the judged banks themselves, which favours it.",
        "Validation chose a window of two quarters for the tuned ones; later, the last quarter is better.",
        "The row of the last quarter was added after the judged result had been seen. For this page the",
        "benchmark's steps ran side by side and were joined; they were not run as one command.",
        "",
        "## What the language model adds",
        "",
        f"On validation banks the prompt lowered the log loss by {gain:.4f} (standard error {error:.4f});",
        f"a control that reads the texts of other banks by {control:.4f} ({control_error:.4f}).",
        f"On the judged banks in {', '.join(about['quarters with the prompt'])}, around the same experts:",
        "",
        *prompt_share(results),
    ]
    for part, models in results["A"].items():
        lines += ["", f"## Protocol A: {part} ratings of its own known", "", *table(models)]
    for part, models in results.get("B", {}).items():
        lines += [
            "",
            f"## Protocol B: {part} rated peers of the same quarter, no rating of its own",
            "",
            f"{about['quarter with peers']}, two draws of peers.",
            "",
            *table(models),
        ]
    lines += [
        "",
        f"Made by `benchmarks/interbank.py` (seed {about['seed']}, {about['backbone']}) and its page,",
        f"commit `{about['commit']}`; {machine['processor']}, {machine['cores']} cores.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the results and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    asked = parser.parse_args()
    asked.page.write_text(page(json.loads(asked.results.read_text())))


if __name__ == "__main__":
    main()
