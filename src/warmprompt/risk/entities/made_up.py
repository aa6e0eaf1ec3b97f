"""A made-up table of banks with planted answers, for tests and for trying the commands without data."""

from __future__ import annotations

import numpy as np
import polars as pl

from warmprompt.rng import derive

COUNTRIES = ("Chile", "Kenya", "Norway", "Peru", "Spain")
RATINGS = ("A", "B", "C", "D")
NUM_RATED = 60
"""Banks whose rating of the last quarter is in the table; that of the others is empty."""


def make_banks(num_banks: int, num_quarters: int, *, seed: int) -> pl.DataFrame:
    """Return bank, quarter, country, total_assets, capital_ratio, impaired_share, loan_share, rating.

    A bank's score is its capital less impaired loans, a lasting strength that no feature shows, and noise.
    Ratings cut the scores of a quarter into four equal parts, A the best. Country and size say nothing.
    """
    rng = derive(seed, "made-up banks")
    shape = (num_quarters, num_banks)
    capital = np.cumsum(rng.normal(0, 0.3, shape), axis=0) + rng.normal(0, 1, num_banks)
    impaired = np.cumsum(rng.normal(0, 0.3, shape), axis=0) + rng.normal(0, 1, num_banks)
    strength = rng.normal(0, 1, num_banks)
    score = capital - impaired + strength + rng.normal(0, 0.3, shape)
    place = (-score).argsort(axis=1).argsort(axis=1) * len(RATINGS) // num_banks
    rating = np.array(RATINGS, dtype=object)[place]
    rating[-1, rng.permutation(num_banks)[NUM_RATED:]] = None
    size = np.exp(rng.normal(21, 2, num_banks) + 0.02 * np.arange(num_quarters)[:, None])
    quarters = [f"{2016 + at // 4}Q{at % 4 + 1}" for at in range(num_quarters)]
    return pl.DataFrame(
        {
            "bank": np.tile([f"B{one + 1:03d}" for one in range(num_banks)], num_quarters),
            "quarter": np.repeat(quarters, num_banks),
            "country": np.tile(rng.choice(COUNTRIES, num_banks), num_quarters),
            "total_assets": size.ravel().round(),
            "capital_ratio": (0.12 + 0.02 * capital.ravel()).round(4),
            "impaired_share": np.exp(-4 + 0.5 * impaired.ravel()).round(5),
            "loan_share": rng.uniform(0.3, 0.9, shape).ravel().round(3),
            "rating": rating.ravel().tolist(),
        }
    )
