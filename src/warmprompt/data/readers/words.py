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
