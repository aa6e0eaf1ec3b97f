"""Train on a data set in memory and get the model, ready to rank."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from warmprompt.adaptation.opening import open_trained
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.data.dataset import Dataset
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError
from warmprompt.settings import load_settings
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import train_run


def fit(  # noqa: PLR0913 - what most callers set, by keyword
    dataset: Dataset | str | Path,
    *,
    out: Path | str | None = None,
    learner: str | None = None,
    preset: str | None = None,
    backbone: str | None = None,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> Personaliser:
    """Train a model and return it, ready to rank.

    Args:
        dataset: From `Dataset.from_frames`, or the name or folder of an imported one.
        out: The run's folder, where an interrupted training is gone on with. None trains in a temporary
            folder that is deleted; the model stays in memory, and `Personaliser.save` writes it.
        learner: Its name; the default learner when left out.
        preset: A preset of settings; selected by the data when left out.
        backbone: A known name, a model folder, or a Hugging Face id.
        seed: Of the split and of everything drawn.
        settings: Any other setting by dotted name, such as {"train.tangent_epochs": 20}. Environment
            variables count as on the command line.
        progress: Receives what begins, each step and each validation; `print` will do.
        overwrite: Replace a run of other settings in `out`.

    Raises:
        UnknownNameError: No such data set, learner, backbone or setting.
        BadInputError: A value of the wrong type or range; too few users; `out` holds something else.
        WarmpromptError: As `train_run`.
    """
    if not isinstance(dataset, Dataset):
        if not isinstance(dataset, str | Path):
            raise BadInputError(
                field="dataset",
                value=type(dataset).__name__,
                remedy="Give a Dataset: Dataset.from_frames makes one of DataFrames.",
            )
        dataset = open_dataset(ensure_dataset(dataset))
    if out is None and overwrite:
        raise BadInputError(
            field="overwrite", value=overwrite, remedy="Leave it out, or name a folder as out."
        )
    flags = {
        **(settings or {}),
        "data.name": dataset.name,
        "learner.name": learner,
        "train.preset": preset,
        "backbone.name": backbone,
        "train.seed": seed,
    }
    given = {name: value for name, value in flags.items() if value is not None or name in (settings or {})}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    tree = load_settings(environment=os.environ, flags=plain)
    with tempfile.TemporaryDirectory(prefix="warmprompt-") as scratch:
        folder = Path(scratch, "run") if out is None else Path(out)
        return open_trained(train_run(tree, folder, progress=progress, dataset=dataset, overwrite=overwrite))
