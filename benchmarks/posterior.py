"""What smoothing and tempering do to the posterior over training users, on validation users.

    warmprompt train --data ml-100k --set model.posterior_weight=3 --out runs/posterior
    python benchmarks/posterior.py runs/posterior

Prints NDCG@10 of the run's validation users at each K, mean over several draws of their episodes: the user
vector alone, with neighbours, the posterior alone, and sums, in the linear response of the language model.
Nothing of it looks at tested users. B is users, V items.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from warmprompt.scoring.memory import recalled, remember

from warmprompt.adaptation.engine import users_linearly
from warmprompt.adaptation.opening import open_engine
from warmprompt.data.dataset import take_users
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.runs.format import load_trained
from warmprompt.runs.models import settings_of
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.validation import ANCHOR_KS, ValidationEpisodes, draw_validation_episodes
from warmprompt.training.mixture_weights import believe
from warmprompt.types import Floats, Support

SHARES = (0.5, 0.7, 0.85)
KAPPAS = (3.0, 6.0, 12.0, 1e9)
WEIGHTS = ((0, 3), (2, 3), (3, 3), (2, 1), (2, 5), (0, 5))
"""Of neighbours and of the posterior."""


def main() -> None:
    """Read the options, score the episodes once, print a line per setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=3, help="draws of each validation user's episodes")
    chosen = parser.parse_args()
    trained = load_trained(chosen.run)
    settings, engine = settings_of(trained), open_engine(trained)
    dataset = open_dataset(ensure_dataset(settings.data.name))
    seed = settings.train.seed
    split = split_dataset(dataset, seed=seed)
    training, validation = take_users(dataset, split.train), take_users(dataset, split.validation)
    draws = [
        draw_validation_episodes(training, validation, seed=seed + 1000 * draw, order=settings.train.order)
        for draw in range(chosen.draws)
    ]
    memory = remember(training, num_neighbours=settings.model.num_neighbours)
    believed = believe(trained, training, no_text_T=engine.no_text.features_BT[0])
    told = {"text_VX": engine.text_VX, "least_rating": trained.least_rating}

    def scored(of: str, **changed: float) -> list[dict[int, Floats]]:
        held = replace(memory, believed=replace(believed, **changed))
        return [
            {k: recalled(held, of, supports, **told) for k, supports in one.supports.items()} for one in draws
        ]

    def vectors(supports: Sequence[Support]) -> Floats:
        silent = [replace(support, attributes={}) for support in supports]
        users_BD = users_linearly(engine, [""] * len(silent), silent)
        found: Floats = (users_BD @ engine.catalogue_VD.T + engine.popularity_V).detach().numpy()
        return found

    plain = [{k: vectors(supports) for k, supports in one.supports.items()} for one in draws]
    near = scored("neighbours")
    print(" " * 44 + "".join(f"K = {k:<5}" for k in ANCHOR_KS) + "mean")
    tell("user vector", draws, plain)
    tell("+ 3 neighbours", draws, added(plain, near, 3))
    for share, kappa in product(SHARES, KAPPAS):
        believing = scored("posterior", belief_share=share, kappa=kappa)
        tell(f"posterior alone, a = {share:g}, kappa = {kappa:g}", draws, believing)
        for w_near, w_posterior in WEIGHTS:
            both = added(added(plain, near, w_near), believing, w_posterior)
            tell(f"  + {w_near} neighbours + {w_posterior} posterior", draws, both)


def added(
    one: Sequence[dict[int, Floats]], other: Sequence[dict[int, Floats]], weight: float
) -> list[dict[int, Floats]]:
    """Return the sum of two scores of every draw and K."""
    return [{k: a[k] + np.float32(weight) * b[k] for k in a} for a, b in zip(one, other, strict=True)]


def tell(label: str, draws: Sequence[ValidationEpisodes], scores: Sequence[dict[int, Floats]]) -> None:
    """Print NDCG@10 at each K, mean over users and draws, and the mean over K."""
    values = [
        np.concatenate([ndcg(one, mine, k) for one, mine in zip(draws, scores, strict=True)]).mean()
        for k in ANCHOR_KS
    ]
    print(
        f"{label:<44}" + "".join(f"{value:<9.4f}" for value in values) + f"{np.mean(values):.4f}", flush=True
    )


def ndcg(episodes: ValidationEpisodes, scores: dict[int, Floats], k: int) -> NDArray[np.float64]:
    """Return NDCG@10 of each validation user, (B,)."""
    excluded = [support.items_K for support in episodes.supports[k]]
    return ndcg_per_user(
        ranks(scores[k], episodes.queries[k], excluded=excluded, candidates=episodes.candidates_V)
    )


if __name__ == "__main__":
    main()
