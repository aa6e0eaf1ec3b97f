"""The product as one of the rankers: trained on the users it is handed, once, and kept.

This file and `assembly` are all that knows what the product is; everything else here meets rankers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.adaptation.opening import open_engine
from warmprompt.assembly.ranker import PromptRanker
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError
from warmprompt.evidence.item_controls import item_features
from warmprompt.evidence.plan import ModelSpec
from warmprompt.meta.learners import UNADAPTED
from warmprompt.runs.format import Trained
from warmprompt.runs.models import settings_of
from warmprompt.settings import Settings, as_measured, load_settings, with_preset
from warmprompt.training.new_items import map_by_other_texts
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import fit_run
from warmprompt.training.start import settings_that_matter
from warmprompt.types import Floats, Support

# By name, since rows are identified before any data set is opened. They are what the rule gives; Gift Cards,
# sparse by the rule, was measured with the defaults.
_PRESETS = {
    "ml-1m": "dense",
    "ml-100k": "dense-small",
    "amazon-beauty-2014": "sparse",
    "amazon-video-games-2018": "sparse",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """The product with some settings, before and after `fit`.

    Attributes:
        settings: The whole tree; `fit` sets the seed.
        folder: Where the trained model lies or will lie; an interrupted training goes on there.
        dataset: The whole data set.
        adapted: False leaves every prompt at its learned start.
        linear: True adapts in the linear response of the language model, without running it.
        new_items: Not empty places items without events by other features of their texts (`item_features`).
        progress: Called with the progress of training.
        ranker: The trained model; None before `fit`.
        train_s: Seconds that training took, then or earlier.
        train_memory_mb: Most memory that training held, MiB.
    """

    settings: Settings
    folder: Path
    dataset: Dataset
    adapted: bool = True
    linear: bool = False
    new_items: str = ""
    progress: ProgressCallback = no_progress
    ranker: PromptRanker | None = None
    train_s: float = 0.0
    train_memory_mb: float = 0.0

    @property
    def name(self) -> str:
        """The row label; a table has its own."""
        return "product" if self.adapted else "product, not adapted"

    @property
    def num_parameters(self) -> int:
        """Trained numbers; the frozen model's are not among them."""
        return self._fitted().num_parameters

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Product:
        """Train on exactly these users, or open the model that was; errors as `assembly.train_run`."""
        settings = replace(self.settings, train=replace(self.settings.train, seed=seed))
        trained = fit_run(settings, training, validation, self.folder, progress=self.progress)
        indexed = _placed_by(self.new_items, trained, training, validation) if self.new_items else trained
        ranker = PromptRanker(
            folder=self.folder,
            settings=settings,
            dataset=self.dataset,
            adapted=self.adapted,
            exact=False if self.linear else None,
            engine=open_engine(indexed, learner=None if self.adapted else UNADAPTED),
        )
        return replace(
            self,
            ranker=ranker,
            train_s=float(trained.manifest["train_s"]),
            train_memory_mb=float(trained.manifest["peak_memory_mb"]),
        )

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V)."""
        return self._fitted().score(supports)

    def _fitted(self) -> PromptRanker:
        if self.ranker is None:
            raise BadInputError(field="ranker", value=self.name, remedy="Call fit first.")
        return self.ranker


def _placed_by(features: str, trained: Trained, training: Dataset, validation: Dataset) -> Trained:
    """Return the same model with the map for new items learned over these features of the same texts."""
    settings = settings_of(trained)
    blocks = [
        item_features(one, training, seed=settings.train.seed).astype(np.float32)
        for one in features.split("+")
    ]
    return map_by_other_texts(trained, training, validation, blocks, settings=settings)


def product_settings(spec: ModelSpec, *, dataset: str, seed: int) -> Settings:
    """Return the settings tree of a row: defaults, the data set's preset, then the plan's assignments.

    Raises:
        UnknownNameError, BadInputError: An assignment that does not fit.
    """
    flags = {"data.name": dataset, "train.seed": seed}
    settings = load_settings(assignments=spec.assignments, flags=flags)
    if settings.train.preset != "auto":
        return settings
    return with_preset(settings, as_measured(_PRESETS.get(dataset, "default"), learner=settings.learner.name))


def describe_product(spec: ModelSpec, *, dataset: str, seed: int) -> dict[str, Any]:
    """Return all that decides what is learned and how it is used."""
    return {"product": settings_that_matter(product_settings(spec, dataset=dataset, seed=seed))}
