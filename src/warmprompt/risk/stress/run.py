"""One stress test: a shock, who fails with whom, every bank's vulnerability and impact, and the reverse.

N is banks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion import Impacts, smallest_scale
from warmprompt.risk.contagion.checks import Bools, Doubles
from warmprompt.risk.stress.books import Books
from warmprompt.risk.stress.models import CLEARING, ContagionModel, ContagionSettings, ShockOutcome, model_of

ShockOf = Literal["capital", "assets"]


@dataclass(frozen=True, kw_only=True)
class ReverseStress:
    """What it takes to bring down a stated share of all banks.

    Attributes:
        share: The share of banks.
        scale: The smallest loss of all banks at once that does, as a share of their capital or outside
            assets; None where even a loss of everything does not.
        banks: The fewest banks, in order of impact, whose joint failure does; none where banks without
            capital do already, and None where the failure of all does not.
    """

    share: float
    scale: float | None
    banks: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class StressTest:
    """Everything that the report says.

    Attributes:
        books: The network and its balance sheets.
        settings: The model.
        shocked_N: What each bank loses at the start, in money.
        failing_N: Banks that the shock lets fail outright.
        shock_of: What shares in the shock were shares of.
        outcome: Who fails when, and what it costs.
        before_N: Banks that fail without any shock.
        impacts: Every single failure's effects: impact and vulnerability.
        reverse: What it takes.
    """

    books: Books
    settings: ContagionSettings
    shocked_N: Doubles
    failing_N: Bools
    shock_of: ShockOf
    outcome: ShockOutcome
    before_N: Bools
    impacts: Impacts
    reverse: ReverseStress

    @property
    def lost_share_N(self) -> Doubles:
        """Share of each bank's capital that is lost, shock and contagion together, at most 1."""
        lost_N = self.shocked_N + self.outcome.losses_N
        share_N = np.ones(len(lost_N))
        capital_N = self.books.capital_N
        np.divide(lost_N, capital_N, out=share_N, where=capital_N > lost_N)
        return np.where(self.outcome.failed_N, 1.0, share_N)

    def table(self) -> pl.DataFrame:
        """Return a row per bank, the most impactful first.

        `round` is 0 for failures by the shock itself and null for banks that survive. `vulnerability` is the
        share of its capital that a bank loses on average when another one fails, `impact` the share of all
        other banks' capital that is lost when it fails.
        """
        impacts, round_N = self.impacts, self.outcome.round_N
        order_N = np.lexsort((np.arange(len(round_N)), -self.impacts.impact_N))
        columns = {
            "bank": list(self.books.network.nodes),
            "capital": self.books.capital_N,
            "lost_by_shock": self.shocked_N,
            "lost_by_contagion": self.outcome.losses_N,
            "lost_share_of_capital": self.lost_share_N,
            "round": [int(number) if number >= 0 else None for number in round_N],
            "fails_without_shock": self.before_N,
            "vulnerability": impacts.vulnerability_N,
            "failed_by": impacts.failed_by_N,
            "impact": impacts.impact_N,
            "failures": impacts.failures_N,
        }
        return pl.DataFrame(columns)[order_N]


def run_stress(
    books: Books,
    shock: Mapping[str, float | None] | Iterable[str],
    *,
    shock_of: ShockOf | None = None,
    settings: ContagionSettings | None = None,
    reverse_share: float = 0.1,
) -> StressTest:
    """Shock some banks and follow what happens.

    Args:
        books: From `books_from_tables`.
        shock: Names of banks that fail outright, losing all capital and all outside assets; or a mapping from
            names to the share that each loses, None where it fails outright.
        shock_of: What these are shares of: capital, or outside assets. When left out, outside assets for the
            two clearing models, in which a bank without capital still pays in full; capital for the others.
        settings: Model; linear DebtRank when left out.
        reverse_share: Share of banks whose failure the reverse test looks for, above 0 and at most 1.

    Raises:
        BadInputError: A share outside 0 to 1, or rates that the model does not know.
        UnknownNameError: A bank is not in the network.
    """
    settings = settings or ContagionSettings()
    shock_of = shock_of or ("assets" if settings.name in CLEARING else "capital")
    if shock_of not in ("capital", "assets"):
        raise BadInputError(field="shock_of", value=shock_of, remedy="Give capital or assets.")
    if not 0 < reverse_share <= 1:
        remedy = "Give a share of the banks, above 0 and at most 1."
        raise BadInputError(field="reverse_share", value=reverse_share, remedy=remedy)
    model = model_of(books, settings)
    base_N = books.assets_N if shock_of == "assets" else np.maximum(books.capital_N, 0.0)
    share_N, failing_N = _shares(books, shock)
    shocked_N = np.where(failing_N, _everything(books, settings), share_N * base_N)
    nothing_N, nobody_N = np.zeros(len(share_N)), np.zeros(len(share_N), dtype=bool)
    impacts = model.impacts()
    return StressTest(
        books=books,
        settings=settings,
        shocked_N=shocked_N,
        failing_N=failing_N,
        shock_of=shock_of,
        outcome=model.answer(shocked_N, failing_N),
        before_N=model.answer(nothing_N, nobody_N).failed_N,
        impacts=impacts,
        reverse=_reversed(books, model, base_N, impacts, reverse_share),
    )


def _shares(books: Books, shock: Mapping[str, float | None] | Iterable[str]) -> tuple[Doubles, Bools]:
    if isinstance(shock, str):
        remedy = "Give a list of banks, or a mapping from banks to shares."
        raise BadInputError(field="shock", value=shock, remedy=remedy)
    pairs = shock if isinstance(shock, Mapping) else dict.fromkeys(shock)
    if not pairs:
        raise BadInputError(field="shock", value="none", remedy="Name at least one bank.")
    share_N = np.zeros(books.network.num_nodes)
    failing_N = np.zeros(books.network.num_nodes, dtype=bool)
    for bank, share in pairs.items():
        index = books.network.index_of(bank)
        if share is None:
            failing_N[index] = True
        elif not (isinstance(share, int | float) and 0 <= share <= 1):
            raise BadInputError(field=f"shock of {bank}", value=share, remedy="Give a share from 0 to 1.")
        else:
            share_N[index] = share
    return share_N, failing_N


def _everything(books: Books, settings: ContagionSettings) -> Doubles:
    """Return what a bank loses that fails outright."""
    return books.assets_N if settings.name in CLEARING else np.maximum(books.capital_N, 0.0)


def _reversed(
    books: Books, model: ContagionModel, base_N: Doubles, impacts: Impacts, share: float
) -> ReverseStress:
    num_banks = books.network.num_nodes
    target = math.ceil(share * num_banks - 1e-9)
    nobody_N, nothing_N = np.zeros(num_banks, dtype=bool), np.zeros(num_banks)

    def failures(scale: float) -> float:
        return float(model.answer(scale * base_N, nobody_N).failed_N.sum())

    order_N = np.lexsort((np.arange(num_banks), -impacts.impact_N))

    def enough(count: int) -> bool:
        fails_N = nobody_N.copy()
        fails_N[order_N[:count]] = True
        everything_N = np.where(fails_N, base_N, nothing_N)
        return bool(model.answer(everything_N, fails_N).failed_N.sum() >= target)

    scale = smallest_scale(failures, target, precision=1e-4).scale
    if not enough(num_banks):
        return ReverseStress(share=share, scale=scale, banks=None)
    low, high = -1, num_banks
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    names = tuple(books.network.nodes[index] for index in order_N[:high])
    return ReverseStress(share=share, scale=scale, banks=names)
