"""Cold-user evaluation protocols, version 2: who trains, who is tested, on what, among which candidates.

The choices that a reader has to know, besides those in the names:

- Users are split 70/10/20 by `split_dataset`. `temporal` instead takes as its date the earliest moment at
  which at least 80 % of all users have appeared: users first seen after it are tested, earlier users
  train on their events up to the date, and 12.5 % of them (10 % of all) are set aside for validation.
- `random` fixes one permutation per user; its first 10 events are the query at every K. The time-ordered
  ones take the first K events as support and so have a query that moves with K: `next` the event after
  the support, `gap10` the one ten places later than that, `next10` (and `temporal`) the ten after it.
- Histories count as short where the median training user has under 20 events (Amazon). Then a query holds
  min(10, half the history) events, and a K is kept only while at least 500 tested users (or half of them,
  where that is fewer) have a case; the K left out are counted.
- The catalogue is every item with an event of a meta-training user. Query items outside it stay in the
  query and count as misses. `cold-item` draws its new items from the catalogue and removes them from all
  events that `fit` sees.
- `sampled100` ranks each positive alone against the same 100 items of the catalogue that the user has no
  event with, drawn per user, and averages over the positives. `query-only` ranks the query events among
  themselves, which is informative only where a lowest rating splits them. Both exist for comparison with
  papers that report them.

V is items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset, keep_events, popularity, take_users
from warmprompt.data.splits import UserSplit, split_dataset
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.cases import Case, Cut, Positions, cut_history, cut_new_items, is_short, make_case
from warmprompt.evaluation.sentences import SENTENCES, with_sentences
from warmprompt.rng import derive

VERSION = 2
PROTOCOLS = ("random", "next", "gap10", "next10", "temporal", "cold-item")
IN_TIME = ("next", "gap10", "next10", "temporal")
"""Protocols whose supports are a user's first events, in their order."""
READINGS = ("new-only", "mixed")
CANDIDATES = ("full", "sampled100", "query-only")
DEFAULT_KS = (0, 1, 3, 5, 10, 20)
NUM_NEGATIVES = 100
NEW_ITEM_SHARE = 0.1
TEMPORAL_TRAIN_SHARE = 0.8
MIN_USERS_SHORT = 500


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """Everything that decides the cases, apart from the data and the seed.

    Attributes:
        protocol: One of `PROTOCOLS`.
        ks: Support sizes.
        candidates: One of `CANDIDATES`; only "full" belongs in a main table.
        reading: For `cold-item`, one of `READINGS`.
        min_rating: Lowest rating that makes a query event a positive; None takes every event.
        attributes: Whether supports carry the user's attributes (at every K).
        sentences: One of `sentences.SENTENCES`: whether supports carry a sentence about the user's tastes.
        users: "test", or "validation" for choosing settings.
        max_training_users: Train on at most this many users, drawn at random, the same for every model.
    """

    protocol: str = "random"
    ks: tuple[int, ...] = DEFAULT_KS
    candidates: str = "full"
    reading: str = "new-only"
    min_rating: float | None = None
    attributes: bool = False
    sentences: str = ""
    users: str = "test"
    max_training_users: int | None = None

    def __post_init__(self) -> None:
        for field, value, known in (
            ("protocol", self.protocol, PROTOCOLS),
            ("candidates", self.candidates, CANDIDATES),
            ("reading", self.reading, READINGS),
            ("users", self.users, ("test", "validation")),
            ("sentences", self.sentences, SENTENCES),
        ):
            if value not in known:
                raise UnknownNameError(field=field, value=value, remedy=f"Choose one of {', '.join(known)}.")
        if not self.ks or min(self.ks) < 0 or len(set(self.ks)) < len(self.ks):
            raise BadInputError(field="k", value=self.ks, remedy="Give distinct support sizes of 0 or more.")
        if self.candidates == "query-only" and self.min_rating is None:
            raise BadInputError(
                field="min_rating",
                value=None,
                remedy="Give a lowest rating: among positives alone every metric of query-only is 1.",
            )
        if self.max_training_users is not None and self.max_training_users < 1:
            raise BadInputError(
                field="max_training_users", value=self.max_training_users, remedy="Give 1 or more."
            )

    @property
    def label(self) -> str:
        """How the protocol is called in rows and tables; names what is not the main setting."""
        parts = [f"{self.protocol}/{self.reading}" if self.protocol == "cold-item" else self.protocol]
        if self.attributes:
            parts.append("with attributes")
        if self.sentences:
            parts.append(f"with {self.sentences} sentences")
        if self.min_rating is not None:
            parts.append(f"rated {self.min_rating:g} or more")
        if self.max_training_users is not None:
            parts.append(f"from {self.max_training_users} training users")
        return " ".join(parts + ([] if self.candidates == "full" else [f"({self.candidates})"]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """What was left out, so that nothing is dropped in silence.

    Attributes:
        num_training_users, num_validation_users, num_tested_users: After the split.
        catalogue_size: Items with an event of a meta-training user.
        num_new_items: Items removed from training events (`cold-item`).
        users_left_out: Per K, tested users whose history is too short for it.
        users_without_positive: Per K, tested users none of whose query events reaches `min_rating`.
        ks_left_out: K with too few users left, where histories are short.
        query_items, query_misses: Per K, query items in all, and those outside the candidates.
        short_negatives: Per K, users with fewer than 100 items to draw (`sampled100`).
        without_sentence: Per K, users of whom no genre is overrepresented (`sentences`).
    """

    num_training_users: int
    num_validation_users: int
    num_tested_users: int
    catalogue_size: int
    num_new_items: int
    users_left_out: Mapping[int, int]
    users_without_positive: Mapping[int, int]
    ks_left_out: tuple[int, ...]
    query_items: Mapping[int, int]
    query_misses: Mapping[int, int]
    short_negatives: Mapping[int, int]
    without_sentence: Mapping[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationTask:
    """One seed's evaluation: what `fit` may see, and the cases of the tested users.

    Attributes:
        training, validation: Views for `Ranker.fit`; they hold no event of a tested user
            (unless the validation users themselves are tested).
        candidates_V: Items that may be ranked, before a user's support is taken out.
        cases: Per K, one case per tested user that has one, in user order.
        counts: What was left out.
    """

    settings: ProtocolSettings
    seed: int
    training: Dataset
    validation: Dataset
    candidates_V: NDArray[np.bool_]
    cases: Mapping[int, tuple[Case, ...]]
    counts: Counts


def build_task(dataset: Dataset, settings: ProtocolSettings, *, seed: int) -> EvaluationTask:
    """Return the training views and evaluation cases of one seed.

    Raises:
        BadInputError: `temporal` on data without times, `min_rating` on data without ratings, or
            nothing left to train or test on.
    """
    visible, split = _split(dataset, settings, seed)
    training, validation = take_users(visible, split.train), take_users(visible, split.validation)
    tested = split.test if settings.users == "test" else split.validation
    catalogue_V = popularity(training) > 0
    if len(tested) == 0 or not catalogue_V.any():
        raise BadInputError(
            field="data set", value=dataset.name, remedy="Give one with more users and events."
        )
    order = "next10" if settings.protocol == "temporal" else settings.protocol
    cut = Cut(order=order, short=is_short(training), seed=seed)
    new_V = np.zeros(dataset.num_items, dtype=bool)
    if settings.protocol == "cold-item":
        new_V = _draw_new_items(catalogue_V, seed)
        training, validation = _without(training, new_V), _without(validation, new_V)
    if settings.max_training_users is not None and settings.max_training_users < training.num_users:
        selected = derive(seed, "training-users").permutation(training.num_users)[
            : settings.max_training_users
        ]
        training = take_users(training, np.sort(selected))
    candidates_V = catalogue_V & new_V if settings.label.startswith("cold-item/new-only") else catalogue_V
    # Where validation users are tested under `temporal`, their later events stay unseen too.
    source = dataset if settings.users == "test" else visible
    cuts = _cut_all(source, tested, settings, cut, new_V)
    if settings.candidates == "sampled100":
        cuts = _with_negatives(source, tested, cuts, candidates_V, seed)
    if settings.sentences:
        cuts = replace(cuts, cases=with_sentences(source, cuts.cases, settings.sentences, seed=seed))
    return EvaluationTask(
        settings=settings,
        seed=seed,
        training=training,
        validation=validation,
        candidates_V=candidates_V,
        cases=cuts.cases,
        counts=Counts(
            num_training_users=training.num_users,
            num_validation_users=validation.num_users,
            num_tested_users=len(tested),
            catalogue_size=int(catalogue_V.sum()),
            num_new_items=int(new_V.sum()),
            users_left_out=cuts.unfit,
            users_without_positive=cuts.unliked,
            ks_left_out=tuple(k for k in settings.ks if k not in cuts.cases),
            query_items={k: sum(len(case.query) for case in of_k) for k, of_k in cuts.cases.items()},
            query_misses={k: _num_misses(of_k, candidates_V) for k, of_k in cuts.cases.items()},
            short_negatives={k: _num_short(of_k) for k, of_k in cuts.cases.items()},
            without_sentence={
                k: sum(case.support.about is None for case in of_k)
                for k, of_k in cuts.cases.items()
                if settings.sentences
            },
        ),
    )


def temporal_date(dataset: Dataset) -> int:
    """Return the date that parts `temporal`, in seconds since 1970.

    The earliest moment at which at least 80 % of the users with events have appeared.

    Raises:
        BadInputError: The data set has no times.
    """
    events = dataset.interactions
    if events.times_s is None:
        raise BadInputError(
            field="protocol", value="temporal", remedy="Choose another: this data set has no times."
        )
    return int(np.quantile(_first_seen(dataset), TEMPORAL_TRAIN_SHARE, method="inverted_cdf"))


def _split(dataset: Dataset, settings: ProtocolSettings, seed: int) -> tuple[Dataset, UserSplit]:
    """Return the events that `fit` may draw on, and who is who."""
    if settings.protocol != "temporal":
        return dataset, split_dataset(dataset, seed=seed)
    date = temporal_date(dataset)
    times_s = dataset.interactions.times_s
    assert times_s is not None  # temporal_date has refused otherwise
    has_events = np.flatnonzero(np.diff(dataset.interactions.offsets) > 0)
    late = _first_seen(dataset) > date
    earlier = derive(seed, "temporal-validation").permutation(has_events[~late])
    num_validation = round(len(earlier) / 8)
    split = UserSplit(
        train=np.sort(earlier[num_validation:]),
        validation=np.sort(earlier[:num_validation]),
        test=has_events[late],
    )
    return keep_events(dataset, times_s <= date), split


def _first_seen(dataset: Dataset) -> NDArray[np.int64]:
    """Return the earliest time of each user that has events, in user order."""
    events = dataset.interactions
    assert events.times_s is not None
    starts = events.offsets[:-1][np.diff(events.offsets) > 0]
    return np.minimum.reduceat(events.times_s, starts) if len(starts) else np.zeros(0, dtype=np.int64)


def _draw_new_items(catalogue_V: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    items = np.flatnonzero(catalogue_V)
    drawn = derive(seed, "new-items").permutation(items)[: round(NEW_ITEM_SHARE * len(items))]
    new_V = np.zeros_like(catalogue_V)
    new_V[drawn] = True
    return new_V


def _without(dataset: Dataset, gone_V: NDArray[np.bool_]) -> Dataset:
    return keep_events(dataset, ~gone_V[dataset.interactions.items])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cuts:
    """Per K: the cases, the users too short for it, the users without a positive."""

    cases: Mapping[int, tuple[Case, ...]]
    unfit: Mapping[int, int]
    unliked: Mapping[int, int]


def _cut_all(
    dataset: Dataset, users: NDArray[np.int64], settings: ProtocolSettings, cut: Cut, new_V: NDArray[np.bool_]
) -> _Cuts:
    cases: dict[int, list[Case]] = {k: [] for k in settings.ks}
    unfit, unliked = dict.fromkeys(settings.ks, 0), dict.fromkeys(settings.ks, 0)
    for user in map(int, users):
        positions = _cut_one(dataset, user, settings, cut, new_V)
        for k in settings.ks:
            if k not in positions:
                unfit[k] += 1
                continue
            case = make_case(
                dataset, user, positions[k], min_rating=settings.min_rating, attributes=settings.attributes
            )
            if case is None:
                unliked[k] += 1
            else:
                cases[k].append(case)
    fewest = min(MIN_USERS_SHORT, len(users) // 2) if cut.short else 0
    kept = [k for k in settings.ks if k == 0 or len(cases[k]) >= fewest]
    return _Cuts(
        cases={k: tuple(cases[k]) for k in kept},
        unfit={k: unfit[k] for k in kept},
        unliked={k: unliked[k] for k in kept},
    )


def _cut_one(
    dataset: Dataset, user: int, settings: ProtocolSettings, cut: Cut, new_V: NDArray[np.bool_]
) -> dict[int, tuple[Positions, Positions]]:
    if settings.protocol == "cold-item":
        return cut_new_items(dataset, user, settings.ks, cut, new_V, new_only=settings.reading == "new-only")
    return cut_history(dataset, user, settings.ks, cut)


def _with_negatives(
    dataset: Dataset, users: NDArray[np.int64], cuts: _Cuts, candidates_V: NDArray[np.bool_], seed: int
) -> _Cuts:
    drawn = {}
    for user in map(int, users):
        free_V = candidates_V.copy()
        free_V[dataset.interactions.items[dataset.interactions.events_of(user)]] = False
        rng = derive(seed, "negatives", dataset.user_ids[user])
        drawn[dataset.user_ids[user]] = rng.permutation(np.flatnonzero(free_V))[:NUM_NEGATIVES].astype(
            np.int32
        )
    cases = {
        k: tuple(replace(case, negatives=drawn[case.support.user]) for case in of_k)
        for k, of_k in cuts.cases.items()
    }
    return replace(cuts, cases=cases)


def _num_misses(cases: Sequence[Case], candidates_V: NDArray[np.bool_]) -> int:
    """Count query items that can never be found: no candidates, or repeated from the support."""
    return sum(
        int((~candidates_V[case.query] | np.isin(case.query, case.support.items_K)).sum()) for case in cases
    )


def _num_short(cases: Sequence[Case]) -> int:
    return sum(case.negatives is not None and len(case.negatives) < NUM_NEGATIVES for case in cases)
