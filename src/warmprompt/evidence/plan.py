"""What is to be measured: data sets, protocols, seeds and models, read from a TOML file.

    product = "warmprompt"                 # the row that is compared
    blend = "blend"                        # compared with, as is the best of the other baselines
    [lists]
    closed = ["toppop", "ease"]            # "@closed" names them all below
    [settings]
    "*" = ["train.threads=1"]              # the product's, on every data set; then per data set
    [[models]]
    name = "warmprompt"                    # no `baseline`: the product itself
    [[models]]
    name = "reptile"
    set = ["learner.name=reptile"]
    [[tables]]
    dataset = "ml-1m"
    protocol = "random"
    seeds = [0, 1]
    models = ["@closed", "warmprompt"]

A name that `models` does not describe is a baseline of that name, with the settings tuned on the data set.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from warmprompt.baselines.registry import BASELINES
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.protocols import ProtocolSettings
from warmprompt.evidence.controls import CONTROLS

NEW_ITEMS = (
    *("", "vectors", "tfidf", "mpnet-base", "genres", "random", "shuffled"),
    *("vectors+tfidf", "vectors+mpnet-base", "vectors+tfidf+mpnet-base"),
)
_CONTROL_KINDS: Mapping[str, tuple[str, ...]] = {
    "shuffle": ("", "supports", "attributes", "titles"),
    "without": ("", "ratings", "text"),
    "new_items": NEW_ITEMS,
}
_EVERYWHERE = "*"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One row of a table.

    Attributes:
        name: The row's label.
        baseline: A name of `baselines.BASELINES` or `controls.CONTROLS`; None is the product.
        settings: Of the baseline, over those tuned on the data set.
        assignments: Of the product, over its defaults: "section.key=value", as `warmprompt train --set`.
        adapted: False leaves the product's prompt at its learned start.
        linear: True adapts the product in the language model's linear response, without running it.
        shuffle: A control: "supports" or "attributes" gives every user those of another user; "titles" gives
            every item the texts of another item, in training too.
        without: A control: "ratings" hides them, in training too; "text" hides attributes and sentences of
            the tested users from a model that was trained with such texts.
        new_items: A control: the product's items without events are placed by these features of their texts,
            words not recalled: "vectors" of MiniLM, "shuffled" ones, "mpnet-base", "tfidf", "genres" or
            "random", or several of them joined by "+".
    """

    name: str
    baseline: str | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    adapted: bool = True
    linear: bool = False
    shuffle: str = ""
    without: str = ""
    new_items: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One page: a data set under a protocol.

    Attributes:
        name: Of the page's file.
        dataset: A data set in the data home.
        protocol: Everything that decides the cases but the seed.
        seeds: Split seeds.
        models: Rows, in order.
        compare: Rows that the product is also compared with; "all" names every row.
        title: What the page is about, where that is more than data set and protocol.
        fewer: Rows that are measured on some of the seeds only, and on which: they are costly, or controls.
        product: The row that is compared here; the plan's where it is empty.
    """

    name: str
    dataset: str
    protocol: ProtocolSettings
    seeds: tuple[int, ...]
    models: tuple[ModelSpec, ...]
    compare: tuple[str, ...] = ()
    title: str = ""
    fewer: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    product: str = ""

    def seeds_of(self, model: str) -> tuple[int, ...]:
        """Return the seeds that a row is measured on."""
        return self.fewer.get(model, self.seeds)


@dataclass(frozen=True, kw_only=True)
class EvidencePlan:
    """All tables.

    Attributes:
        product: The label that is compared with the others.
        blend: The label of the blend of closed forms.
        tables: The pages.
    """

    product: str
    blend: str
    tables: tuple[Table, ...]


def load_plan(path: Path) -> EvidencePlan:
    """Read a plan.

    Raises:
        BadInputError: No such file, not TOML, or a value of the wrong type.
        UnknownNameError: A key, list, baseline, protocol or row that is not known.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(field="plan", value=path, remedy=f"Name a readable TOML file: {error}.") from None
    return read_plan(raw)


def read_plan(raw: Mapping[str, Any]) -> EvidencePlan:
    """Return the plan of a mapping, as TOML gives it; errors as `load_plan`."""
    _only(raw, ("product", "blend", "compare", "lists", "settings", "models", "tables"), "plan")
    described: dict[str, Mapping[str, Any]] = {}
    for entry in _mappings(raw, "models"):
        _only(
            entry,
            ("name", "baseline", "settings", "set", "adapted", "linear", "shuffle", "without", "new_items"),
            "[[models]]",
        )
        described[_text(entry, "name", "[[models]]")] = entry
    reading = _Reading(
        lists=_lists(raw, "lists"),
        described=described,
        settings=_lists(raw, "settings"),
        compare=_texts(raw.get("compare", []), "compare"),
    )
    tables = tuple(reading.table(entry) for entry in _mappings(raw, "tables"))
    names = [table.name for table in tables]
    if len(set(names)) < len(names) or not names:
        raise BadInputError(field="tables", value=names, remedy="Give at least one, each name once.")
    product, blend = (_text(raw, key, "plan") for key in ("product", "blend"))
    for key, name in (("product", product), ("blend", blend)):
        if name not in (*described, *BASELINES, *CONTROLS):
            remedy = "Describe it in [[models]], or name a baseline."
            raise UnknownNameError(field=f"plan {key}", value=name, remedy=remedy)
    return EvidencePlan(product=product, blend=blend, tables=tables)


def slug(text: str) -> str:
    """Return a text as part of a file's name: small letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What the tables of a plan refer to."""

    lists: Mapping[str, tuple[str, ...]]
    described: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, tuple[str, ...]]
    compare: tuple[str, ...]

    def table(self, raw: Mapping[str, Any]) -> Table:
        own = ("name", "dataset", "seeds", "models", "compare", "title", "fewer", "product")
        of_protocol = tuple(one.name for one in fields(ProtocolSettings) if one.name != "users")
        _only(raw, (*own, *of_protocol), "[[tables]]")
        dataset = _text(raw, "dataset", "[[tables]]")
        given = {name: _of_protocol(name, raw[name]) for name in of_protocol if name in raw}
        protocol = ProtocolSettings(**given)
        seeds = _whole_numbers(raw.get("seeds", (0,)), "seeds")
        rows = tuple(self._members(_texts(raw.get("models", []), "[[tables]] models")))
        named = f"{slug(dataset)}-{slug(protocol.label)}"
        return Table(
            name=_text(raw, "name", "[[tables]]") if "name" in raw else named,
            dataset=dataset,
            protocol=protocol,
            seeds=seeds,
            models=tuple(self._spec(name, dataset) for name in rows),
            compare=self._compare(raw, rows),
            title=_text(raw, "title", "[[tables]]") if "title" in raw else "",
            fewer=self._fewer(_mapping(raw, "fewer", "[[tables]]"), seeds, rows),
            product=_product(raw, rows),
        )

    def _compare(self, raw: Mapping[str, Any], rows: Sequence[str]) -> tuple[str, ...]:
        """Return the table's own rows to compare, which must be there, or the plan's, which need not."""
        names = tuple(self._members(_texts(raw.get("compare", list(self.compare)), "[[tables]] compare")))
        absent = [name for name in names if name not in (*rows, "all")] if "compare" in raw else []
        if absent:
            remedy = 'Name rows of the table, or "all".'
            raise UnknownNameError(field="[[tables]] compare", value=absent[0], remedy=remedy)
        return names

    def _fewer(
        self, raw: Mapping[str, Any], seeds: Sequence[int], models: Sequence[str]
    ) -> dict[str, tuple[int, ...]]:
        """Return the seeds of the rows that have fewer than their table; a list's are those of its rows."""
        found = {}
        for name, given in raw.items():
            own = _whole_numbers(given, f"fewer {name}")
            if not set(own) <= set(seeds):
                remedy = f"Name seeds of the table: {', '.join(map(str, seeds))}."
                raise BadInputError(field=f"fewer {name}", value=given, remedy=remedy)
            for model in self._members([name]):
                if model not in models:
                    raise UnknownNameError(field="fewer", value=model, remedy="Name rows of the table.")
                found[model] = own
        return found

    def _members(self, names: Sequence[str]) -> Iterable[str]:
        """Return the names with the lists written out, each once."""
        found: dict[str, None] = {}
        for name in names:
            if name.startswith("@") and name[1:] not in self.lists:
                known = ", ".join(self.lists) or "none"
                raise UnknownNameError(field="list", value=name, remedy=f"The plan has {known}.")
            found |= dict.fromkeys(self._members(self.lists[name[1:]]) if name.startswith("@") else [name])
        return found

    def _spec(self, name: str, dataset: str) -> ModelSpec:
        raw = self.described.get(name, {"baseline": name})
        kind = raw.get("baseline")
        if kind is not None and kind not in (*BASELINES, *CONTROLS):
            remedy = f"Describe it in [[models]], or name one of {', '.join((*BASELINES, *CONTROLS))}."
            raise UnknownNameError(field="model", value=name, remedy=remedy)
        selected = {}
        for key, known in _CONTROL_KINDS.items():
            selected[key] = raw.get(key, "")
            if selected[key] not in known:
                remedy = f"Choose one of {', '.join(known[1:])}."
                raise UnknownNameError(field=f"{name} {key}", value=selected[key], remedy=remedy)
        shared = (*self.settings.get(_EVERYWHERE, ()), *self.settings.get(dataset, ()))
        return ModelSpec(
            name=name,
            baseline=kind,
            settings=dict(_mapping(raw, "settings", name)),
            assignments=() if kind else (*shared, *_texts(raw.get("set", []), f"{name} set")),
            adapted=_flag(raw, "adapted", name, default=True),
            linear=_flag(raw, "linear", name, default=False),
            **selected,
        )


def _product(raw: Mapping[str, Any], models: Sequence[str]) -> str:
    """Return the row that a table compares instead of the plan's, or ""."""
    product = _text(raw, "product", "[[tables]]") if "product" in raw else ""
    if product and product not in models:
        raise UnknownNameError(field="product", value=product, remedy="Name one of the rows of the table.")
    return product


def _only(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise UnknownNameError(field=where, value=key, remedy=f"Choose one of {', '.join(known)}.")


def _of_protocol(name: str, value: Any) -> Any:
    """Return a protocol's setting, checked for its type; its range is the protocol's own business."""
    if name == "ks":
        return _whole_numbers(value, "ks")
    kinds: dict[str, tuple[tuple[type, ...], str]] = {
        "attributes": ((bool,), "Give true or false."),
        "min_rating": ((int, float), "Give a number."),
        "max_training_users": ((int,), "Give a whole number."),
    }
    allowed, remedy = kinds.get(name, ((str,), "Give a name."))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise BadInputError(field=f"[[tables]] {name}", value=value, remedy=remedy)
    return value


def _whole_numbers(raw: Any, where: str) -> tuple[int, ...]:
    found = tuple(raw) if isinstance(raw, list | tuple) else ()
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in found)
    if not found or len(set(found)) < len(found) or not whole:
        raise BadInputError(field=where, value=raw, remedy="Give a list of whole numbers, each once.")
    return found


def _texts(raw: Any, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or not all(isinstance(one, str) and one for one in raw):
        raise BadInputError(field=where, value=raw, remedy="Give a list of texts.")
    return tuple(raw)


def _lists(raw: Mapping[str, Any], key: str) -> dict[str, tuple[str, ...]]:
    return {name: _texts(one, f"{key} {name}") for name, one in _mapping(raw, key, "plan").items()}


def _mapping(raw: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise BadInputError(field=f"{where} {key}", value=value, remedy="Give a table of names and values.")
    return value


def _mappings(raw: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadInputError(field=key, value=value, remedy=f"Write each one under [[{key}]].")
    return value


def _flag(raw: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise BadInputError(field=f"{where} {key}", value=value, remedy="Give true or false.")
    return value


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise BadInputError(field=f"{where} {key}", value=value, remedy="Give a name.")
    return value
