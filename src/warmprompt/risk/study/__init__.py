"""What earlier detection of a troubled bank is worth, on synthetic days of payments."""

from warmprompt.risk.study.incident import IncidentSettings
from warmprompt.risk.study.loss import FailureSettings, Loss
from warmprompt.risk.study.plan import Policy, Run, Seen, Study, StudySettings
from warmprompt.risk.study.rates import Profiles, RatePrior, learn_prior, plain_means, profile_banks
from warmprompt.risk.study.report import study_json, study_report
from warmprompt.risk.study.response import ResponseSettings
from warmprompt.risk.study.study import run_study
from warmprompt.risk.study.summary import Contrast, Estimate, Line, StudySummary, summarise_study
from warmprompt.risk.study.watch import BankWatch, alarm_at, observe, open_watch
from warmprompt.risk.study.watchers import TrainedWatchers, TrainingSettings, train_watchers
from warmprompt.risk.study.world import BankWorld, BankWorldSettings, draw_day, draw_days, make_bank_world

__all__ = [
    "BankWatch",
    "BankWorld",
    "BankWorldSettings",
    "Contrast",
    "Estimate",
    "FailureSettings",
    "IncidentSettings",
    "Line",
    "Loss",
    "Policy",
    "Profiles",
    "RatePrior",
    "ResponseSettings",
    "Run",
    "Seen",
    "Study",
    "StudySettings",
    "StudySummary",
    "TrainedWatchers",
    "TrainingSettings",
    "alarm_at",
    "draw_day",
    "draw_days",
    "learn_prior",
    "make_bank_world",
    "observe",
    "open_watch",
    "plain_means",
    "profile_banks",
    "run_study",
    "study_json",
    "study_report",
    "summarise_study",
    "train_watchers",
]
