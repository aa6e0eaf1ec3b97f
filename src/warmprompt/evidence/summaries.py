"""Summary pages: templates in which every number that a table holds is a named value.

    {{value; ml-1m-random; warmprompt; 1 3 5}}            NDCG@10 at K = 1, 3 and 5, as cells of a table
    {{value; ml-1m-random; warmprompt; 5; interval}}      .0890 [.0856, .0924]
    {{gain; ml-1m-random; blend; 5}}                      percent over a row, with interval; * is p < .05
    {{gain; ml-1m-random; best; 5; short, HR@10}}         no interval, another metric
    {{gain; ml-1m-gap10; markov; 5; inverse}}             percent of the other row over the product
    {{own; ml-1m-gap10; markov; 5}}                       the product on the splits that the other row has
    {{within; ml-1m-ablations; 2 layers; 1 3 5}}          lowest and highest end of the intervals of gains
    {{ratio; ml-1m-half; warmprompt; 5; ml-1m-quarter; warmprompt}}   percent of one value over another
    {{mean; ml-1m-random; best}}                          mean gain over K = 1, 3, 5, 10
    {{p; ml-1m-random; best; 5}}                          p-value after Holm's correction
    {{users; ml-1m-random; 5}}                            tested users
    {{ms; ml-1m-random; warmprompt}}                      p50 of one user in ms, `cpu`: processor time
    {{json; adapt-bench.json; adapt/0/p50_ms; .0f}}       a number of another file

"best" is the best single baseline, chosen on validation users; any other name is a row of the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from warmprompt.errors import UnknownNameError
from warmprompt.files import write_atomic

_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_SIGNIFICANT_P = 0.05
_METRICS = ("HR@10", "NDCG@10", "MRR")
_OPTIONS = ("interval", "short", "inverse", "cpu", "digits 0", "digits 1", "digits 3", *_METRICS)


def write_summaries(templates: Path, tables: Path) -> list[str]:
    """Fill the templates from the tables' JSON and write the pages next to the folder of the tables.

    A template that names a table without JSON is left alone: its page stays as it is.

    Args:
        templates: Folder of Markdown files with placeholders.
        tables: Folder of the tables' JSON; the pages go into its parent.

    Returns:
        A line per template.

    Raises:
        UnknownNameError: A placeholder names a value that the JSON does not hold.
        StorageError: A page cannot be written.
    """
    lines = []
    for file in sorted(templates.glob("*.md")):
        page, text = tables.parent / file.name, file.read_text(encoding="utf-8")
        absent = [source.name for source in _sources(text, tables) if not source.is_file()]
        if absent:
            lines.append(f"kept {page}: no {absent[0]} here")
            continue
        write_atomic(page, fill(text, tables).encode())
        lines.append(f"wrote {page}")
    return lines


def fill(text: str, tables: Path) -> str:
    """Return a template with its values filled in; errors as `write_summaries`."""

    @cache
    def load(file: Path) -> Any:
        return json.loads(file.read_text(encoding="utf-8"))

    def filled(match: re.Match[str]) -> str:
        kind, *words = _words(match)
        if kind not in _KINDS:
            raise UnknownNameError(field="template", value=match[0], remedy=f"Choose {', '.join(_KINDS)}.")
        try:
            return _KINDS[kind](load, tables, words)
        except (LookupError, ValueError, TypeError, OSError) as error:
            remedy = f"Name a value that the JSON holds: {error}."
            raise UnknownNameError(field="template", value=match[0], remedy=remedy) from error

    return _PLACEHOLDER.sub(filled, text)


def _words(match: re.Match[str]) -> list[str]:
    return [word.strip() for word in match[1].split(";")]


def _sources(text: str, tables: Path) -> list[Path]:
    """Return the JSON files that a template needs."""
    found = []
    for match in _PLACEHOLDER.finditer(text):
        kind, first, *_ = [*_words(match), ""]
        found.append(tables.parent / first if kind == "json" else tables / f"{first}.json")
    return list(dict.fromkeys(found))


Load = Callable[[Path], Any]


def _value(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, model, ks, *rest = words
    options = _options(rest)
    return " | ".join(
        _value_text(_row(load(tables / f"{table}.json"), model, k, _metric(options)), options)
        for k in _numbers(ks)
    )


def _value_text(row: Mapping[str, Any], options: Sequence[str]) -> str:
    digits = 3 if "digits 3" in options else 4
    value, low, high = (f"{row[key]:.{digits}f}".lstrip("0") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if "interval" in options else value


def _gain(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, other, ks, *rest = words
    options = _options(rest)
    return " | ".join(
        _gain_text(_comparison(load(tables / f"{table}.json"), other, k, _metric(options)), options)
        for k in _numbers(ks)
    )


def _gain_text(one: Mapping[str, Any], options: Sequence[str]) -> str:
    digits = 0 if "digits 0" in options else 1
    star = "\\*" if one["p_holm"] < _SIGNIFICANT_P else ""
    if "inverse" in options:
        return f"{100 * (one['other_value'] / one['product_value'] - 1):+.{digits}f}{star}"
    percent, low, high = (f"{one[key]:+.{digits}f}" for key in ("percent", "percent_low", "percent_high"))
    return f"{percent}{star}" if "short" in options else f"{percent} [{low}, {high}]{star}"


def _own(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, other, ks, *rest = words
    options = _options(rest)
    digits = 3 if "digits 3" in options else 4
    found = [_comparison(load(tables / f"{table}.json"), other, k, _metric(options)) for k in _numbers(ks)]
    return " | ".join(f"{one['product_value']:.{digits}f}".lstrip("0") for one in found)


def _within(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, other, ks, *rest = words
    found = [
        _comparison(load(tables / f"{table}.json"), other, k, _metric(_options(rest))) for k in _numbers(ks)
    ]
    low, high = min(one["percent_low"] for one in found), max(one["percent_high"] for one in found)
    return f"[{low:+.1f}, {high:+.1f}]"


def _ratio(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, model, ks, other_table, other, *rest = words
    options = _options(rest)
    digits = 0 if "digits 0" in options else 1
    found = []
    for k in _numbers(ks):
        ours = _row(load(tables / f"{table}.json"), model, k, _metric(options))["value"]
        theirs = _row(load(tables / f"{other_table}.json"), other, k, _metric(options))["value"]
        found.append(f"{100 * (ours / theirs - 1):+.{digits}f}")
    return " | ".join(found)


def _mean(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, role = words
    (one,) = [one for one in load(tables / f"{table}.json")["mean_gains"] if one["role"] == role]
    return f"{one['percent']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"


def _p_value(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, other, ks, *rest = words
    options = _options(rest)
    digits = 1 if "digits 1" in options else 2
    found = [_comparison(load(tables / f"{table}.json"), other, k, _metric(options)) for k in _numbers(ks)]
    return " | ".join(f"{one['p_holm']:.{digits}g}".removeprefix("0") for one in found)


def _users(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, k = words
    rows = load(tables / f"{table}.json")["rows"]
    return f"{max(row['num_users'] for row in rows if row['k'] == int(k)):,}"


def _ms(load: Load, tables: Path, words: Sequence[str]) -> str:
    table, model, *rest = words
    key = "p50_cpu_ms" if "cpu" in _options(rest) else "p50_ms"
    times = [cost[key] for cost in load(tables / f"{table}.json")["costs"] if cost["model"] == model]
    return f"{sum(times) / len(times):.0f}"


def _json(load: Load, tables: Path, words: Sequence[str]) -> str:
    file, path, form = words
    value = load(tables.parent / file)
    for part in path.split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return format(value, form)


_KINDS: Mapping[str, Callable[[Load, Path, Sequence[str]], str]] = {
    "value": _value,
    "gain": _gain,
    "own": _own,
    "within": _within,
    "ratio": _ratio,
    "mean": _mean,
    "p": _p_value,
    "users": _users,
    "ms": _ms,
    "json": _json,
}


def _row(table: Mapping[str, Any], model: str, k: int, metric: str) -> Mapping[str, Any]:
    """Return the mean over seeds of a row at one K."""
    for row in table["rows"]:
        if (row["model"], row["k"], row["metric"], row["seed"]) == (model, k, metric, None):
            return dict(row)
    raise LookupError(f"no {metric} of {model!r} at K = {k}")


def _comparison(table: Mapping[str, Any], other: str, k: int, metric: str) -> Mapping[str, Any]:
    """Return the product's gain over the best baseline, the blend or another row at one K."""
    for one in (*table["headline"], *table["further"]):
        name = one["role"] if other == "best" else one["other"]
        if (name, one["k"], one["metric"]) == (other, k, metric) and (other == "best") == (
            one["role"] == "best"
        ):
            return dict(one)
    raise LookupError(f"no gain in {metric} over {other!r} at K = {k}")


def _options(rest: Sequence[str]) -> list[str]:
    found = [option.strip() for text in rest for option in text.split(",")]
    for option in found:
        if option not in _OPTIONS:
            raise ValueError(f"no option {option!r}")
    return found


def _metric(options: Sequence[str]) -> str:
    return next((option for option in options if option in _METRICS), "NDCG@10")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]
