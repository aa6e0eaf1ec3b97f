"""A model in service: an immutable snapshot, so that requests finish with the model they began with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import polars as pl
import torch

from warmprompt.adaptation.engine import Engine
from warmprompt.adaptation.events import user_text
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.data.attributes import ItemAttributes
from warmprompt.errors import BadInputError
from warmprompt.runs.models import settings_of
from warmprompt.service.model.catalogue import (
    ItemReader,
    NewItem,
    view_of,
    with_items,
    with_spare_capacity,
)
from warmprompt.service.model.deterministic import (
    PaddedTextCache,
    adapt_reproducibly,
    linear_numbers,
    reproducible_sizes,
)
from warmprompt.service.model.numbers import Numbers, quantised
from warmprompt.types import ItemId

_RECIPE = "steady 2"  # part of the version of stored states


class Explainer(Protocol):
    """Explains the ranks of items for a user."""

    def explain(self, state: UserState, items: Sequence[ItemId]) -> Sequence[Mapping[str, object]]:
        """Return one explanation per item, made of JSON values; called in another thread than the model's."""

    def sentence(self, state: UserState, item: ItemId) -> Mapping[str, object]:
        """Return the sentence of one explanation, with its item; called in a thread of its own."""


ExplainerFactory = Callable[[Personaliser], Explainer]


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedModel:
    """A run in service.

    Attributes:
        version: Hash of everything that decides a state's bits: run, frozen weights, room, recipe, and on
            this machine the processor's kind, its threads and the version of torch.
        personaliser: Ranks and looks up, added items included.
        adapting_engine: Adapts; its catalogue has spare capacity.
        sizes: Rows that a pass may have.
        texts: Encoded user texts.
        reader: Encodes new items.
        start: The state of an unknown user.
        num_trained: Items of the run; added items follow them.
        room: Items that may be added.
        items_version: Of the store's list of items that is included here.
        explainer: None if the service gives no explanations.
        make_explainer: Makes one for another catalogue.
    """

    version: str
    personaliser: Personaliser
    adapting_engine: Engine
    sizes: tuple[int, ...]
    texts: PaddedTextCache
    reader: ItemReader
    start: UserState
    num_trained: int
    room: int
    items_version: int = 0
    explainer: Explainer | None = None
    make_explainer: ExplainerFactory | None = None

    @property
    def num_items(self) -> int:
        """Items that can be ranked."""
        return len(self.personaliser.items)

    def is_added(self, item: ItemId) -> bool:
        """Return whether an item was added after training."""
        return self.personaliser.index[item] >= self.num_trained


def make_model(
    personaliser: Personaliser,
    *,
    room: int,
    largest_batch: int,
    make_explainer: ExplainerFactory | None = None,
) -> ServedModel:
    """Put a run into service; runs a few passes, to find the reproducible batch sizes.

    Args:
        personaliser: From `open_run`.
        room: Items that may be added later.
        largest_batch: Users in a pass at most.
        make_explainer: Makes the explainer of rankings, or None.
    """
    engine = with_spare_capacity(personaliser.engine, room)
    sizes = (1,) if engine.linear else reproducible_sizes(engine, largest=largest_batch)
    texts = PaddedTextCache()
    # A single cache of texts, so that those of deleted users can be removed.
    view = replace(view_of(personaliser, engine), texts=texts)
    made_of = (_RECIPE, personaliser.model_hash, room, sizes[0], engine.linear, *_machine())
    version = hashlib.sha256(repr(made_of).encode()).hexdigest()
    start = _states(engine, texts, sizes, [Known()], view)[0]
    return ServedModel(
        version=version,
        personaliser=view,
        adapting_engine=engine,
        sizes=sizes,
        texts=texts,
        reader=ItemReader(settings_of(engine.trained).backbone.item_text, engine.trained.data),
        start=start,
        num_trained=len(view.items),
        room=room,
        explainer=make_explainer and make_explainer(view),
        make_explainer=make_explainer,
    )


def extended(model: ServedModel, items: Sequence[NewItem], *, items_version: int) -> ServedModel:
    """Return the model with further items; those that it has already are left as they are.

    Raises:
        BadInputError: The capacity is used up, or an id is of the wrong kind.
        MismatchError: The run was trained without item texts.
    """
    fresh = [item for item in items if item.id not in model.personaliser.index]
    if not fresh:
        return replace(model, items_version=items_version)
    check_capacity(model, fresh)
    engine = with_items(model.adapting_engine, fresh, model.reader.read(fresh), first=model.num_items)
    view = view_of(model.personaliser, engine)
    return replace(
        model,
        adapting_engine=engine,
        personaliser=view,
        items_version=items_version,
        explainer=model.make_explainer and model.make_explainer(view),
    )


def check_capacity(model: ServedModel, fresh: Sequence[NewItem]) -> None:
    """Refuse items that the model cannot add.

    Raises:
        BadInputError: The capacity is used up, or an id of the wrong kind.
    """
    left = model.room - (model.num_items - model.num_trained)
    if len(fresh) > left:
        remedy = f"There is room for {left} more; train again with the new items, or serve with more room."
        raise BadInputError(field="items", value=len(fresh), remedy=remedy)
    kind = type(model.personaliser.items[0])
    for item in fresh:
        if type(item.id) is not kind:
            written = "text" if kind is str else "a number"
            raise BadInputError(field="id of item", value=item.id, remedy=f"Write ids as {written}.")


def check_attributes(model: ServedModel, items: Sequence[NewItem]) -> None:
    """Refuse new items with attributes that the run's items do not have.

    Raises:
        UnknownNameError, BadInputError: See `ItemAttributes.check`.
    """
    known = model.personaliser.engine.trained.attributes or ItemAttributes(pl.DataFrame())
    for item in items:
        known.check(item.attributes, field=f"attributes of item {item.id!r}")


def with_hidden(model: ServedModel, *, hidden: Sequence[ItemId], shown: Sequence[ItemId]) -> ServedModel:
    """Return the model with items hidden and others shown again; unknown ids are ignored."""
    view = model.personaliser
    hide, show = ([item for item in items if item in view.index] for items in (hidden, shown))
    return replace(model, personaliser=view.hide(hide).show(show))


def adapt_all(model: ServedModel, users: Sequence[Known]) -> list[UserState]:
    """Adapt to checked users; a user's state is the same to the last bit in any batch.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    return _states(model.adapting_engine, model.texts, model.sizes, users, model.personaliser)


def known_text(known: Known) -> str:
    """Return the user's text, as the model encodes it."""
    return user_text(known.about, known.attributes or {})


def _states(
    engine: Engine, texts: PaddedTextCache, sizes: Sequence[int], users: Sequence[Known], view: Personaliser
) -> list[UserState]:
    supports = [view.support_of(known.events) for known in users]
    if engine.linear:
        adapted = [
            linear_numbers(engine, known_text(known), one) for known, one in zip(users, supports, strict=True)
        ]
    else:
        encoded = [texts.get(engine, known_text(known)) for known in users]
        adapted = adapt_reproducibly(engine, encoded, supports, sizes=sizes)
    return [_state(view, known, one) for known, one in zip(users, adapted, strict=True)]


def _state(view: Personaliser, known: Known, adapted: Numbers) -> UserState:
    numbers = quantised(*adapted)
    return UserState(
        events=tuple(known.events),
        about=known.about,
        attributes=known.attributes or {},
        vector_D=numbers.vector_D,
        offsets_PH=numbers.offsets_PH,
        model_hash=view.model_hash,
    )


def _machine() -> tuple[str | int, ...]:
    """Return the properties of this machine that floating-point sums depend on."""
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
