"""The page and the JSON of `review_prompts.py`, from whatever cells there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit

from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.significance import bootstrap_intervals, holm, permutation_p_values
from warmprompt.files import write_atomic
from warmprompt.rng import derive

KS = (1, 2, 4)
LABELS = {
    "posterior": "step in user directions",
    "plain": "plain step",
    "pasted": "reviews in the context, no prompt",
    "pasted-shared": "reviews in the context, then the shared prompt",
    "multitask": "multi-task, trained on, one step",
    "reptile": "Reptile, one step",
    "fomaml": "FOMAML, one step",
    "meta-sgd": "Meta-SGD, one step",
    "maml": "MAML, one step",
}
STEPS = [row for row in LABELS if not row.startswith("pasted")]


def write_page(out: Path, cells: Path) -> None:
    """Write one table per set of reviews."""
    tables = {folder.name: table(folder) for folder in sorted(cells.iterdir()) if (folder / "test").is_dir()}
    stored = {
        name: found | {"losses": {row: values.round(5).tolist() for row, values in found["losses"].items()}}
        for name, found in tables.items()
    }
    write_atomic(out.with_suffix(".json"), json.dumps(stored).encode())
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
        "- Intervals are 95 %, by bootstrap over users. p is by sign-flip permutation over users, with",
        "  Holm's correction over all differences of a set.",
        "- A plain step is one gradient step from the shared prompt, a share of its norm long. A step in",
        "  user directions is the same gradient times a matrix: directions in which training users differ,",
        "  each as far as K texts of a user agree on it. Learners start from that, with the shared prompt,",
        "  the directions and the rates learned further, and take one step, too.",
        "- Rows with fewer users have the first of all tested users; differences are over the users that",
        "  both sides have, and can be compared where levels cannot.",
        "- Rates and damping were chosen on 16 validation users. The shared prompt has had 60 Adam steps on",
        "  8 reviews each and the learners 20 outer steps on 4 users each, all training users; the",
        "  directions are of 150 of them, three reviews each. Longer training was not tried.",
        "- Empty cells were not measured. Results of tested users were seen while they came in, from several",
        "  versions of the script; no rate, damping or row was chosen by them.",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in describe_machine().items())}.",
        f"Commit {commit()}.",
        "Made by `python benchmarks/review_prompts.py --reviews FILE --name NAME`. A table whose name ends",
        "in `untrained` has `--test-reviews` and `--test-name`, too: prompt and rates are of the other set.",
    ]
    for name, found in tables.items():
        lines += ["", f"## {name}", "", *verdict(found), *summary(found), *markdown(found)]
    write_atomic(out.with_suffix(".md"), "\n".join([*lines, ""]).encode())


def table(folder: Path) -> dict[str, Any]:
    """Return the rows of one set: levels, and differences over the users that both sides have.

    Blocks of users are made in one order, so rows with fewer users have the first ones.
    """
    losses = {
        row.name: np.concatenate([np.load(file) for file in sorted(row.glob("*.npy"))])
        for row in sorted((folder / "test").iterdir())
    }
    pairs = [
        (f"{row}-{k}-own", against)
        for row in LABELS
        for k in KS
        for against in ("shared", f"{row}-{k}-other", f"{row}-0")
        if f"{row}-{k}-own" in losses and against in losses
    ]
    differences, p_values = [], []
    for one, other in pairs:
        users = min(len(losses[one]), len(losses[other]))
        gaps_U1 = (losses[one][:users] - losses[other][:users])[:, None]
        low, high = bootstrap_intervals(gaps_U1, derive(0, "intervals", one, other))
        p_values += permutation_p_values(gaps_U1, derive(0, "signs", one, other)).tolist()
        differences.append(
            {"row": one, "against": other, "users": users, "difference": float(gaps_U1.mean())}
            | {"low": float(low[0]), "high": float(high[0])}
        )
    for found, p in zip(differences, holm(np.array(p_values)).tolist(), strict=True):
        found["p"] = p
    levels = {name: {"users": len(values), "loss": float(values.mean())} for name, values in losses.items()}
    return {"levels": levels, "differences": differences, "losses": losses}


def markdown(found: dict[str, Any]) -> list[str]:
    """Return a table of levels and one of differences."""
    levels, gaps = found["levels"], {(one["row"], one["against"]): one for one in found["differences"]}
    columns = [f"K={k} {who}" for k in KS for who in ("own", "other")]
    lines = ["| row | users | K=0 | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
    for name, label in (("none", "no prompt"), ("shared", "shared prompt (multi-task)")):
        lines += [f"| {label} | {levels[name]['users']} | {level(levels, name)} |" + " |" * len(columns)]
    for row, label in LABELS.items():
        names = [f"{row}-0", *(f"{row}-{k}-{who}" for k in KS for who in ("own", "other"))]
        users = [levels[name]["users"] for name in names if name in levels]
        if users:
            cells = " | ".join(level(levels, name) for name in names)
            lines += [f"| {label} | {min(users)} | {cells} |"]
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


def verdict(found: dict[str, Any]) -> list[str]:
    """Return a sentence on the aim: below the shared prompt, and below another user's, with p < .05."""
    k = max(KS)
    gaps = {(one["row"], one["against"]): one for one in found["differences"]}
    lines = []
    for row in STEPS:
        pair = [gaps.get((f"{row}-{k}-own", against)) for against in ("shared", f"{row}-{k}-other")]
        if pair[0] is None or pair[1] is None:
            continue
        said = [f"{gap['difference']:+.4f} ({word(gap)})" for gap in pair if gap is not None]
        lines += [f"- {LABELS[row]}, K = {k}: {said[0]} to the shared prompt, {said[1]} to another user's."]
    return [*lines, ""]


def word(gap: dict[str, Any]) -> str:
    """Return whether a difference is significant."""
    return f"p={gap['p']:.4f}" if gap["p"] < 0.05 else "n.s."


def summary(found: dict[str, Any]) -> list[str]:
    """Return how much of the context's worth each adapted row has at the largest K, on the users of both."""
    losses, k = found["losses"], max(KS)
    context = [f"pasted-shared-{k}-{who}" for who in ("own", "other")]
    if not all(name in losses for name in context):
        return []
    lines = [
        f"What an adapted prompt has of the worth of {k} reviews in the context before the shared prompt,",
        "in nats per token and in percent, on the same users:",
        "",
        "| row | users | below the shared prompt | context | % | own below other | context | % |",
        "|---" * 8 + "|",
    ]
    for row, label in LABELS.items():
        own, other = (losses.get(f"{row}-{k}-{who}") for who in ("own", "other"))
        if own is None or other is None or row.startswith("pasted"):
            continue
        users = min(len(values) for values in (own, other, losses[context[0]], losses[context[1]]))
        mean = {name: float(np.mean(losses[name][:users])) for name in (*context, "shared")}
        ours, others = float(np.mean(own[:users])), float(np.mean(other[:users]))
        pairs = (
            (mean["shared"] - ours, mean["shared"] - mean[context[0]]),
            (others - ours, mean[context[1]] - mean[context[0]]),
        )
        cells = " | ".join(f"{gain:.4f} | {whole:.4f} | {100 * gain / whole:.0f}" for gain, whole in pairs)
        lines += [f"| {label} | {users} | {cells} |"]
    return [*lines, ""]


def level(levels: dict[str, Any], name: str) -> str:
    """Return a mean loss, or nothing where it has not been made."""
    return f"{levels[name]['loss']:.3f}" if name in levels else ""


def gap_cell(gap: dict[str, Any] | None) -> str:
    """Return a difference with its interval and p."""
    if gap is None:
        return ""
    return f"{gap['difference']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}] p={gap['p']:.4f}"
