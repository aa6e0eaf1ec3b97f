"""Payments and their entity in words, for the language model.

Numbers are rounded to few levels: a language model reads "about 40", and equal texts are read once.
"""

from __future__ import annotations

import numpy as np

from warmprompt.risk.profile.features import History
from warmprompt.risk.profile.payments import DAY_S, Bools, Doubles, Longs, Side

_AMOUNTS = np.array([2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000])
_DAY_PARTS = ((7 * 3600, "at night"), (12 * 3600, "in the morning"), (18 * 3600, "in the afternoon"))
_NOUN = {"customer": "card holder", "terminal": "shop terminal"}


def describe_payment(*, time_s: int, amount_minor: int, fraud: bool | None = None) -> str:
    """Return one payment in words: "a payment of about 40 on a Saturday at night, later found fraudulent"."""
    day = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[
        (time_s // DAY_S + 3) % 7
    ]
    tail = "" if fraud is None else ", later found fraudulent" if fraud else ", later found genuine"
    part = _part_of_day(time_s % DAY_S)
    return f"a payment of about {_about(amount_minor / 100)} on a {day} {part}{tail}"


def describe_entities(history: History, *, side: Side) -> list[str]:
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
    return int(_AMOUNTS[np.abs(np.log1p(_AMOUNTS) - np.log1p(amount)).argmin()])


def _part_of_day(second: int) -> str:
    return next((name for until, name in _DAY_PARTS if second < until), "in the evening")
