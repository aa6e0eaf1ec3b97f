"""Few-shot risk profiles: each customer, terminal or bank is a task, its few known payments the support."""

from warmprompt.risk.profile.audit import Audit, Drift, audit_profiler, drift_of, marks_of, score_rows
from warmprompt.risk.profile.calibration import Calibration, Verdicts, calibrated_anew, fit_calibration
from warmprompt.risk.profile.drift import DriftReport, DriftWatch
from warmprompt.risk.profile.episodes import MAX_SUPPORT, Cuts, Episodes, build_episodes, draw_cuts
from warmprompt.risk.profile.fitting import FitReport, fit_profiler
from warmprompt.risk.profile.payments import (
    CONTEXT_NAMES,
    Payments,
    counterparty_context,
    make_payments,
    read_payment_table,
    write_payments,
)
from warmprompt.risk.profile.profiler import Profiler, RiskEstimate, make_profiler
from warmprompt.risk.profile.saving import load_profiler, read_marks, save_profiler
from warmprompt.risk.profile.state import EntityState, Payment
from warmprompt.risk.profile.trained import ProfileModel, ProfileSettings
from warmprompt.risk.profile.training import score_episodes, train_profile
from warmprompt.risk.profile.world import World, WorldSettings, make_world

__all__ = [
    "CONTEXT_NAMES",
    "MAX_SUPPORT",
    "Audit",
    "Calibration",
    "Cuts",
    "Drift",
    "DriftReport",
    "DriftWatch",
    "EntityState",
    "Episodes",
    "FitReport",
    "Payment",
    "Payments",
    "ProfileModel",
    "ProfileSettings",
    "Profiler",
    "RiskEstimate",
    "Verdicts",
    "World",
    "WorldSettings",
    "audit_profiler",
    "build_episodes",
    "calibrated_anew",
    "counterparty_context",
    "draw_cuts",
    "drift_of",
    "fit_calibration",
    "fit_profiler",
    "load_profiler",
    "make_payments",
    "make_profiler",
    "make_world",
    "marks_of",
    "read_marks",
    "read_payment_table",
    "save_profiler",
    "score_episodes",
    "score_rows",
    "train_profile",
    "write_payments",
]
