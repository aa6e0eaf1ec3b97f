"""Which cells a plan asks for, which of them are missing, and how they part into jobs that share one fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from warmprompt.data.fetch import PUBLISHED, ensure_dataset
from warmprompt.data.home import find_dataset
from warmprompt.data.tables import read_data_manifest
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.protocols import ProtocolSettings
from warmprompt.evidence.cells import Wanted, is_there, load_times
from warmprompt.evidence.models import describe_model
from warmprompt.evidence.plan import NEW_ITEMS, EvidencePlan, ModelSpec, Table

_OWN_VIEWS = ("temporal", "cold-item")
# What changes nothing of what is trained: names in `describe_model`, and their values.
_AFTER_THE_FIT: Mapping[str, Sequence[object]] = {
    "adapted": (True, False),
    "linear": (True, False),
    "shuffle": ("supports", "attributes"),
    "without": ("text",),
    "new_items": NEW_ITEMS,
}
_FILTERS = ("table", "dataset", "protocol", "seed", "model")


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """Cells that share a fit: one model on one choice of training events, ranked under several protocols.

    Attributes:
        spec: The model.
        view: The choice of training events, as `training_view`.
        cells: All of one data set and seed.
    """

    spec: ModelSpec
    view: str
    cells: tuple[Wanted, ...]

    @property
    def fit(self) -> str:
        """Names what is trained: two jobs of one fit must not run at once: they keep it in one place."""
        first = self.cells[0]
        trained = {
            name: value for name, value in first.about.items() if value not in _AFTER_THE_FIT.get(name, ())
        }
        return json.dumps([first.dataset, first.seed, self.view, trained], sort_keys=True)

    @property
    def name(self) -> str:
        """How progress calls it."""
        first = self.cells[0]
        return f"{first.dataset}, seed {first.seed}, {first.model}" + (
            "" if self.view == "users" else f" ({self.view})"
        )


@dataclass(frozen=True, kw_only=True)
class Only:
    """A choice of cells: every name that is given must be one of the values."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, table: Table, seed: int, model: str) -> bool:
        """Tell whether a cell is chosen."""
        has = {
            "table": table.name,
            "dataset": table.dataset,
            "protocol": table.protocol.protocol,
            "seed": str(seed),
            "model": model,
        }
        return all(has[name] in wanted for name, wanted in self.values.items())


def read_only(texts: Sequence[str]) -> Only:
    """Return the choice written as "dataset=ml-1m" and "seed=0,1"; a name given twice takes both.

    A model's name may hold commas: write such a one alone.

    Raises:
        UnknownNameError: A name that is none of table, dataset, protocol, seed, model.
        BadInputError: A text without "=".
    """
    values: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise BadInputError(field="--only", value=text, remedy="Write it as name=value.")
        if name not in _FILTERS:
            raise UnknownNameError(field="--only", value=name, remedy=f"Choose one of {', '.join(_FILTERS)}.")
        whole = [value] if ", " in value else value.split(",")
        values[name] = (*values.get(name, ()), *whole)
    return Only(values=values)


def filter_plan(plan: EvidencePlan, only: Only) -> tuple[EvidencePlan, tuple[str, ...]]:
    """Return the plan with the tables of a choice whose data sets are there, and the data sets that are not.

    Raises:
        UnknownNameError: The choice names what the plan does not have, or none of its data sets is there.
        BadInputError: The plan has each value, and no cell that has all of them.
    """
    _check(only, plan)
    selected = [table for table in plan.tables if _is_chosen(only, table)]
    if not selected:
        choice = " ".join(f"{name}={','.join(values)}" for name, values in only.values.items())
        remedy = "The plan has each of these, and no cell with all of them: leave one out."
        raise BadInputError(field="--only", value=choice, remedy=remedy)
    absent: dict[str, UnknownNameError] = {}
    for dataset in dict.fromkeys(table.dataset for table in selected):
        try:
            _ensure(dataset)
        except UnknownNameError as error:
            absent[dataset] = error
    there = tuple(table for table in selected if table.dataset not in absent)
    if absent and not there:
        raise next(iter(absent.values()))
    return replace(plan, tables=there), tuple(absent)


def _ensure(dataset: str) -> None:
    """Fetch a data set that comes from the package index; any other has to be there."""
    published = PUBLISHED.get(dataset)
    if published is not None and not published.url:
        ensure_dataset(dataset)
    else:
        find_dataset(dataset, also_known=tuple(PUBLISHED))


def _is_chosen(only: Only, table: Table) -> bool:
    return any(
        only.takes(table, seed, spec.name) for spec in table.models for seed in table.seeds_of(spec.name)
    )


def _check(only: Only, plan: EvidencePlan) -> None:
    """Refuse a value that no cell of the plan has."""
    known = {
        "table": [table.name for table in plan.tables],
        "dataset": [table.dataset for table in plan.tables],
        "protocol": [table.protocol.protocol for table in plan.tables],
        "seed": [str(seed) for table in plan.tables for seed in table.seeds],
        "model": [spec.name for table in plan.tables for spec in table.models],
    }
    for name, values in only.values.items():
        names = list(dict.fromkeys(known[name]))
        for value in values:
            if value not in names:
                near = get_close_matches(value, names, n=3, cutoff=0.5)
                remedy = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
                raise UnknownNameError(field=f"--only {name}", value=value, remedy=remedy)


def wanted_cells(
    plan: EvidencePlan, only: Only | None = None, *, tables: Sequence[Table] | None = None
) -> Iterator[tuple[Table, ModelSpec, Wanted]]:
    """Yield every cell of the plan, tables in order, then seeds, then models.

    Raises:
        UnknownNameError: A data set that is not there, or settings that a model does not have.
    """
    only = only or Only()
    hashes: dict[str, str] = {}
    described: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for table in tables or plan.tables:
        for seed in table.seeds:
            for spec in table.models:
                if seed not in table.seeds_of(spec.name) or not only.takes(table, seed, spec.name):
                    continue
                if table.dataset not in hashes:
                    hashes[table.dataset] = read_data_manifest(ensure_dataset(table.dataset)).content_hash
                protocol = table.protocol.protocol
                index = (table.dataset, protocol, seed, spec.name)
                if index not in described:
                    described[index] = describe_model(
                        spec, dataset=table.dataset, seed=seed, protocol=protocol
                    )
                wanted = Wanted(
                    dataset=table.dataset,
                    protocol=table.protocol,
                    seed=seed,
                    model=spec.name,
                    content_hash=hashes[table.dataset],
                    about=described[index],
                )
                yield table, spec, wanted


def missing_jobs(plan: EvidencePlan, cells: Path, only: Only | None = None) -> list[EvaluationJob]:
    """Return the jobs that are left, in the order of the plan; a cell of two tables is measured once."""
    groups: dict[tuple[str, int, str, str, str], dict[str, Wanted]] = {}
    specs: dict[tuple[str, int, str, str, str], ModelSpec] = {}
    for table, spec, wanted in wanted_cells(plan, only):
        if not is_there(cells, wanted):
            # Settings may be tuned on the protocol: then its cells have a fit of their own.
            about = json.dumps(wanted.about, sort_keys=True)
            index = (table.dataset, wanted.seed, spec.name, training_view(table.protocol), about)
            groups.setdefault(index, {})[wanted.key] = wanted
            specs[index] = spec
    return [
        EvaluationJob(spec=specs[index], view=index[3], cells=tuple(group.values()))
        for index, group in groups.items()
    ]


def training_view(protocol: ProtocolSettings) -> str:
    """Return what training sees under a protocol: protocols of one name train on the same events."""
    view = protocol.protocol if protocol.protocol in _OWN_VIEWS else "users"
    return view if protocol.max_training_users is None else f"{view}-{protocol.max_training_users}"


def expected_s(job: EvaluationJob, measured: Mapping[tuple[str, str], tuple[float, float]]) -> float | None:
    """Return the processor seconds of a job, from cells of the same data set and model, or None."""
    times = measured.get((job.cells[0].dataset, job.spec.name))
    return None if times is None else times[0] + len(job.cells) * times[1]


def measured_times(plan: EvidencePlan, cells: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the mean processor seconds of a fit and of the rest of a cell, per data set and model."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _, spec, wanted in wanted_cells(plan):
        if is_there(cells, wanted):
            found.setdefault((wanted.dataset, spec.name), []).append(load_times(cells, wanted))
    return {
        index: (
            sum(fit_s for fit_s, _ in times) / len(times),
            sum(rest_s for _, rest_s in times) / len(times),
        )
        for index, times in found.items()
    }


def job_to_json(job: EvaluationJob) -> dict[str, Any]:
    """Return the job as JSON values."""
    return asdict(job)


def job_from_json(values: Mapping[str, Any]) -> EvaluationJob:
    """Return the job that `job_to_json` gave."""
    return EvaluationJob(
        spec=ModelSpec(**{**values["spec"], "assignments": tuple(values["spec"]["assignments"])}),
        view=values["view"],
        cells=tuple(
            Wanted(
                **{
                    **one,
                    "protocol": ProtocolSettings(**{**one["protocol"], "ks": tuple(one["protocol"]["ks"])}),
                }
            )
            for one in values["cells"]
        ),
    )
