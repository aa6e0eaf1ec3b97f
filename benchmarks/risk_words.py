"""Does it help to let the language model read each payment in words too? Average precision, paired, by K.

    python benchmarks/risk_words.py --data transactions.parquet [--seeds 0 1]

Splits and days are those of `risk_profiles.py`, with fewer training customers. Both variants share everything
but `payment_words`: customers, read-out, population model. Prints a table; nothing is calibrated.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from risk_profiles import KS, LAYERS, TEST_DAYS, TRAINING_DAYS, VALIDATION_DAYS
from timing import stopwatch

from warmprompt.backbone.load import load_backbone
from warmprompt.risk.profile.episodes import build_episodes, draw_cuts
from warmprompt.risk.profile.metrics import paired_intervals, weighted_average_precision
from warmprompt.risk.profile.payments import DAY_S, counterparty_context, read_payment_table
from warmprompt.risk.profile.reading import fit_reading
from warmprompt.risk.profile.trained import ProfileSettings
from warmprompt.risk.profile.training import score_episodes, train_profile
from warmprompt.risk.profile.words import describe_entities
from warmprompt.rng import derive

WORDS, PLAIN = "payments in words", "one sentence per customer"


def main() -> None:
    """Read the options, train both variants per seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--train", type=int, default=1200, help="training customers")
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("--test", type=int, default=700)
    parser.add_argument("--features", type=int, default=ProfileSettings().num_sentence_features)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    say = stopwatch()
    payments = read_payment_table(chosen.data)
    context = counterparty_context(payments)
    backbone = load_backbone("smollm2-135m", num_layers=LAYERS)
    first_s = int(payments.time_N[0]) // DAY_S * DAY_S
    entities = np.unique(payments.entity_N)
    build = partial(build_episodes, payments, context)
    settings = ProfileSettings()
    variants = {
        PLAIN: settings,
        WORDS: replace(settings, payment_words=True, num_sentence_features=chosen.features),
    }
    runs: dict[int, list[dict[str, object]]] = {k: [] for k in KS}
    read = None
    for seed in chosen.seeds:
        draw = partial(draw_cuts, start_s=first_s, seed=seed)
        order = derive(seed, "customers").permutation(entities)
        test, validation, training = np.split(
            order[: chosen.test + chosen.validation + chosen.train],
            np.cumsum([chosen.test, chosen.validation]),
        )
        train_e = build(draw(training, days=TRAINING_DAYS, per_entity=2, ks=KS))
        valid_e = build(draw(validation, days=VALIDATION_DAYS, per_entity=1, ks=KS[1:]))
        if read is None:
            read = fit_reading(
                backbone,
                describe_entities(train_e.history, side="customer"),
                prompt_length=settings.prompt_length,
                num_factors=settings.num_factors,
                num_text_features=settings.num_text_features,
                reach=settings.reach,
                seed=0,
            )
        models = {}
        for name, one in variants.items():
            models[name] = train_profile(
                train_e,
                valid_e,
                backbone,
                settings=one,
                label_delay_s=payments.label_delay_s,
                seed=seed,
                readout=read,
                progress=partial(say, "seed", seed, name),
            )
        cuts = draw(test, days=TEST_DAYS, per_entity=1, ks=(0,))
        for k in KS:
            episodes = build(cuts.with_num(k))
            index = np.searchsorted(entities, payments.entity_N[episodes.row_R])
            scores = {name: score_episodes(model, episodes) for name, model in models.items()}
            scores["population model"] = models[PLAIN].population.log_odds(episodes.features_RF)
            runs[k].append(
                {
                    name: weighted_average_precision(score, episodes.fraud_R, index)
                    for name, score in scores.items()
                }
            )
            say(f"seed {seed}, K = {k}: {int(episodes.fraud_R.sum())} frauds of {len(episodes.fraud_R)}")
    print(f"\n| K | {WORDS} | {PLAIN} | difference | population model |\n|---|---|---|---|---|")
    for k in KS:
        whole = np.ones(len(entities))
        mean = {name: np.mean([run[name](whole) for run in runs[k]]) for name in runs[k][0]}
        found = paired_intervals(runs[k], len(entities), WORDS, rng=derive(0, "words", k))
        value, low, high = found[PLAIN]
        print(
            f"| {k} | {mean[WORDS]:.4f} | {mean[PLAIN]:.4f} | {value:+.4f} [{low:+.4f}, {high:+.4f}] "
            f"| {mean['population model']:.4f} |"
        )


if __name__ == "__main__":
    main()
