"""Processor time of taking in one user's events, against iALS and EASE in the same run.

    python benchmarks/adapt_speed.py OUT.json

Each measured call takes in 10 events of one user, on one thread, over a made-up catalogue: the learned target
in the linear response gives a user vector, `implicit` solves for one, and EASE adds rows of its weights.
Catalogues of two sizes show what depends on the number of items. EASE has a weight per pair of items, so it
is measured at the smaller size alone. Times are medians; ratios are to `implicit` at the smaller size.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from warmprompt.data.episodes import EventBatch
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import Catalogue, CatalogueData, make_catalogue
from warmprompt.meta.predict import adapt_linearly
from warmprompt.meta.target import initial_target

SIZES = (1682, 100_000)
NUM_FACTORS, TEXT_WIDTH, NUM_EVENTS, NUM_ROUNDS = 64, 384, 10, 500


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


def p50_us(call: Callable[[int], object]) -> float:
    """Return the median processor time of a call, microseconds, after a tenth as many to warm up."""
    spent = []
    for index in range(-NUM_ROUNDS // 10, NUM_ROUNDS):
        begun = time.process_time_ns()
        call(index)
        if index >= 0:
            spent.append(time.process_time_ns() - begun)
    return float(np.median(spent)) / 1000


def measure(num_items: int) -> dict[str, float]:
    """Return the median time of each way over so many items, microseconds."""
    rng = np.random.default_rng(0)
    items_NK = np.stack([rng.choice(num_items, NUM_EVENTS, replace=False) for _ in range(NUM_ROUNDS)])
    events = [
        EventBatch(
            items_BK=items_K[None],
            ratings_BK=rng.integers(1, 6, (1, NUM_EVENTS)).astype(np.float32),
            mask_BK=np.ones((1, NUM_EVENTS), dtype=np.bool_),
        )
        for items_K in items_NK
    ]
    catalogue, no_text_1T = made_up_catalogue(num_items), torch.zeros(1, 16)
    model = AlternatingLeastSquares(factors=NUM_FACTORS, num_threads=1)
    model.item_factors = catalogue.vectors_VD.numpy()
    rows = [
        csr_matrix((np.ones(NUM_EVENTS, np.float32), items_K, [0, NUM_EVENTS]), shape=(1, num_items))
        for items_K in items_NK
    ]

    def adapted(name: str, index: int) -> object:
        return adapt_linearly(catalogue, LEARNERS[name], features_BT=no_text_1T, events=events[index])

    found = {name: p50_us(partial(adapted, name)) for name in ("learned-target", "reptile")}
    found["implicit recalculate_user"] = p50_us(lambda index: model.recalculate_user([0], rows[index]))
    if num_items == SIZES[0]:
        weights_VV = rng.standard_normal((num_items, num_items)).astype(np.float32)
        found["EASE fold-in"] = p50_us(lambda index: weights_VV[items_NK[index]].sum(0))
    return found


def main() -> None:
    """Measure, print, and write times and ratios as JSON."""
    torch.set_num_threads(1)
    times = {str(num_items): measure(num_items) for num_items in SIZES}
    reference = times[str(SIZES[0])]["implicit recalculate_user"]
    ratios = {
        size: {name: round(value / reference, 3) for name, value in rows.items()}
        for size, rows in times.items()
    }
    result = {"p50_us": times, "ratio_to_implicit": ratios, "factors": NUM_FACTORS, "events": NUM_EVENTS}
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
