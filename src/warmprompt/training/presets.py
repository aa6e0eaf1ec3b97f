"""Which preset a data set is trained with, and why, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from warmprompt.data.dataset import Dataset, popularity
from warmprompt.settings import PRESETS, Density, Settings, preset_for, with_preset


def density_of(dataset: Dataset) -> Density:
    """Count a data set's events per user and item; who and what has none does not count."""
    lengths = np.diff(dataset.interactions.offsets)
    lengths = lengths[lengths > 0]
    return Density(
        num_users=len(lengths),
        num_items=int(np.count_nonzero(popularity(dataset))),
        num_events=len(dataset.interactions),
        median_per_user=float(np.median(lengths)) if len(lengths) else 0.0,
    )


def settled(settings: Settings, dataset: Dataset) -> Settings:
    """Return the settings with the preset applied that they name, or that the data set's density chooses.

    A number of factors that nobody has set is cut to the number of items.
    """
    name: str = settings.train.preset
    if name == "auto":
        name = preset_for(density_of(dataset), learner=settings.learner.name)
    selected = with_preset(settings, name)
    most = max(1, dataset.num_items)
    if _is_open(settings, "model.num_factors") and selected.model.num_factors > most:
        return replace(selected, model=replace(selected.model, num_factors=most))
    return selected


def preset_line(asked: Settings, settings: Settings, dataset: Dataset) -> str:
    """Say which preset was taken, by which figures, and which of it settings that were given override.

    Args:
        asked: The settings before `settled`.
        settings: And after.
        dataset: All its users.
    """
    name, density = settings.train.preset, density_of(dataset)
    why = f"median {density.median_per_user:g} events per user, {density.per_item:.0f} per item"
    if asked.train.preset != "auto":
        why = f"as asked; {why}"
    others = "|".join(sorted(set(PRESETS) - {name}))
    line = f"preset: {name} ({why}); --preset {others} overrides"
    notes = [key for key, value in PRESETS[name].items() if _value(settings, key) != value]
    if "model.num_factors" in notes and _is_open(asked, "model.num_factors"):
        notes.remove("model.num_factors")
        line += f"; {settings.model.num_factors} factors, as many as items"
    return f"{line}; given otherwise: {', '.join(notes)}" if notes else line


def _is_open(settings: Settings, key: str) -> bool:
    return key not in settings.given and _value(settings, key) == _value(Settings(), key)


def _value(settings: Settings, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)
