"""Records in words: items as text, users as sentences about who they are and what they like.

Every random choice comes from the generator passed in, so the same generator
state gives the same sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.data.phrasing import FILM_GENRES, GENRE_ALIASES, OCCUPATION_NOUNS, WORDINGS, Frames, Wording
from warmprompt.errors import BadInputError
from warmprompt.types import Ints, short_repr

_P_QUALIFIER = 0.25
_UNSAID = {"", "none", "other", "unknown", "nan", "null"}
_DECADES = {
    1: "teens",
    2: "twenties",
    3: "thirties",
    4: "forties",
    5: "fifties",
    6: "sixties",
    7: "seventies",
}
_LONG_TEXTS = ("description",)
MAX_TASTES = 200
"""More different values than this are names of things, not kinds of things."""
ITEMS_PER_TASTE = 2
"""With fewer items to a value, liking the value says little more than liking the item."""
_LONGEST_TASTE = 60
_NO_TASTES = frozenset({"title", "year", "description", "item"})
_CATEGORY_NAMES = (
    *("genres", "genre", "categories", "category", "class", "kind", "type", "topic", "topics", "tags"),
    *("subject", "section", "department", "product_type", "product_category", "style", "brand"),
)


def describe_attributes(
    attributes: Mapping[str, str], *, rng: np.random.Generator, frames: Frames = "training"
) -> str:
    """Return one sentence about a person: "I am a 24-year-old technician, male" in some wording.

    `age`, `gender` (or `sex`) and `occupation` become a noun phrase; any other attribute reads
    "key: value" behind it. Values that say nothing ("other", "none", "unknown") are left out, and
    the text is empty when nothing remains.

    Args:
        attributes: Name to value, as in `Support.attributes`.
        rng: Chooses the frame.
        frames: Set of phrasings; see `phrasing`.

    Raises:
        BadInputError: No such set of phrasings.
    """
    wording = _wording(frames)
    said = {
        key: " ".join(value.split())
        for key, value in attributes.items()
        if value.strip().lower() not in _UNSAID
    }
    person = {part: said.pop(key) for key, part in _PERSON_KEYS.items() if key in said}
    others = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in said.items())
    if not person:
        return others
    who = _person(person, str(_choose(wording.people, rng)))
    text = str(_choose(wording.attributes, rng)).format(who=who, a_who=f"{_article(who)} {who}")
    text = text[0].upper() + text[1:] if text.endswith((".", "?")) else text
    return f"{text} {others}" if others else text


def describe_tastes(genres: Sequence[str], *, rng: np.random.Generator, frames: Frames = "training") -> str:
    """Return one sentence about tastes: "I love classic science fiction and westerns" in some wording.

    Film genres are named by one of several synonyms; any other name is used as it is, in lower
    case. The order of the likes is drawn too.

    Args:
        genres: What is liked, usually one to three names.
        rng: Chooses frame, synonyms, order and qualifier.
        frames: Set of phrasings; frames and synonyms of `heldout` never occur in `training`.

    Raises:
        BadInputError: No genre, or no such set of phrasings.
    """
    if not genres or isinstance(genres, str):
        raise BadInputError(field="genres", value=genres, remedy="Give a list of at least one genre.")
    wording = _wording(frames)
    keys = [genre_key(genre) for genre in genres]
    order = rng.permutation(len(genres))
    likes = [_like(genres[position], keys[position], frames, rng) for position in order]
    if rng.random() < _P_QUALIFIER:
        likes[0] = f"{_choose(wording.qualifiers, rng)} {likes[0]}"
    listed = likes[-1]
    if len(likes) > 1:
        listed = f"{', '.join(likes[:-1])}{_choose(wording.joins, rng)}{likes[-1]}"
    films = all(key in FILM_GENRES for key in keys)
    pool = (*wording.tastes, *wording.film_tastes) if films else wording.tastes
    text = str(_choose(pool, rng)).format(likes=listed)
    return text[0].upper() + text[1:]


def genre_key(genre: str) -> str:
    """Return the spelling under which a genre is looked up ("Children's" -> "children")."""
    squeezed = re.sub(r"[^a-z0-9]", "", genre.lower())
    return GENRE_ALIASES.get(squeezed, squeezed)


@dataclass(frozen=True, kw_only=True, eq=False)
class GenreTable:
    """Which item has which genre.

    Attributes:
        names: G genres as the data set spells them, sorted.
        has_VG: True where item v has genre g.
    """

    names: tuple[str, ...]
    has_VG: NDArray[np.bool_]

    __repr__ = short_repr


def taste_column(items: pl.DataFrame) -> str | None:
    """Return the attribute of items that sentences about tastes name, None where there is none.

    That is `genres`, or else `categories`, where it is a list. Otherwise it is the first column, of lists or
    of text, whose values many items share; columns with the usual names of categories come first. There are
    `ITEMS_PER_TASTE` items to a value on average, in a column of text at most `MAX_TASTES` values, and most
    of them are words. So a year or a price is no taste, and neither is an id, or a brand that few items have.

    Args:
        items: Titles and attributes, one row per item.
    """
    lists = [name for name, kind in items.schema.items() if kind == pl.List(pl.String)]
    known = [name for name in ("genres", "categories") if name in lists and len(_values(items[name]))]
    if known:
        return known[0]
    texts = [name for name, kind in items.schema.items() if kind == pl.String and name not in _NO_TASTES]
    usual = {name: position for position, name in enumerate(_CATEGORY_NAMES)}
    likely = sorted([*lists, *texts], key=lambda name: usual.get(name.lower(), len(usual)))
    return next((name for name in likely if _is_shared(_values(items[name]), is_list=name in lists)), None)


def genre_table(dataset: Dataset) -> GenreTable:
    """Collect what sentences about tastes name: the values of the data set's `taste_column`."""
    column = taste_column(dataset.items)
    if column is None:
        rows: list[list[str] | None] = [[] for _ in range(dataset.num_items)]
    elif dataset.items.schema[column] == pl.String:
        rows = [[] if text is None else [text.strip()] for text in dataset.items[column].to_list()]
    else:
        rows = dataset.items[column].to_list()
    names = sorted({name for row in rows for name in row or [] if name})
    position = {name: index for index, name in enumerate(names)}
    has_VG = np.zeros((dataset.num_items, len(names)), dtype=np.bool_)
    for item, row in enumerate(rows):
        for name in row or []:
            if name:
                has_VG[item, position[name]] = True
    return GenreTable(names=tuple(names), has_VG=has_VG)


def _values(column: pl.Series) -> pl.Series:
    """Return the values of a column of text or lists of text that say something."""
    texts = column.explode(empty_as_null=False, keep_nulls=False) if column.dtype == pl.List else column
    texts = texts.drop_nulls().str.strip_chars()
    return texts.filter(texts != "")


def _is_shared(values: pl.Series, *, is_list: bool) -> bool:
    num = values.n_unique()
    if num < 2 or len(values) < ITEMS_PER_TASTE * num or (num > MAX_TASTES and not is_list):
        return False
    distinct = values.unique()
    # Numbers, and ids such as "B00X4".
    is_code = ~distinct.str.contains(r"\p{L}") | distinct.str.contains(r"^\S*\d\S*$")
    longest = distinct.str.len_chars().sort()[-1]
    return bool(is_code.sum() * 2 < num and longest <= _LONGEST_TASTE)


def favourite_genres(
    item_indexes: Sequence[int] | Ints, dataset: Dataset | GenreTable, top: int = 3
) -> tuple[str, ...]:
    """Return the genres that a user's items have more often than the catalogue does, clearest first.

    Of n items, c have a genre that a share p of the catalogue has; genres with c > n p are ordered
    by the log-likelihood ratio c ln(c / np) + (n - c) ln((n - c) / (n - np)), equal ones by name.
    It weighs how far c lies above chance against how few items say so.

    Args:
        item_indexes: The user's items, repeated ones counted each time.
        dataset: The data set, or its `genre_table` where many users are described.
        top: At most this many.

    Source: Dunning 1993, equation for binomial samples.
    """
    table = dataset if isinstance(dataset, GenreTable) else genre_table(dataset)
    items = np.asarray(item_indexes, dtype=np.int64)
    if not len(items) or not table.names:
        return ()
    share_G = table.has_VG.mean(axis=0)
    count_G = table.has_VG[items].sum(axis=0)
    expected_G = len(items) * share_G
    rest_G, expected_rest_G = len(items) - count_G, len(items) - expected_G
    ratio_G = _x_log_ratio(count_G, expected_G) + _x_log_ratio(rest_G, expected_rest_G)
    above = [genre for genre in range(len(table.names)) if count_G[genre] > expected_G[genre] + 1e-9]
    above.sort(key=lambda genre: (-round(float(ratio_G[genre]), 9), table.names[genre]))
    return tuple(table.names[genre] for genre in above[:top])


def item_texts(
    dataset: Dataset, *, leave_out: Sequence[str] = _LONG_TEXTS, untitled: str = "Untitled."
) -> list[str]:
    """Return one line per item.

    "Toy Story (1995). Animation, Children's, Comedy.": title, then lists of names, then other
    attributes as "key: value". A year is in brackets behind a title that does not end with it.

    Args:
        dataset: Its `items` table is read.
        leave_out: Columns not to mention; descriptions by default, as they make embedding slow.
        untitled: What an item without any text reads.
    """
    named = [name for name in dataset.items.columns if name not in {"title", "year", "item", *leave_out}]
    lists = [name for name in named if dataset.items.schema[name] == pl.List(pl.String)]
    plain = [name for name in named if name not in lists]
    return [
        " ".join(f"{part}." for part in _item_parts(row, lists, plain)) or untitled
        for row in dataset.items.iter_rows(named=True)
    ]


_PERSON_KEYS = {"age": "age", "gender": "gender", "sex": "gender", "occupation": "occupation"}


def _wording(frames: str) -> Wording:
    for known, wording in WORDINGS.items():
        if known == frames:
            return wording
    raise BadInputError(field="frames", value=frames, remedy="Choose training or heldout.")


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _like(genre: str, key: str, frames: Frames, rng: np.random.Generator) -> str:
    if key not in FILM_GENRES:
        return genre.lower()
    training, heldout = FILM_GENRES[key]
    return _choose(training if frames == "training" else heldout, rng)


def _person(person: Mapping[str, str], order: str) -> str:
    """Fill one order of age, gender and occupation; what is unknown leaves no trace."""
    age, gender = person.get("age", ""), person.get("gender", "").lower()
    gender = {"m": "male", "f": "female"}.get(gender, gender)
    years = re.fullmatch(r"\d{1,3}", age) is not None
    occupation = person.get("occupation", "")
    noun = OCCUPATION_NOUNS.get(occupation.lower(), occupation.replace("/", " or ")) or "person"
    filled = order.format(
        age=age,
        age_adjective=f"{age}-year-old" if years else "",
        age_aside=age if years else f"aged {age}" if age else "",
        age_words=_age_words(age, years=years),
        gender=gender,
        occupation=noun,
    )
    if "age_adjective" in order and age and not years:
        filled += f", aged {age}"
    return _tidy(filled)


def _age_words(age: str, *, years: bool) -> str:
    """Return an age in the words of the held-out set."""
    if years:
        decade = _DECADES.get(int(age) // 10)
        return f"in their {decade}" if decade else f"{age} years of age"
    band = re.fullmatch(r"(\d+)\s*-\s*(\d+)", age)
    if band:
        return f"between {band[1]} and {band[2]}"
    return age.replace("under", "younger than").replace("or older", "or over")


def _tidy(text: str) -> str:
    """Remove the gaps that unknown parts left."""
    text = " ".join(text.split())
    for gap, mended in (
        (r" aged$", ""),
        (r"\(\s*,?\s*", "("),
        (r"\s*,?\s*\)", ")"),
        (r"\(\)", ""),
        (r" who is and$", ""),
        (r" who is and ", " who is "),
        (r" and$", ""),
        (r"(\s*,)+", ","),
        (r"^,|,$", ""),
        (r"\(,", "("),
        (r" +", " "),
    ):
        text = re.sub(gap, mended, text).strip()
    return text


def _article(noun: str) -> str:
    an = re.match(r"[aeio]|u(?!ni[^mn]|s)|8|11\b|18\b|11-|18-", noun, re.IGNORECASE)
    return "an" if an else "a"


def _x_log_ratio(
    count: NDArray[np.int64] | NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return x ln(x / m), which is 0 at x = 0."""
    safe = np.where(count > 0, count / np.where(expected > 0, expected, 1.0), 1.0)
    return np.multiply(count, np.log(safe), dtype=np.float64)


def _item_parts(row: Mapping[str, object], lists: Sequence[str], plain: Sequence[str]) -> list[str]:
    title, year = str(row.get("title") or "").strip(), str(row.get("year") or "").strip()
    if year and year not in title[-6:]:
        title = f"{title} ({year})".strip()
    parts = [title.rstrip(".")]
    for name in lists:
        words = row[name]
        parts.append(", ".join(str(word) for word in words if word) if isinstance(words, list) else "")
    parts += [
        f"{name.replace('_', ' ')}: {str(row[name]).strip()}" for name in plain if row[name] not in {None, ""}
    ]
    return [part for part in parts if part]
