"""From a row of the plan to a ranker, and to what identifies the ranker.

B is users in a batch, V items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.assembly.watching import Watch, ignore
from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.registry import baseline
from warmprompt.baselines.tuned import tuned_settings
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.evidence.cells import Wanted
from warmprompt.evidence.controls import CONTROLS, ITEM_CONTROLS
from warmprompt.evidence.plan import ModelSpec, slug
from warmprompt.evidence.product import Product, describe_product, product_settings
from warmprompt.rng import derive
from warmprompt.types import Floats, Ranker, Support

_EMBEDDED = "content-vectors"
_TITLES = "titles"
_PLAIN = (bool, int, float, str)


def describe_model(spec: ModelSpec, *, dataset: str, seed: int) -> dict[str, Any]:
    """Return, as JSON values, everything about a model that decides its scores, apart from the data.

    Defaults count too: a default that changes makes another model.

    Raises:
        UnknownNameError, BadInputError: Settings that the model does not have.
    """
    if spec.baseline is None:
        about = describe_product(spec, dataset=dataset, seed=seed) | {"adapted": spec.adapted}
        about |= {"linear": True} if spec.linear else {}
    else:
        built = _factory(spec, dataset, _placeholder(spec))()
        about = {"baseline": spec.baseline, "settings": _plain_fields(built)}
    about |= {"new_items": spec.new_items} if spec.new_items else {}
    about |= {"shuffle": spec.shuffle} if spec.shuffle else {}
    return about | ({"without": spec.without} if spec.without else {})


def build_model(
    spec: ModelSpec, dataset: Dataset, wanted: Wanted, *, fits: Path, view: str, watch: Watch = ignore
) -> Callable[[], Ranker]:
    """Return a factory of the unfitted ranker.

    Args:
        spec: The row.
        dataset: The whole data set, for texts of items.
        wanted: A cell that it is for: names data set and seed.
        fits: Folder for trained models of the product.
        view: Names the choice of training events, as `jobs.view_of`.
        watch: Called with the progress of training.
    """
    build: Callable[[], Ranker]
    if spec.shuffle == _TITLES:
        dataset = with_texts_of_others(dataset, seed=wanted.seed)
    if spec.baseline is None:
        settings = product_settings(spec, dataset=wanted.dataset, seed=wanted.seed)
        about = json.dumps(describe_product(spec, dataset=wanted.dataset, seed=wanted.seed), sort_keys=True)
        own = hashlib.sha256(f"{dataset.content_hash} {about}".encode()).hexdigest()[:12]
        changed = [view, *(["no-ratings"] if spec.without == "ratings" else [])]
        seen = "-".join([*changed, *(["shuffled-titles"] if spec.shuffle == _TITLES else [])])
        product = Product(
            settings=settings,
            folder=fits / slug(wanted.dataset) / f"{own}-seed-{wanted.seed}-{seen}",
            dataset=dataset,
            adapted=spec.adapted,
            linear=spec.linear,
            new_items=spec.new_items,
            watch=watch,
        )
        build = partial(_same, product)
    else:
        vectors = {"vectors_VX": embed_texts(item_texts(dataset))} if spec.baseline == _EMBEDDED else {}
        build = _factory(spec, wanted.dataset, vectors)
    if spec.without == "ratings":
        build = partial(_without_ratings, build)
    if spec.without == "text":
        build = partial(_without_text, build)
    if spec.shuffle == _TITLES:
        return lambda: OtherTexts(inner=build())
    if spec.shuffle:
        return lambda: Shuffled(inner=build(), what=spec.shuffle)
    return build


@dataclass(frozen=True, kw_only=True, eq=False)
class _Control:
    """A model that is shown something else than it would be."""

    inner: Ranker

    @property
    def num_parameters(self) -> int:
        """The model's."""
        return self.inner.num_parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Shuffled(_Control):
    """A control: every user of a batch is shown with the next one's events, or attributes.

    What a model gains from them must then be gone. A user who is alone in a batch keeps its own.

    Attributes:
        inner: The model.
        what: "supports" or "attributes".
    """

    what: str

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"{self.inner.name}, {self.what} of another user"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Shuffled:
        """Fit the model as ever."""
        return replace(self, inner=self.inner.fit(training, validation, seed=seed))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V), from another user's support."""
        others = [*supports[1:], *supports[:1]]
        return self.inner.score(
            [self._mixed(own, other) for own, other in zip(supports, others, strict=True)]
        )

    def _mixed(self, own: Support, other: Support) -> Support:
        if self.what == "attributes":
            return replace(own, attributes=other.attributes, about=other.about)
        return replace(other, user=own.user, attributes=own.attributes, about=own.about)


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherTexts(_Control):
    """A control: every item has the title and the attributes of another item, in training too."""

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"{self.inner.name}, texts of other items"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> OtherTexts:
        """Fit the model on the same events of items with other texts."""
        moved = (with_texts_of_others(view, seed=seed) for view in (training, validation))
        return replace(self, inner=self.inner.fit(*moved, seed=seed))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V)."""
        return self.inner.score(supports)


def with_texts_of_others(dataset: Dataset, *, seed: int) -> Dataset:
    """Return the same events of the same items, the rows of `items` in another order."""
    order_V = derive(seed, "texts of other items").permutation(dataset.num_items)
    return replace(dataset, items=dataset.items[order_V])


@dataclass(frozen=True, kw_only=True, eq=False)
class WithoutRatings(_Control):
    """A control: nobody's ratings are seen, in training nor in supports."""

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"{self.inner.name}, no ratings"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> WithoutRatings:
        """Fit the model on the same events without their ratings."""
        bare = (
            replace(view, interactions=replace(view.interactions, ratings=None))
            for view in (training, validation)
        )
        return replace(self, inner=self.inner.fit(*bare, seed=seed))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V), by which items alone."""
        return self.inner.score(
            [replace(one, ratings_K=np.full_like(one.ratings_K, np.nan)) for one in supports]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WithoutText(_Control):
    """A control: nothing is said of the tested users, whatever texts the model was trained with."""

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"{self.inner.name}, no text"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> WithoutText:
        """Fit the model as ever."""
        return replace(self, inner=self.inner.fit(training, validation, seed=seed))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V), by events alone."""
        return self.inner.score([replace(one, attributes={}, about=None) for one in supports])


def _without_text(build: Callable[[], Ranker]) -> Ranker:
    return WithoutText(inner=build())


def _without_ratings(build: Callable[[], Ranker]) -> Ranker:
    return WithoutRatings(inner=build())


def _same(ranker: Ranker) -> Ranker:
    return ranker


def _factory(spec: ModelSpec, dataset: str, given: Mapping[str, Any]) -> Callable[[], Ranker]:
    assert spec.baseline is not None
    if spec.baseline in ITEM_CONTROLS:
        factors = {**tuned_settings(dataset, "ials"), **spec.settings}
        return partial(ITEM_CONTROLS[spec.baseline], **factors)
    if spec.baseline in CONTROLS:
        return partial(CONTROLS[spec.baseline], **spec.settings)
    return baseline(spec.baseline, **{**tuned_settings(dataset, spec.baseline), **spec.settings, **given})


def _placeholder(spec: ModelSpec) -> dict[str, Any]:
    return {"vectors_VX": np.zeros((1, 1), dtype=np.float32)} if spec.baseline == _EMBEDDED else {}


def _plain_fields(model: Any) -> dict[str, Any]:
    """Return the fields of an unfitted dataclass that hold plain values, and its members' likewise."""
    if not is_dataclass(model):
        return {"name": type(model).__name__}
    found: dict[str, Any] = {}
    for one in fields(model):
        value = getattr(model, one.name)
        if isinstance(value, _PLAIN):
            found[one.name] = value
        elif isinstance(value, Mapping):
            found[one.name] = {str(key): inner for key, inner in value.items()}
        elif isinstance(value, tuple) and value and callable(value[0]):
            built = [member() for member in value]
            found[one.name] = {member.name: _plain_fields(member) for member in built}
    return found
