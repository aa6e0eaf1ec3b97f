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
    {{json; speed.json; linear_ms; .2f}}       a number of another file

"best" is the best single baseline, chosen on validation users; any other name is a row of the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from warmprompt.errors import UnknownNameError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.files import write_atomic

_CELL = " | "
_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_SIGNIFICANT_P = 0.05
_OPTIONS = ("interval", "short", "inverse", "digits 0", "digits 1", "digits 3", *METRICS)

Load = Callable[[str], Any]


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
    def load(name: str) -> Any:
        return json.loads(_source(name, tables).read_text(encoding="utf-8"))

    def filled(match: re.Match[str]) -> str:
        kind, *words = _words(match)
        if kind not in _KINDS:
            raise UnknownNameError(field="template", value=match[0], remedy=f"Choose {', '.join(_KINDS)}.")
        try:
            return _KINDS[kind](load, words)
        except (LookupError, ValueError, TypeError, OSError) as error:
            remedy = f"Name a value that the JSON holds: {error}."
            raise UnknownNameError(field="template", value=match[0], remedy=remedy) from error

    return _PLACEHOLDER.sub(filled, text)


def _words(match: re.Match[str]) -> list[str]:
    return [word.strip() for word in match[1].split(";")]


def _sources(text: str, tables: Path) -> list[Path]:
    """Return the JSON files that a template needs."""
    placeholders = [_words(match) for match in _PLACEHOLDER.finditer(text)]
    names = [name for kind, *words in placeholders for name in (words[::3] if kind == "ratio" else words[:1])]
    return [_source(name, tables) for name in dict.fromkeys(names)]


def _source(name: str, tables: Path) -> Path:
    """Return the file of a table, or of "NAME.json" in the folder above the tables."""
    return tables.parent / name if name.endswith(".json") else tables / f"{name}.json"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a placeholder asks of a table.

    Attributes:
        table: Its JSON.
        row: A row, or "best".
        ks: Numbers of events.
        options: The words after them.
    """

    table: Mapping[str, Any]
    row: str
    ks: Sequence[int]
    options: Sequence[str]

    @property
    def metric(self) -> str:
        return next((option for option in self.options if option in METRICS), "NDCG@10")

    def digits(self, usual: int) -> int:
        """Return the digits after the point."""
        return next((int(one[-1]) for one in self.options if one.startswith("digits")), usual)

    def means(self) -> list[Mapping[str, Any]]:
        """Return the row's means over seeds."""
        return [_mean_row(self.table, self.row, k, self.metric) for k in self.ks]

    def gains(self) -> list[Mapping[str, Any]]:
        """Return the product's gains over the row."""
        return [_comparison(self.table, self.row, k, self.metric) for k in self.ks]


def _asked(load: Load, words: Sequence[str]) -> _Asked:
    table, row, ks, *rest = words
    options = [option.strip() for text in rest for option in text.split(",")]
    for option in options:
        if option not in _OPTIONS:
            raise ValueError(f"no option {option!r}")
    return _Asked(table=load(table), row=row, ks=[int(k) for k in ks.split()], options=options)


def _value(load: Load, words: Sequence[str]) -> str:
    asked = _asked(load, words)
    found = []
    for row in asked.means():
        value, low, high = (_share(row[key], asked.digits(4)) for key in ("value", "low", "high"))
        found.append(f"{value} [{low}, {high}]" if "interval" in asked.options else value)
    return _CELL.join(found)


def _own(load: Load, words: Sequence[str]) -> str:
    asked = _asked(load, words)
    return _CELL.join(_share(one["product_value"], asked.digits(4)) for one in asked.gains())


def _gain(load: Load, words: Sequence[str]) -> str:
    asked = _asked(load, words)
    digits, found = asked.digits(1), []
    for one in asked.gains():
        star = "\\*" if one["p_holm"] < _SIGNIFICANT_P else ""
        if "inverse" in asked.options:
            found.append(f"{_percent(one['other_value'], one['product_value'], digits)}{star}")
        elif "short" in asked.options:
            found.append(f"{one['percent']:+.{digits}f}{star}")
        else:
            found.append(f"{one['percent']:+.{digits}f} {_interval(one, digits)}{star}")
    return _CELL.join(found)


def _within(load: Load, words: Sequence[str]) -> str:
    gains = _asked(load, words).gains()
    low, high = min(one["percent_low"] for one in gains), max(one["percent_high"] for one in gains)
    return _interval({"percent_low": low, "percent_high": high}, 1)


def _ratio(load: Load, words: Sequence[str]) -> str:
    table, row, ks, other_table, other, *rest = words
    ours, theirs = _asked(load, [table, row, ks, *rest]), _asked(load, [other_table, other, ks, *rest])
    return _CELL.join(
        _percent(one["value"], base["value"], ours.digits(1))
        for one, base in zip(ours.means(), theirs.means(), strict=True)
    )


def _mean(load: Load, words: Sequence[str]) -> str:
    table, role = words
    (one,) = [one for one in load(table)["mean_gains"] if one["role"] == role]
    return f"{one['percent']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"


def _p_value(load: Load, words: Sequence[str]) -> str:
    asked = _asked(load, words)
    return _CELL.join(f"{one['p_holm']:.{asked.digits(2)}g}".removeprefix("0") for one in asked.gains())


def _users(load: Load, words: Sequence[str]) -> str:
    table, k = words
    return f"{max(row['num_users'] for row in load(table)['rows'] if row['k'] == int(k)):,}"


def _ms(load: Load, words: Sequence[str]) -> str:
    table, model, *rest = words
    key = "p50_cpu_ms" if rest == ["cpu"] else "p50_ms"
    times = [cost[key] for cost in load(table)["costs"] if cost["model"] == model]
    return f"{sum(times) / len(times):.0f}"


def _json(load: Load, words: Sequence[str]) -> str:
    file, path, form = words
    value = load(file)
    for part in path.split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return format(value, form)


_KINDS: Mapping[str, Callable[[Load, Sequence[str]], str]] = {
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


def _share(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".lstrip("0")


def _percent(value: float, base: float, digits: int) -> str:
    return f"{100 * (value / base - 1):+.{digits}f}"


def _interval(one: Mapping[str, float], digits: int) -> str:
    return f"[{one['percent_low']:+.{digits}f}, {one['percent_high']:+.{digits}f}]"


def _mean_row(table: Mapping[str, Any], model: str, k: int, metric: str) -> Mapping[str, Any]:
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
