"""A run as a `Ranker`: what evaluation fits and scores.

B is users, V items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from warmprompt.adaptation.engine import Engine, adapt_batch, encode, score, users_linearly
from warmprompt.adaptation.events import user_text
from warmprompt.adaptation.opening import open_engine
from warmprompt.backbone.readout import InverseResponse
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.episodes import batch_supports
from warmprompt.data.splits import split_dataset
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, UnknownNameError
from warmprompt.meta.learners import UNADAPTED
from warmprompt.runs.format import Trained, load_trained
from warmprompt.settings import Settings
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import fit_run
from warmprompt.training.start import settings_that_matter, users_hash
from warmprompt.types import Floats, Support

_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptRanker:
    """The trained model of a run, or the same model trained on other users, as a `types.Ranker`.

    Attributes:
        folder: The run; models for other seeds or users are trained into folders inside it.
        settings: The run's, its seed among them.
        dataset: The whole data set, to tell the usual splits from other choices of users.
        adapted: False leaves every prompt at its learned start, to show what adaptation is worth.
        exact: As in `Personaliser.adapt`.
        progress: Receives when training is needed, and how it goes.
        on_fit: Receives the seed and the seconds that training took, then or earlier.
        engine: The fitted model; None before `fit`.
        responses: What was measured behind users' texts so far, by text.
    """

    folder: Path
    settings: Settings
    dataset: Dataset
    adapted: bool = True
    exact: bool | None = None
    progress: ProgressCallback = no_progress
    on_fit: Callable[[int, float], object] = lambda _seed, _train_s: None
    engine: Engine | None = None
    responses: dict[str, InverseResponse] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row label in tables."""
        name = "warmprompt" if self.adapted else "warmprompt, not adapted"
        way = {True: ", exact", False: ", linear", None: ""}[self.exact]
        return f"{name}{way}"

    @property
    def num_parameters(self) -> int:
        """Trained numbers; the frozen model's are not among them."""
        return sum(value.numel() for value in self._fitted().trained.params.values())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> PromptRanker:
        """Return the ranker of the model trained on exactly these users, training it where none lies there.

        Raises:
            WarmpromptError: As `train_run`.
        """
        settings = replace(self.settings, train=replace(self.settings.train, seed=seed))
        wanted = users_hash(training, validation)
        folder = self._folder_for(seed, wanted)
        trained = _load(folder, settings, wanted)
        if trained is None and folder == self.folder:
            raise MismatchError(
                field="run",
                value=folder,
                remedy="It was trained on other users than the data set now has; train again.",
            )
        if trained is None:
            self.progress(f"no model has been trained on these users: training one into {folder}")
            trained = fit_run(settings, training, validation, folder, progress=self.progress)
        self.on_fit(seed, float(trained.manifest["train_s"]))
        learner = None if self.adapted else UNADAPTED
        return replace(self, engine=open_engine(trained, learner=learner), responses={})

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item for each user, (B, V), 64 users in each pass of the model."""
        engine = self._fitted()
        parts = [
            self._score(engine, supports[start : start + _BATCH]) for start in range(0, len(supports), _BATCH)
        ]
        width = len(engine.trained.item_ids)
        return np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.float32)

    def _score(self, engine: Engine, supports: Sequence[Support]) -> Floats:
        texts = [user_text(support.about, support.attributes) for support in supports]
        if engine.linear if self.exact is None else not self.exact:
            return score(engine, users_linearly(engine, texts, supports), supports)
        fresh = encode(engine, texts)
        if any(len(support.items_K) for support in supports):
            fresh = replace(fresh, responses=tuple(map(self.responses.setdefault, texts, fresh.responses)))
        adapted = adapt_batch(engine, fresh, batch_supports(supports))
        return score(engine, adapted.users_BD, supports)

    def _folder_for(self, seed: int, wanted: str) -> Path:
        """Return the run for its own split, `seed-N` for another's; other users get a folder of their own."""
        split = split_dataset(self.dataset, seed=seed)
        views = (take_users(self.dataset, part) for part in (split.train, split.validation))
        if wanted != users_hash(*views):
            return self.folder / f"seed-{seed}-{wanted[:12]}"
        return self.folder if seed == self.settings.train.seed else self.folder / f"seed-{seed}"

    def _fitted(self) -> Engine:
        if self.engine is None:
            raise BadInputError(field="ranker", value=self.name, remedy="Call fit first.")
        return self.engine


def _load(folder: Path, settings: Settings, users: str) -> Trained | None:
    """Return the run in a folder if it was trained on these users with these settings."""
    try:
        trained = load_trained(folder, device=settings.backbone.device)
    except UnknownNameError:
        return None
    recorded = trained.manifest.get("identity")
    if not isinstance(recorded, dict):
        raise IntegrityError(field="manifest", value=folder, remedy="It names no identity; train again.")
    fits = recorded.get("users") == users and recorded.get("settings") == settings_that_matter(settings)
    return trained if fits else None
