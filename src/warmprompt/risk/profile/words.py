"""Payments and their entity in words, for the language model.

Numbers are rounded to few levels: a language model reads "about 40", and equal texts are read once.
"""

from __future__ import annotations

import numpy as np

from warmprompt.risk.profile.features import FEATURE_NAMES, PaymentHistories
from warmprompt.risk.profile.payments import DAY_S, Bools, Doubles, Longs, Side

_AMOUNTS = np.array([2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000])
_DAY_PARTS_S = np.array([7, 12, 18]) * 3600
_DAY_PARTS = ("at night", "in the morning", "in the afternoon", "in the evening")
_WEEK = ("on a weekday", "at the weekend")
_LABELS = ("", ", later found genuine", ", later found fraudulent")
_READ = ("amount", "weekend", "hour_sin", "hour_cos")
_NOUN = {"customer": "card holder", "terminal": "shop terminal"}

# Everything that can be said of one payment: few enough to be read once, when a profiler is trained.
PAYMENT_SENTENCES = tuple(
    f"a payment of about {amount} {week} {part}{label}"
    for amount in _AMOUNTS
    for week in _WEEK
    for part in _DAY_PARTS
    for label in _LABELS
)


def describe_payment(*, time_s: int, amount_minor: int, fraud: bool | None = None) -> str:
    """Return one payment in words: "a payment of about 40 on a weekday at night, later found genuine"."""
    weekend = (time_s // DAY_S + 3) % 7 >= 5
    known = 0 if fraud is None else 2 if fraud else 1
    return PAYMENT_SENTENCES[
        _sentence(_level(amount_minor / 100), int(weekend), _part(time_s % DAY_S), known)
    ]


def sentence_rows(features: Doubles, known: Longs | None = None) -> Longs:
    """Return which of `PAYMENT_SENTENCES` each payment is, from its features (..., F) to (...).

    Args:
        features: `FEATURE_NAMES` in order.
        known: 0 where nothing is known of the label, 1 genuine, 2 fraud; None is 0 for all.
    """
    column = {name: features[..., FEATURE_NAMES.index(name)] for name in _READ}
    angle = np.arctan2(column["hour_sin"], column["hour_cos"]) % (2 * np.pi)
    # The angle of a whole second is off by far less than half of one.
    part = np.searchsorted(_DAY_PARTS_S, np.rint(angle / (2 * np.pi) * DAY_S) % DAY_S, side="right")
    weekend = column["weekend"].astype(np.int64)
    label = np.zeros(part.shape, dtype=np.int64) if known is None else known
    return np.asarray(_sentence(_level(column["amount"]), weekend, part, label), dtype=np.int64)


def describe_entities(history: PaymentHistories, *, side: Side) -> list[str]:
    """Return each entity's visible history in words, one text per row."""
    return [
        _describe(
            history.time_RK[row][mask],
            history.amount_RK[row][mask],
            (history.known_RK[row] & history.fraud_RK[row])[mask],
            history.known_RK[row][mask],
            noun=_NOUN[side],
        )
        for row, mask in enumerate(history.mask_RK)
    ]


def _describe(time_K: Longs, amount_K: Doubles, fraud_K: Bools, known_K: Bools, *, noun: str) -> str:
    if len(time_K) == 0:
        return f"a {noun} without any known payment"
    usual = float(np.median(amount_K))
    if len(time_K) == 1:
        often = "once"
    else:
        gap_s = (time_K[-1] - time_K[0]) / (len(time_K) - 1)
        often = "several a day" if gap_s < DAY_S / 2 else "daily" if gap_s < 1.5 * DAY_S else "now and then"
    text = f"a {noun}, {_count(len(time_K))} of about {_about(usual)}, {often}"
    large = int((amount_K > 3 * usual).sum())
    if large:
        text += ", one unusually large" if large == 1 else ", some unusually large"
    if fraud_K.any():
        text += ", one known fraud" if fraud_K.sum() == 1 else ", several known frauds"
    elif known_K.any():
        text += ", no known fraud"
    return text


def _count(num: int) -> str:
    if num == 1:
        return "one payment"
    return "a few payments" if num <= 5 else "many payments"


def _about(amount: float) -> int:
    return int(_AMOUNTS[_level(amount)])


def _level(amount: float | Doubles) -> Longs:
    """Return which of the amounts is nearest on a logarithmic scale."""
    logs = np.log1p(_AMOUNTS)
    found: Longs = np.searchsorted((logs[1:] + logs[:-1]) / 2, np.log1p(amount), side="left")
    return found


def _part(second: int) -> int:
    return int(np.searchsorted(_DAY_PARTS_S, second, side="right"))


def _sentence(level: Longs, weekend: Longs | int, part: Longs | int, label: Longs | int) -> Longs:
    position: Longs = ((level * len(_WEEK) + weekend) * len(_DAY_PARTS) + part) * len(_LABELS) + label
    return position
