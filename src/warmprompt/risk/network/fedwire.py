"""A synthetic network of payments with the published shape of Fedwire in 2004. No real bank is in it.

Each participant i has a size h_i. Whether two of them trade is a coin whose bias grows with the sum
of their sizes, so that small banks reach the network through large ones, and large ones know one
another:

    p(i - j) = 1 / (1 + exp(-(h_i + h_j - mu) / T)),    h_i = -ln((i + 1/2 + s) / (N + s))        (1)

with i = 0 for the largest: the quantiles of exponential sizes of mean 1, the very largest cut down by
the offset s. Sizes are the same for every seed: a seed is another day of the same banks.

At temperature T = 0 this is the threshold model of Caldarelli et al. 2002, whose degrees follow a
power law with exponent 2 and whose clustering is almost 1; higher temperatures soften both, and the
published exponents, clustering and path length turn out to lie near one temperature. `mu` sets the
expected number of pairs. A share of the pairs pays both ways, the rest one way, drawn with

    weight(i - j) = exp(bias min(h_i, h_j)),                                                      (2)

and the network is what remains as the giant strongly connected component, as in the source.

Value: links are ranked by a noisy score of both sizes, and the r-th largest carries a value
proportional to a Zipf-Mandelbrot law,

    score(i -> j) = min(h_i, h_j) + weight max(h_i, h_j) + noise of the pair + noise of the link,  (3)
    value(r) ~ (r + offset)^-decay.                                                                (4)

The noise in (3) is drawn again until the number of core banks is one that the model allows: what comes out
is the model conditioned on that figure (rejection), and the first draw that fits is taken as it is.

Sources: (1) Caldarelli, Capocci, De Los Rios & Munoz 2002, with the soft threshold of Boguna &
Pastor-Satorras 2003; (4) Mandelbrot 1953. (2) and (3) are this project's own.
N is participants, M pairs that trade, E links.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import expit

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import PaymentNetwork, canonical_csr
from warmprompt.risk.network.statistics import NetworkStatistics, giant_component, value_core
from warmprompt.rng import derive

_CONFIG = "fedwire_2004.toml"
_BLOCK_ROWS = 512
_BIN_WIDTH = 0.01
_MOST_DRAWS = 100


@dataclass(frozen=True, kw_only=True)
class FedwireModel:
    """Everything that shapes a synthetic network besides the seed.

    Attributes:
        num_participants: Banks before those outside the giant component are left out.
        num_pairs: Expected pairs that trade, in one direction or both.
        size_offset: s in (1), at least 0.
        temperature: T in (1), above 0.
        two_way_share: Share of the pairs that pay both ways, 0 to 1.
        two_way_bias: Bias in (2); 0 draws evenly, above 0 prefers large banks.
        larger_weight: Weight of the larger bank in (3).
        pair_noise: Standard deviation of a pair's noise in (3).
        link_noise: Standard deviation of a link's noise in (3).
        value_offset: Offset in (4), at least 0.
        value_decay: Decay in (4), above 0.
        total_minor: Value of all links of the day together, minor units.
        currency: ISO 4217 code.
        core_within: Fewest and most banks on the largest links that carry 75 % of the value; None takes any.
    """

    num_participants: int
    num_pairs: int
    size_offset: float
    temperature: float
    two_way_share: float
    two_way_bias: float
    larger_weight: float
    pair_noise: float
    link_noise: float
    value_offset: float
    value_decay: float
    total_minor: int
    currency: str
    core_within: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no network.

        Raises:
            BadInputError: A field is out of range.
        """
        pairs = self.num_participants * (self.num_participants - 1) // 2
        self._require("num_participants", self.num_participants >= 2, "Give at least 2.")
        self._require("num_pairs", 0 < self.num_pairs < pairs, f"Give more than 0 and fewer than {pairs}.")
        self._require("temperature", self.temperature > 0, "Give a number above 0.")
        self._require("two_way_share", 0 <= self.two_way_share <= 1, "Give a share between 0 and 1.")
        self._require("size_offset", self.size_offset >= 0, "Give a number that is not negative.")
        self._require("pair_noise", self.pair_noise >= 0, "Give a number that is not negative.")
        self._require("link_noise", self.link_noise >= 0, "Give a number that is not negative.")
        self._require("value_offset", self.value_offset >= 0, "Give a number that is not negative.")
        self._require("value_decay", self.value_decay > 0, "Give a number above 0.")
        self._require("total_minor", 0 < self.total_minor < 2**62, "Give more than 0 and less than 2^62.")
        least, most = self.core_within or (2, 2)
        self._require("core_within", 2 <= least <= most, "Give two whole numbers of at least 2, rising.")

    def _require(self, name: str, holds: bool, remedy: str) -> None:  # noqa: FBT001 - the condition itself
        if not holds:
            raise BadInputError(field=f"model {name}", value=getattr(self, name), remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """One published figure: a field of `NetworkStatistics`, its value, and how far off is still a match."""

    statistic: str
    value: float
    tolerance: float
    reason: str

    def met_by(self, measured: NetworkStatistics) -> bool:
        """Tell whether a network's figure lies within the tolerance."""
        figure: float = getattr(measured, self.statistic)
        return abs(figure - self.value) <= self.tolerance


@cache
def fedwire_2004() -> FedwireModel:
    """Return the model whose networks are compared with the published figures."""
    fields = _config()["model"]
    return FedwireModel(**fields | {"core_within": tuple(fields["core_within"])})


@cache
def fedwire_2004_targets() -> tuple[PublishedFigure, ...]:
    """Return the published figures with their tolerances, recalled and to be confirmed; see `source`."""
    return tuple(PublishedFigure(**entry) for entry in _config()["target"])


@cache
def fedwire_2004_source() -> dict[str, str]:
    """Return where the published figures come from, and how sure they are."""
    return dict(_config()["source"])


def generate_fedwire(seed: int, *, model: FedwireModel | None = None) -> PaymentNetwork:
    """Return one synthetic day of payments between banks; the same for the same seed and model.

    Participants are called "B0001" and so on from the largest size down; a number that is missing was
    outside the giant component. Amounts are whole minor units, at least 1, and sum to the model's total
    before links outside the giant component leave, which carry next to nothing.

    Raises:
        BadInputError: None of 100 draws of the values' noise has as many core banks as the model allows.
    """
    selected = fedwire_2004() if model is None else model
    sizes = _sizes(selected)
    left, right = _pairs(seed, selected, sizes)
    larger, smaller = sizes[left], sizes[right]  # left comes first, and sizes fall
    two_way = _two_way(seed, selected, smaller)
    turned = derive(seed, "fedwire", "direction").random(len(left)) < 0.5
    payers = np.where(turned, right, left)
    payees = np.where(turned, left, right)
    rows = np.concatenate([payers, payees[two_way]])
    columns = np.concatenate([payees, payers[two_way]])
    scores = smaller + selected.larger_weight * larger
    width = len(str(selected.num_participants))
    names = tuple(f"B{number:0{width}d}" for number in range(1, selected.num_participants + 1))
    for attempt in range(_MOST_DRAWS):
        amounts = _amounts(seed, selected, scores, two_way, attempt)
        matrix = sparse.coo_array((amounts, (rows, columns)), shape=(len(names), len(names))).tocsr()
        whole = PaymentNetwork(nodes=names, matrix=canonical_csr(matrix), currency=selected.currency)
        network = giant_component(whole)
        if _core_fits(selected, network):
            return network
    raise BadInputError(
        field="model core_within",
        value=selected.core_within,
        remedy=f"None of {_MOST_DRAWS} draws has so many core banks; widen it, or set it to None.",
    )


def _core_fits(model: FedwireModel, network: PaymentNetwork) -> bool:
    if model.core_within is None:
        return True
    least, most = model.core_within
    return least <= len(value_core(network)[0]) <= most


def _sizes(model: FedwireModel) -> np.ndarray:
    """Return exponential sizes, largest first: the same banks for every seed, as on every day."""
    indices = np.arange(model.num_participants) + 0.5 + model.size_offset
    return np.asarray(-np.log(indices / (model.num_participants + model.size_offset)))


def _pairs(seed: int, model: FedwireModel, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pairs that trade by (1); two arrays of shape (M,), left before right."""
    threshold = _threshold(model, sizes)
    lefts, rights = [], []
    for first in range(0, len(sizes), _BLOCK_ROWS):
        block = sizes[first : first + _BLOCK_ROWS, None]
        p_pair = expit((block + sizes[None, first:] - threshold) / model.temperature)
        drawn = derive(seed, "fedwire", "pairs", first).random(p_pair.shape) < p_pair
        left, right = np.nonzero(np.triu(drawn, k=1))
        lefts.append(left + first)
        rights.append(right + first)
    return np.concatenate(lefts), np.concatenate(rights)


def _threshold(model: FedwireModel, sizes: np.ndarray) -> float:
    """Return mu of (1) for which the expected number of pairs is the model's; sizes are binned for speed."""
    bins = (sizes / _BIN_WIDTH).astype(np.int64)
    counts = np.bincount(bins).astype(float)
    centres = (np.arange(len(counts)) + 0.5) * _BIN_WIDTH

    def surplus(threshold: float) -> float:
        p_pair = expit((centres[:, None] + centres[None, :] - threshold) / model.temperature)
        with_oneself = counts @ np.diag(p_pair)
        return float((counts @ p_pair @ counts - with_oneself) / 2 - model.num_pairs)

    reach = 2 * centres[-1] + 50 * model.temperature
    return float(brentq(surplus, -reach, reach))


def _two_way(seed: int, model: FedwireModel, smaller: np.ndarray) -> np.ndarray:
    """Return which pairs pay both ways, indices into (M,), drawn without replacement by (2).

    The largest of log weight plus a Gumbel number are such a draw (Efraimidis & Spirakis 2006).
    """
    num_two_way = round(model.two_way_share * len(smaller))
    keys = model.two_way_bias * smaller + derive(seed, "fedwire", "two-way").gumbel(size=len(smaller))
    return np.sort(np.argsort(-keys, kind="stable")[:num_two_way])


def _amounts(
    seed: int, model: FedwireModel, scores: np.ndarray, two_way: np.ndarray, attempt: int
) -> np.ndarray:
    """Return minor units by (3) and (4), shape (E,); the largest link takes what rounding leaves."""
    again = (attempt,) if attempt else ()
    noisy = scores + model.pair_noise * derive(seed, "fedwire", "pair", *again).standard_normal(len(scores))
    noisy = np.concatenate([noisy, noisy[two_way]])
    noise = derive(seed, "fedwire", "link", *again).standard_normal(len(noisy))
    order = np.argsort(-(noisy + model.link_noise * noise), kind="stable")
    curve = (np.arange(1, len(noisy) + 1) + model.value_offset) ** -model.value_decay
    values = np.maximum(np.rint(curve / curve.sum() * model.total_minor), 1).astype(np.int64)
    values[0] += model.total_minor - int(values.sum())
    amounts = np.empty(len(noisy), dtype=np.int64)
    amounts[order] = values
    return amounts


@cache
def _config() -> dict[str, Any]:
    text = resources.files(__package__).joinpath(_CONFIG).read_text(encoding="utf-8")
    return tomllib.loads(text)
