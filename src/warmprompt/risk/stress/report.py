"""The report of a stress test: Markdown with pictures beside it, or one HTML file that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from warmprompt.risk.stress.blocks import ReportBlock, amount_text, markdown_of, save_report
from warmprompt.risk.stress.models import CLEARING, MODELS
from warmprompt.risk.stress.run import StressTest


def save_stress_report(
    test: StressTest, path: Path, *, title: str = "Stress test", top: int = 15
) -> list[Path]:
    """Write the report with its pictures, and return the files.

    Args:
        test: The stress test.
        path: Ends in .html: one file with its pictures inside; or in .md: the pictures lie beside it.
        title: First line.
        top: Rows of each table of banks.

    Raises:
        BadInputError: Another kind of file.
        StorageError: A file could not be written.
    """
    return save_report(
        path,
        title,
        lambda folder, stem: _draw(test, folder, stem),
        lambda pictures: _blocks(test, pictures, title, top),
    )


def stress_report(
    test: StressTest, pictures: Sequence[str] = (), *, title: str = "Stress test", top: int = 15
) -> str:
    """Return the report in Markdown, with links to pictures named ...-network.png and so on."""
    return markdown_of(_blocks(test, pictures, title, top))


def _draw(test: StressTest, folder: Path, stem: str) -> list[Path]:
    from warmprompt.risk.plots.stress import plot_matrix, plot_stressed_network, plot_waves

    network, failed_N = test.books.network, test.outcome.failed_N
    files = [folder / f"{stem}-{name}.png" for name in ("network", "matrix", "waves")]
    plot_stressed_network(network, failed_N, test.impacts.vulnerability_N, test.impacts.impact_N, files[0])
    failing = [network.nodes[index] for index in np.flatnonzero(failed_N)]
    if network.num_links:
        plot_matrix(network, files[1], first=failing)
    if failed_N.any():
        plot_waves(network.nodes, test.outcome.round_N, network.incoming + network.outgoing, files[2])
    return [one for one, drawn in zip(files, (True, network.num_links, failed_N.any()), strict=True) if drawn]


def _blocks(test: StressTest, pictures: Sequence[str], title: str, top: int) -> list[ReportBlock]:
    shown = {name.rsplit("-", 1)[-1].removesuffix(".png"): name for name in pictures}

    def picture(kind: str, caption: str) -> list[ReportBlock]:
        return [ReportBlock(picture=(shown[kind], caption))] if kind in shown else []

    table = test.table()
    by_vulnerability = table.sort("vulnerability", descending=True, maintain_order=True)
    blocks = [
        ReportBlock(heading=title, level=1),
        ReportBlock(text=_answer(test)),
        ReportBlock(table=_figures(test)),
        *picture("network", "Network: banks that fail, the most impactful and the most vulnerable by name"),
        ReportBlock(heading="Most vulnerable banks"),
        ReportBlock(
            text="Vulnerability: the share of its capital that a bank loses on average when another fails."
        ),
        ReportBlock(table=_banks(by_vulnerability.head(top).rows(named=True), "vulnerability", "failed_by")),
        ReportBlock(heading="Most impactful banks"),
        ReportBlock(
            text="Impact: the share of all banks' capital that the others lose when this bank fails."
        ),
        ReportBlock(table=_banks(table.head(top).rows(named=True), "impact", "failures")),
        ReportBlock(heading="Failures by round"),
        ReportBlock(
            text="Round 0: the shock itself, or no capital to begin with. Later rounds: losses on others."
        ),
        ReportBlock(table=_rounds(test)),
        *picture("waves", "Failures by round"),
        ReportBlock(heading="Reverse stress test"),
        ReportBlock(text=_reverse(test)),
        ReportBlock(heading="Who owes whom"),
        *picture("matrix", "Obligations among the largest banks"),
        ReportBlock(heading="Method and input"),
        ReportBlock(text=_method(test)),
    ]
    return blocks + [ReportBlock(text=f"Note: {note}.") for note in test.books.notes]


def _answer(test: StressTest) -> str:
    names, outcome = test.books.network.nodes, test.outcome
    directly, later = int((outcome.round_N == 0).sum()), int((outcome.round_N > 0).sum())
    shocked = np.flatnonzero(test.failing_N | (test.shocked_N > 0))
    who = ", ".join(names[index] for index in shocked[:5]) + (" and others" if len(shocked) > 5 else "")
    first = f"The shock hits {len(shocked):,} of {len(names):,} banks ({who})."
    second = f"It brings down {directly:,} by itself and {later:,} by contagion."
    already = int(test.before_N.sum())
    third = f" {already:,} of these fail without any shock." if already else ""
    return f"{first} {second}{third}"


def _figures(test: StressTest) -> list[list[str]]:
    books, outcome = test.books, test.outcome
    pairs = {
        "banks": f"{books.network.num_nodes:,}",
        "obligations between them": f"{books.network.num_links:,}",
        "owed between them": amount_text(float(books.network.total)),
        "capital": amount_text(float(np.maximum(books.capital_N, 0).sum())),
        "lost by the shock": amount_text(float(test.shocked_N.sum())),
        "lost on claims on banks": amount_text(float(outcome.losses_N.sum())),
        "banks that fail": f"{int(outcome.failed_N.sum()):,}",
        "rounds of contagion": f"{max(0, int(outcome.round_N.max(initial=0))):,}",
    }
    if test.settings.name == "rogers-veraart":
        pairs["destroyed by default"] = amount_text(float(outcome.destroyed_N.sum()))
    return [["", ""], *([name, value] for name, value in pairs.items())]


def _banks(rows: Sequence[dict[str, object]], score: str, count: str) -> list[list[str]]:
    head = ["bank", score, count.replace("_", " "), "capital", "capital lost in this test", "fails in round"]
    lines = [
        [
            str(row["bank"]),
            f"{row[score]:.4f}",
            f"{row[count]:,}",
            amount_text(float(str(row["capital"]))),
            f"{row['lost_share_of_capital']:.1%}",
            "" if row["round"] is None else str(row["round"]),
        ]
        for row in rows
    ]
    return [head, *lines]


def _rounds(test: StressTest) -> list[list[str]]:
    round_N, capital_N = test.outcome.round_N, np.maximum(test.books.capital_N, 0)
    lines = [
        [
            str(number),
            f"{int((round_N == number).sum()):,}",
            amount_text(float(capital_N[round_N == number].sum())),
        ]
        for number in np.unique(round_N[round_N >= 0])
    ]
    return [["round", "banks that fail", "their capital"], *(lines or [["none", "0", "0"]])]


def _reverse(test: StressTest) -> str:
    found, what = test.reverse, "outside assets" if test.shock_of == "assets" else "capital"
    aim = f"{found.share:.0%} of the banks"
    if found.scale is None:
        first = f"Even if all banks lose all {what} at once, fewer than {aim} fail."
    else:
        first = (
            f"{aim} fail if all banks lose {found.scale:.2%} of their {what} at once, not if they lose less."
        )
    if found.banks is None:
        return f"{first} No set of failing banks brings down as many."
    if not found.banks:
        return f"{first} As many fail without any shock."
    names = ", ".join(found.banks[:20]) + (" ..." if len(found.banks) > 20 else "")
    second = (
        f"Taken in order of impact, the fewest that bring down as many are {len(found.banks):,}: {names}."
    )
    return f"{first} {second} Other, smaller sets may do so, too."


def _method(test: StressTest) -> str:
    settings, rates = test.settings, test.books.rates
    names = ("alpha", "beta") if settings.name == "rogers-veraart" else ("loss_given_default",)
    values = [f"{name} {'by bank' if name in rates else getattr(settings, name)}" for name in names]
    used = "" if settings.name == "eisenberg-noe" else f", {' and '.join(values)}"
    fails = "all outside assets" if settings.name in CLEARING else "all capital"
    return (
        f"Model: {MODELS[settings.name]}{used}. A bank that fails outright loses {fails}. Impact and "
        "vulnerability come from the failure of every single bank in turn. The result is a calculation on "
        "the tables put in, at one date; it knows no fire sales, liquidity or reactions. Amounts are in the "
        "unit of the tables."
    )
