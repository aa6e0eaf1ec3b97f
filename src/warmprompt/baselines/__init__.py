"""The models to beat, each a thin adapter over a known method; they know no language model."""

from __future__ import annotations

from warmprompt.baselines.registry import BASELINES, SEARCH_SPACES, baseline

__all__ = ["BASELINES", "SEARCH_SPACES", "baseline"]
