"""What earlier detection is worth: the same incident, acted on sooner or later, in many scenarios."""

from __future__ import annotations

from collections.abc import Callable

from warmprompt.risk.study.plan import Run, Seen, Study, StudySettings
from warmprompt.risk.study.scenario import Scenario
from warmprompt.risk.study.watch import measure_latency
from warmprompt.risk.study.watchers import DELAYS, RULE, WATCHERS, TrainingSettings, train_watchers
from warmprompt.rng import derive_seed


def run_study(settings: StudySettings, *, seed: int, tell: Callable[[int], None] = lambda _: None) -> Study:
    """Run a study; everything but `latency` is the same for the same seed.

    Args:
        settings: The whole study.
        seed: The only source of chance.
        tell: Called with the number of scenarios that are done.

    Raises:
        BadInputError: A setting without a meaning, or too few clean days for a rate of wrong alarms.
    """
    training = TrainingSettings(
        num_worlds=settings.num_training_worlds,
        num_stretches=settings.num_clean_stretches,
        num_days=settings.num_days,
        num_history=settings.num_history,
        alarms_per_day=(settings.alarms_per_day, *settings.other_alarms_per_day),
    )
    trained = train_watchers(settings.world, training, seed=derive_seed(seed, "training"))
    runs: list[Run] = []
    seen: list[Seen] = []
    banks, clean = [], []
    for number in range(settings.num_scenarios):
        scenario = Scenario(settings, trained, number, derive_seed(seed, "scenario", number))
        runs += scenario.run_all()
        seen += scenario.seen()
        banks.append(int(scenario.world.group_N[scenario.incident.bank]))
        clean.append(scenario.clean_loss)
        tell(number + 1)
    rate = settings.alarms_per_day
    thresholds: dict[str, float | tuple[float, ...]] = {
        name: trained.threshold[name, rate] for name in WATCHERS if name not in (RULE, DELAYS)
    }
    thresholds[DELAYS] = (trained.threshold[DELAYS, rate], trained.late_threshold[rate])
    thresholds[RULE] = tuple(trained.limit_s[rate].tolist())
    return Study(
        settings=settings,
        seed=seed,
        runs=tuple(runs),
        seen=tuple(seen),
        banks=tuple(banks),
        clean=tuple(clean),
        thresholds=thresholds,
        latency=measure_latency(),
        num_clean_days=trained.num_clean_days,
    )
