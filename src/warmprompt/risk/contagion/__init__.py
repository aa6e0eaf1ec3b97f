"""Clearing and contagion: who pays whom, who fails with whom, and what it takes.

Liabilities: row owes column. Exposures: row lends to column, so they are the transposed liabilities.
"""

from warmprompt.risk.contagion.clearing import Clearing
from warmprompt.risk.contagion.debtrank import DebtRank, linear_debtrank
from warmprompt.risk.contagion.fictitious import clear_by_fictitious_default
from warmprompt.risk.contagion.fire_sales import FireSales, fire_sales
from warmprompt.risk.contagion.fixed_point import clear_by_fixed_point, least_clearing
from warmprompt.risk.contagion.furfine import Cascade, furfine_cascade
from warmprompt.risk.contagion.impact import Impacts, clearing_impacts, debtrank_impacts, furfine_impacts
from warmprompt.risk.contagion.obligations import DefaultCosts, Obligations, obligations
from warmprompt.risk.contagion.programme import clear_by_linear_programme
from warmprompt.risk.contagion.reverse import (
    FailingSet,
    HarmTarget,
    SmallestScale,
    reverse_stress_scale,
    smallest_failing_set,
    smallest_scale,
)

__all__ = [
    "Cascade",
    "Clearing",
    "DebtRank",
    "DefaultCosts",
    "FailingSet",
    "FireSales",
    "HarmTarget",
    "Impacts",
    "Obligations",
    "SmallestScale",
    "clear_by_fictitious_default",
    "clear_by_fixed_point",
    "clear_by_linear_programme",
    "clearing_impacts",
    "debtrank_impacts",
    "fire_sales",
    "furfine_cascade",
    "furfine_impacts",
    "least_clearing",
    "linear_debtrank",
    "obligations",
    "reverse_stress_scale",
    "smallest_failing_set",
    "smallest_scale",
]
