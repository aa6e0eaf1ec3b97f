"""Processor time of everything that a ranking takes, against implicit and EASE in the same run.

    python benchmarks/speed.py RUN OUT.json

Measured on one thread, with medians over many calls: adapting and ranking a user of ten events in the linear
response, alone and in batches of 32; by the prompt, behind a text that was met before and behind a new one; a
new sentence; and the memory of a process that ranks without texts. The references are `implicit`'s
`recalculate_user` and an EASE fold-in over the same events. Users whose events have an order are ranked by
all default experts of order among 20,000 made-up items. At 100,000 and a million made-up items, adapting and
scoring are compared with one product of a matrix and a vector of that size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commits import commit
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

import warmprompt
from warmprompt import Event, Known
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.baselines.ease import EASE
from warmprompt.data.dataset import take_users
from warmprompt.data.episodes import EventBatch
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.machine import describe_machine
from warmprompt.experts.mixture import ANCHORS, Mixture
from warmprompt.experts.ordered_ridge import OrderedRidge
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.position import POSITIONS, PositionPopularity
from warmprompt.experts.protocol import Expert, UserBatch
from warmprompt.experts.transitions import Transitions
from warmprompt.experts.user_vector import UserVector
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import Catalogue, CatalogueData, make_catalogue
from warmprompt.meta.predict import adapt_linearly
from warmprompt.meta.target import initial_target
from warmprompt.runs.format import NO_EXPERTS
from warmprompt.scoring.ranking import top_n
from warmprompt.types import Support

K, BATCH = 10, 32
NUM_FACTORS, TEXT_WIDTH = 64, 384


def main() -> None:
    """Measure everything and write it."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    model = warmprompt.load(run)
    users = made_users(model)
    found = {
        **small_catalogue(model, users),
        **references(model, users),
        "ordered": ordered_catalogue(20_000),
        "large": {size: large_catalogue(size) for size in (100_000, 1_000_000)},
        "memory": memory(run),
        "commit": commit(),
        "machine": describe_machine(),
    }
    found["ratios"] = {
        "adapt_and_rank_over_implicit": found["linear_ms"] / found["implicit_ms"],
        "adapt_and_rank_over_ease": found["linear_ms"] / found["ease_ms"],
        "batch_over_implicit": found["linear_batch_ms"] / found["implicit_ms"],
    }
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def made_users(model: Personaliser) -> list[list[Event]]:
    """Return users of ten random events each."""
    rng = np.random.default_rng(0)
    low, high = model.rating_scale or (0.0, 0.0)
    return [
        [
            Event(item=model.items[item], rating=float(rng.integers(low, high + 1)) if high else None)
            for item in rng.choice(len(model.items), K, replace=False)
        ]
        for _ in range(200)
    ]


def small_catalogue(model: Personaliser, users: list[list[Event]]) -> dict[str, float]:
    """Return milliseconds a user in the run's own catalogue."""
    texts = iter(f"I like films about the number {number}" for number in range(1000))
    batches = [[Known(events=one) for one in users[start : start + BATCH]] for start in range(0, 160, BATCH)]
    known = next(texts)
    model.adapt(users[0], about=known, exact=True)
    return {
        "linear_ms": median_ms(lambda i: model.rank(model.adapt(users[i], exact=False), 10), 200),
        "linear_adapt_ms": median_ms(lambda i: model.adapt(users[i], exact=False), 200),
        "linear_batch_ms": median_ms(lambda i: model.rank_many(batches[i % 5], 10, exact=False), 20) / BATCH,
        "new_sentence_ms": median_ms(lambda i: model.adapt(users[i], about=next(texts), exact=False), 20),
        "exact_known_text_ms": median_ms(lambda i: model.adapt(users[i], about=known, exact=True), 20),
        "exact_no_text_ms": median_ms(lambda i: model.adapt(users[i], exact=True), 20),
        "exact_new_text_ms": median_ms(lambda i: model.adapt(users[i], about=next(texts), exact=True), 10),
    }


def references(model: Personaliser, users: list[list[Event]]) -> dict[str, float]:
    """Return milliseconds a user of implicit's recalculation and of an EASE fold-in."""
    settings = model.engine.trained.manifest["settings"]
    dataset = open_dataset(ensure_dataset(settings["data"]["name"]))
    split = split_dataset(dataset, seed=settings["train"]["seed"])
    training = take_users(dataset, split.train)
    als = AlternatingLeastSquares(factors=settings["model"]["num_factors"], num_threads=1, random_state=0)
    als.fit(user_item_matrix(training), show_progress=False)
    items = [np.array([model.index[event.item] for event in one], np.int32) for one in users]
    rows = [csr_matrix((np.ones(K, np.float32), own, [0, K]), shape=(1, training.num_items)) for own in items]
    ease = EASE().fit(training, take_users(dataset, split.validation), seed=0)
    supports = [Support(user="", items_K=own, ratings_K=np.full(K, np.nan, np.float32)) for own in items]
    return {
        "implicit_ms": median_ms(lambda i: als.recalculate_user(0, rows[i]), 200),
        "implicit_recommend_ms": median_ms(
            lambda i: als.recommend(0, rows[i], N=10, recalculate_user=True), 200
        ),
        "ease_ms": median_ms(lambda i: ease.score([supports[i]]), 200),
    }


def large_catalogue(num_items: int) -> dict[str, float]:
    """Return milliseconds of adapting and scoring in a made-up catalogue, and of one product of its size."""
    catalogue = made_up_catalogue(num_items)
    learner, users = LEARNERS["learned-target"], made_up_users(num_items)
    features_1T = torch.zeros(1, len(catalogue.params["prior.text_head"]))
    mixture = mixture_of_made_up(catalogue)
    vector_1D = adapt_linearly(catalogue, learner, features_BT=features_1T, events=users[0])
    support = Support(user="", items_K=np.arange(K, dtype=np.int32), ratings_K=np.ones(K, np.float32))
    batch = UserBatch(supports=[support], vectors_BD=vector_1D)
    vector_D = vector_1D[0]
    found = {
        "adapt_ms": median_ms(
            lambda i: adapt_linearly(
                catalogue, learner, features_BT=features_1T, events=users[i % len(users)]
            ),
            50,
        ),
        "score_ms": median_ms(lambda _: mixture.score(batch), 20),
        "product_ms": median_ms(lambda _: catalogue.vectors_VD @ vector_D, 20),
    }
    return found | {"score_over_product": found["score_ms"] / found["product_ms"]}


def ordered_catalogue(num_items: int) -> dict[str, float]:
    """Return milliseconds of adapting, scoring and ranking a user whose events have an order."""
    catalogue, learner, users = (
        made_up_catalogue(num_items),
        LEARNERS["learned-target"],
        made_up_users(num_items),
    )
    features_1T = torch.zeros(1, len(catalogue.params["prior.text_head"]))
    plain = mixture_of_made_up(catalogue)
    ordered = experts_of_order(num_items)
    mixture = replace(
        plain,
        experts={**plain.experts, **{one.name: one for one in ordered}},
        ordered={one.name: (1.0,) * len(ANCHORS) for one in ordered},
    )

    def rank(scored: Mixture, events: EventBatch) -> object:
        items_K = events.items_BK[0].astype(np.int32)
        support = Support(user="", items_K=items_K, ratings_K=events.ratings_BK[0], ordered=True)
        vectors_BD = adapt_linearly(catalogue, learner, features_BT=features_1T, events=events)
        scores_BV = scored.score(UserBatch(supports=[support], vectors_BD=vectors_BD))
        return top_n(scores_BV, 10, excluded=[items_K])

    return {
        "num_items": num_items,
        "with_order_ms": median_ms(lambda i: rank(mixture, users[i % len(users)]), 100),
        "without_ms": median_ms(lambda i: rank(plain, users[i % len(users)]), 100),
    }


def experts_of_order(num_items: int) -> list[Expert]:
    """Return made-up experts of order, as full as training leaves them."""
    rng = np.random.default_rng(1)

    def arrays(num_kept: int) -> dict[str, Any]:
        return {
            "values": rng.random(num_items * num_kept, dtype=np.float32),
            "items": rng.integers(0, num_items, num_items * num_kept, dtype=np.int32),
            "offsets_V": np.arange(num_items + 1, dtype=np.int32) * num_kept,
            "decay": np.array(0.8),
        }

    return [
        PositionPopularity(shares_PV=rng.random((len(POSITIONS), num_items), dtype=np.float32)),
        Transitions.from_arrays(arrays(500)),
        OrderedRidge.from_arrays(arrays(200)),
    ]


def made_up_catalogue(num_items: int) -> Catalogue:
    """Return a catalogue of random items with five rating levels."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(*shape, generator=generator)

    data = CatalogueData(
        item_text_VX=draw(num_items, TEXT_WIDTH),
        log_popularity_V=draw(num_items),
        warm_V=torch.ones(num_items),
        rating_levels_R=torch.linspace(0, 1, 5),
        rating_range=torch.tensor([1.0, 5.0]),
    )
    params = {
        "items.learned": draw(num_items, NUM_FACTORS),
        "items.support_offset": draw(num_items, NUM_FACTORS),
        "items.text_map": draw(TEXT_WIDTH, NUM_FACTORS),
        "items.bias": draw(num_items),
        "popularity.weight": torch.tensor(1.0),
        "ratings.size": torch.zeros(5),
        "support.log_kappa": torch.tensor(2.3),
        "prior.start": draw(NUM_FACTORS),
        "prior.text_head": draw(16, NUM_FACTORS),
        "inner.log_rates": torch.zeros(1),
        **initial_target(NUM_FACTORS, max_support=20, kappa=10.0, seed=0),
    }
    return make_catalogue(params, data)


def made_up_users(num_items: int) -> list[EventBatch]:
    """Return users of ten events each, one to a batch."""
    rng = np.random.default_rng(0)
    return [
        EventBatch(
            items_BK=rng.choice(num_items, K, replace=False)[None],
            ratings_BK=rng.integers(1, 6, (1, K)).astype(np.float32),
            mask_BK=np.ones((1, K), dtype=np.bool_),
        )
        for _ in range(50)
    ]


def mixture_of_made_up(catalogue: Catalogue) -> Mixture:
    """Return the learned experts of a made-up catalogue."""
    return NO_EXPERTS.with_experts(
        UserVector(items_VD=catalogue.vectors_VD), Popularity(scores_V=catalogue.popularity_V.numpy())
    )


def memory(run: Path) -> dict[str, float]:
    """Return MiB of a process that has ranked one user, and of one that has imported torch alone."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "def resident():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmRSS'))\n"
        "import torch, numpy; before = resident()\n"
        "import warmprompt; from warmprompt import Event\n"
        f"model = warmprompt.load({str(run)!r})\n"
        "model.rank(model.adapt([Event(item=model.items[0])]), 10)\n"
        "print(before, resident())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    before, after = map(float, done.stdout.split())
    return {"python_and_torch_mb": before, "ranking_mb": after, "above_mb": after - before}


def median_ms(call: Callable[[int], object], rounds: int) -> float:
    """Return the median processor time of a call, which gets its number."""
    for number in range(3):
        call(number)
    spent = []
    for number in range(rounds):
        begun = time.process_time()
        call(number)
        spent.append(time.process_time() - begun)
    return 1000 * float(np.median(spent))


if __name__ == "__main__":
    main()
