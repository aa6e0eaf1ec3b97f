"""Expected systemic loss: how likely trouble is at a bank, times what its failure costs all the others.

N is banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion import Impacts
from warmprompt.risk.contagion.checks import Doubles
from warmprompt.risk.stress.blocks import ReportBlock, amount_text, save_report
from warmprompt.risk.stress.books import Books
from warmprompt.risk.stress.models import MODELS, ContagionSettings, model_of

_COLUMNS = ("p_trouble", "p_low", "p_high")


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """Probability of trouble and systemic impact of every bank.

    Attributes:
        books: The network and its balance sheets.
        settings: Model of contagion.
        impacts: Effects of each single failure.
        p_N3: Probability of trouble, and both ends of its interval.
        notes: What of the tables was not used.
    """

    books: Books
    settings: ContagionSettings
    impacts: Impacts
    p_N3: Doubles
    notes: tuple[str, ...] = ()

    @property
    def loss_N(self) -> Doubles:
        """Capital that all other banks lose when a bank fails."""
        return self.impacts.impact_N * float(np.maximum(self.books.capital_N, 0.0).sum())

    def table(self) -> pl.DataFrame:
        """Return a row per bank, the largest expected loss first.

        The interval of an expected loss comes from that of the probability; the impact is taken as known.
        """
        expected_N3 = self.p_N3 * self.loss_N[:, None]
        total = max(float(expected_N3[:, 0].sum()), 1e-300)
        order_N = np.lexsort((np.arange(len(expected_N3)), -self.loss_N, -expected_N3[:, 0]))
        columns = {
            "bank": list(self.books.network.nodes),
            **dict(zip(_COLUMNS, self.p_N3.T, strict=True)),
            "impact": self.impacts.impact_N,
            "failures": self.impacts.failures_N,
            "loss_of_others": self.loss_N,
            "expected_loss": expected_N3[:, 0],
            "expected_low": expected_N3[:, 1],
            "expected_high": expected_N3[:, 2],
            "share": expected_N3[:, 0] / total,
            "vulnerability": self.impacts.vulnerability_N,
        }
        return pl.DataFrame(columns)[order_N]


def watch_banks(books: Books, scores: pl.DataFrame, settings: ContagionSettings | None = None) -> Watch:
    """Return the watch of a network's banks.

    Args:
        books: From `books_from_tables`.
        scores: `bank` or `entity`, `p_trouble`, and if any `p_low` and `p_high`, as of `risk score --out`.
        settings: Model of contagion; linear DebtRank when left out.

    Raises:
        BadInputError: A column is missing, a probability is not one, or a bank has no row or two.
    """
    name = "bank" if "bank" in scores.columns else "entity"
    missing = next((one for one in (name, "p_trouble") if one not in scores.columns), None)
    if missing:
        value, remedy = ", ".join(scores.columns)[:80], "Give columns bank (or entity) and p_trouble."
        raise BadInputError(field="scores", value=value, remedy=remedy)
    rows = {str(row[name]): row for row in scores.iter_rows(named=True)}
    if len(rows) < len(scores):
        twice = scores[name].cast(pl.String).filter(scores[name].is_duplicated())[0]
        raise BadInputError(field=f"score of {twice}", value="twice", remedy="Give one row per bank.")
    nodes = books.network.nodes
    absent = [bank for bank in nodes if bank not in rows]
    if absent:
        remedy = f"Give every bank of the network a row; {len(absent)} have none."
        raise BadInputError(field=f"score of {absent[0]}", value="none", remedy=remedy)
    p_N3 = np.array([[_probability(rows[bank], bank, key) for key in _COLUMNS] for bank in nodes])
    settings = settings or ContagionSettings()
    unused = len(rows) - len(nodes)
    return Watch(
        books=books,
        settings=settings,
        impacts=model_of(books, settings).impacts(),
        p_N3=p_N3,
        notes=(f"{unused} banks with a score are not in the network",) if unused else (),
    )


def save_watch_report(
    watch: Watch, path: Path, *, title: str = "Watch list of banks", top: int = 15
) -> list[Path]:
    """Write the report with its picture, and return the files; arguments as in `save_stress_report`."""
    return save_report(
        path,
        title,
        lambda folder, stem: _draw(watch, folder, stem),
        lambda names: _blocks(watch, names, title, top),
    )


def _probability(row: dict[str, object], bank: str, key: str) -> float:
    value = row.get(key, row["p_trouble"])
    try:
        found = float(str(value))  # a CSV file may hold text
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        field, remedy = f"{key} of {bank}", "Give a probability from 0 to 1."
        raise BadInputError(field=field, value=value, remedy=remedy)
    return found


def _draw(watch: Watch, folder: Path, stem: str) -> list[Path]:
    from warmprompt.risk.plots.watch import plot_watch

    picture = folder / f"{stem}-watch.png"
    plot_watch(watch.books.network.nodes, watch.p_N3, watch.impacts.impact_N, picture)
    return [picture]


def _blocks(watch: Watch, pictures: Sequence[str], title: str, top: int) -> list[ReportBlock]:
    table = watch.table()
    total = float(table["expected_loss"].sum())
    rows = table.head(top).rows(named=True)
    share = sum(row["share"] for row in rows)
    first = rows[0]
    answer = (
        f"{first['bank']} comes first: trouble with probability {first['p_trouble']:.1%}, and its failure "
        f"would cost the others {first['impact']:.2%} of all capital. The {len(rows)} banks below carry "
        f"{share:.0%} of the expected losses of all, which sum to {amount_text(total)}."
    )
    head = [
        "bank",
        "probability of trouble",
        "loss of others if it fails",
        "expected loss",
        "from",
        "to",
        "share",
    ]
    lines = [
        [
            row["bank"],
            f"{row['p_trouble']:.1%}",
            amount_text(row["loss_of_others"]),
            *(amount_text(row[name]) for name in ("expected_loss", "expected_low", "expected_high")),
            f"{row['share']:.1%}",
        ]
        for row in rows
    ]
    method = (
        f"Model of contagion: {MODELS[watch.settings.name]}. Expected loss of a bank: its probability of "
        "trouble times the capital that all other banks lose when it alone fails outright. Trouble need not "
        "be failure, and joint failures are not added up: amounts rank banks and are no forecast. The "
        "interval is that of the probability; the network is taken as known."
    )
    return [
        ReportBlock(heading=title, level=1),
        ReportBlock(text=answer),
        *(ReportBlock(picture=(name, "Probability of trouble and impact of each bank")) for name in pictures),
        ReportBlock(heading="By expected systemic loss"),
        ReportBlock(table=[head, *lines]),
        ReportBlock(heading="Method and input"),
        ReportBlock(text=method),
        *(ReportBlock(text=f"Note: {note}.") for note in (*watch.notes, *watch.books.notes)),
    ]
