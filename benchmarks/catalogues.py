"""How ranking grows with the catalogue: processor time and memory of one pass over made-up items.

    python benchmarks/catalogues.py OUT.json

The two learned experts score users of ten events, alone and as many at once as `rank_many` takes; then the
ten best items are found. One thread, medians. The product of one user vector with all item vectors is what an
approximate search could save; everything else would stay.

One outer step of 64 users in the linear response is split alike: what all items' vectors cost forward and
back, and what the softmax of the query does. A sampled softmax could save the latter alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from commits import commit
from speed import NUM_FACTORS, K, made_up_catalogue, mixture_of_made_up

from warmprompt.adaptation.many_users import pass_size
from warmprompt.data.episodes import EventBatch
from warmprompt.evaluation.machine import describe_machine
from warmprompt.experts.protocol import UserBatch
from warmprompt.meta.adapters import LinearAdapter
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import Events, make_catalogue, query_loss, to_events
from warmprompt.meta.task import Task
from warmprompt.scoring.ranking import top_n
from warmprompt.types import Support

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS, USERS = 7, 64


def main() -> None:
    """Measure every size and write it."""
    torch.set_num_threads(1)
    rows = [measured(size) | training(size) for size in SIZES]
    found = {
        "rows": rows,
        "exponents": {
            name: float(
                np.polyfit(np.log([row["items"] for row in rows]), np.log([row[name] for row in rows]), 1)[0]
            )
            for name in (
                "alone_score_ms",
                "alone_top_ms",
                "batch_score_ms",
                "batch_top_ms",
                "outer_step_ms",
            )
        },
        "commit": commit(),
        "machine": describe_machine(),
    }
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def measured(num_items: int) -> dict[str, float]:
    """Return milliseconds a user."""
    catalogue = made_up_catalogue(num_items)
    mixture, number = mixture_of_made_up(catalogue), pass_size(num_items, most=64)
    rng = np.random.default_rng(0)
    found: dict[str, float] = {"items": num_items, "users_at_once": number}
    for name, size in (("alone", 1), ("batch", number)):
        chosen = [rng.choice(num_items, K, replace=False).astype(np.int32) for _ in range(size)]
        supports = [Support(user="", items_K=items, ratings_K=np.ones(K, np.float32)) for items in chosen]
        users = UserBatch(supports=supports, vectors_BD=0.1 * torch.randn(size, NUM_FACTORS))
        scores_BV = mixture.score(users)
        found[f"{name}_score_ms"] = median_ms(lambda users=users: mixture.score(users)) / size
        found[f"{name}_product_ms"] = (
            median_ms(lambda users=users: users.vectors_BD @ catalogue.vectors_VD.T) / size
        )
        found[f"{name}_top_ms"] = (
            median_ms(lambda scores=scores_BV, chosen=chosen: top_n(scores, 10, excluded=chosen)) / size
        )
    found["item_vectors_mb"] = num_items * NUM_FACTORS * 4 / 1e6
    return found


def training(num_items: int) -> dict[str, float]:
    """Return milliseconds of an outer step of the default learner, and of two parts of it."""
    catalogue, learner = made_up_catalogue(num_items), LEARNERS["learned-target"]
    data, params = catalogue.data, dict(catalogue.params)
    rng = np.random.default_rng(0)

    def events() -> Events:
        batch = EventBatch(
            items_BK=np.stack([rng.choice(num_items, K, replace=False) for _ in range(USERS)]),
            ratings_BK=rng.integers(1, 6, (USERS, K)).astype(np.float32),
            mask_BK=np.ones((USERS, K), dtype=np.bool_),
        )
        return to_events(batch, data)

    support, query = events(), events()
    adapter = learner.adapter(LinearAdapter(features_BT=torch.zeros(USERS, 16)), support)
    task = Task(adapter=adapter, objective=learner.objective(support=support, query=query), data=data)
    state = learner.init(params)

    def item_vectors() -> None:
        own = make_catalogue({name: value.detach().requires_grad_() for name, value in params.items()}, data)
        (own.vectors_VD.sum() + own.support_VD.sum() + own.mean_D.sum() + own.popularity_V.sum()).backward()

    def softmax() -> None:
        own = replace(catalogue, vectors_VD=catalogue.vectors_VD.detach().requires_grad_())
        users_BD = torch.randn(USERS, NUM_FACTORS, requires_grad=True)
        query_loss(own, support, query, users_BD).mean().backward()

    return {
        "outer_step_ms": median_ms(lambda: learner.step(state, task, rate=0.01, clip_norm=1.0), rounds=2),
        "outer_step_items_ms": median_ms(item_vectors, rounds=2),
        "outer_step_softmax_ms": median_ms(softmax, rounds=2),
    }


def median_ms(call: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """Return the median processor time of a call, after one that does not count."""
    call()
    spent = []
    for _ in range(rounds):
        begun_s = time.process_time()
        call()
        spent.append(time.process_time() - begun_s)
    return 1000 * float(np.median(spent))


if __name__ == "__main__":
    main()
