"""A run's catalogue with spare capacity for new items, which are scored by their text alone.

The adapting engine never changes its width: new items fill empty rows behind the trained items. So products
over the catalogue keep their shape, and a new item changes no bit in the states of users who have not rated
it.

V is trained items, C rows (V and the spare ones), X width of item text vectors, D factors, N new items.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from warmprompt.adaptation.engine import Engine, mixture_of
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.titles import title_index
from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.backbone.text import pool_texts
from warmprompt.errors import MismatchError
from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.initial import predicted_popularity
from warmprompt.meta.item_text import WordReader, read_item_texts
from warmprompt.meta.model import CatalogueData, make_catalogue
from warmprompt.types import Floats, ItemId

_PER_ITEM = ("items.learned", "items.support_offset", "items.bias")


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An item without training data.

    Attributes:
        id: Of the same kind, text or number, as the run's ids.
        title: Its name.
        text: More words about it, such as "Animation, Comedy".
        attributes: Used by filters, such as {"genres": ["Animation", "Comedy"], "year": "2026"}.
    """

    id: ItemId
    title: str
    text: str = ""
    attributes: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The line that the frozen text model encodes, in the same form as in training."""
        parts = (" ".join(part.split()).rstrip(".") for part in (self.title, self.text))
        return " ".join(f"{part}." for part in parts if part)


@torch.no_grad()
def with_spare_capacity(engine: Engine, room: int) -> Engine:
    """Return the engine with empty rows behind its items; they are cold and have no popularity."""
    trained = engine.trained
    constants = trained.data
    longer = replace(
        constants,
        item_text_VX=_longer(constants.item_text_VX, room),
        log_popularity_V=_longer(constants.log_popularity_V, room),
        warm_V=_longer(constants.warm_V, room),
    )
    params = _each_item(trained.params, lambda value: _longer(value, room))
    return _engine(engine, params, longer, trained.item_ids, trained.titles)


@torch.no_grad()
def with_items(engine: Engine, items: Sequence[NewItem], texts_NX: Floats, *, first: int) -> Engine:
    """Return the engine with items in its rows from `first` on; the given engine is not changed.

    Args:
        engine: From `with_spare_capacity`, with enough empty rows.
        items: New items.
        texts_NX: Their text vectors, of unit length.
        first: The first empty row.
    """
    constants = engine.trained.data
    rows = slice(first, first + len(items))
    texts_CX, popularity_C = constants.item_text_VX.clone(), constants.log_popularity_V.clone()
    texts_CX[rows] = torch.from_numpy(texts_NX).to(texts_CX)
    warm_C = constants.warm_V > 0
    trained = engine.trained
    first_NX = texts_NX[:, : len(trained.params["items.text_map"])]
    first_CX = texts_CX[:, : first_NX.shape[1]]
    known_IX, counts_I = (one[warm_C].cpu().numpy() for one in (first_CX, popularity_C))
    popularity_C[rows] = torch.from_numpy(predicted_popularity(known_IX, counts_I, first_NX)).to(popularity_C)
    filled = replace(constants, item_text_VX=texts_CX, log_popularity_V=popularity_C)
    attributes = trained.attributes and trained.attributes.extended([item.attributes for item in items])
    experts = trained.experts.with_items([item.words for item in items], first_NX)
    trained = replace(trained, experts=experts, attributes=attributes)
    ids, titles = (*trained.item_ids, *(i.id for i in items)), (*trained.titles, *(i.title for i in items))
    return _engine(replace(engine, trained=trained), trained.params, filled, ids, titles)


@torch.no_grad()
def view_of(personaliser: Personaliser, engine: Engine) -> Personaliser:
    """Return a personaliser over the filled rows of an engine with spare capacity; memory is shared."""
    trained = engine.trained
    filled = len(trained.item_ids)
    constants = trained.data
    seen = replace(
        constants,
        item_text_VX=constants.item_text_VX[:filled],
        log_popularity_V=constants.log_popularity_V[:filled],
        warm_V=constants.warm_V[:filled],
    )
    params = _each_item(trained.params, lambda value: value[:filled])
    return replace(
        personaliser,
        engine=_engine(engine, params, seen, trained.item_ids, trained.titles),
        index={item: index for index, item in enumerate(trained.item_ids)},
        lookup=title_index(trained.titles, seen.log_popularity_V.cpu().numpy()),
    )


class ItemReader:
    """The readers of the run's item texts; frozen models are loaded for the first new item.

    Args:
        readers: As in `backbone.item_text`; empty if the run was trained without item texts.
        data: The run's catalogue, which keeps what the reader "tfidf" knows.
    """

    def __init__(self, readers: Sequence[str], data: CatalogueData) -> None:
        self._readers = readers
        self._words = WordReader.of_data(data) if TfIdf.name in readers else None
        self._loaded: dict[str, Backbone] = {}
        self._lock = threading.Lock()

    def read(self, items: Sequence[NewItem]) -> Floats:
        """Return the items' text vectors, (N, X); each is encoded alone, so that no other changes its bits.

        Raises:
            MismatchError: The run was trained without item texts.
        """
        if not self._readers:
            raise MismatchError(
                field="items",
                value="a run without item texts",
                remedy="Train with backbone.item_text to add items by their text.",
            )
        with self._lock:
            return np.concatenate([self._read(item.words) for item in items])

    def _read(self, text: str) -> Floats:
        return np.hstack(read_item_texts(self._readers, [text], self._words, encode=self._encode))

    def _encode(self, texts: Sequence[str], name: str) -> Floats:
        if name not in self._loaded:
            self._loaded[name] = load_backbone(name)
        return pool_texts(texts, self._loaded[name])


def _engine(
    engine: Engine,
    params: dict[str, Tensor],
    data: CatalogueData,
    ids: tuple[ItemId, ...],
    titles: tuple[str, ...],
) -> Engine:
    trained = replace(engine.trained, params=params, data=data, item_ids=ids, titles=titles)
    catalogue = make_catalogue(params, data)
    return replace(engine, trained=trained, catalogue=catalogue, mixture=mixture_of(trained, catalogue))


def _each_item(params: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(value) if name in _PER_ITEM else value for name, value in params.items()}


def _longer(value: Tensor, room: int) -> Tensor:
    return torch.cat([value, value.new_zeros(room, *value.shape[1:])])
