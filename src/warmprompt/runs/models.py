"""The settings of a run, and the frozen models that they name."""

from __future__ import annotations

from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.runs.format import Trained
from warmprompt.settings import Settings, from_mapping


def settings_of(trained: Trained) -> Settings:
    """Return the settings that a run was trained with."""
    return from_mapping(trained.manifest["settings"])


def open_backbone(settings: Settings, *, second_order: bool = False) -> Backbone:
    """Load the backbone that the settings name, fetching a known one on first use."""
    return load_backbone(
        settings.backbone.name,
        num_layers=settings.backbone.num_layers,
        dtype=settings.backbone.dtype,
        device=settings.backbone.device,
        attention="eager" if second_order else "sdpa",
    )


def open_encoder(settings: Settings) -> Backbone | None:
    """Load the sentence encoder that reads user texts, on the backbone's device; None where there is none."""
    name = settings.backbone.user_text
    return None if name is None else load_backbone(name, device=settings.backbone.device)
