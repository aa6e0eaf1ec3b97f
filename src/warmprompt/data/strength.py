"""How much an event counts: counts and amounts on a log scale, where 1 is the ordinary event.

    strength(c) = log(1 + c) / log(1 + unit),  between 1/4 and 4

`unit` is the median weight of the data set's events. A strength never changes whether an event pulls or
pushes; it multiplies how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from warmprompt.types import Floats

# A thousand plays are not a thousand times the taste of one: unbounded, a few events would be all there is.
LEAST, MOST = 0.25, 4.0


def unit_of(weights: NDArray[np.floating]) -> float:
    """Return the median of the weights that are known, 1 where there is none."""
    known = weights[np.isfinite(weights)]
    return float(np.median(known)) if len(known) else 1.0


def strengths(weights: NDArray[np.floating], unit: float) -> Floats:
    """Return what each weight counts, in its shape; 1 where it is NaN.

    Args:
        weights: Counts or amounts, above 0, or NaN.
        unit: The weight that counts 1, above 0.
    """
    scaled = np.log1p(weights.astype(np.float64)) / np.log1p(unit)
    counted: Floats = np.where(np.isnan(scaled), 1.0, np.clip(scaled, LEAST, MOST)).astype(np.float32)
    return counted
