"""From a row of the plan to a ranker, and to what identifies the ranker.

B is users in a batch, V items.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.types import Floats, Ranker, Support

_EMBEDDED = "content-vectors"
_TITLES = "titles"
_PLAIN = (bool, int, float, str)


def describe_model(spec: ModelSpec, *, dataset: str, seed: int, protocol: str = "random") -> dict[str, Any]:
    """Return, as JSON values, everything about a model that decides its scores, apart from the data.

    Defaults count too: a default that changes makes another model.

    Raises:
        UnknownNameError, BadInputError: Settings that the model does not have.
    """
    if spec.baseline is None:
        about = describe_product(spec, dataset=dataset, seed=seed) | {"adapted": spec.adapted}
        about |= {"linear": True} if spec.linear else {}
    else:
        built = _factory(spec, dataset, protocol, _placeholder(spec))()
        about = {"baseline": spec.baseline, "settings": _plain_fields(built)}
    about |= {"new_items": spec.new_items} if spec.new_items else {}
    about |= {"shuffle": spec.shuffle} if spec.shuffle else {}
    return about | ({"without": spec.without} if spec.without else {})


def build_model(
    spec: ModelSpec,
    dataset: Dataset,
    wanted: Wanted,
    *,
    fits: Path,
    view: str,
    progress: ProgressCallback = no_progress,
) -> Callable[[], Ranker]:
    """Return a factory of the unfitted ranker.

    Args:
        spec: The row.
        dataset: The whole data set, for texts of items.
        wanted: A cell that it is for: names data set and seed.
        fits: Folder for trained models of the product.
        view: Names the choice of training events, as `jobs.view_of`.
        progress: Called with the progress of training.
    """
    build: Callable[[], Ranker]
    if spec.shuffle == _TITLES:
        dataset = with_texts_of_others(dataset, wanted.seed)
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
            progress=progress,
        )
        build = partial(_same, product)
    else:
        vectors = {"vectors_VX": embed_texts(item_texts(dataset))} if spec.baseline == _EMBEDDED else {}
        build = _factory(spec, wanted.dataset, wanted.protocol.protocol, vectors)
    for kind in (spec.without, spec.shuffle):
        if kind:
            build = partial(_built_with, build, kind)
    return build


def code_hash(ranker: Ranker) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of the file that holds a ranker's class, or ""."""
    file = inspect.getsourcefile(type(getattr(ranker, "inner", ranker)))
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


def current_code_hash(spec: ModelSpec, wanted: Wanted) -> str | None:
    """Return `code_hash` of a row as the code is now; None for the product, which no single file holds."""
    if spec.baseline is None:
        return None
    return code_hash(_factory(spec, wanted.dataset, wanted.protocol.protocol, _placeholder(spec))())


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """A model that is fitted on, or shown, something else than it would be.

    Attributes:
        inner: The model.
        label: What is changed, for the name of the row.
        view: Returns what the model is fitted on instead of a data set, given the seed.
        shown: Returns what it scores instead of supports.
    """

    inner: Ranker
    label: str
    view: Callable[[Dataset, int], Dataset]
    shown: Callable[[Sequence[Support]], Sequence[Support]]

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"{self.inner.name}, {self.label}"

    @property
    def num_parameters(self) -> int:
        """The model's."""
        return self.inner.num_parameters

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Control:
        """Fit the model on the changed views."""
        views = (self.view(one, seed) for one in (training, validation))
        return replace(self, inner=self.inner.fit(*views, seed=seed))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V), from the changed supports."""
        return self.inner.score(self.shown(supports))


def controlled(inner: Ranker, kind: str) -> Control:
    """Return a model under a control.

    Args:
        inner: The model.
        kind: "supports" or "attributes": every user of a batch is shown with the next one's, so that what a
            model gains from them is gone; a user who is alone in a batch keeps its own. "titles": every item
            has the texts of another item, in training too. "ratings": nobody's are seen, in training too.
            "text": attributes and sentences of tested users are hidden.
    """
    label, view, shown = _CHANGES[kind]
    return Control(inner=inner, label=label, view=view, shown=shown)


def with_texts_of_others(dataset: Dataset, seed: int) -> Dataset:
    """Return the same events of the same items, the rows of `items` in another order."""
    order_V = derive(seed, "texts of other items").permutation(dataset.num_items)
    return replace(dataset, items=dataset.items[order_V])


def _as_it_is(dataset: Dataset, _: int) -> Dataset:
    return dataset


def _without_ratings(dataset: Dataset, _: int) -> Dataset:
    return replace(dataset, interactions=replace(dataset.interactions, ratings=None))


def _unchanged(supports: Sequence[Support]) -> Sequence[Support]:
    return supports


def _next_supports(supports: Sequence[Support]) -> Sequence[Support]:
    return [
        replace(other, user=own.user, attributes=own.attributes, about=own.about)
        for own, other in zip(supports, _rotated(supports), strict=True)
    ]


def _next_attributes(supports: Sequence[Support]) -> Sequence[Support]:
    return [
        replace(own, attributes=other.attributes, about=other.about)
        for own, other in zip(supports, _rotated(supports), strict=True)
    ]


def _rotated(supports: Sequence[Support]) -> Sequence[Support]:
    return [*supports[1:], *supports[:1]]


def _unrated(supports: Sequence[Support]) -> Sequence[Support]:
    return [replace(one, ratings_K=np.full_like(one.ratings_K, np.nan)) for one in supports]


def _without_text(supports: Sequence[Support]) -> Sequence[Support]:
    return [replace(one, attributes={}, about=None) for one in supports]


_CHANGES: Mapping[
    str,
    tuple[str, Callable[[Dataset, int], Dataset], Callable[[Sequence[Support]], Sequence[Support]]],
] = {
    "supports": ("supports of another user", _as_it_is, _next_supports),
    "attributes": ("attributes of another user", _as_it_is, _next_attributes),
    _TITLES: ("texts of other items", with_texts_of_others, _unchanged),
    "ratings": ("no ratings", _without_ratings, _unrated),
    "text": ("no text", _as_it_is, _without_text),
}


def _built_with(build: Callable[[], Ranker], kind: str) -> Ranker:
    return controlled(build(), kind)


def _same(ranker: Ranker) -> Ranker:
    return ranker


def _factory(spec: ModelSpec, dataset: str, protocol: str, given: Mapping[str, Any]) -> Callable[[], Ranker]:
    assert spec.baseline is not None
    if spec.baseline in ITEM_CONTROLS:
        factors = {**tuned_settings(dataset, "ials"), **spec.settings}
        return partial(ITEM_CONTROLS[spec.baseline], **factors)
    if spec.baseline in CONTROLS:
        return partial(CONTROLS[spec.baseline], **spec.settings)
    tuned = tuned_settings(dataset, spec.baseline, protocol)
    return baseline(spec.baseline, **{**tuned, **spec.settings, **given})


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
