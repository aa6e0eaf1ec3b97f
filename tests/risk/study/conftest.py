"""One small world and one small study, made once."""

import pytest

from warmprompt.risk.study import (
    BankWorldSettings,
    IncidentSettings,
    ResponseSettings,
    StudySettings,
    run_study,
)
from warmprompt.risk.study.world import make_bank_world

SMALL = BankWorldSettings(num_banks=60, payments_per_day=2_000)


@pytest.fixture(scope="session")
def settings():
    return SMALL


@pytest.fixture(scope="session")
def world():
    return make_bank_world(SMALL, seed=3, num_history=3)


def study_of(kind, measure, **changes):
    return StudySettings(
        world=SMALL,
        incident=IncidentSettings(kind=kind, withheld_share=1.0),
        response=ResponseSettings(measure=measure),
        num_scenarios=3,
        num_history=3,
        num_training_worlds=2,
        num_clean_stretches=3,
        alarms_per_day=0.5,
        other_alarms_per_day=(2.0,),
        compare_measures=False,
        **changes,
    )


@pytest.fixture(scope="session")
def outage_study(computed_once):
    return computed_once("outage-study", lambda: run_study(study_of("outage", "credit"), seed=5))


@pytest.fixture(scope="session")
def stress_study(computed_once):
    return computed_once("stress-study", lambda: run_study(study_of("stress", "cut"), seed=5))
