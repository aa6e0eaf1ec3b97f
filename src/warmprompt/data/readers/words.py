"""Codes that data sets use for attributes, in words."""

from __future__ import annotations

import polars as pl

GENDERS = {"M": "male", "F": "female"}


def gender_word(column: str) -> pl.Expr:
    """Spell out M and F; other values stay as they are."""
    return pl.col(column).replace(GENDERS)


def year_in_title(column: str = "title") -> pl.Expr:
    """Return the year that ends a title, "Toy Story (1995)" -> "1995", or null."""
    return pl.col(column).str.extract(r"\((\d{4})\)\s*$", 1)


# MovieLens-1M's README: codes of users.dat.
ML1M_AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 or older",
}
ML1M_OCCUPATIONS = {
    "0": "other",
    "1": "academic/educator",
    "2": "artist",
    "3": "clerical/admin",
    "4": "college/grad student",
    "5": "customer service",
    "6": "doctor/health care",
    "7": "executive/managerial",
    "8": "farmer",
    "9": "homemaker",
    "10": "K-12 student",
    "11": "lawyer",
    "12": "programmer",
    "13": "retired",
    "14": "sales/marketing",
    "15": "scientist",
    "16": "self-employed",
    "17": "technician/engineer",
    "18": "tradesman/craftsman",
    "19": "unemployed",
    "20": "writer",
}
