"""The models to beat, each a thin adapter over a known method; `lora` alone knows a language model."""

from __future__ import annotations

from warmprompt.baselines.registry import BASELINES, SEARCH_SPACES, at_budget, baseline
from warmprompt.baselines.tuned import TUNED, tuned_settings
from warmprompt.baselines.tuning import Search, Trial, best_of, search_settings

__all__ = [
    "BASELINES",
    "SEARCH_SPACES",
    "TUNED",
    "Search",
    "Trial",
    "at_budget",
    "baseline",
    "best_of",
    "search_settings",
    "tuned_settings",
]
