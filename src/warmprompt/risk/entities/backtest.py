"""The last labelled periods, each predicted by experts that saw the labels known then, of other entities.

Entities are split in three parts: 0 fits experts, 1 chooses weights and trains the prompt, 2 calibrates.
R is rows of the predicted periods, X experts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.entities.experts import NUM_EXPERTS, Experts, fit_class_experts, fit_mixture
from warmprompt.risk.entities.profiler import ClassPopulation, EntityInputs, label_episodes, peer_log_p
from warmprompt.risk.entities.prompt import LabelEpisodes, join_episodes
from warmprompt.risk.entities.table import UNLABELLED, EntityTable, TableSchema
from warmprompt.risk.entities.words import telling_figures
from warmprompt.risk.profile.payments import Bools, Doubles, Longs
from warmprompt.rng import derive

SHARES = (0.6, 0.2, 0.2)
_MOST_PERIODS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """Predictions of past periods.

    Attributes:
        schema: Of the table.
        inputs: Of the table; each row sees 0, 1 or all of its own known labels.
        part_N: Of each row's entity.
        populations: Per predicted period.
        figures: Numeric features that texts give.
        seed: Of draws.
    """

    schema: TableSchema
    inputs: EntityInputs
    part_N: Longs
    populations: Mapping[int, ClassPopulation]
    figures: tuple[int, ...]
    seed: int

    def rows(self, part: int, num_peers: int = 0) -> Longs:
        """Return the labelled rows of a part's entities in the predicted periods, by period.

        Only periods with at least so many labelled peers count.
        """
        table = self.inputs.table
        periods = [at for at in self.populations if len(self._peers(at)) >= num_peers]
        asked_N = np.isin(table.period_N, periods) & (self.part_N == part)
        rows = np.flatnonzero(asked_N & (table.label_N != UNLABELLED))
        return rows[np.argsort(table.period_N[rows], kind="stable")]

    def log_p(self, rows: Longs) -> Doubles:
        """Return the population's log-probabilities of rows by period, (R, C)."""
        return self._each(rows, lambda at, some: self.populations[at].log_p(self.inputs, some))

    def expert_log_p(self, rows: Longs) -> Doubles:
        """Return those of each expert, (X, R, C)."""
        features = self.inputs.features
        return self._each(rows, lambda at, some: self.populations[at].experts.parts(features(some)))

    def peer_log_p(self, rows: Longs, num: int) -> Doubles:
        """Return those of `profiler.peer_log_p` with so many labelled peers, (3, R, C)."""

        def call(at: int, some: Longs) -> Doubles:
            peers = np.sort(derive(self.seed, "peers", at).permutation(self._peers(at))[:num])
            return peer_log_p(self.populations[at], self.inputs, peers, some, seed=self.seed)

        return self._each(rows, call)

    def episodes(self, rows: Longs, offset_RC: Doubles) -> LabelEpisodes:
        """Return rows by period as episodes; their known rows are read by the same period's experts."""
        parts = []
        for at, population in self.populations.items():
            here = self.inputs.table.period_N[rows] == at
            bare = population.bare_log_p(self.inputs)
            if here.any():
                parts.append(
                    label_episodes(self.schema, self.inputs, rows[here], offset_RC[here], bare, self.figures)
                )
        return join_episodes(parts)

    def weighted(self) -> Backtest:
        """Return the backtest with the experts' weights that fit the choosing part best."""
        rows = self.rows(1)
        parts_XRC, label_R = self.expert_log_p(rows), self.inputs.table.label_N[rows]
        known_R = self.inputs.has_labels_N[rows]
        new_X, known_X = (fit_mixture(parts_XRC[:, here], label_R[here]) for here in (~known_R, known_R))
        populations = {at: replace(one, new_X=new_X, known_X=known_X) for at, one in self.populations.items()}
        return replace(self, populations=populations)

    def _peers(self, at: int) -> Longs:
        table = self.inputs.table
        return np.flatnonzero((self.part_N == 0) & (table.period_N == at) & (table.label_N != UNLABELLED))

    def _each(self, rows: Longs, call: Callable[[int, Longs], Doubles]) -> Doubles:
        period_R = self.inputs.table.period_N[rows]
        periods = [at for at in self.populations if (period_R == at).any()]
        return np.concatenate([call(at, rows[period_R == at]) for at in periods], axis=-2)


def run_backtest(
    schema: TableSchema,
    inputs: EntityInputs,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda _line: None,
) -> Backtest:
    """Return the backtest of a table, experts weighted.

    Raises:
        BadInputError: Too few labelled periods or entities.
    """
    table, labelled_N = inputs.table, inputs.table.label_N != UNLABELLED
    part_N = _parts(table, seed)
    populations = {}
    equal_X = np.full(NUM_EXPERTS, 1 / NUM_EXPERTS)
    for at in _predicted(table, schema):
        progress(f"backtest: predicting {table.periods[at]}")
        past_N = labelled_N & (part_N == 0) & (table.period_N <= at - schema.delay)
        experts = experts_of(schema, inputs, past_N, seed=seed)
        populations[at] = ClassPopulation(experts=experts, new_X=equal_X, known_X=equal_X)
    fitted_N = labelled_N & (part_N == 0)
    test = Backtest(
        schema=schema,
        inputs=inputs,
        part_N=part_N,
        populations=populations,
        figures=telling_figures(inputs.ranks_NJ[fitted_N], table.label_N[fitted_N]),
        seed=seed,
    )
    known_R = inputs.has_labels_N[test.rows(1)]
    if min((~known_R).sum(), known_R.sum()) == 0:
        raise BadInputError(
            field="rows to choose on",
            value=f"{len(known_R)}, of which {known_R.sum()} with an earlier label",
            remedy="Rows with and without are needed; give more entities or periods.",
        )
    return test.weighted()


def experts_of(schema: TableSchema, inputs: EntityInputs, chosen_N: Bools, *, seed: int) -> Experts:
    """Return experts fitted to labelled rows of a table."""
    rows = np.flatnonzero(chosen_N)
    return fit_class_experts(
        inputs.features(rows),
        inputs.table.label_N[rows],
        inputs.table.period_N[rows],
        num_classes=len(schema.classes),
        seed=seed,
    )


def _parts(table: EntityTable, seed: int) -> Longs:
    order = derive(seed, "entities").permutation(len(table.names))
    part = np.empty(len(order), dtype=np.int64)
    ends = np.rint(np.cumsum(SHARES[:-1]) * len(order)).astype(int)
    for index, entities in enumerate(np.split(order, ends)):
        part[entities] = index
    return part[table.entity_N]


def _predicted(table: EntityTable, schema: TableSchema) -> Longs:
    """Return the last quarter of the labelled periods, 4 at most, behind a labelled period known by then."""
    labelled = np.unique(table.period_N[table.label_N != UNLABELLED])
    possible = labelled[labelled - schema.delay >= labelled[0]] if len(labelled) else labelled
    if len(possible) == 0:
        raise BadInputError(
            field=f"column {schema.label}",
            value=f"labels in {len(labelled)} periods",
            remedy=f"Give labels of at least two periods that are {schema.delay} or more apart.",
        )
    return np.asarray(possible[-min(_MOST_PERIODS, max(1, len(labelled) // 4)) :])
