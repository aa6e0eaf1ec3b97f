"""Few-shot risk profiles against tuned baselines: unseen customers, later in time, by K.

    python benchmarks/risk_profiles.py --data transactions.parquet --out docs/results/risk-profiles

Per seed, customers are split into training, validation, calibration and test. Models are fitted on
training customers' payments whose labels are due before the test begins; validation chooses settings;
calibration makes probabilities, anew each week with other test customers' labels that are due by then; test
customers are judged on the 21 days after their cut. Writes .json, .md and .png; each seed is kept in --work,
so that a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from commits import commit
from sklearn.metrics import average_precision_score
from timing import stopwatch

from warmprompt.backbone.load import load_backbone
from warmprompt.files import write_atomic
from warmprompt.risk.profile.baselines import BASELINES, fit_best
from warmprompt.risk.profile.episodes import Episodes, build_episodes, draw_cuts
from warmprompt.risk.profile.payments import DAY_S, counterparty_context, read_payment_table
from warmprompt.risk.profile.population import WEIGHTS, log_odds_of, mixed
from warmprompt.risk.profile.profiler import make_profiler
from warmprompt.risk.profile.reading import fit_reading
from warmprompt.risk.profile.report import summarise_models, write_report
from warmprompt.risk.profile.state import Payment
from warmprompt.risk.profile.trained import ProfileSettings
from warmprompt.risk.profile.training import score_episodes, train_profile
from warmprompt.risk.profile.words import describe_entities
from warmprompt.risk.profile.world import WorldSettings, make_world
from warmprompt.rng import derive

KS = (0, 1, 5, 20)
LAYERS = 2
# Days of the data: labels of a payment are due 7 days later, so all that is learned is known before day 154.
TRAINING_DAYS, VALIDATION_DAYS, CALIBRATION_DAYS, TEST_DAYS = (10, 120), (112, 125), (112, 125), (154, 161)


def main() -> None:
    """Read the options, run each seed, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/results/risk-profiles"))
    parser.add_argument("--work", type=Path, default=Path("runs/risk-profiles"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--train", type=int, default=2000, help="training customers")
    parser.add_argument("--validation", type=int, default=600)
    parser.add_argument("--calibration", type=int, default=900)
    parser.add_argument("--test", type=int, default=700)
    parser.add_argument("--timing", action="store_true", help="only time one entity, keep it in --work")
    parser.add_argument("--report-only", action="store_true", help="report the seeds kept in --work")
    chosen = parser.parse_args()
    chosen.commit = commit("src/warmprompt/risk", "benchmarks/risk_profiles.py")
    torch.set_num_threads(1)
    chosen.work.mkdir(parents=True, exist_ok=True)
    timed = chosen.work / "timing.json"
    if chosen.timing:
        write_atomic(timed, json.dumps(time_entities(), indent=1).encode())
        return
    if not chosen.report_only:
        run_seeds(chosen)
    files = [chosen.work / f"seed-{seed}.npz" for seed in chosen.seeds]
    runs = [read_run(file) for file in files if file.is_file()]
    found = summarise_models(runs, ks=KS, product="prompt", rng=derive(0, "risk-profiles"))
    if timed.is_file():
        found = replace(found, timing=json.loads(timed.read_text()))
    write_report(found, chosen.out)


def run_seeds(chosen: argparse.Namespace) -> None:
    """Score every model on every seed that is not kept yet."""
    say = stopwatch()
    payments = read_payment_table(chosen.data)
    context = counterparty_context(payments)
    backbone = load_backbone("smollm2-135m", num_layers=LAYERS)
    first_s = int(payments.time_N[0]) // DAY_S * DAY_S
    entities = np.unique(payments.entity_N)
    say(f"{len(payments)} payments of {len(entities)} customers")
    settings = ProfileSettings()
    # Whitening reads texts and no label, and takes longer than a seed's training: one for all seeds.
    some = draw_cuts(entities[::5], days=TRAINING_DAYS, start_s=first_s, per_entity=1, ks=KS, seed=0)
    read = fit_reading(
        backbone,
        describe_entities(build_episodes(payments, context, some).history, side="customer"),
        prompt_length=settings.prompt_length,
        num_factors=settings.num_factors,
        num_text_features=settings.num_text_features,
        reach=settings.reach,
        seed=0,
    )
    say("read-out fitted")
    for seed in chosen.seeds:
        kept = chosen.work / f"seed-{seed}.npz"
        if kept.is_file():
            continue
        order = derive(seed, "customers").permutation(entities)
        ends = np.cumsum([chosen.test, chosen.calibration, chosen.validation, chosen.train])
        test, calibration, validation, training = np.split(order[: ends[-1]], ends[:-1])
        draw = partial(draw_cuts, start_s=first_s, seed=seed)
        build = partial(build_episodes, payments, context)
        train_e = build(draw(training, days=TRAINING_DAYS, per_entity=2, ks=KS))
        valid_e = build(draw(validation, days=VALIDATION_DAYS, per_entity=1, ks=KS[1:]))
        say(
            f"seed {seed}: {len(train_e)} training episodes,",
            f"{len(train_e.row_R)} rows, {train_e.fraud_R.sum()} frauds",
        )
        model = train_profile(
            train_e,
            valid_e,
            backbone,
            settings=settings,
            label_delay_s=payments.label_delay_s,
            seed=seed,
            readout=read,
            progress=partial(say, "seed", seed),
        )
        tuned = [
            fit_best(
                one, (train_e.features_RF, train_e.fraud_R), (valid_e.features_RF, valid_e.fraud_R), seed=seed
            )
            for one in BASELINES
        ]
        say("baselines", {one.name: (dict(one.setting), round(one.validation, 4)) for one in tuned})
        judged = {one.name: one.score(valid_e.features_RF) for one in tuned}
        weight = max(WEIGHTS, key=lambda one: average_precision_score(valid_e.fraud_R, averaged(judged, one)))
        say(f"weight of the forest: {model.population.weight} in the product, {weight} of the baselines")
        cuts = {
            "test": draw(test, days=TEST_DAYS, per_entity=1, ks=(0,)),
            "calibration": draw(calibration, days=CALIBRATION_DAYS, per_entity=1, ks=(0,)),
        }
        arrays: dict[str, np.ndarray] = {}
        for part, begin in cuts.items():
            for k in KS:
                episodes: Episodes = build(begin.with_num(k))
                arrays |= {f"{part}/{k}/fraud": episodes.fraud_R, f"{part}/{k}/row": episodes.row_R}
                boosting, forest = model.population.parts(episodes.features_RF)
                scores = {
                    "prompt": score_episodes(model, episodes),
                    "prompt, no steps": score_episodes(model, episodes, adapts=False, tangent=True),
                    "population model": model.population.log_odds(episodes.features_RF),
                    "boosting, profile features": boosting,
                    "forest, profile features": forest,
                } | {one.name: one.score(episodes.features_RF) for one in tuned}
                scores["forest and boosting"] = averaged(scores, weight)
                arrays |= {f"{part}/{k}/score/{name}": value for name, value in scores.items()}
            say(f"seed {seed}: {part} scored")
        rows = arrays["test/0/row"]
        arrays |= {"time": payments.time_N[rows], "entity": payments.entity_N[rows]}
        arrays["calibration/time"] = payments.time_N[arrays["calibration/0/row"]]
        arrays["about"] = np.array(
            json.dumps(
                {
                    "seed": seed,
                    "commit": chosen.commit,
                    "settings": asdict(settings),
                    "layers": LAYERS,
                    "customers": [len(training), len(validation), len(calibration), len(test)],
                    "frauds": [
                        int(train_e.fraud_R.sum()),
                        int(valid_e.fraud_R.sum()),
                        int(arrays["calibration/0/fraud"].sum()),
                        int(arrays["test/0/fraud"].sum()),
                    ],
                    "rows": [
                        len(train_e.row_R),
                        len(valid_e.row_R),
                        len(arrays["calibration/0/row"]),
                        len(rows),
                    ],
                    "tuned": {one.name: [dict(one.setting), one.validation] for one in tuned}
                    | {"forest and boosting": [{"weight": weight}, None]}
                    | {"population model": [{"weight": model.population.weight}, None]},
                }
            )
        )
        temporary = kept.with_name(f".{kept.name}")
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(kept)
        say(f"seed {seed}: kept")


def averaged(scores: dict[str, np.ndarray], weight: float) -> np.ndarray:
    """Return the tuned forest and boosting of the handbook's features, averaged as the product's are."""
    return mixed(scores["gradient boosting"], log_odds_of(scores["random forest"]), weight)


def time_entities(*, rounds: int = 300) -> dict[str, float]:
    """Return wall and processor milliseconds of observing a payment and of scoring one, at K = 20.

    The model is trained on a made-up world: time depends on its sizes, not on what it learned.
    """
    world = make_world(WorldSettings(num_customers=160, num_terminals=300, radius=8.0), seed=0)
    context = counterparty_context(world.payments)
    entities = np.unique(world.payments.entity_N)
    first_s = int(world.payments.time_N[0]) // DAY_S * DAY_S

    def episodes(some: np.ndarray, ks: tuple[int, ...]) -> Episodes:
        cuts = draw_cuts(some, days=(20, 90), start_s=first_s, per_entity=2, ks=ks, seed=0)
        return build_episodes(world.payments, context, cuts)

    model = train_profile(
        episodes(entities[:80], KS),
        episodes(entities[80:100], KS),
        load_backbone("smollm2-135m", num_layers=LAYERS),
        settings=ProfileSettings(tangent_epochs=1, prompt_steps=0),
        label_delay_s=world.payments.label_delay_s,
        seed=0,
    )
    profiler = make_profiler(model, {0: episodes(entities[100:], (0,))})

    def payment(index: int) -> Payment:
        return Payment(
            id=index,
            time_s=first_s + 40_000 * index,
            amount_minor=2_000 + 31 * (index % 90),
            counterparty=index % 7,
        )

    state = profiler.profile("a", [payment(index) for index in range(20)])
    spent: dict[str, list[tuple[float, float]]] = {"score": [], "observe and adapt": []}
    for index in range(20, 20 + rounds):
        for name, call in (("score", profiler.score), ("observe and adapt", profiler.observe)):
            begun = time.perf_counter(), time.process_time()
            result = call(state, payment(index))
            spent[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        state = result  # type: ignore[assignment]
    return {
        f"{name}, {kind} p{level}": float(np.percentile([row[column] for row in rows], level)) * 1000
        for name, rows in spent.items()
        for column, kind in enumerate(("wall", "processor"))
        for level in (50, 99)
    }


def read_run(path: Path) -> dict[str, np.ndarray]:
    """Return a seed's arrays."""
    with np.load(path) as stored:
        return dict(stored)


if __name__ == "__main__":
    main()
