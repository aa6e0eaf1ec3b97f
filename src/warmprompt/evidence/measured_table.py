"""The cells of one table, read from disk and checked against one another.

M is metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.errors import IntegrityError
from warmprompt.evaluation.results import PerUser
from warmprompt.evaluation.significance import Doubles
from warmprompt.evidence.cells import Cell, is_there, load_cell
from warmprompt.evidence.jobs import wanted_cells
from warmprompt.evidence.plan import EvidencePlan, Table


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredTable:
    """The cells of one table that are there.

    Attributes:
        table: What was asked for.
        cells: Per model and seed.
        about: Per model, what identifies it (of its first seed).
        missing: Per model, the seeds without a cell.
        per_user: Each tested user's metrics per (model, seed, K).
        on_validation: Mean metrics of the validation users, (M,), per (model, K), seeds averaged.
    """

    table: Table
    cells: Mapping[tuple[str, int], Cell]
    about: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, tuple[int, ...]]
    per_user: PerUser
    on_validation: Mapping[tuple[str, int], Doubles]

    @property
    def models(self) -> tuple[str, ...]:
        """The rows that have a cell, in the table's order."""
        return tuple(spec.name for spec in self.table.models if self.seeds_of(spec.name))

    @property
    def ks(self) -> tuple[int, ...]:
        """The K that any cell carries."""
        return tuple(sorted({k for _, _, k in self.per_user}))

    def seeds_of(self, model: str) -> tuple[int, ...]:
        """Return the seeds of a model's cells, in the table's order."""
        return tuple(seed for seed in self.table.seeds if (model, seed) in self.cells)


def read_cells(plan: EvidencePlan, table: Table, cells: Path) -> MeasuredTable:
    """Read the cells of a table.

    Raises:
        IntegrityError: A cell is damaged, or two models of a seed were measured on other users.
    """
    found: dict[tuple[str, int], Cell] = {}
    about: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, tuple[int, ...]] = {}
    for _, spec, wanted in wanted_cells(plan, tables=[table]):
        if is_there(cells, wanted):
            found[spec.name, wanted.seed] = load_cell(cells, wanted)
            about.setdefault(spec.name, wanted.about)
        else:
            missing[spec.name] = (*missing.get(spec.name, ()), wanted.seed)
    _check_users(found)
    validation: dict[tuple[str, int], list[Doubles]] = {}
    for (model, _), cell in found.items():
        for k, users in cell.validation.items():
            if users:
                validation.setdefault((model, k), []).append(np.mean(list(users.values()), axis=0))
    return MeasuredTable(
        table=table,
        cells=found,
        about=about,
        missing=missing,
        per_user={
            (model, seed, k): users
            for (model, seed), cell in found.items()
            for k, users in cell.tested.items()
        },
        on_validation={index: np.mean(values, axis=0) for index, values in validation.items()},
    )


def _check_users(cells: Mapping[tuple[str, int], Cell]) -> None:
    """See that all models of a seed were trained and measured on the same users."""
    first: dict[int, tuple[str, Cell]] = {}
    for (model, seed), cell in cells.items():
        name, other = first.setdefault(seed, (model, cell))
        same = cell.users_hash == other.users_hash and all(
            list(cell.tested.get(k, ())) == list(users) for k, users in other.tested.items()
        )
        if not same:
            raise IntegrityError(
                field="cells",
                value=f"{name} and {model}, seed {seed}",
                remedy="They were measured on other users; delete one of them and build again.",
            )
