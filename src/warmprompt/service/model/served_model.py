"""A model in service: an immutable snapshot, so that requests finish with the model they began with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl
import torch

from warmprompt.adaptation.engine import Engine
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.data.attributes import ItemAttributes
from warmprompt.data.episodes import batch_supports
from warmprompt.errors import BadInputError
from warmprompt.meta.predict import adapt_linearly
from warmprompt.runs.models import settings_of
from warmprompt.service.model.catalogue import (
    ItemReader,
    NewItem,
    view_of,
    with_items,
    with_spare_capacity,
)
from warmprompt.service.model.numbers import quantised
from warmprompt.service.model.reading import Readings, UserTextReader
from warmprompt.types import ItemId

_RECIPE = "linear 3"  # part of the version of stored states
_NO_PROMPT = np.zeros((0, 0), dtype=np.float32)


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
        adapting_engine: Adapts, in the linear response; its catalogue has spare capacity.
        texts: Reads what users say of themselves, and write with events.
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
    texts: UserTextReader
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
    """Put a run into service, where all users adapt in the linear response.

    Args:
        personaliser: From `open_run`.
        room: Items that may be added later.
        largest_batch: Texts of users in a batch at most.
        make_explainer: Makes the explainer of rankings, or None.
    """
    engine = with_spare_capacity(replace(personaliser.engine, linear=True), room)
    view = view_of(personaliser, engine)
    made_of = (_RECIPE, personaliser.model_hash, room, *_machine())
    texts = UserTextReader(engine, largest=largest_batch)
    return ServedModel(
        version=hashlib.sha256(repr(made_of).encode()).hexdigest(),
        personaliser=view,
        adapting_engine=engine,
        texts=texts,
        reader=ItemReader(settings_of(engine.trained).backbone.item_text, engine.trained.data),
        start=_state(engine, view, texts, Known(), {}),
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


def adapt_user(model: ServedModel, known: Known, readings: Readings) -> UserState:
    """Adapt to one user's checked inputs: arithmetic alone, no pass of a frozen model.

    Args:
        model: In service.
        known: The inputs.
        readings: Of the user's text at least.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    return _state(model.adapting_engine, model.personaliser, model.texts, known, readings)


def adapt_all(model: ServedModel, users: Sequence[Known]) -> list[UserState]:
    """Read the users' texts together and adapt; a user's state is the same to the last bit in any batch.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    readings = model.texts.read(list(dict.fromkeys(known.text for known in users if known.text)))
    return [adapt_user(model, known, readings) for known in users]


@torch.no_grad()
def _state(
    engine: Engine, view: Personaliser, texts: UserTextReader, known: Known, readings: Readings
) -> UserState:
    """Adapt one user alone: no sum is taken over users, so none changes a bit of another."""
    users_1D = adapt_linearly(
        engine.catalogue,
        engine.learner,
        features_BT=texts.features(known.text, readings),
        events=batch_supports([view.support_of(known)]),
    )
    numbers = quantised(users_1D[0].cpu().numpy(), _NO_PROMPT)
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
