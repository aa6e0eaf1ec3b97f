"""What a sentence is worth to somebody without history: K = 0 with texts about held-out users.

    python benchmarks/zero_history.py --run runs/learners/default --out docs/results/zero-history

Texts are made for test users from their attributes, and from the favourite genres of their events outside
the query, in phrasings used in training and in phrasings and sentence frames that are not. Controls: no text,
and every user with another user's sentence. Writes zero-history.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from commits import commit

from warmprompt.adaptation.opening import open_engine
from warmprompt.assembly.ranker import PromptRanker
from warmprompt.baselines.registry import baseline
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import describe_attributes, describe_tastes, favourite_genres, genre_table
from warmprompt.evaluation.cases import Case, attribute_texts
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.evaluation.significance import average_within_user, bootstrap_intervals
from warmprompt.files import write_atomic
from warmprompt.rng import derive
from warmprompt.runs.format import load_trained
from warmprompt.runs.models import settings_of
from warmprompt.training.run import open_data
from warmprompt.types import Ranker, UserId

NDCG = METRICS.index("NDCG@10")
Writer = Callable[[Case], str]


def main() -> None:
    """Read the options, score every kind of text on every seed of the run, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/learners/default"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/zero-history"))
    chosen = parser.parse_args()
    folders = [chosen.run, *sorted(chosen.run.glob("seed-?"))]
    dataset = open_data(settings_of(load_trained(chosen.run)))
    per_text: dict[str, list[dict[UserId, np.ndarray]]] = {}
    seeds = []
    for folder in folders:
        settings = settings_of(load_trained(folder))
        seeds.append(settings.train.seed)
        task = build_task(dataset, ProtocolSettings(ks=(0,)), seed=settings.train.seed)
        engine = open_engine(load_trained(folder))
        ours = PromptRanker(folder=folder, settings=settings, dataset=dataset, engine=engine)
        for label, cases in kinds(dataset, task).items():
            per_text.setdefault(label, []).append(scored(ours, task, cases))
        popular = baseline("toppop")().fit(task.training, task.validation, seed=task.seed)
        per_text.setdefault("TopPop", []).append(scored(popular, task, task.cases[0]))
    write_atomic(chosen.out.with_suffix(".md"), page(dataset.name, seeds, per_text).encode())


def kinds(dataset: Dataset, task: EvaluationTask) -> dict[str, list[Case]]:
    """Return the cases at K = 0 with each kind of text."""
    cases = list(task.cases[0])
    table = genre_table(dataset)
    position = {user: index for index, user in enumerate(dataset.user_ids)}

    def tastes(frames: str) -> list[str]:
        texts = []
        for case in cases:
            row = position[case.support.user]
            items = dataset.interactions.items[dataset.interactions.events_of(row)]
            shown = items[~np.isin(items, case.held_out)]
            rng = derive(task.seed, "about", frames, str(case.support.user))
            genres = favourite_genres(shown, table, top=3)
            texts.append(describe_tastes(genres, rng=rng, frames=frames) if genres else "")  # type: ignore[arg-type]
        return texts

    def attributes(frames: str) -> list[str]:
        return [
            describe_attributes(
                attribute_texts(dataset, position[case.support.user]),
                rng=derive(task.seed, "who", frames, str(case.support.user)),
                frames=frames,  # type: ignore[arg-type]
            )
            for case in cases
        ]

    heldout = tastes("heldout")
    texts = {
        "no text": [""] * len(cases),
        "attributes, phrasings of training": attributes("training"),
        "attributes, unseen phrasings": attributes("heldout"),
        "tastes, phrasings of training": tastes("training"),
        "tastes, unseen phrasings": heldout,
        "tastes, unseen phrasings, of another user": [*heldout[1:], heldout[0]],
    }
    return {
        label: [
            replace(case, support=replace(case.support, about=text or None))
            for case, text in zip(cases, wordings, strict=True)
        ]
        for label, wordings in texts.items()
    }


def scored(ranker: Ranker, task: EvaluationTask, cases: list[Case]) -> dict[UserId, np.ndarray]:
    """Return each user's metrics."""
    return score_cases(ranker, task, cases, label=ranker.name, batch=64)


def page(name: str, seeds: list[int], per_text: dict[str, list[dict[UserId, np.ndarray]]]) -> str:
    """Return NDCG@10 of each kind of text and its gain over no text, paired by user."""
    averaged = {label: average_within_user(parts) for label, parts in per_text.items()}
    users = list(averaged["no text"])
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    lines = [
        "# Zero history: what a sentence is worth",
        "",
        "What is a sentence worth before the first event? It raises NDCG@10, more in the phrasings of",
        "training than in unseen ones, and another user's sentence does not.",
        "",
        f"{name}, split seeds {', '.join(map(str, seeds))}, {len(users)} test users, K = 0, full catalogue.",
        "NDCG@10; gains over no text are paired by user, with 95 % bootstrap intervals.",
        "Sentences about tastes name a user's three favourite genres outside the query. Made by",
        f"`python benchmarks/zero_history.py`; machine: {machine}; commit {commit()}.",
        "",
        "| text | NDCG@10 | gain over no text | gain over another user's sentence |",
        "|---|---|---|---|",
    ]
    plain = np.array([averaged["no text"][user][NDCG] for user in users])
    others = np.array([averaged["tastes, unseen phrasings, of another user"][user][NDCG] for user in users])
    for label, of_user in averaged.items():
        values = np.array([of_user[user][NDCG] for user in users])
        gains = [gain(values, base, label) if np.any(values != base) else "" for base in (plain, others)]
        lines.append(f"| {label} | {values.mean():.4f} | {' | '.join(gains)} |")
    return "\n".join([*lines, ""])


def gain(values: np.ndarray, base: np.ndarray, label: str) -> str:
    """Return the mean difference and its interval."""
    low, high = bootstrap_intervals((values - base)[:, None], derive(0, "zero-history", label))
    return f"{(values - base).mean():+.4f} [{low[0]:+.4f}, {high[0]:+.4f}]"


if __name__ == "__main__":
    main()
