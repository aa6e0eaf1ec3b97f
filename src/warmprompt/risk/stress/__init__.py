"""A stress test from tables to a report: who fails, who is vulnerable, who matters, and what it takes."""

from warmprompt.risk.stress.books import Books, books_from_tables
from warmprompt.risk.stress.models import MODELS, ContagionSettings
from warmprompt.risk.stress.report import save_stress_report, stress_report
from warmprompt.risk.stress.run import ReverseStress, StressTest, run_stress
from warmprompt.risk.stress.watch import Watch, save_watch_report, watch_banks

__all__ = [
    "MODELS",
    "Books",
    "ContagionSettings",
    "ReverseStress",
    "StressTest",
    "Watch",
    "books_from_tables",
    "run_stress",
    "save_stress_report",
    "save_watch_report",
    "stress_report",
    "watch_banks",
]
