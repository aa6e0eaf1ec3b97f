"""warmprompt as a RecTools model: their cross-validation, metrics and tables run on it unchanged.

RecTools 0.19 needs an older NumPy than this package asks for. Both share an environment only where this
package was installed without its dependencies (docs/results/rectools.md tells how). B is users, V items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from rectools import Columns
from rectools.dataset import Dataset as RecToolsDataset
from rectools.dataset.features import DIRECT_FEATURE_VALUE, SparseFeatures
from rectools.models.base import ModelBase, ModelConfig

from warmprompt.adaptation.engine import score
from warmprompt.adaptation.events import MAX_EVENTS
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.assembly.fitting import fit
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.scoring.ranking import top_n
from warmprompt.training.progress import no_progress
from warmprompt.types import Event, Floats, ItemId

_BATCH = 512
# Whoever has no interactions has viewed nothing that could be filtered.
_NOT_VIEWED = False
# What a weight is, by whether weights are ratings.
_VALUE: dict[bool, Literal["rating", "weight"]] = {True: "rating", False: "weight"}
Triplet = tuple[NDArray[Any], NDArray[np.int64], Floats]
"""Targets, recommended items and scores, one row per recommendation."""


class WarmpromptModelConfig(ModelConfig):  # type: ignore[misc]
    """Arguments of `WarmpromptModel`, as RecTools keeps them."""

    learner: str | None = None
    preset: str | None = None
    backbone: str | None = None
    seed: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    ratings: bool = False


class WarmpromptModel(ModelBase[WarmpromptModelConfig]):  # type: ignore[misc]
    """A frozen language model that is personalised per user, behind RecTools' own contract.

    Users are adapted to when they are asked for, from the data set passed to `recommend`: a user who came
    after `fit`, with interactions there, is ranked for like anybody else. A user with features alone (warm)
    is ranked for by what they say, an unknown one (cold) by the learned start. Categorical features of items
    and users are their attributes, direct ones are written as numbers; an item's feature `title` is its
    title. As in `warmprompt.fit`, a fifth of the users is set aside from training.

    Args:
        learner: As in `warmprompt.fit`.
        preset: Likewise.
        backbone: Likewise.
        seed: Likewise.
        settings: Likewise, such as {"train.tangent_epochs": 20}, or nested as RecTools' `from_params` has it.
        ratings: Whether weights are ratings, of which low ones push away. Otherwise they are counts or
            amounts: the more, the stronger a pull.
        verbose: 1 prints what training does.
    """

    recommends_for_warm = True
    recommends_for_cold = True
    config_class = WarmpromptModelConfig

    def __init__(  # noqa: PLR0913 - what `warmprompt.fit` takes, by keyword
        self,
        *,
        learner: str | None = None,
        preset: str | None = None,
        backbone: str | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        ratings: bool = False,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose=verbose)
        self.learner, self.preset, self.backbone, self.seed = learner, preset, backbone, seed
        self.settings, self.ratings = _dotted(settings or {}), ratings
        self.model: Personaliser | None = None

    def _get_config(self) -> WarmpromptModelConfig:
        return WarmpromptModelConfig(
            cls=self.__class__,
            learner=self.learner,
            preset=self.preset,
            backbone=self.backbone,
            seed=self.seed,
            settings=self.settings,
            ratings=self.ratings,
            verbose=self.verbose,
        )

    @classmethod
    def _from_config(cls, config: WarmpromptModelConfig) -> WarmpromptModel:
        return cls(**config.model_dump(exclude={"cls"}))

    def _fit(self, dataset: RecToolsDataset) -> None:
        self.model = fit(
            dataset_from_rectools(dataset, ratings=self.ratings),
            learner=self.learner,
            preset=self.preset,
            backbone=self.backbone,
            seed=self.seed,
            settings=self.settings,
            progress=print if self.verbose else no_progress,
        )

    def _recommend_u2i(
        self,
        user_ids: NDArray[np.int64],
        dataset: RecToolsDataset,
        k: int,
        filter_viewed: bool,  # noqa: FBT001 - RecTools passes it by position
        sorted_item_ids_to_recommend: NDArray[np.int64] | None,
    ) -> Triplet:
        model = self._fitted()
        known = _known(user_ids, dataset, model, ratings=self.ratings)
        targets, items, scores = _ranked(
            model, known, dataset, k, filter_viewed, sorted_item_ids_to_recommend
        )
        return np.asarray(user_ids)[targets], items, scores

    def _recommend_u2i_warm(
        self,
        user_ids: NDArray[np.int64],
        dataset: RecToolsDataset,
        k: int,
        sorted_item_ids_to_recommend: NDArray[np.int64] | None,
    ) -> Triplet:
        return self._recommend_u2i(user_ids, dataset, k, _NOT_VIEWED, sorted_item_ids_to_recommend)

    def _recommend_cold(
        self,
        target_ids: NDArray[Any],
        dataset: RecToolsDataset,
        k: int,
        sorted_item_ids_to_recommend: NDArray[np.int64] | None,
    ) -> Triplet:
        allowed = sorted_item_ids_to_recommend
        _, items, scores = _ranked(self._fitted(), [Known()], dataset, k, _NOT_VIEWED, allowed)
        return (
            np.repeat(target_ids, len(items)),
            np.tile(items, len(target_ids)),
            np.tile(scores, len(target_ids)),
        )

    def _recommend_i2i(
        self,
        target_ids: NDArray[np.int64],
        dataset: RecToolsDataset,
        k: int,
        sorted_item_ids_to_recommend: NDArray[np.int64] | None,
    ) -> Triplet:
        model = self._fitted()
        ids = _item_ids(dataset)
        inside_V = _inside(model, dataset, sorted_item_ids_to_recommend)
        candidates = [item for item, inside in zip(model.items, inside_V, strict=True) if inside >= 0]
        position = {item: inside for item, inside in zip(model.items, inside_V, strict=True) if inside >= 0}
        rows: list[tuple[int, int, float]] = []
        for target in target_ids:
            item = ids[target]
            try:
                near = model.similar(item, k, candidates=candidates)
            except UnknownNameError:  # nothing is known of the item, or it came after the fit
                continue
            own = [(item, 1.0)] if item in position else []
            pairs = [*own, *zip(near.items, near.scores, strict=True)][:k]
            rows += [(int(target), position[one], value) for one, value in pairs]
        return (
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.int64),
            np.array([row[2] for row in rows], dtype=np.float32),
        )

    _recommend_i2i_warm = _recommend_i2i

    def _fitted(self) -> Personaliser:
        self._check_is_fitted()
        if self.model is None:
            raise BadInputError(field="model", value="WarmpromptModel", remedy="Call fit first.")
        return self.model


def dataset_from_rectools(dataset: RecToolsDataset, *, ratings: bool = False) -> Dataset:
    """Return a RecTools data set as ours, items and users with features alone included.

    Several interactions of a user with an item become one, as in RecTools' matrices: weights are added, of
    ratings the last one counts. A weight that is the same everywhere carries no information and is left
    out, and so is such a time.

    Args:
        dataset: RecTools' own.
        ratings: Whether weights are ratings.

    Raises:
        BadInputError: Features are dense, which are numbers without a meaning in words; or as
            `Dataset.from_frames`.
    """
    events = _events(dataset, ratings=ratings)
    said = [name for name in (_VALUE[ratings], Columns.Datetime) if events[name].n_unique() > 1]
    users_N, items_V = _plain(dataset.user_id_map.external_ids), _item_ids(dataset)
    events = events.select(
        pl.Series(Columns.User, users_N).gather(events[Columns.User]),
        pl.Series(Columns.Item, items_V).gather(events[Columns.Item]),
        *said,
    )
    items = feature_texts(dataset.item_features, field="item features")
    users = feature_texts(dataset.user_features, field="user features")
    return Dataset.from_frames(
        events,
        _item_frame(items_V, items) if items else None,
        _user_frame(users_N, users) if users else None,
        name="rectools",
    )


def _events(dataset: RecToolsDataset, *, ratings: bool) -> pl.DataFrame:
    """Return one row per user and item, internal ids, oldest first, with a `rating` or a `weight`."""
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    rows = pl.from_pandas(dataset.interactions.df[columns]).sort(Columns.Datetime, maintain_order=True)
    weight = pl.col(Columns.Weight)
    value = (weight.last() if ratings else weight.sum()).alias(_VALUE[ratings])
    grouped = rows.group_by(Columns.User, Columns.Item, maintain_order=True)
    return grouped.agg(value, pl.col(Columns.Datetime).last()).sort(Columns.Datetime, maintain_order=True)


def feature_texts(features: Any, *, field: str) -> list[dict[str, list[str]]]:
    """Return each row's features in words, by name: categories as they are called, numbers as written.

    Args:
        features: RecTools' sparse features, or None.
        field: What they are, for the error.

    Raises:
        BadInputError: Dense features.
    """
    if features is None:
        return []
    if not isinstance(features, SparseFeatures):
        raise BadInputError(
            field=field,
            value="dense",
            remedy="Construct the data set with sparse features: a category can be put in words.",
        )
    rows: list[dict[str, list[str]]] = [{} for _ in range(features.values.shape[0])]
    entries = features.values.tocoo()
    for row, column, value in zip(entries.row, entries.col, entries.data, strict=True):
        name, category = features.names[column]
        text = f"{value:g}" if category == DIRECT_FEATURE_VALUE else str(category)
        rows[row].setdefault(str(name), []).append(text)
    return rows


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name, also those that are nested by section."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = (
            {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else None
        )
        flat |= {name: value} if nested is None else nested
    return flat


def _item_frame(ids: Sequence[ItemId], rows: Sequence[Mapping[str, list[str]]]) -> pl.DataFrame:
    """Return one column per feature: lists where an item has several categories, else text."""
    names = sorted({name for row in rows for name in row})
    columns: dict[str, Any] = {Columns.Item: list(ids)}
    for name in names:
        values = [row.get(name) for row in rows]
        single = all(value is None or len(value) == 1 for value in values)
        columns[name] = [value and value[0] for value in values] if single else values
    return pl.DataFrame(columns)


def _user_frame(ids: Sequence[Any], rows: Sequence[Mapping[str, list[str]]]) -> pl.DataFrame:
    names = sorted({name for row in rows for name in row})
    texts = [_in_words(row) for row in rows]
    return pl.DataFrame(
        {Columns.User: list(ids)} | {name: [row.get(name) for row in texts] for name in names}
    )


def _in_words(row: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in row.items()}


def _known(
    user_ids: NDArray[np.int64], dataset: RecToolsDataset, model: Personaliser, *, ratings: bool
) -> list[Known]:
    """Return what the data set tells of some users: events with known items, oldest first, and features."""
    ids, value = _item_ids(dataset), _VALUE[ratings]
    counts = model.rating_scale is not None if ratings else model.weight_unit is not None
    rows = _events(dataset, ratings=ratings).filter(pl.col(Columns.User).is_in(user_ids.tolist()))
    events: dict[int, list[Event]] = {}
    for user, item, amount in rows.select(Columns.User, Columns.Item, value).iter_rows():
        if ids[item] in model.index:
            event = Event(item=ids[item], **{value: amount if counts else None})
            events.setdefault(user, []).append(event)
    features = feature_texts(dataset.user_features, field="user features")
    return [
        Known(
            events=events.get(user, [])[-MAX_EVENTS:],
            attributes=_in_words(features[user]) if user < len(features) else None,
        )
        for user in user_ids
    ]


def _ranked(
    model: Personaliser,
    users: Sequence[Known],
    dataset: RecToolsDataset,
    k: int,
    filter_viewed: bool,  # noqa: FBT001
    allowed: NDArray[np.int64] | None,
) -> Triplet:
    """Return positions in `users`, the data set's item ids and scores, best first."""
    inside_V = _inside(model, dataset, allowed)
    found: list[Triplet] = []
    for start in range(0, len(users), _BATCH):
        states = model.adapt_many(users[start : start + _BATCH])
        supports = [model.support_of(state) for state in states]
        vectors_BD = torch.tensor(np.stack([state.vector_D for state in states]))
        scores_BV = score(model.engine, vectors_BD, supports)
        viewed = [one.items_K for one in supports] if filter_viewed else None
        best_BK = top_n(scores_BV, k, excluded=viewed, candidates=inside_V >= 0)
        rows, indices = np.nonzero(best_BK >= 0)
        best = best_BK[rows, indices]
        found.append((rows + start, inside_V[best], scores_BV[rows, best]))
    targets, items, scores = zip(*found, strict=True)
    return np.concatenate(targets), np.concatenate(items), np.concatenate(scores)


def _inside(
    model: Personaliser, dataset: RecToolsDataset, allowed: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return the data set's internal id of each item of the model, (V,); -1 where it may not be ranked."""
    inside_V = np.full(len(model.items), -1, dtype=np.int64)
    may = None if allowed is None else set(allowed.tolist())
    for internal, item in enumerate(_item_ids(dataset)):
        if item in model.index and (may is None or internal in may):
            inside_V[model.index[item]] = internal
    return inside_V


def _item_ids(dataset: RecToolsDataset) -> list[ItemId]:
    return _plain(dataset.item_id_map.external_ids)


def _plain(ids: NDArray[Any]) -> list[Any]:
    """Return ids as our data sets have them: whole numbers as such, all else as text."""
    plain = ids.tolist()
    whole = [isinstance(one, int) or (isinstance(one, float) and one.is_integer()) for one in plain]
    return [int(one) for one in plain] if all(whole) else [str(one) for one in plain]
