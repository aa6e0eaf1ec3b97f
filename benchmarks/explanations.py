"""Whether explanations are true: delete what they name, and see whether the item falls.

    python benchmarks/explanations.py runs/demo --users 40 --out docs/results/explanations.md

Test users of the run's own split with ten events each and a sentence about the favourite genres of those
events; the first items of each user's ranking are explained. Deleted together are the events that the
sentence names, the strongest by leave-one-out effect, the nearest by cosine, and as many at random.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from warmprompt.adaptation.engine import score
from warmprompt.adaptation.explain import Attribution, EventEffect, attribute
from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.data.verbalise import GenreTable, describe_tastes, favourite_genres, genre_table
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.significance import bootstrap_intervals
from warmprompt.files import write_atomic
from warmprompt.generation.check import claims_of
from warmprompt.generation.explain import Explanation, explain, write_sentences
from warmprompt.generation.facts import Facts, catalogue_facts, reasons_of
from warmprompt.generation.lm import LanguageModel, open_language_model
from warmprompt.generation.sentences import sentences_for
from warmprompt.rng import derive
from warmprompt.runs.models import settings_of
from warmprompt.scoring.ranking import ranks
from warmprompt.training.run import open_data
from warmprompt.types import Event, ItemId

K = 10
RANDOM_DRAWS = 5
STUDIED_APART = 10
WAYS = ("named in the sentence", "strongest by leave-one-out", "nearest by cosine")


def main() -> None:
    """Read the options, explain and delete user by user, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=40)
    parser.add_argument("--items", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/explanations.md"))
    chosen = parser.parse_args()
    model = open_run(chosen.run)
    settings = settings_of(model.engine.trained)
    dataset = open_data(settings)
    task = build_task(dataset, ProtocolSettings(ks=(K,)), seed=settings.train.seed)
    cases = task.cases[K]
    drawn = derive(task.seed, "explained-users").permutation(len(cases))[: chosen.users]
    lm = open_language_model(model.engine)
    facts, table = catalogue_facts(model, dataset), genre_table(dataset)
    study = _Study(model, facts, lm)
    for count, position in enumerate(np.sort(drawn), start=1):
        study.add(known_of(model, cases[position], table), str(cases[position].support.user), chosen.items)
        if count % 5 == 0 or count == len(drawn):
            print(f"{count} users", flush=True)
            write_atomic(chosen.out, page(chosen, study).encode())


def known_of(model: Personaliser, case: Case, table: GenreTable) -> Known:
    """Return a test user's support, with a sentence made from its own genres."""
    genres = favourite_genres(case.support.items_K, table, top=2)
    rng = derive(0, "explained-about", str(case.support.user))
    return Known(
        events=[
            Event(item=model.items[item], rating=None if np.isnan(rating) else float(rating))
            for item, rating in zip(case.support.items_K, case.support.ratings_K, strict=True)
        ],
        about=describe_tastes(genres, rng=rng) if genres else None,
    )


class _Study:
    """What was measured of the users so far."""

    def __init__(self, model: Personaliser, facts: Facts, lm: LanguageModel) -> None:
        self.model, self.facts, self.lm = model, facts, lm
        self.drops: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
        self.skipped = dict.fromkeys(WAYS, 0)
        self.num_users = 0
        self.explained: list[Explanation] = []
        self.decoys: list[bool] = []
        self.unsteered: list[bool] = []
        self.seconds: dict[str, list[float]] = {}

    def add(self, known: Known, user: str, num_items: int) -> None:
        """Explain a user's first items, delete, and ask the model to choose between truth and decoys."""
        model, rng = self.model, derive(0, "deletion", user)
        state = model.adapt(known.events, about=known.about)
        items = model.rank(state, num_items).items
        self._timed("effects alone, one item", lambda: attribute(model, state, items[:1]))
        if self.num_users < STUDIED_APART:
            self._timed(
                "with sentence, one item",
                lambda: explain(model, state, items[:1], self.facts, writer=self.lm),
            )
        found = self._timed(
            f"with sentences, {num_items} items",
            lambda: explain(model, state, items, self.facts, writer=self.lm),
        )
        self.explained += found
        for way in WAYS:
            rows = [gap for one in found if (gap := self._gap(state, one, named(way, one), rng)) is not None]
            self.skipped[way] += len(found) - len(rows)
            if rows:
                self.drops[way].append(np.mean(rows, axis=0))
        attributions = attribute(model, state, items)
        if self.num_users < STUDIED_APART:
            choices = [sentences_for(one, self.facts, model.rating_scale) for one in attributions]
            plain = write_sentences(self.lm, model, state, choices, steered=False)
            self.unsteered += [
                one.how == "model" and one.sentence != other for one, other in zip(found, plain, strict=True)
            ]
        self._decoys(state, attributions, rng)
        self.num_users += 1

    def _gap(
        self, state: UserState, one: Explanation, events: Sequence[EventEffect], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Return (drop of score, drop of random, places lost, places lost of random); None without events."""
        if not events:
            return None
        gone = [{effect.event.item for effect in events}]
        known = [event.item for event in state.events]
        gone += [
            {known[position] for position in rng.permutation(len(known))[: len(events)]}
            for _ in range(RANDOM_DRAWS)
        ]
        users = [set(), *gone]
        states = self.model.adapt_many(
            [
                Known(events=[event for event in state.events if event.item not in out], about=state.about)
                for out in users
            ]
        )
        supports = [self.model.support_of(each) for each in states]
        scores = score(
            self.model.engine, torch.tensor(np.stack([each.vector_D for each in states])), supports
        )
        position = self.model.index[one.item]
        own = np.array([self.model.index[item] for item in known], dtype=np.int32)
        ranked = np.array(ranks(scores, [np.array([position])] * len(users), excluded=[own] * len(users)))[
            :, 0
        ]
        centred = scores[:, position] - scores.mean(axis=1)
        drops, lost = centred[0] - centred[1:], ranked[1:] - ranked[0]
        return np.array([drops[0], drops[1:].mean(), lost[0], lost[1:].mean()])

    def _decoys(
        self, state: UserState, attributions: Sequence[Attribution], rng: np.random.Generator
    ) -> None:
        """Offer as many false titles, words and genres as true ones, and check what the model says."""
        scale = self.model.rating_scale
        choices = []
        for one in attributions:
            reasons = reasons_of(one.events, one.words)
            strongest = max((each.effect for each in (*one.events, *one.words)), default=1.0)
            false_items = [
                self.model.items[position] for position in rng.permutation(len(self.model.items))[:3]
            ]
            false_events = [
                EventEffect(
                    event=Event(item=item, rating=None if scale is None else scale[1]),
                    title=self.model.title(item),
                    effect=2 * strongest,
                    rank_without=1,
                )
                for item in false_items[: max(1, len(reasons.events))]
            ]
            false = replace(one, events=tuple(false_events), words=())
            genres = {genre for own in self.facts.genres.values() for genre in own}
            absent = sorted(genres - set(self.facts.genres[one.item]))
            swapped = tuple(absent[position] for position in rng.permutation(len(absent))[:2])
            false_facts = replace(self.facts, genres={**self.facts.genres, one.item: swapped})
            choices.append(sentences_for(one, self.facts, scale) + sentences_for(false, false_facts, scale))
        written = write_sentences(self.lm, self.model, state, choices)
        self.decoys += [
            all(claim.holds for claim in claims_of(sentence, one, self.facts, scale))
            for sentence, one in zip(written, attributions, strict=True)
        ]

    def _timed(self, what: str, run):  # noqa: ANN001, ANN202
        begun_s = time.process_time()
        found = run()
        self.seconds.setdefault(what, []).append(time.process_time() - begun_s)
        return found


def named(way: str, one: Explanation) -> list[EventEffect]:
    """Return the events that a way of explaining names; never more than the reasons."""
    if way == WAYS[0]:
        return [effect for effect in one.events if f"“{effect.title}”" in one.sentence.partition(";")[0]]
    strongest = reasons_of(one.events, one.words).events
    if way == WAYS[1]:
        return list(strongest)
    near: dict[ItemId, float] = {each.item: each.similarity for each in one.nearest[: len(strongest)]}
    return [effect for effect in one.events if effect.event.item in near]


def page(chosen: argparse.Namespace, study: _Study) -> str:
    """Return the page."""
    trained = study.model.engine.trained
    manifest = trained.manifest
    scope = (
        f"{manifest['data']['name']}, {trained.learner}, split seed {manifest['split_seed']}: the first "
        f"{chosen.items} items of {study.num_users} test users (a seeded sample), each with {K} events and a "
        "sentence about the favourite genres of those events. Times are processor time of one thread."
    )
    deletion = (
        "The named events are deleted together and the user is adapted again; for comparison, as many events "
        f"of the same user at random, mean of {RANDOM_DRAWS} draws. Drop of the item's score, measured from "
        "the catalogue's mean, and places lost in the ranking. Users are the unit; differences are paired, "
        "with 95 % bootstrap intervals."
    )
    head = "deleted | users | items skipped | drop of score | at random | difference | places lost"
    return "\n".join(
        [
            "# Are the explanations true?",
            "",
            "Do the events that an explanation names move the item? Yes: deleting them lowers the item's",
            "score by more than deleting as many random events of the same user.",
            "",
            scope,
            f"Machine: {', '.join(f'{key} {value}' for key, value in describe_machine().items())}.",
            "Made by `python benchmarks/explanations.py`.",
            "",
            "## Deletion test",
            "",
            deletion,
            "",
            f"| {head} | at random | difference |",
            "|---" * 9 + "|",
            *deletion_rows(study),
            "",
            "## Sentences",
            "",
            *sentence_lines(study),
            "",
            "## Time",
            "",
            "| | p50, ms | p99, ms | calls |",
            "|---|---|---|---|",
            *time_rows(study),
            "",
            "## Examples",
            "",
            *(f"- {one.sentence}" for one in study.explained[:: max(1, len(study.explained) // 6)][:6]),
            "",
        ]
    )


def deletion_rows(study: _Study) -> Iterator[str]:
    """Yield a row per way of naming events."""
    for way, rows in study.drops.items():
        values = np.array(rows)
        gaps = np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 3]], axis=1)
        low, high = bootstrap_intervals(gaps, derive(0, "deletion-interval"))
        mean = values.mean(0)
        yield (
            f"| {way} | {len(values)} | {study.skipped[way]} | {mean[0]:.3f} | {mean[1]:.3f} "
            f"| {gaps[:, 0].mean():+.3f} [{low[0]:+.3f}, {high[0]:+.3f}] | {mean[2]:.1f} | {mean[3]:.1f} "
            f"| {gaps[:, 1].mean():+.1f} [{low[1]:+.1f}, {high[1]:+.1f}] |"
        )


def sentence_lines(study: _Study) -> Iterator[str]:
    """Yield what was counted of sentences."""
    num, by_model = len(study.explained), sum(one.how == "model" for one in study.explained)
    kinds = {one.sentence.partition("”")[2] for one in study.explained}
    yield (
        f"- {by_model} of {num} sentences of the language model ({by_model / num:.1%}) passed the check; the "
        "others came from the template."
    )
    yield (
        "- Offered as many sentences with false titles and genres as true ones, it wrote a true one in "
        f"{sum(study.decoys)} of {len(study.decoys)} cases ({np.mean(study.decoys):.1%}); the check refused "
        "the others."
    )
    yield (
        f"- {sum(study.unsteered)} of {len(study.unsteered)} sentences differ when the user's soft prompt is "
        "replaced by the reference prompt."
    )
    yield f"- {len(kinds)} different sentences, the titles of the explained items aside."


def time_rows(study: _Study) -> Iterator[str]:
    """Yield a row per kind of call."""
    for what, seconds in study.seconds.items():
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        yield f"| {what} | {p50:.0f} | {p99:.0f} | {len(seconds)} |"


if __name__ == "__main__":
    main()
