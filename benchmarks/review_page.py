"""The page and the JSON of `review_prompts.py`, from whatever cells there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from commits import commit

from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.significance import bootstrap_intervals, holm, permutation_p_values
from warmprompt.files import write_atomic
from warmprompt.rng import derive

KS = (1, 2, 4)
FIRST_ROWS = ("none", "shared", "posterior-4-own", "posterior-4-other", "pasted-4-own", "pasted-4-other")
LABELS = {
    "posterior": "shared prompt, one step in user directions",
    "plain": "shared prompt, one plain step",
    "pasted": "support in the context, no prompt",
    "pasted-shared": "support in the context before the shared prompt",
    "multitask": "multi-task, trained on, one step",
    "reptile": "Reptile, one step",
    "fomaml": "FOMAML, one step",
    "meta-sgd": "Meta-SGD, one step",
    "maml": "MAML, one step",
}


def write_page(out: Path, cells: Path) -> None:
    """Write one table per set of reviews."""
    tables = {folder.name: table(folder) for folder in sorted(cells.iterdir()) if (folder / "test").is_dir()}
    write_atomic(out.with_suffix(".json"), json.dumps(tables, indent=1).encode())
    lines = [
        "# Prompts adapted to what users write",
        "",
        "Does a soft prompt that was adapted to reviews of a user make the user's next review more likely?",
        "The measure is the negative log-likelihood per token of the next review, in nats; lower is better.",
        "",
        "Users are tasks. The support is the K reviews before a user's last one, which is the query. Every",
        "review is cut to its first 32 tokens. The model is SmolLM2-135M with all layers, frozen. The prompt",
        'is 8 vectors behind the words "Reviews that one customer wrote:". All rows have the same queries.',
        "",
        "- `own` is adapted on, or shows, the user's own support; `other` that of another tested user.",
        "- Intervals are 95 %, by bootstrap over users. p is by sign-flip permutation over users,",
        "  Holm-corrected over all differences of a set.",
        "- Rates and numbers of directions were chosen on validation users.",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in describe_machine().items())}.",
        f"Commit {commit()}.",
        "Made by `python benchmarks/review_prompts.py`.",
    ]
    for name, found in tables.items():
        lines += ["", f"## {name}", "", *markdown(found)]
    write_atomic(out.with_suffix(".md"), "\n".join([*lines, ""]).encode())


def table(folder: Path) -> dict[str, object]:
    """Return the rows of one set: levels, and paired differences with intervals and p.

    Blocks of users count where the first rows, which are made first, are whole; rows without all of them
    are left out.
    """
    made = {
        row.name: [np.load(file) for file in sorted(row.glob("*.npy"))]
        for row in sorted((folder / "test").iterdir())
    }
    num_blocks = min(len(made.get(name, [])) for name in FIRST_ROWS)
    losses = {
        name: np.concatenate(parts[:num_blocks])
        for name, parts in made.items()
        if num_blocks and len(parts) >= num_blocks
    }
    levels = {name: float(values.mean()) for name, values in losses.items()}
    pairs = [
        (f"{row}-{k}-own", against)
        for row in LABELS
        for k in KS
        for against in ("shared", f"{row}-{k}-other", f"{row}-0")
        if f"{row}-{k}-own" in losses and against in losses
    ]
    if not pairs:
        return {"users": 0, "levels": levels, "differences": []}
    gaps_UM = np.stack([losses[one] - losses[other] for one, other in pairs], axis=1)
    low, high = bootstrap_intervals(gaps_UM, derive(0, "intervals"))
    adjusted = holm(permutation_p_values(gaps_UM, derive(0, "signs")))
    differences = [
        {"row": one, "against": other, "gain": gap, "low": lower, "high": upper, "p": p}
        for (one, other), gap, lower, upper, p in zip(
            pairs, gaps_UM.mean(0).tolist(), low.tolist(), high.tolist(), adjusted.tolist(), strict=True
        )
    ]
    return {"users": len(gaps_UM), "levels": levels, "differences": differences}


def markdown(found: dict) -> list[str]:
    """Return a table of levels and one of differences."""
    levels, gaps = found["levels"], {(one["row"], one["against"]): one for one in found["differences"]}
    lines = [f"{found['users']} test users."]
    lines += [
        "",
        "| row | K=0 | " + " | ".join(f"K={k} {who}" for k in KS for who in ("own", "other")) + " |",
    ]
    lines += ["|---" * (2 * len(KS) + 2) + "|"]
    for name, label in (("none", "no prompt"), ("shared", "shared prompt (multi-task)")):
        lines += [f"| {label} | {cell(levels, name)} |" + " |" * (2 * len(KS))]
    for row, label in LABELS.items():
        own = [cell(levels, f"{row}-{k}-{who}") for k in KS for who in ("own", "other")]
        if any(own):
            lines += [f"| {label} | {cell(levels, f'{row}-0')} | " + " | ".join(own) + " |"]
    for title, against in (
        ("Own support against the shared prompt", "shared"),
        ("Own support against another user's", "{row}-{k}-other"),
        ("One step against the learner's own start", "{row}-0"),
    ):
        body = []
        for row, label in LABELS.items():
            of_row = [gaps.get((f"{row}-{k}-own", against.format(row=row, k=k))) for k in KS]
            if any(of_row):
                body += [f"| {label} | " + " | ".join(map(gap_cell, of_row)) + " |"]
        if body:
            lines += ["", f"{title}:", "", "| row | " + " | ".join(f"K={k}" for k in KS) + " |"]
            lines += ["|---" * (len(KS) + 1) + "|", *body]
    return lines


def cell(levels: dict[str, float], name: str) -> str:
    """Return a level, or nothing where it has not been made."""
    return f"{levels[name]:.3f}" if name in levels else ""


def gap_cell(gap: dict | None) -> str:
    """Return a difference with its interval and p."""
    if gap is None:
        return ""
    return f"{gap['gain']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] p={gap['p']:.4f}"
