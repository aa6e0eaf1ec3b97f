"""What a model's scores are made of: its experts, their weights and their costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from warmprompt.adaptation.engine import Engine
from warmprompt.experts.mixture import ExpertRow
from warmprompt.rng import derive
from warmprompt.types import Support

_NUM_USERS = 16
_NUM_EVENTS = 10


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model as a list that everybody can read.

    Attributes:
        name: Learner, data set and backbone in a line.
        experts: One row each, in the order in which they are added.
        validation: On which users the weights were found, and NDCG@10 there with all experts and
            without each; empty where nothing was searched.
        order: How many next events were asked for (`horizon`; absent in runs trained for the next one and the
            next ten together), and NDCG@10 on them, per number of events, with and without experts of order;
            empty where order was not judged.
        linear: Whether users adapt in the linear response of the language model.
    """

    name: str
    experts: tuple[ExpertRow, ...]
    validation: Mapping[str, Any]
    order: Mapping[str, Any]
    linear: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        rows = [asdict(row) | {"ndcg_without": self._without(row.name)} for row in self.experts]
        return {
            "name": self.name,
            "linear": self.linear,
            "experts": rows,
            "validation": {key: value for key, value in self.validation.items() if key != "without"},
            "order": dict(self.order),
        }

    def __str__(self) -> str:
        """Return the list as a table of text."""
        head = ("expert", "weight", "parameters", "bytes", "us per user", "NDCG@10 without")
        rows = [
            (
                row.name,
                f"{row.weight:g}",
                f"{row.num_parameters:,}",
                f"{row.num_bytes:,}",
                f"{row.microseconds:,.0f}",
                "" if (without := self._without(row.name)) is None else f"{without:.4f}",
            )
            for row in self.experts
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([self.name, *lines, self._chosen_on(), *self._order(), self._adapts()])

    def _without(self, name: str) -> float | None:
        found: float | None = self.validation.get("without", {}).get(name)
        return found

    def _chosen_on(self) -> str:
        if not self.validation:
            return "weights: none were searched"
        sizes = ", ".join(map(str, self.validation["ks"]))
        return (
            f"weights: found on {self.validation['num_users']:,} validation users with K = {sizes} events; "
            f"NDCG@10 there {self.validation['ndcg']:.4f}"
        )

    def _order(self) -> list[str]:
        if not self.order:
            return []
        before, after = (np.mean(list(self.order[key].values())) for key in ("without", "ndcg"))
        weights = "; ".join(
            f"{row.name} {', '.join(f'{k}: {weight:g}' for k, weight in row.weights_by_events.items())}"
            for row in self.experts
            if row.weights_by_events
        )
        horizon = f"horizon {self.order['horizon']}, " if "horizon" in self.order else ""
        gain = f"NDCG@10 {after:.4f} with the order of events, {before:.4f} without"
        return [
            f"order: {horizon}{gain}, on validation users",
            f"weights by number of events: {weights or 'none'}",
        ]

    def _adapts(self) -> str:
        return (
            "users adapt in the linear response; exact=True moves the prompt through the language model"
            if self.linear
            else "users adapt through the language model"
        )


def model_description(engine: Engine, name: str) -> ModelDescription:
    """Describe a model; times are processor time on this machine, for made-up users of ten events."""
    trained = engine.trained
    warm = np.flatnonzero(trained.data.warm_V.cpu().numpy() > 0)
    rng = derive(0, "describe")
    supports = [
        Support(
            user="",
            items_K=rng.choice(warm, size=min(_NUM_EVENTS, len(warm)), replace=False).astype(np.int32),
            ratings_K=np.full(min(_NUM_EVENTS, len(warm)), np.nan, np.float32),
            ordered=True,  # experts of order score nobody else, and would seem to cost nothing
        )
        for _ in range(_NUM_USERS)
    ]
    vectors_BD = torch.from_numpy(
        rng.standard_normal((_NUM_USERS, engine.catalogue_VD.shape[1])).astype(np.float32)
    )
    return ModelDescription(
        name=name,
        experts=engine.mixture.describe(engine.users(vectors_BD, supports)),
        validation=trained.manifest.get("validation", {}),
        order=trained.manifest.get("order", {}),
        linear=bool(trained.manifest.get("adaptation", {}).get("linear", False)),
    )
