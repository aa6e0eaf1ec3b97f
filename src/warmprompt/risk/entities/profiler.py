"""A trained profiler of a table's entities: class probabilities from features, known labels and peers.

The table is all that a profile needs: an entity without a label is scored by its features, and each known
label of its own or of a peer in the same period changes the score. N is rows of a table, R rows to score,
C classes, F features, K known rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from warmprompt.risk.entities.encoding import (
    MAX_KNOWN,
    Encoding,
    KnownLabels,
    known_labels,
    label_features,
)
from warmprompt.risk.entities.experts import Experts, fit_peers, mix, peer_parts
from warmprompt.risk.entities.prompt import EntityPrompt, LabelEpisodes, row_batch
from warmprompt.risk.entities.table import UNLABELLED, EntityTable, TableSchema
from warmprompt.risk.entities.words import describe_rows
from warmprompt.risk.profile.calibration import Calibration
from warmprompt.risk.profile.payments import Bools, Doubles, Longs


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityInputs:
    """A table as the experts read it.

    Attributes:
        table: The rows.
        ranks_NJ: Of the numeric features.
        own_NF: Encoded features of each row.
        known: Labels that each row may see.
        labels_NL: What these say.
    """

    table: EntityTable
    ranks_NJ: Doubles
    own_NF: Doubles
    known: KnownLabels
    labels_NL: Doubles

    @property
    def has_labels_N(self) -> Bools:
        """Whether a row sees any label."""
        return self.known.mask_NK[:, -1]

    def features(self, rows: Longs, *, hides: bool = False) -> Doubles:
        """Return the experts' features of some rows, with or without what known labels say."""
        labels = np.zeros_like(self.labels_NL[rows]) if hides else self.labels_NL[rows]
        return np.hstack([self.own_NF[rows], labels])


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassPopulation:
    """Experts, and their weights for rows without and with known labels."""

    experts: Experts
    new_X: Doubles
    known_X: Doubles

    def log_p(self, inputs: EntityInputs, rows: Longs, *, hides: bool = False) -> Doubles:
        """Return log-probabilities of some rows, (R, C)."""
        parts = self.experts.parts(inputs.features(rows, hides=hides))
        has_labels = inputs.has_labels_N[rows, None] & (not hides)
        return np.where(has_labels, mix(self.known_X, parts), mix(self.new_X, parts))

    def bare_log_p(self, inputs: EntityInputs) -> Callable[[Longs], Doubles]:
        """Return a function to log-probabilities of rows as if none saw a label."""
        return lambda rows: self.log_p(inputs, rows, hides=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityScores:
    """What is said of rows.

    Attributes:
        rows_R: Rows of the table.
        log_p_RC: Log-probabilities of the classes.
        log_odds_R: Of trouble, before calibration.
        p_R: Calibrated probability of trouble.
        low_R: Lower member of its Venn-Abers pair.
        high_R: Upper member.
        says_trouble_R: Whether trouble is in the conformal set.
        says_sound_R: Whether its opposite is; both or none of them is an abstention.
        num_known_R: Labels of its own that a row sees.
        num_peers_R: Labelled peers of its period.
    """

    rows_R: Longs
    log_p_RC: Doubles
    log_odds_R: Doubles
    p_R: Doubles
    low_R: Doubles
    high_R: Doubles
    says_trouble_R: Bools
    says_sound_R: Bools
    num_known_R: Longs
    num_peers_R: Longs


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityProfiler:
    """Everything learned from a table.

    Attributes:
        schema: Of the table.
        encoding: Of its rows.
        population: Experts of past periods.
        peer_weights: Number of labelled peers to weights of population, around it, and peers alone.
        prompt: What the language model adds; None where it added nothing on validation entities.
        figures: Numeric features that texts give.
        calibrations: By least number of peers, and whether a row sees labels of its own.
        seed: Of experts that are fitted to peers.
    """

    schema: TableSchema
    encoding: Encoding
    population: ClassPopulation
    peer_weights: Mapping[int, Doubles]
    prompt: EntityPrompt | None
    figures: tuple[int, ...]
    calibrations: Mapping[tuple[int, bool], Calibration]
    seed: int

    def score(
        self, table: EntityTable, rows: Longs, *, most_known: int = MAX_KNOWN, uses_peers: bool = True
    ) -> EntityScores:
        """Score rows of a table; labels of these rows themselves are not looked at.

        Args:
            table: The rows, earlier rows of their entities, and peers of their periods, labelled where known.
            rows: Which rows.
            most_known: Own labels to use at most; 0 hides them all.
            uses_peers: Whether other entities' labels of the same period count.
        """
        inputs = make_inputs(table, self.schema, self.encoding, most_known)
        log_p = self.population.log_p(inputs, rows)
        num_peers_R = np.zeros(len(rows), dtype=np.int64)
        others = np.setdiff1d(np.flatnonzero(table.label_N != UNLABELLED), rows) if uses_peers else rows[:0]
        for period in np.unique(table.period_N[rows]):
            here = np.flatnonzero(table.period_N[rows] == period)
            peers = others[table.period_N[others] == period]
            num_peers_R[here] = len(peers)
            weights = self.peer_weights.get(self._reached(len(peers)))
            if weights is not None:
                parts = peer_log_p(self.population, inputs, peers, rows[here], seed=self.seed)
                log_p[here] = mix(weights, parts)
        if self.prompt is not None:
            log_p = self.prompt.log_p(
                label_episodes(
                    self.schema, inputs, rows, log_p, self.population.bare_log_p(inputs), self.figures
                )
            )
        return self._calibrated(rows, log_p, inputs, num_peers_R)

    def _reached(self, num: int) -> int:
        return max((least for least in self.peer_weights if least <= num), default=0)

    def _calibrated(
        self, rows: Longs, log_p: Doubles, inputs: EntityInputs, num_peers_R: Longs
    ) -> EntityScores:
        odds_R, known_R = trouble_log_odds(self.schema, log_p), inputs.has_labels_N[rows]
        reached_R = np.array([self._reached(num) for num in num_peers_R.tolist()], dtype=np.int64)
        p_R, low_R, high_R = np.empty((3, len(rows)))
        bad_R, good_R = np.empty((2, len(rows)), dtype=np.bool_)
        for (least, known), calibration in self.calibrations.items():
            here = (reached_R == least) & (known_R == known)
            p_R[here], low_R[here], high_R[here] = calibration.probabilities(odds_R[here])
            bad_R[here], good_R[here] = calibration.sets(odds_R[here])
        return EntityScores(
            rows_R=rows,
            log_p_RC=log_p,
            log_odds_R=odds_R,
            p_R=p_R,
            low_R=low_R,
            high_R=high_R,
            says_trouble_R=bad_R,
            says_sound_R=good_R,
            num_known_R=inputs.known.mask_NK[rows].sum(axis=1),
            num_peers_R=num_peers_R,
        )


def make_inputs(
    table: EntityTable, schema: TableSchema, encoding: Encoding, most_known: int | Longs
) -> EntityInputs:
    """Return a table as the experts read it, each row with at most so many labels of its own."""
    known = known_labels(table, delay=schema.delay, most=most_known)
    ranks_NJ = encoding.ranks(table)
    return EntityInputs(
        table=table,
        ranks_NJ=ranks_NJ,
        own_NF=encoding.encode(table, ranks_NJ),
        known=known,
        labels_NL=label_features(table, known, num_classes=len(schema.classes)),
    )


def peer_log_p(
    population: ClassPopulation, inputs: EntityInputs, peers: Longs, rows: Longs, *, seed: int
) -> Doubles:
    """Return log-probabilities of rows by the population, around it, and by peers alone, (3, R, C)."""
    fitted = fit_peers(
        inputs.features(peers), inputs.table.label_N[peers], population.log_p(inputs, peers), seed=seed
    )
    return peer_parts(fitted, inputs.features(rows), population.log_p(inputs, rows))


def label_episodes(
    schema: TableSchema,
    inputs: EntityInputs,
    rows: Longs,
    offset_RC: Doubles,
    bare: Callable[[Longs], Doubles],
    figures: tuple[int, ...],
) -> LabelEpisodes:
    """Return rows as episodes of the prompt.

    Args:
        schema: Of the table.
        inputs: Of the table.
        rows: Rows to predict.
        offset_RC: The experts' log-probabilities of them.
        bare: The same of rows as if none saw a label, for known rows.
        figures: Numeric features that the texts give.
    """
    table, known = inputs.table, inputs.known
    row_RK, mask_RK = known.row_NK[rows], known.mask_NK[rows]
    distinct, position = np.unique(row_RK, return_inverse=True)
    position = position.reshape(row_RK.shape)
    return LabelEpisodes(
        query=row_batch(
            inputs.features(rows)[:, None],
            offset_RC[:, None],
            table.label_N[rows][:, None],
            np.ones((len(rows), 1)),
        ),
        support=row_batch(
            inputs.features(distinct, hides=True)[position],
            bare(distinct)[position],
            table.label_N[row_RK],
            mask_RK.astype(np.float64),
        ),
        texts=describe_rows(table, schema, inputs.ranks_NJ, known, rows, figures),
    )


def trouble_log_odds(schema: TableSchema, log_p_RC: Doubles) -> Doubles:
    """Return the log-odds of trouble, (R,)."""
    bad_C = trouble_classes(schema)
    return np.asarray(logsumexp(log_p_RC[:, bad_C], axis=1) - logsumexp(log_p_RC[:, ~bad_C], axis=1))


def trouble_classes(schema: TableSchema) -> Bools:
    """Return which classes count as trouble, (C,)."""
    return np.array([name in schema.trouble for name in schema.classes])
