"""The synthetic Fedwire-like generator against the published statistics of 2004: one table over many seeds.

    python benchmarks/fedwire_generator.py --seeds 20 --out docs/results/fedwire-generator

The model's constants were chosen on seeds 0 to 7; the table is of seeds from 100 on, which nothing was chosen
on. Degree exponents are fitted a second time, with the powerlaw library. Writes fedwire-generator.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import powerlaw

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.network.fedwire import (
    FedwireModel,
    PublishedFigure,
    fedwire_2004,
    fedwire_2004_source,
    fedwire_2004_targets,
    generate_fedwire,
)
from warmprompt.risk.network.graph import PaymentNetwork
from warmprompt.risk.network.statistics import (
    DEFAULT_TAIL,
    NetworkStatistics,
    clustering,
    statistics,
    value_core,
)

FIRST_SEED = 100
PAGE = """\
# The synthetic Fedwire-like network against the published figures

Do the synthetic networks match the published figures of Fedwire? Yes, within the tolerances and
for every seed, but the figures themselves are recalled and still to be confirmed.

Synthetic, under stated assumptions: no data of Fedwire or of any real bank went in. Made by
`python benchmarks/fedwire_generator.py`. The model, the definitions and the limits are described in
[Payment networks](../risk/network.md).

Targets: {authors}, *{title}*, {where}; {period}. Status: **{status}**.
Tolerances are in `fedwire_2004.toml` with a reason for each; they were committed before the model's
constants were final and were not changed afterwards. The constants were chosen on seeds 0 to 7; this table
is of {num_seeds} others, {first} to {last}. (An earlier setting was tabled on
these too; it was changed to bring what banks pay and receive closer together, not for a line of this
table.) A line is inside only if **every** seed is.

`core_nodes` is inside **by construction**: the generator conditions on it. Where the first draw of the values
has a core outside the tolerance, their noise is drawn again, and the links stay. That happened on
{num_again} of these {num_seeds} seeds; without it `core_nodes` was {first_least} to {first_most}
(mean {first_mean:.1f}), inside on {first_inside} of {num_seeds}.

| statistic | target | tolerance | mean | min | max | seeds inside | inside |
|---|---:|---:|---:|---:|---:|---:|---|
{rows}

Lines not inside: {num_missed} of {num_rows}.

What this shows, and what it does not:

- `num_nodes`, `num_links`, `mean_degree` and `reciprocity` follow constants of the model, up to what falls
  outside the giant component. `core_links` is met by construction: values follow a fixed rank-size curve
  whose decay was chosen for it.
- `clustering`, `path_length` and both exponents are outcomes; one temperature and one size offset were chosen
  for them. The noise and the weights of the values were chosen for `core_nodes`, which the last step
  conditions on.
- Sizes are the same for every seed, as the banks of two days are, so seeds differ little.
- In- and out-degrees have one distribution in this model, so the published difference between the
  exponents (2.11 out, 2.15 in) is not reproduced.

Figures without a target, for the record:

| statistic | mean | min | max |
|---|---:|---:|---:|
{free}

The definitions behind the recalled figures are to be confirmed as well. By other definitions that the words
would allow, the same networks have:

| figure | mean | min | max |
|---|---:|---:|---:|
{otherwise}

One network takes {made_s:.1f} s to make and {measured_s:.1f} s to measure exactly (medians; other work ran
on the machine at the same time). Machine: {processor}, {cores} cores, {memory}, {system}, Python {python}.
"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One seed's network.

    Attributes:
        seed: What it was drawn with.
        figures: As the package defines them.
        by_powerlaw: Exponents of out- and in-degrees by the powerlaw library.
        otherwise: Figures by other definitions.
        made_s: Seconds to make the network.
        measured_s: Seconds to compute `figures`.
    """

    seed: int
    figures: NetworkStatistics
    first_core: int
    by_powerlaw: tuple[float, float]
    otherwise: dict[str, float]
    made_s: float
    measured_s: float


def main() -> None:
    """Read the options, draw the networks, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--out", type=Path, default=Path("docs/results/fedwire-generator"))
    chosen = parser.parse_args()
    runs = [draw(seed) for seed in range(FIRST_SEED, FIRST_SEED + chosen.seeds)]
    write_atomic(chosen.out.with_suffix(".md"), page(runs).encode())


def draw(seed: int) -> Drawn:
    """Return the figures of one seed."""
    start = time.perf_counter()
    network = generate_fedwire(seed)
    made = time.perf_counter()
    figures = statistics(network)
    measured = time.perf_counter()
    return Drawn(
        seed=seed,
        figures=figures,
        first_core=len(value_core(generate_fedwire(seed, model=unconditioned()))[0]),
        by_powerlaw=library_exponents(network),
        otherwise=other_definitions(network, figures),
        made_s=made - start,
        measured_s=measured - made,
    )


def unconditioned() -> FedwireModel:
    """Return the model that takes the first draw of the values, whatever its core."""
    return replace(fedwire_2004(), core_within=None)


def library_exponents(network: PaymentNetwork) -> tuple[float, float]:
    """Return the exponents of out- and in-degrees of 10 and more by the powerlaw library."""
    degrees = (
        np.diff(network.matrix.indptr),
        np.bincount(network.matrix.indices, minlength=network.num_nodes),
    )
    with warnings.catch_warnings():
        # The library reports the standard error for continuous data; it is not used.
        warnings.simplefilter("ignore")
        out, into = (fitted(k) for k in degrees)
    return out, into


def other_definitions(network: PaymentNetwork, figures: NetworkStatistics) -> dict[str, float]:
    """Return reciprocity and clustering as others define them."""
    links = (network.matrix > 0).astype(np.int64).tocsr()
    neighbours = np.diff(((links + links.T) > 0).tocsr().indptr)
    payees = np.diff(links.indptr)
    linked = np.asarray((links @ links).multiply(links).sum(axis=1)).ravel()
    several = payees >= 2
    directed = linked[several] / (payees * (payees - 1))[several]
    return {
        "reciprocity, share of trading pairs that pay both ways": figures.reciprocity
        / (2 - figures.reciprocity),
        "clustering, mean over banks with two neighbours or more": float(
            clustering(network.matrix)[neighbours >= 2].mean()
        ),
        "clustering, directed links among payees, banks with two payees or more": float(directed.mean()),
        "clustering, directed links among payees, 0 for banks with one payee": float(
            directed.sum() / network.num_nodes
        ),
    }


def fitted(degrees: np.ndarray) -> float:
    """Return the exact discrete maximum likelihood exponent; the library's default is an approximation."""
    fit = powerlaw.Fit(degrees, discrete=True, xmin=DEFAULT_TAIL, estimate_discrete=False, verbose=False)
    return float(fit.power_law.alpha)


def page(runs: Sequence[Drawn]) -> str:
    """Return the results page."""
    targets = fedwire_2004_targets()
    rows = [row(target, [getattr(run.figures, target.statistic) for run in runs]) for target in targets]
    core = next(target for target in targets if target.statistic == "core_nodes")
    fits = [abs(run.first_core - core.value) <= core.tolerance for run in runs]
    exponents = [target for target in targets if target.statistic.endswith("exponent")]
    for side, target in enumerate(exponents):
        rows.append(row(target, [run.by_powerlaw[side] for run in runs], "by `powerlaw`"))
    others = ("connectivity", "diameter", "median_out_degree", "max_out_degree", "max_in_degree")
    return PAGE.format(
        **fedwire_2004_source(),
        **describe_machine(),
        first=runs[0].seed,
        last=runs[-1].seed,
        num_seeds=len(runs),
        rows="\n".join(rows),
        num_again=len(runs) - sum(fits),
        first_least=min(run.first_core for run in runs),
        first_most=max(run.first_core for run in runs),
        first_mean=np.mean([run.first_core for run in runs]),
        first_inside=sum(fits),
        num_missed=sum("**no**" in line for line in rows),
        num_rows=len(rows),
        free="\n".join(plain(name, [getattr(run.figures, name) for run in runs]) for name in others),
        otherwise="\n".join(
            plain(name, [run.otherwise[name] for run in runs], code=False) for name in runs[0].otherwise
        ),
        made_s=np.median([run.made_s for run in runs]),
        measured_s=np.median([run.measured_s for run in runs]),
    )


def row(target: PublishedFigure, values: Sequence[float], note: str = "") -> str:
    """Return one line of the table of targets."""
    inside = [abs(value - target.value) <= target.tolerance for value in values]
    name = f"`{target.statistic}` {note}".strip()
    figures = " | ".join(short(value) for value in (np.mean(values), min(values), max(values)))
    verdict = "yes" if all(inside) else "**no**"
    return (
        f"| {name} | {target.value:g} | {target.tolerance:g} | {figures} | "
        f"{sum(inside)} of {len(inside)} | {verdict} |"
    )


def plain(name: str, values: Sequence[float], *, code: bool = True) -> str:
    """Return one line of a table without targets."""
    figures = " | ".join(short(value) for value in (np.mean(values), min(values), max(values)))
    return f"| {f'`{name}`' if code else name} | {figures} |"


def short(value: float) -> str:
    """Write large numbers whole and small ones with four digits."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
