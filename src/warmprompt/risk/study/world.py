"""The banks of a study and their days of payments. All synthetic; see the assumptions in docs/risk/study.md.

A world is one network with the published shape of Fedwire, smaller, and balanced: every bank is
expected to receive what it pays, so that days can follow one another. Its days differ by chance and
by a factor per bank and day.

N is banks, L links, P payments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from warmprompt.errors import BadInputError
from warmprompt.risk.network.fedwire import FedwireModel, fedwire_2004, generate_fedwire
from warmprompt.risk.settlement import DayPayments, DayShape, liquidity_bounds, payment_day, payments_table
from warmprompt.risk.settlement.payments import Doubles, Longs
from warmprompt.rng import derive, derive_seed

# Upper ends of the size classes, as shares of the banks ranked by size.
SIZE_CLASSES = (0.01, 0.03, 0.1, 0.3, 1.0)
DOLLARS_PER_BANK = 250_000_000


@dataclass(frozen=True, kw_only=True)
class BankWorldSettings:
    """What a world is made of. Every value is an assumption.

    Attributes:
        num_banks: Banks before those outside the giant component are left out.
        pairs_per_bank: Trading pairs per bank, as in the published network.
        payments_per_day: Payments on each day.
        day_s: Length of a settlement day, seconds.
        night_s: From one close to the next opening.
        count_exponent: Payments of a link are in proportion to its value to this power.
        sigma: Deviation of the logarithm of an amount.
        day_noise: Deviation of the logarithm of the factor per bank and day on how many payments it sends.
        liquidity: Opening balance as a multiple of the bank's mean upper bound of liquidity on past days.
    """

    num_banks: int = 200
    pairs_per_bank: int = 13
    payments_per_day: int = 20_000
    day_s: float = 79_200.0
    night_s: float = 7_200.0
    count_exponent: float = 0.6
    sigma: float = 1.2
    day_noise: float = 0.3
    liquidity: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if self.payments_per_day < 1:
            remedy = "Give at least 1."
            raise BadInputError(field="payments_per_day", value=self.payments_per_day, remedy=remedy)
        smaller_model(self.num_banks, pairs_per_bank=self.pairs_per_bank)
        for name in ("day_s", "liquidity"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give a number above 0.")
        for name in ("night_s", "count_exponent", "sigma", "day_noise"):
            if not 0 <= getattr(self, name) < np.inf:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give at least 0.")

    @property
    def period_s(self) -> float:
        """From one opening to the next."""
        return self.day_s + self.night_s


@dataclass(frozen=True, kw_only=True, eq=False)
class BankWorld:
    """Banks, links and liquidity; the days are drawn from it.

    Attributes:
        settings: As given.
        nodes: Bank ids, largest first.
        links_NN: Expected relative number of payments.
        value_NN: Expected value of a day, minor units; every bank's row and column sum to the same.
        group_N: Size class of each bank, 0 for the largest: what is known of a bank without history.
        history: Past days, the watcher's evidence of its own.
        opening_minor: Balance of each bank at the opening.
    """

    settings: BankWorldSettings
    nodes: tuple[str, ...]
    links_NN: csr_array
    value_NN: csr_array
    group_N: Longs
    history: tuple[DayPayments, ...]
    opening_minor: Longs

    @property
    def num_banks(self) -> int:
        """How many banks there are."""
        return len(self.nodes)


def make_bank_world(settings: BankWorldSettings, *, seed: int, num_history: int = 5) -> BankWorld:
    """Return a world with so many days of history (at least 1); the same for the same seed."""
    if num_history < 1:
        raise BadInputError(field="num_history", value=num_history, remedy="Give at least 1 day.")
    model = smaller_model(settings.num_banks, pairs_per_bank=settings.pairs_per_bank)
    network = generate_fedwire(derive_seed(seed, "network"), model=model)
    value_NN = balanced(network.matrix)
    links_NN = value_NN.copy()
    links_NN.data **= settings.count_exponent
    ranks = np.array([int(node[1:]) for node in network.nodes])
    ends = np.ceil(np.array(SIZE_CLASSES) * settings.num_banks)
    world = BankWorld(
        settings=settings,
        nodes=network.nodes,
        links_NN=links_NN,
        value_NN=value_NN,
        group_N=np.searchsorted(ends, ranks),
        history=(),
        opening_minor=np.zeros(len(ranks), dtype=np.int64),
    )
    history = tuple(draw_day(world, seed=derive_seed(seed, "history", day)) for day in range(num_history))
    upper_N = np.mean([liquidity_bounds(day)[1] for day in history], axis=0)
    opening = np.rint(settings.liquidity * upper_N).astype(np.int64)
    return replace(world, history=history, opening_minor=opening)


def smaller_model(num_banks: int, *, pairs_per_bank: int = 13) -> FedwireModel:
    """Return the model of the published network with other numbers of banks and of pairs per bank.

    Raises:
        BadInputError: Fewer than 30 banks, or more pairs than half of all.
    """
    if num_banks < 30 or not 0 < 4 * pairs_per_bank < num_banks - 1:
        remedy = f"Give at least {max(30, 4 * pairs_per_bank + 2)} banks, and at least one pair per bank."
        raise BadInputError(field="number of banks", value=num_banks, remedy=remedy)
    return replace(
        fedwire_2004(),
        num_participants=num_banks,
        num_pairs=num_banks * pairs_per_bank,
        total_minor=DOLLARS_PER_BANK * 100 * num_banks,
        core_within=None,
    )


def balanced(matrix: csr_array, *, tolerance: float = 1e-9, max_rounds: int = 10_000) -> csr_array:
    """Return D A D^-1 with D diagonal, whose row and column sums agree for every bank.

    Exists and is unique if everybody reaches everybody along links (Osborne 1960); found by scaling
    each bank by the root of incoming over outgoing until none is off by more than `tolerance`.

    Raises:
        BadInputError: The network is not strongly connected, or it did not come to rest.
    """
    flows = csr_array(matrix, dtype=np.float64)
    parts, _ = connected_components(flows, directed=True, connection="strong")
    if parts != 1:
        remedy = "Give a strongly connected network, such as its giant component."
        raise BadInputError(field="network to balance", value=f"{parts} parts", remedy=remedy)
    scale_N = np.ones(flows.shape[0])
    for _ in range(max_rounds):
        outgoing_N = scale_N * (flows @ (1 / scale_N))
        incoming_N = (flows.T @ scale_N) / scale_N
        ratio_N = np.sqrt(incoming_N / outgoing_N)
        if np.abs(ratio_N - 1).max() <= tolerance:
            rows = np.repeat(np.arange(len(scale_N)), np.diff(flows.indptr))
            flows.data = flows.data * scale_N[rows] / scale_N[flows.indices]
            return flows
        # Full steps can swing for ever between two halves of a network; shorter ones settle.
        scale_N *= ratio_N**0.8
    remedy = "Allow more rounds, or a larger tolerance."
    raise BadInputError(field="network to balance", value=f"{max_rounds} rounds", remedy=remedy)


def draw_day(world: BankWorld, *, seed: int) -> DayPayments:
    """Return one day of payments, from 0 to `day_s`."""
    settings, links_NN = world.settings, world.links_NN.copy()
    noise_N = derive(seed, "busy").normal(-(settings.day_noise**2) / 2, settings.day_noise, world.num_banks)
    rows = np.repeat(np.arange(world.num_banks), np.diff(links_NN.indptr))
    usual_L = settings.payments_per_day * links_NN.data / links_NN.data.sum()
    links_NN.data = links_NN.data * np.exp(noise_N[rows])
    # A log-normal amount has mean median * exp(sigma^2 / 2); the link's value is its usual number times it.
    median_L = np.maximum(1.0, world.value_NN.data / usual_L * np.exp(-(settings.sigma**2) / 2))
    shape = DayShape(close_s=settings.day_s, median_minor=median_L, sigma=settings.sigma)
    return payment_day(links_NN, num_payments=settings.payments_per_day, seed=seed, shape=shape)


def draw_days(world: BankWorld, *, seed: int, num_days: int) -> DayPayments:
    """Return days in a row on one time axis, nights between them without payments."""
    days = [draw_day(world, seed=derive_seed(seed, "day", day)) for day in range(num_days)]
    return payments_table(
        time_s=np.concatenate([day.time_s + i * world.settings.period_s for i, day in enumerate(days)]),
        sender=np.concatenate([day.sender for day in days]),
        receiver=np.concatenate([day.receiver for day in days]),
        amount_minor=np.concatenate([day.amount_minor for day in days]),
        priority=np.concatenate([day.priority for day in days]),
        num_banks=world.num_banks,
    )


def open_seconds(times_s: Doubles, settings: BankWorldSettings) -> Doubles:
    """Return times as seconds of opening since the first opening; nights take none."""
    days = np.floor(times_s / settings.period_s)
    return np.asarray(days * settings.day_s + np.minimum(times_s - days * settings.period_s, settings.day_s))


def wall_seconds(opened_s: Doubles, settings: BankWorldSettings) -> Doubles:
    """Return the inverse of `open_seconds`; a close stays a close."""
    days = np.maximum(np.ceil(opened_s / settings.day_s) - 1, 0)
    return np.asarray(days * settings.period_s + (opened_s - days * settings.day_s))
