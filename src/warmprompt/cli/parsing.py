"""Options that hold several values, written with commas."""

from __future__ import annotations

from warmprompt.errors import BadInputError


def whole_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of "0,1,5", None where the option was not given.

    Raises:
        BadInputError: Something else is between the commas.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(
            field=option, value=text, remedy="Write whole numbers with commas, such as 0,1,5."
        ) from None


def names(text: str | None) -> tuple[str, ...] | None:
    """Return the names of "a,b"; an empty text holds none."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
