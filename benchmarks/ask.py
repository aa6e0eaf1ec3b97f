"""Protocol `ask`: what one and two screens of items to mark are worth to somebody without history.

    python benchmarks/ask.py runs/ml-1m-0 runs/ml-1m-1 runs/ml-100k-0 --out docs/results/ask

Each run is tested on its own data set and split; runs of the same data set are averaged within the user.
Nothing is known of a test user, whose query is that of protocol `random` at K = 0. A screen shows 12 items,
and the user marks those that the history holds outside the query. The union of all compared methods' screens
is left out of query and candidates: else an unmarked item would give the query away. `--users validation` is
for choices. Writes ask.md and ask.json after each run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit

from warmprompt.adaptation.engine import score, users_linearly
from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.significance import (
    average_within_user,
    bootstrap_intervals,
    holm,
    permutation_p_values,
)
from warmprompt.files import write_atomic
from warmprompt.rng import derive
from warmprompt.runs.models import settings_of
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.training.run import open_data
from warmprompt.types import Event, Floats, Ints, UserId

SCREEN = 12
POPULAR = 200
NOTHING, ADAPTIVE, STATIC, BY_POPULARITY = "nothing asked", "model.ask", "greedy", "most popular"
HELF, RANDOM = "HELF", f"random of {POPULAR}"
NAMES = (BY_POPULARITY, HELF, RANDOM, STATIC, ADAPTIVE)
BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a run's tested users have.

    Attributes:
        dataset: Its name.
        seed: Of the split.
        values: NDCG@10 in the order of `columns`.
        marked: Items that a user marks on average, likewise.
        num_left_out: Users without a query item left.
    """

    dataset: str
    seed: int
    values: dict[UserId, np.ndarray]
    marked: list[float]
    num_left_out: int


def columns() -> list[tuple[str, int]]:
    """Return the measured methods with their number of screens, in the order of values.

    The first screen of `greedy` is that of `model.ask`.
    """
    return [(NOTHING, 0), *((name, 1) for name in NAMES if name != STATIC), *((name, 2) for name in NAMES)]


def main() -> None:
    """Read the options, test the runs one after another, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--users", default="test", choices=["test", "validation"])
    parser.add_argument("--out", type=Path, default=Path("docs/results/ask"))
    chosen = parser.parse_args()
    tested: list[Tested] = []
    for run in chosen.runs:
        tested.append(tested_run(run, users=chosen.users))
        found = summaries(tested)
        write_atomic(chosen.out.with_suffix(".json"), json.dumps(found, indent=1).encode())
        write_atomic(chosen.out.with_suffix(".md"), page(found, users=chosen.users).encode())
        print(page(found, users=chosen.users), flush=True)


def tested_run(run: Path, *, users: str) -> Tested:
    """Return what each method is worth to the run's tested users."""
    model = open_run(run)
    settings = settings_of(model.engine.trained)
    dataset = open_data(settings)
    task = build_task(dataset, ProtocolSettings(ks=(0,), users=users), seed=settings.train.seed)
    cases = task.cases[0]
    position = {user: index for index, user in enumerate(dataset.user_ids)}
    pools = [
        np.setdiff1d(
            dataset.interactions.items[dataset.interactions.events_of(position[case.support.user])],
            case.held_out,
        )
        for case in cases
    ]
    screens = screens_of(model, task, pools)
    union = [np.unique(np.concatenate(of_user)) for of_user in zip(*screens.values(), strict=True)]
    queries = [
        np.setdiff1d(case.query, shown).astype(np.int32) for case, shown in zip(cases, union, strict=True)
    ]
    kept = [user for user, query in enumerate(queries) if len(query)]
    table = np.empty((len(kept), len(columns())))
    marked = []
    for column, (name, num_screens) in enumerate(columns()):
        shown = [screen[: SCREEN * num_screens] for screen in screens[name]]
        marks = [np.intersect1d(one, pool).astype(int) for one, pool in zip(shown, pools, strict=True)]
        marked.append(float(np.mean([len(marks[user]) for user in kept])))
        for start in range(0, len(kept), BATCH):
            part = kept[start : start + BATCH]
            scores_BV = scored(model, [marks[user] for user in part])
            ranked = ranks(
                scores_BV,
                [queries[user] for user in part],
                excluded=[union[user].astype(np.int32) for user in part],
                candidates=task.candidates_V,
            )
            table[start : start + BATCH, column] = ndcg_per_user(ranked)
        print(f"{dataset.name} {settings.train.seed}: {name}, {num_screens}", flush=True)
    ids = [cases[user].support.user for user in kept]
    return Tested(
        dataset=dataset.name,
        seed=settings.train.seed,
        values=dict(zip(ids, table, strict=True)),
        marked=marked,
        num_left_out=len(cases) - len(kept),
    )


def screens_of(model: Personaliser, task: EvaluationTask, pools: Sequence[Ints]) -> dict[str, list[Ints]]:
    """Return by method the 24 items that each user is shown, the first screen first."""
    popular = np.argsort(-popularity(task.training), kind="stable")
    start = model.adapt()
    greedy = model.ask(start, 2 * SCREEN).items
    first = greedy[:SCREEN]
    fixed = {
        BY_POPULARITY: popular[: 2 * SCREEN],
        HELF: by_entropy(task.training)[: 2 * SCREEN],
        STATIC: np.array([model.index[item] for item in greedy]),
    }
    screens = {name: [items] * len(pools) for name, items in fixed.items()}
    screens[RANDOM] = [
        derive(task.seed, "ask", str(case.support.user)).permutation(popular[:POPULAR])[: 2 * SCREEN]
        for case in task.cases[0]
    ]
    adaptive = []
    for pool in pools:
        marks = np.intersect1d(fixed[STATIC][:SCREEN], pool)
        state = model.adapt(events_of(model, marks), exact=False)
        second = model.ask(state, SCREEN, shown=first).items
        adaptive.append(np.array([model.index[item] for item in (*first, *second)]))
    return screens | {ADAPTIVE: adaptive, NOTHING: adaptive}


def by_entropy(training: Dataset) -> Ints:
    """Return items by HELF: the harmonic mean of their ratings' entropy and of the logarithm of their number.

    Source: Rashid, Karypis & Riedl 2008.
    """
    events, counts_V = training.interactions, popularity(training)
    entropy_V = np.zeros(training.num_items)
    if events.ratings is not None:
        levels = np.unique(events.ratings)
        for level in levels:
            of_level_V = np.bincount(events.items[events.ratings == level], minlength=len(counts_V))
            share_V = of_level_V / np.maximum(counts_V, 1)
            entropy_V -= share_V * np.log(np.where(share_V > 0, share_V, 1)) / np.log(max(2, len(levels)))
    frequency_V = np.log(np.maximum(counts_V, 1)) / np.log(counts_V.max())
    total_V = entropy_V + frequency_V
    return np.argsort(-2 * entropy_V * frequency_V / np.where(total_V > 0, total_V, 1), kind="stable")


def events_of(model: Personaliser, marks: Ints) -> list[Event]:
    """Return an event per marked item: seen, without a rating."""
    return [Event(item=model.items[item]) for item in marks]


def scored(model: Personaliser, marks: Sequence[Ints]) -> Floats:
    """Return the scores of the whole catalogue for users who marked some items, (B, V)."""
    supports = [model.support_of(Known(events=events_of(model, one))) for one in marks]
    return score(model.engine, users_linearly(model.engine, [""] * len(supports), supports), supports)


def summaries(tested: Sequence[Tested]) -> dict[str, Any]:
    """Return the numbers of the page per data set."""
    by_data: dict[str, list[Tested]] = {}
    for one in tested:
        by_data.setdefault(one.dataset, []).append(one)
    return {name: summary(name, runs) for name, runs in by_data.items()}


def summary(name: str, runs: Sequence[Tested]) -> dict[str, Any]:
    """Return means, and differences that are paired by user with intervals and Holm-corrected p-values."""
    averaged = average_within_user([one.values for one in runs])
    values_UM = np.stack(list(averaged.values()))
    index = {column: place for place, column in enumerate(columns())}
    pairs = [(column, reference) for column in columns()[1:] for reference in references(column)]
    differences = np.stack([values_UM[:, index[one]] - values_UM[:, index[other]] for one, other in pairs], 1)
    low, high = bootstrap_intervals(differences, derive(0, "ask", name))
    p_values = holm(permutation_p_values(differences, derive(1, "ask", name)))
    marked = np.mean([one.marked for one in runs], axis=0)
    rows = {
        f"{method}, {screens}": {
            "screens": screens,
            "method": method,
            "ndcg@10": float(values_UM[:, place].mean()),
            "marked": float(marked[place]),
        }
        for (method, screens), place in index.items()
    }
    for pair, ((method, screens), (reference, _)) in enumerate(pairs):
        mean = float(differences[:, pair].mean())
        rows[f"{method}, {screens}"][f"over {reference}"] = {
            "mean": mean,
            "low": float(low[pair]),
            "high": float(high[pair]),
            "p": float(p_values[pair]),
        }
    return {
        "seeds": [one.seed for one in runs],
        "users": len(values_UM),
        "left out": sum(one.num_left_out for one in runs),
        "rows": list(rows.values()),
    }


def references(column: tuple[str, int]) -> list[tuple[str, int]]:
    """Return what a method is compared with: nothing, as many popular items, and the fixed second screen."""
    method, screens = column
    popular = [] if method == BY_POPULARITY else [(BY_POPULARITY, screens)]
    static = [(STATIC, 2)] if column == (ADAPTIVE, 2) else []
    return [(NOTHING, 0), *popular, *static]


def page(found: dict[str, Any], *, users: str) -> str:
    """Return the page."""
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    lines = [
        "# What to ask a stranger",
        "",
        "What is a screen of titles to mark worth to somebody without history, and",
        "which titles should it show?",
        "",
        f"A screen shows {SCREEN} items, and a {users} user without history marks those that the history",
        "holds outside the query. NDCG@10 of the ranking that follows; all items that any method of the",
        "table shows the user are left out of query and candidates. Differences are paired by user, with",
        "95 % bootstrap intervals; p is of a paired permutation test, Holm-corrected over the table.",
        "",
        "The first screen of `model.ask` is fixed, and its second one depends on the answers to the first;",
        f"`greedy` goes on as the first began. `{RANDOM}` draws from the {POPULAR} most popular items. HELF",
        "is the harmonic mean of entropy and frequency.",
        "",
        "Made by `python benchmarks/ask.py RUN ...`, with a run for each data set and split;",
        f"machine: {machine}; commit {commit()}.",
    ]
    for name, of_data in found.items():
        seeds = ", ".join(map(str, of_data["seeds"]))
        lines += [
            "",
            f"## {name}",
            "",
            f"Split seeds {seeds}; {of_data['users']} users; {of_data['left out']} had no query item left.",
            "",
            f"| screens | method | marked | NDCG@10 | over {NOTHING} | over {BY_POPULARITY} |",
            "|---|---|---|---|---|---|",
        ]
        for row in of_data["rows"]:
            over = [difference(row.get(f"over {other}")) for other in (NOTHING, BY_POPULARITY)]
            measured = (f"{row['marked']:.1f}", f"{row['ndcg@10']:.4f}")
            cells = (str(row["screens"]), row["method"], *measured, *over)
            lines.append(f"| {' | '.join(cells)} |")
        last = difference(of_data["rows"][-1][f"over {STATIC}"])
        lines += ["", f"Two screens of `{ADAPTIVE}` over two of `{STATIC}`: {last}."]
    return "\n".join([*lines, ""])


def difference(found: dict[str, float] | None) -> str:
    """Return a difference with its interval and p-value."""
    if found is None:
        return ""
    p = "p < .001" if found["p"] < 0.001 else f"p = {found['p']:.3f}".replace("0.", ".", 1)
    return f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}], {p}"


if __name__ == "__main__":
    main()
