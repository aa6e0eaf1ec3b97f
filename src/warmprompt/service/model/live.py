"""One model as it serves: an immutable snapshot that requests hold on to while another takes its place."""

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
    in_view,
    with_items,
    with_room,
)
from warmprompt.service.model.numbers import as_kept
from warmprompt.service.model.steady import Moved, TextShelf, adapt_steadily, steady_sizes
from warmprompt.types import ItemId

_RECIPE = "steady 2"


class Explainer(Protocol):
    """Says why items stand where they stand for a user."""

    def explain(self, state: UserState, items: Sequence[ItemId]) -> Sequence[Mapping[str, object]]:
        """Return one explanation per item, made of JSON values; called in a thread beside the model's."""


ExplainerFactory = Callable[[Personaliser], Explainer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A run in service.

    Attributes:
        version: Of everything that decides a state's bits: run, frozen weights, room, recipe, and on
            this machine the processor's kind, its threads and the version of torch.
        personaliser: Ranks and looks up; sees the items added since.
        steady: Adapts; its catalogue has room.
        sizes: Rows that a pass may have.
        texts: User texts read before.
        reader: Reads new items.
        start: Somebody of whom nothing is known.
        num_trained: Items of the run; those behind were added.
        room: Items that may be added.
        items_version: Of the store's list of items, as far as it is in here.
        explainer: None where the service explains nothing.
        make_explainer: Makes one for another catalogue.
    """

    version: str
    personaliser: Personaliser
    steady: Engine
    sizes: tuple[int, ...]
    texts: TextShelf
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
        """Tell whether an item came after training."""
        return self.personaliser.index[item] >= self.num_trained


def make_model(
    personaliser: Personaliser,
    *,
    room: int,
    largest_batch: int,
    make_explainer: ExplainerFactory | None = None,
) -> Model:
    """Put a run into service; takes a few passes of the model, to see which batch sizes are steady.

    Args:
        personaliser: From `open_run`.
        room: Items that may be added later.
        largest_batch: Users in a pass at most.
        make_explainer: Makes what explains rankings, or None.
    """
    steady = with_room(personaliser.engine, room)
    sizes = steady_sizes(steady, largest=largest_batch)
    texts = TextShelf()
    # One place for texts, from which deleted users' go.
    view = replace(in_view(personaliser, steady), texts=texts)
    made_of = (_RECIPE, personaliser.model_hash, room, sizes[0], *_machine())
    version = hashlib.sha256(repr(made_of).encode()).hexdigest()
    start = _states(steady, texts, sizes, [Known()], view)[0]
    return Model(
        version=version,
        personaliser=view,
        steady=steady,
        sizes=sizes,
        texts=texts,
        reader=ItemReader(settings_of(personaliser.engine.trained).backbone.item_text),
        start=start,
        num_trained=len(view.items),
        room=room,
        explainer=make_explainer and make_explainer(view),
        make_explainer=make_explainer,
    )


def extended(model: Model, items: Sequence[NewItem], *, items_version: int) -> Model:
    """Return the model with items more; those that it has already are left as they are.

    Raises:
        BadInputError: There is no room left, or an id is of the wrong kind.
        MismatchError: The run was trained without item texts.
    """
    fresh = [item for item in items if item.id not in model.personaliser.index]
    if not fresh:
        return replace(model, items_version=items_version)
    check_room(model, fresh)
    steady = with_items(model.steady, fresh, model.reader.read(fresh), place=model.num_items)
    view = in_view(model.personaliser, steady)
    return replace(
        model,
        steady=steady,
        personaliser=view,
        items_version=items_version,
        explainer=model.make_explainer and model.make_explainer(view),
    )


def check_room(model: Model, fresh: Sequence[NewItem]) -> None:
    """Refuse items that the model cannot take in.

    Raises:
        BadInputError: No room, or an id of the wrong kind.
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


def check_attributes(model: Model, items: Sequence[NewItem]) -> None:
    """Refuse new items with attributes that the run's items do not have.

    Raises:
        UnknownNameError, BadInputError: See `ItemAttributes.check`.
    """
    known = model.personaliser.engine.trained.attributes or ItemAttributes(pl.DataFrame())
    for item in items:
        known.check(item.attributes, field=f"attributes of item {item.id!r}")


def with_hidden(model: Model, *, hidden: Sequence[ItemId], shown: Sequence[ItemId]) -> Model:
    """Return the model with items hidden and others shown again; unknown ids are passed over."""
    view = model.personaliser
    hide, show = ([item for item in items if item in view.index] for items in (hidden, shown))
    return replace(model, personaliser=view.hide(hide).show(show))


def adapt_all(model: Model, users: Sequence[Known]) -> list[UserState]:
    """Adapt to checked users; a user's state is the same to the last bit in any company.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    return _states(model.steady, model.texts, model.sizes, users, model.personaliser)


def text_of(known: Known) -> str:
    """Return the user text that the model reads."""
    return user_text(known.about, known.attributes or {})


def _states(
    steady: Engine, texts: TextShelf, sizes: Sequence[int], users: Sequence[Known], view: Personaliser
) -> list[UserState]:
    moved = adapt_steadily(
        steady,
        [texts.get(steady, text_of(known)) for known in users],
        [view.support_of(known.events) for known in users],
        sizes=sizes,
    )
    return [_state(view, known, one) for known, one in zip(users, moved, strict=True)]


def _state(view: Personaliser, known: Known, moved: Moved) -> UserState:
    numbers = as_kept(moved.vector_D, moved.offsets_PH)
    return UserState(
        events=tuple(known.events),
        about=known.about,
        attributes=known.attributes or {},
        vector_D=numbers.vector_D,
        offsets_PH=numbers.offsets_PH,
        model_hash=view.model_hash,
    )


def _machine() -> tuple[str | int, ...]:
    """Return what else floating-point sums depend on."""
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
