"""What the language model names by itself, beside the ranking path: same users, same supports, same queries.

    python benchmarks/generation.py runs/demo --users 24 --exact-users 4 --out docs/results/generation.md

Test users of the run's own split, protocol random; a seeded sample of them, since a search costs seconds per
user. Seconds are processor time of this process. Writes generation.md and, beside it, generation.json with
every user's numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from warmprompt.adaptation.engine import score
from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.baselines.registry import baseline
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.metrics import METRICS, user_metrics
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.significance import bootstrap_intervals
from warmprompt.files import write_atomic
from warmprompt.generation.lm import open_language_model
from warmprompt.generation.search import Scoring
from warmprompt.generation.titles import TitleWriter, generate_titles, score_titles, title_writer
from warmprompt.rng import derive
from warmprompt.runs.models import settings_of
from warmprompt.scoring.ranking import top_n
from warmprompt.training.run import open_data
from warmprompt.types import Event

GAIN, PLAIN = Scoring(correction=1.0), Scoring(correction=0.0)
LISTED = 100
BATCH = 8


class Found(NamedTuple):
    """Metrics of each user, seconds per user, and the lists themselves."""

    values_UM: np.ndarray
    seconds: float
    lists: list[list[int]]


def main() -> None:
    """Read the options, measure every way of making a list, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--exact-users", type=int, default=4)
    parser.add_argument("--ks", default="0,1,5,10")
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("docs/results/generation.md"))
    chosen = parser.parse_args()
    chosen.ks = tuple(int(k) for k in chosen.ks.split(","))
    model = open_run(chosen.run)
    settings = settings_of(model.engine.trained)
    dataset = open_data(settings)
    task = build_task(dataset, ProtocolSettings(ks=chosen.ks), seed=settings.train.seed)
    users = sampled(task, chosen.ks, chosen.users)
    lm = open_language_model(model.engine)
    begun_s = time.process_time()
    writer = title_writer(model, lm)
    print(f"trie of {len(writer.trie)} nodes, {time.process_time() - begun_s:.0f} s", flush=True)
    popular = baseline("toppop")().fit(task.training, task.validation, seed=task.seed)
    found: dict[tuple[str, int], Found] = {}
    for k in chosen.ks:
        cases = [case for case in task.cases[k] if case.support.user in users]
        states, adapt_s = adapted(model, cases)
        vectors_BD = torch.tensor(np.stack([state.vector_D for state in states]))
        scores = score(model.engine, vectors_BD, [case.support for case in cases])
        found["TopPop", k] = from_scores(task, cases, popular.score([case.support for case in cases]), 0.0)
        found["ranking path", k] = from_scores(task, cases, scores, adapt_s)
        for label, scoring, width, steered in ways(chosen, k):
            made, spent_s = generated(writer, model, states, scoring, width, steered=steered)
            found[label, k] = from_lists(task, cases, made, spent_s)
            if label == "generated, gain":
                ranked = [
                    sorted(one, key=lambda item, row=row: -scores[row, item]) for row, one in enumerate(made)
                ]
                found["generated, then ranked", k] = from_lists(task, cases, ranked, spent_s + adapt_s)
            write(chosen, model, found)
        if k == chosen.ks[-1] and chosen.exact_users:
            few = slice(0, chosen.exact_users)
            for label, scores_BV, spent_s in exact(writer, model, states[few]):
                found[label, k] = from_scores(task, cases[few], scores_BV.astype(np.float32), spent_s)
            write(chosen, model, found)


def ways(chosen: argparse.Namespace, k: int) -> list[tuple[str, Scoring, int, bool]]:
    """Return (label, scoring, beams, steered) of what is searched for at one K."""
    every = [
        ("generated, gain", GAIN, chosen.width, True),
        ("generated, likelihood", PLAIN, chosen.width, True),
    ]
    if k < chosen.ks[-1]:
        return every
    return [
        *every,
        ("generated, gain, reference prompt", GAIN, chosen.width, False),
        (f"generated, gain, {3 * chosen.width} beams", GAIN, 3 * chosen.width, True),
    ]


def write(chosen: argparse.Namespace, model: Personaliser, found: dict[tuple[str, int], Found]) -> None:
    """Write the page and the numbers of what has been measured so far."""
    write_atomic(chosen.out, page(chosen, model, found).encode())
    rows = [
        {
            "way": label,
            "k": k,
            "seconds_per_user": one.seconds,
            "metrics": METRICS,
            "users": one.values_UM.tolist(),
        }
        for (label, k), one in found.items()
    ]
    write_atomic(chosen.out.with_suffix(".json"), json.dumps(rows).encode())


def sampled(task: EvaluationTask, ks: Sequence[int], num: int) -> set[object]:
    """Return a seeded sample of the test users that have a case at every K."""
    everywhere = sorted(
        set.intersection(*({case.support.user for case in task.cases[k]} for k in ks)), key=str
    )
    drawn = derive(task.seed, "generation-users").permutation(len(everywhere))[:num]
    return {everywhere[position] for position in drawn}


def adapted(model: Personaliser, cases: Sequence[Case]) -> tuple[list[UserState], float]:
    """Return the users' states and the seconds that one took on average, all in one batch."""
    known = [
        Known(
            events=[
                Event(item=model.items[item], rating=None if np.isnan(rating) else float(rating))
                for item, rating in zip(case.support.items_K, case.support.ratings_K, strict=True)
            ]
        )
        for case in cases
    ]
    begun_s = time.process_time()
    states = model.adapt_many(known)
    return states, (time.process_time() - begun_s) / len(cases)


def generated(
    writer: TitleWriter,
    model: Personaliser,
    states: Sequence[UserState],
    scoring: Scoring,
    width: int,
    *,
    steered: bool,
) -> tuple[list[list[int]], float]:
    """Return item indexes per user, best first, and seconds per user."""
    begun_s, made = time.process_time(), []
    for start in range(0, len(states), BATCH):
        some = states[start : start + BATCH]
        made += generate_titles(writer, model, some, LISTED, scoring=scoring, width=width, steered=steered)
    lists = [[model.index[item] for item in one.items] for one in made]
    return lists, (time.process_time() - begun_s) / len(states)


def exact(
    writer: TitleWriter, model: Personaliser, states: Sequence[UserState]
) -> list[tuple[str, np.ndarray, float]]:
    """Return every title's score by exact likelihood, with and without correction; one reading gives both."""
    begun_s, whole = time.process_time(), Scoring(correction=0.0, length_power=0.0)
    plain_BV = np.stack([score_titles(writer, model, [state], scoring=whole)[0] for state in states])
    spent_s = (time.process_time() - begun_s) / len(states)
    base_V, depth_V = np.zeros(len(model.items)), np.ones(len(model.items))
    for node, texts in enumerate(writer.trie.texts):
        for text in texts:
            items = list(writer.items[text])
            base_V[items], depth_V[items] = writer.base_X[node], writer.trie.depth_X[node]
    return [
        ("exact, gain", (plain_BV - base_V) / depth_V, spent_s),
        ("exact, likelihood", plain_BV / depth_V, spent_s),
    ]


def from_scores(task: EvaluationTask, cases: Sequence[Case], scores_BV: np.ndarray, seconds: float) -> Found:
    """Rank the candidates by score."""
    own = [case.support.items_K for case in cases]
    best = top_n(scores_BV, len(task.candidates_V), excluded=own, candidates=task.candidates_V)
    return from_lists(task, cases, [[int(item) for item in row if item >= 0] for row in best], seconds)


def from_lists(
    task: EvaluationTask, cases: Sequence[Case], lists: Sequence[Sequence[int]], seconds: float
) -> Found:
    """Measure lists; an item that is not listed is a miss, also for MRR."""
    allowed = [[item for item in one if task.candidates_V[item]] for one in lists]
    ranks = [
        np.array([one.index(item) + 1 if item in one else np.inf for item in case.query], dtype=float)
        for case, one in zip(cases, allowed, strict=True)
    ]
    return Found(values_UM=user_metrics(ranks), seconds=seconds, lists=[list(one[:10]) for one in allowed])


def page(chosen: argparse.Namespace, model: Personaliser, found: dict[tuple[str, int], Found]) -> str:
    """Return the tables: accuracy over K, and search against exact likelihood."""
    manifest = model.engine.trained.manifest
    scope = (
        f"{manifest['data']['name']}, {model.engine.trained.learner}, protocol `random`, split seed "
        f"{manifest['split_seed']}, no user text; a seeded sample of {chosen.users} test users "
        f"(of those with a case at every K), {chosen.width} beams. An item that is not in a list is a miss."
    )
    return "\n".join(
        [
            "# Titles that the language model names itself",
            "",
            "Can SmolLM2-135M recommend by naming titles itself? No: the titles that it names rank far below",
            "the ranking path and below popularity at every K.",
            "",
            scope,
            "Mean over users with 95 % bootstrap intervals; seconds are processor time of one thread.",
            f"Machine: {', '.join(f'{key} {value}' for key, value in describe_machine().items())}.",
            "Made by `python benchmarks/generation.py`.",
            "",
            *accuracy_rows(chosen, found),
            *(search_rows(chosen, model, found) if ("exact, gain", chosen.ks[-1]) in found else ()),
            "",
        ]
    )


def accuracy_rows(chosen: argparse.Namespace, found: dict[tuple[str, int], Found]) -> Iterator[str]:
    """Yield NDCG@10 and HR@10 of every way at every K, and its seconds at the largest K."""
    labels = [label for label in dict.fromkeys(label for label, _ in found) if not label.startswith("exact")]
    for metric in ("NDCG@10", "HR@10"):
        yield f"| {metric} | {' | '.join(f'K={k}' for k in chosen.ks)} | s per user |"
        yield "|---" * (len(chosen.ks) + 2) + "|"
        for label in labels:
            of_ks = [found.get((label, k)) for k in chosen.ks]
            cells = [cell(one, METRICS.index(metric)) if one else "" for one in of_ks]
            seconds = [one.seconds for one in of_ks if one][-1]
            yield f"| {label} | {' | '.join(cells)} | {seconds:.2f} |"
        yield ""


def search_rows(
    chosen: argparse.Namespace, model: Personaliser, found: dict[tuple[str, int], Found]
) -> Iterator[str]:
    """Yield how near searches come to the exact likelihoods."""
    last, few = chosen.ks[-1], chosen.exact_users
    yield (
        f"Search against the exact likelihood of all {len(model.items):,} titles, the first {few} users "
        f"of the sample, K = {last}; found: share of the exact ten best that the way has among its ten."
    )
    yield from ("", "| way | NDCG@10 | found | s per user |", "|---|---|---|---|")
    for label, rival in (
        ("exact, gain", "exact, gain"),
        ("generated, gain", "exact, gain"),
        (f"generated, gain, {3 * chosen.width} beams", "exact, gain"),
        ("exact, likelihood", "exact, likelihood"),
        ("generated, likelihood", "exact, likelihood"),
        ("ranking path", "exact, gain"),
    ):
        one, best = found[label, last], found[rival, last]
        shares = [len({*a} & {*b}) / 10 for a, b in zip(one.lists[:few], best.lists, strict=True)]
        ndcg = one.values_UM[:few, METRICS.index("NDCG@10")].mean()
        yield f"| {label} | {ndcg:.4f} | {np.mean(shares):.2f} | {one.seconds:.2f} |"


def cell(found: Found, metric: int) -> str:
    """Return a mean with its interval."""
    low, high = bootstrap_intervals(found.values_UM, derive(0, "generation"))
    return f"{found.values_UM[:, metric].mean():.4f} [{low[metric]:.4f}, {high[metric]:.4f}]"


if __name__ == "__main__":
    main()
