"""Checks of a run's numbers when it is loaded: every tensor finite, and of the shape that the others imply.

A hash tells that a file is the one that was written. It does not tell that what was written makes sense, so
that a run with a NaN would load, and fail or rank nonsense at the first request.

The last letters of a tensor's name are its axes; each letter stands for one length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Axes of learned tensors, whose names have none: V items, X columns of item texts by all readers, F by the
# first one, K factors, T text features, P prompt tokens, E width of their embeddings, which may be another
# than the hidden width H.
_LEARNED = {
    "items.learned": "VK",
    "items.support_offset": "VK",
    "items.bias": "V",
    "items.text_map": "FK",
    "items.new_map": "XK",
    "items.new_popularity": "X",
    "prior.start": "K",
    "prior.text_head": "TK",
    "prompt.start": "PE",
}
_AXES = re.compile(r"_([A-Z]+)$")


def wrong_number(tensors: Mapping[str, Tensor]) -> str | None:
    """Return what is wrong with a run's tensors, named as `runs.format.tensors_of` names them, or None."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return f"{name} has NaN or infinite numbers"
    lengths: dict[str, tuple[int, str]] = {}
    for name, value in tensors.items():
        axes = _axes_of(name)
        if axes is None or not value.numel():  # what a run does not use is empty
            continue
        if value.ndim != len(axes):
            return f"{name} has {value.ndim} axes, not {len(axes)}"
        for axis, length in zip(axes, value.shape, strict=True):
            expected, where = lengths.setdefault(axis, (length, name))
            if length != expected:
                return f"{name} has {length} along {axis}, where {where} has {expected}"
    return None


def _axes_of(name: str) -> str | None:
    group, _, rest = name.partition(".")
    if group == "params":
        return _LEARNED.get(rest)
    found = _AXES.search(rest) if group in {"constants", "read"} else None
    # The columns of users' texts are others than those of items' texts.
    return found and found[1].replace("X", "Y" if group == "read" else "X").replace("PH", "PE")
