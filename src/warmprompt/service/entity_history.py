"""Replay of an entity's log of payments and labels through the risk profiler.

The event log is the source of truth; the profiler's state is derived from it by replay. Entries are in the
order in which they were reported. A payment may not be earlier than the last payment or label: its profile
would then hold information that came later. An entry that does not fit is skipped and counted. That happens
after two processes wrote at once, or under another profiler. So every log has exactly one result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from warmprompt.errors import BadInputError, MismatchError, UnknownNameError, UserError
from warmprompt.risk.profile import (
    CONTEXT_NAMES,
    MAX_SUPPORT,
    DriftWatch,
    EntityState,
    Payment,
    Profiler,
    RiskEstimate,
)
from warmprompt.risk.profile.state import Id, check_payment
from warmprompt.store.contract import Entry, StoredEntry
from warmprompt.store.evidence import NO_EVIDENCE, evidence_after

PAYMENT, LABEL = "payment", "label"
WATCHED = 64
"""Payments whose p_risk the drift alarm uses."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """Whether a payment was fraud.

    Attributes:
        id: Of the payment.
        fraud: Whether it was fraud.
        time_s: When this became known, seconds since 1970.
    """

    id: Id
    fraud: bool
    time_s: int


PaymentOrLabel = Payment | Label


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityHistory:
    """One entity after the first `seq` entries of its log.

    Attributes:
        seq: Entries applied.
        evidence_hash: Of these entries.
        state: The profiler's.
        last_s: The latest time of a payment or label.
        watched: p_risk of the last `WATCHED` payments, each estimated before it was observed; oldest first.
        last: The estimate of the last payment, made before it was observed, or None.
        left_out: Entries that did not fit.
    """

    seq: int
    evidence_hash: str
    state: EntityState
    last_s: int = 0
    watched: tuple[float, ...] = ()
    last: RiskEstimate | None = None
    left_out: int = 0

    @property
    def drifts(self) -> bool:
        """Whether mean risk changed within the watched payments."""
        watch = DriftWatch()
        return any(watch.update(p_risk).alarm for p_risk in self.watched)

    def to_bytes(self) -> bytes:
        """Return one line of JSON, then the state, as bytes; equal histories give equal bytes."""
        header = {
            "seq": self.seq,
            "evidence_hash": self.evidence_hash,
            "last_s": self.last_s,
            "watched": self.watched,
            "last": None if self.last is None else asdict(self.last),
            "left_out": self.left_out,
        }
        return json.dumps(header, sort_keys=True, allow_nan=False).encode() + b"\n" + self.state.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> EntityHistory:
        """Return the history that `to_bytes` wrote.

        Raises:
            WarmpromptError: The state is damaged or a later version wrote it.
            ValueError, TypeError, KeyError: The line of JSON has another format.
        """
        line, _, state = data.partition(b"\n")
        header = json.loads(line)
        last = None if header["last"] is None else RiskEstimate(**header["last"])
        values = header | {"watched": tuple(header["watched"]), "last": last}
        return cls(**values, state=EntityState.from_bytes(state))


def entry_of(record: PaymentOrLabel) -> Entry:
    """Return the log entry of a payment or a label: compact JSON, keys in order."""
    body: dict[str, Any] = asdict(record)
    if isinstance(record, Payment):
        # By name, as a log outlives the order and the number of the columns; a missing column is 0.
        named = zip(CONTEXT_NAMES, record.context, strict=True)
        body["context"] = {name: value for name, value in named if value}
    kind = PAYMENT if isinstance(record, Payment) else LABEL
    return Entry(kind=kind, body=json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False))


def read_entry(entry: Entry | StoredEntry) -> PaymentOrLabel:
    """Return the payment or label of an entry."""
    body = json.loads(entry.body)
    if entry.kind == LABEL:
        return Label(**body)
    return Payment(**body | {"context": context_of(body["context"])})


def context_of(values: Mapping[str, float]) -> tuple[float, ...]:
    """Return the profiler's context columns from values by name."""
    return tuple(float(values.get(name, 0.0)) for name in CONTEXT_NAMES)


def empty_history(profiler: Profiler, entity: str) -> EntityHistory:
    """Return the history of an entity without entries."""
    return EntityHistory(seq=0, evidence_hash=NO_EVIDENCE, state=profiler.start(entity))


def check_fits(
    record: PaymentOrLabel, payments: Sequence[Payment], *, last_s: int, label_delay_s: int
) -> None:
    """Refuse a record that cannot follow the earlier ones, by the profiler's rules.

    Args:
        record: The payment or label.
        payments: The last `MAX_SUPPORT` before it.
        last_s: The latest time of a record before it.
        label_delay_s: How long a label takes to become known.

    Raises:
        MismatchError: A payment that is too early, or whose id is in use.
        UnknownNameError: A label of a payment that is not among the last ones.
        BadInputError: An invalid payment, or a label before it is due.
    """
    if isinstance(record, Payment):
        check_payment(record, field=f"event {record.id}")
        if record.time_s < last_s:
            raise MismatchError(
                field=f"time_s of event {record.id}",
                value=record.time_s,
                remedy=f"The entity's log has reached {last_s}; send events in order of time.",
            )
        if any(one.id == record.id for one in payments):
            raise MismatchError(
                field="id of event", value=record.id, remedy="It is in use; give each event its own id."
            )
        return
    about = next((one for one in payments if one.id == record.id), None)
    if about is None:
        raise UnknownNameError(
            field="id of label",
            value=record.id,
            remedy=f"Only the entity's last {MAX_SUPPORT} events can be labelled.",
        )
    if record.time_s < about.time_s + label_delay_s:
        raise BadInputError(
            field=f"time_s of the label of event {record.id}",
            value=record.time_s,
            remedy=f"The profiler takes it from {about.time_s + label_delay_s} on; send it then.",
        )


def apply_entries(
    profiler: Profiler, history: EntityHistory, entries: Sequence[Entry | StoredEntry], *, strict: bool
) -> tuple[EntityHistory, dict[int, RiskEstimate]]:
    """Return the history after further entries, and the estimate of each payment in them, by `seq`.

    Args:
        profiler: Observes and scores.
        history: Before them.
        entries: The next ones in the log.
        strict: Raise if an entry does not fit, instead of skipping it.

    Raises:
        UserError: See `check_fits`.
    """
    estimates: dict[int, RiskEstimate] = {}
    for entry in entries:
        try:
            after = _after(profiler, history, read_entry(entry))
        except UserError:
            if strict:
                raise
            after = replace(history, left_out=history.left_out + 1)
        taken = after.state.num_seen > history.state.num_seen
        history = replace(
            after, seq=history.seq + 1, evidence_hash=evidence_after(history.evidence_hash, entry)
        )
        if taken and history.last is not None:
            estimates[history.seq] = history.last
    return history, estimates


def replay(
    profiler: Profiler, entity: str, entries: Sequence[StoredEntry], *, scored: bool = True
) -> EntityHistory:
    """Return the history of a whole log, bit for bit that of applying its entries one by one.

    Only the last `WATCHED` payments are scored and adapted to one by one, the others in one step.

    Args:
        profiler: Observes and scores.
        entity: Its id.
        entries: The log from its first entry.
        scored: Score the last payments too; otherwise `watched` and `last` stay empty.
    """
    fitting = _fitting(entries, label_delay_s=profiler.model.label_delay_s)
    indices = [index for index, record in fitting if isinstance(record, Payment)]
    cut = len(entries)
    if scored:
        cut = indices[-WATCHED] if len(indices) > WATCHED else 0
    before = [record for index, record in fitting if index < cut]
    payments: list[Payment] = []
    labels: dict[Id, bool] = {}
    for record in before:
        if isinstance(record, Payment):
            payments.append(record)
            labels.pop(record.id, None)  # of an older payment that had the same id
        else:
            labels[record.id] = record.fraud
    kept = {one.id for one in payments[-MAX_SUPPORT:]}
    history = EntityHistory(
        seq=cut,
        evidence_hash=entries[cut - 1].evidence_hash if cut else NO_EVIDENCE,
        state=profiler.profile(entity, payments, {one: labels[one] for one in labels if one in kept}),
        last_s=max((record.time_s for record in before), default=0),
        left_out=cut - len(before),
    )
    return apply_entries(profiler, history, entries[cut:], strict=False)[0]


def _fitting(entries: Sequence[StoredEntry], *, label_delay_s: int) -> list[tuple[int, PaymentOrLabel]]:
    """Return the records of a whole log that fit, with their indices among the entries."""
    fitting: list[tuple[int, PaymentOrLabel]] = []
    payments: list[Payment] = []
    last_s = 0
    for index, entry in enumerate(entries):
        record = read_entry(entry)
        try:
            check_fits(record, payments, last_s=last_s, label_delay_s=label_delay_s)
        except UserError:
            continue
        fitting.append((index, record))
        last_s = max(last_s, record.time_s)
        if isinstance(record, Payment):
            payments = [*payments, record][-MAX_SUPPORT:]
    return fitting


def _after(profiler: Profiler, history: EntityHistory, record: PaymentOrLabel) -> EntityHistory:
    """Return the history after one payment or label; `seq` and evidence hash stay.

    Raises:
        UserError: See `check_fits`.
    """
    state = history.state
    check_fits(record, state.payments, last_s=history.last_s, label_delay_s=profiler.model.label_delay_s)
    last_s = max(history.last_s, record.time_s)
    if isinstance(record, Label):
        state = profiler.report(state, record.id, fraud=record.fraud, now_s=record.time_s)
        return replace(history, state=state, last_s=last_s)
    estimate = profiler.score(state, record)
    return replace(
        history,
        state=profiler.observe(state, record),
        last_s=last_s,
        watched=(*history.watched, estimate.p_risk)[-WATCHED:],
        last=estimate,
    )
