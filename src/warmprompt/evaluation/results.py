"""The outcome of an evaluation as plain rows, and its JSON form.

The JSON holds every row; per-user values stay in memory (`Results.per_user`),
where paired tests need them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.evaluation.significance import Doubles
from warmprompt.files import write_atomic
from warmprompt.types import UserId, short_repr

SCHEMA = 1

PerUser = Mapping[tuple[str, int, int], Mapping[UserId, Doubles]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of a table.

    Attributes:
        seed: The split seed, or None for users averaged over all seeds.
        value: Mean over users.
        low, high: 95 % bootstrap interval of `value` over users.
        is_product: Whether the model is the product, in any of its forms, and no baseline.
    """

    model: str
    protocol: str
    k: int
    seed: int | None
    metric: str
    value: float
    low: float
    high: float
    num_users: int
    is_product: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The product's value minus another row's, paired by user, seeds averaged within the user.

    Attributes:
        baseline: The other row: a baseline, or the product in another form.
        p: Two-sided paired permutation p-value.
        p_holm: `p` corrected over all differences of the table (rows x K x metrics).
        best: Whether the row is the cell's best baseline on the first seed's validation users.
        is_product: Whether the other row is the product in another form, which is never "best".
    """

    product: str
    baseline: str
    k: int
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    best: bool
    num_users: int
    is_product: bool = False


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model takes, under one seed.

    Attributes:
        num_parameters: Trainable numbers the fitted model holds.
        fit_s: Wall time of `fit`, seconds.
        k: Support size at which scoring is timed.
        p50_ms, p99_ms: Time to score one user alone (adaptation and the whole catalogue), milliseconds.
        num_timed: Users timed alone.
        users_per_s: Users scored per second in batches of `batch` users.
        p50_cpu_ms: Processor time of one user alone, milliseconds; other work does not lengthen it.
        fit_cpu_s: Processor time of `fit`, all threads together, seconds; None where it was done earlier.
        peak_memory_mb: Most memory that the process used, MiB, where the model had a process of its own.
    """

    model: str
    seed: int
    num_parameters: int
    fit_s: float
    k: int
    p50_ms: float
    p99_ms: float
    num_timed: int
    users_per_s: float
    batch: int
    p50_cpu_ms: float | None = None
    fit_cpu_s: float | None = None
    peak_memory_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """The settings that a baseline, or a member of a blend, was measured with, and where they come from.

    Attributes:
        source: "searched" on this data set's validation users, "recorded" by an earlier search on this data
            set, or "defaults".
        num_trials: Of the search.
        cpu_s: Processor seconds of the search.
        value: The objective on validation users, mean NDCG@10 over K; None where nothing was searched.
        default_value: The same of the defaults.
    """

    baseline: str
    source: str
    settings: Mapping[str, float]
    num_trials: int = 0
    cpu_s: float = 0.0
    value: float | None = None
    default_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The search for the baselines' settings.

    Attributes:
        budget_s: Processor seconds allowed; 0 searches nothing.
        seed: Of the split whose validation users were looked at.
        ks: The K averaged over.
        num_users: Validation users at the smallest of those K.
    """

    budget_s: float
    seed: int
    ks: tuple[int, ...]
    num_users: int


@dataclass(frozen=True, kw_only=True)
class SeedCounts:
    """What one seed's task counted, per K where keyed by K; see `protocols.Counts`."""

    seed: int
    num_training_users: int
    num_validation_users: int
    num_tested_users: int
    catalogue_size: int
    num_new_items: int
    users_left_out: Mapping[int, int]
    users_without_positive: Mapping[int, int]
    ks_left_out: tuple[int, ...]
    query_items: Mapping[int, int]
    query_misses: Mapping[int, int]
    short_negatives: Mapping[int, int]
    without_sentence: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything an evaluation found.

    Attributes:
        dataset, content_hash: The data.
        settings: The protocol settings, seeds and number of resamples.
        machine: What it ran on.
        commit: The code's version, or None.
        baselines: What the baselines were measured with.
        tuning: The search for it; None where that was not recorded.
        per_user: Per (model, seed, k), each user's metrics in the order of `METRICS`; not in the JSON.
    """

    dataset: str
    content_hash: str
    settings: Mapping[str, Any]
    machine: Mapping[str, str]
    commit: str | None
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    costs: tuple[Cost, ...]
    counts: tuple[SeedCounts, ...]
    baselines: tuple[BaselineSettings, ...] = ()
    tuning: Tuning | None = None
    per_user: PerUser = field(default_factory=dict, compare=False, repr=False)

    __repr__ = short_repr


def to_json(results: Results) -> str:
    """Return the results as JSON text, one row per line so that two files can be compared."""
    parts: dict[str, Any] = {"schema": SCHEMA}
    parts |= {f.name: getattr(results, f.name) for f in fields(results) if f.name != "per_user"}
    lines = []
    for name, value in parts.items():
        if isinstance(value, tuple):
            inner = ",\n".join("  " + _dumps(asdict(row)) for row in value)
            lines.append(f" {json.dumps(name)}: [\n{inner}\n ]" if value else f" {json.dumps(name)}: []")
        else:
            plain = asdict(value) if isinstance(value, Tuning) else value
            lines.append(f" {json.dumps(name)}: {_dumps(plain)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def results_from_json(text: str) -> Results:
    """Return the results that `to_json` wrote.

    Raises:
        BadInputError: Not such a JSON text.
        MismatchError: Written under another schema version.
    """
    try:
        found = json.loads(text)
        schema = found.pop("schema")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise BadInputError(
            field="results", value=text[:60], remedy="Give a results file that `evaluate` wrote."
        ) from error
    if schema != SCHEMA:
        raise MismatchError(
            field="results schema", value=schema, remedy=f"Evaluate again; this is version {SCHEMA}."
        )
    try:
        return Results(
            **{
                **found,
                "rows": _read(Row, found["rows"]),
                "differences": _read(Difference, found["differences"]),
                "costs": _read(Cost, found["costs"]),
                "counts": tuple(map(read_counts, found["counts"])),
                "baselines": _read(BaselineSettings, found.get("baselines", [])),
                "tuning": _tuning(found.get("tuning")),
            }
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInputError(
            field="results", value=error, remedy="Evaluate again; the file is damaged."
        ) from error


def save_results(results: Results, path: Path) -> None:
    """Write the results as JSON, whole or not at all.

    Raises:
        StorageError: The file could not be written.
    """
    write_atomic(path, to_json(results).encode())


def load_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        BadInputError: No such file, or not a results file.
        MismatchError: Written under another schema version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            field="results file", value=path, remedy="Name a readable results file."
        ) from error
    return results_from_json(text)


def read_counts(row: Mapping[str, Any]) -> SeedCounts:
    """Return the counts of a JSON object, undoing what JSON does to mappings keyed by K and to tuples."""
    found: dict[str, Any] = {
        name: {int(k): count for k, count in value.items()}
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in row.items()
    }
    return SeedCounts(**found)


def _tuning(values: dict[str, Any] | None) -> Tuning | None:
    return None if values is None else Tuning(**{**values, "ks": tuple(values["ks"])})


T = TypeVar("T")


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _read(kind: type[T], rows: list[dict[str, Any]]) -> tuple[T, ...]:
    return tuple(kind(**row) for row in rows)
