"""What identifies a model, in words short enough for a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmprompt.settings import Settings, to_mapping

_NAMES = ("label",)


def described(about: Mapping[str, Any]) -> str:
    """Return a model's settings; of the product, those that differ from the defaults."""
    parts = []
    if "baseline" in about:
        parts.append(fields_text(about["settings"]) or "none")
    else:
        defaults = to_mapping(Settings())
        changed = [
            f"{section}.{key} {_value(value)}"
            for section, values in about["product"].items()
            for key, value in values.items()
            if (section, key) != ("train", "seed") and defaults.get(section, {}).get(key) != value
        ]
        parts.append(", ".join(changed) or "the defaults")
        if not about["adapted"]:
            parts.append("prompts left at the learned start")
        if about.get("new_items"):
            parts.append(f"new items placed by {about['new_items']} features")
        if about.get("linear"):
            parts.append("adapted in the linear response, the language model not run")
    if about.get("shuffle"):
        whose = "another item, in training too" if about["shuffle"] == "titles" else "another user"
        parts.append(f"{about['shuffle']} of {whose}")
    if about.get("without") == "text":
        parts.append("texts of tested users hidden")
    elif about.get("without"):
        parts.append(f"{about['without']} hidden, in training too")
    return "; ".join(parts)


def fields_text(settings: Mapping[str, Any]) -> str:
    """Return settings by name, members of a blend in brackets."""
    words = []
    for name, value in settings.items():
        if name in _NAMES:
            continue
        if isinstance(value, Mapping):
            members = [f"{member} ({_inside(own)})" if own else member for member, own in value.items()]
            words.append(" + ".join(members))
        else:
            words.append(f"{name} {_value(value)}")
    return ", ".join(words)


def _inside(own: object) -> str:
    return fields_text(own) if isinstance(own, Mapping) else _value(own)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
