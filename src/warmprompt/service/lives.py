"""What an entity's log says and what the profiler makes of it; the log is the truth, the rest is read off it.

A log holds payments and labels in the order they were told. A payment may not be earlier than the last
payment, nor than the last label, or its profile would know what was not known then. An entry that does not
fit (two processes wrote at once, another profiler is in service) is passed over and counted, so that every
log has exactly one reading.
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
from warmprompt.store.contract import NO_EVIDENCE, Entry, Recorded, evidence_after

PAYMENT, LABEL = "payment", "label"
WATCHED = 64
"""Payments whose p_risk the drift alarm looks at."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a payment turned out to be.

    Attributes:
        id: Of the payment.
        fraud: Whether it was.
        time_s: When this became known, seconds since 1970.
    """

    id: Id
    fraud: bool
    time_s: int


Told = Payment | Label


@dataclass(frozen=True, kw_only=True, eq=False)
class Life:
    """One entity as the first `seq` entries of its log tell it.

    Attributes:
        seq: Entries read.
        evidence_hash: Of these entries.
        state: The profiler's.
        last_s: The latest time told, of payments and labels.
        watched: p_risk of the last `WATCHED` payments, each from before it was taken in; oldest first.
        last: What was thought of the last payment before it was taken in, or None.
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
        """Whether the newer of the watched payments are of another mean risk than the older (ADWIN)."""
        watch = DriftWatch()
        return any(watch.update(p_risk).alarm for p_risk in self.watched)

    def to_bytes(self) -> bytes:
        """Return the life as bytes, one line of JSON and the state; equal lives give equal bytes."""
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
    def from_bytes(cls, data: bytes) -> Life:
        """Return the life that `to_bytes` wrote.

        Raises:
            WarmpromptError: The state is damaged or a later version wrote it.
            ValueError, TypeError, KeyError: The line before it is none of ours.
        """
        line, _, state = data.partition(b"\n")
        header = json.loads(line)
        last = None if header["last"] is None else RiskEstimate(**header["last"])
        told = header | {"watched": tuple(header["watched"]), "last": last}
        return cls(**told, state=EntityState.from_bytes(state))


def entry_of(told: Told) -> Entry:
    """Return what the log keeps of a payment or a label: compact JSON, keys in order."""
    body: dict[str, Any] = asdict(told)
    if isinstance(told, Payment):
        # By name, as a log outlives the order and the number of the columns; what is not there is 0.
        named = zip(CONTEXT_NAMES, told.context, strict=True)
        body["context"] = {name: value for name, value in named if value}
    kind = PAYMENT if isinstance(told, Payment) else LABEL
    return Entry(kind=kind, body=json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False))


def told_in(entry: Entry | Recorded) -> Told:
    """Return the payment or label that an entry keeps."""
    body = json.loads(entry.body)
    if entry.kind == LABEL:
        return Label(**body)
    return Payment(**body | {"context": context_of(body["context"])})


def context_of(told: Mapping[str, float]) -> tuple[float, ...]:
    """Return the profiler's context columns from those told by name."""
    return tuple(float(told.get(name, 0.0)) for name in CONTEXT_NAMES)


def born(profiler: Profiler, entity: str) -> Life:
    """Return the life of an entity that nothing was told of."""
    return Life(seq=0, evidence_hash=NO_EVIDENCE, state=profiler.start(entity))


def check_fits(told: Told, payments: Sequence[Payment], *, last_s: int, label_delay_s: int) -> None:
    """Refuse what does not follow on what was told before, by the profiler's rules.

    Args:
        told: The payment or label.
        payments: The last `MAX_SUPPORT` before it.
        last_s: The latest time told before it.
        label_delay_s: How long a label takes to become known.

    Raises:
        MismatchError: It contradicts what was told: a payment too early, or with an id in use.
        UnknownNameError: A label of a payment that is not among the last ones.
        BadInputError: A payment that cannot be, or a label before it is due.
    """
    if isinstance(told, Payment):
        check_payment(told, field=f"event {told.id}")
        if told.time_s < last_s:
            raise MismatchError(
                field=f"time_s of event {told.id}",
                value=told.time_s,
                remedy=f"The entity's log has come to {last_s}; tell events in order of time.",
            )
        if any(one.id == told.id for one in payments):
            raise MismatchError(
                field="id of event", value=told.id, remedy="It was told before; give each event its own id."
            )
        return
    about = next((one for one in payments if one.id == told.id), None)
    if about is None:
        raise UnknownNameError(
            field="id of label",
            value=told.id,
            remedy=f"Only the entity's last {MAX_SUPPORT} events can be labelled.",
        )
    if told.time_s < about.time_s + label_delay_s:
        raise BadInputError(
            field=f"time_s of the label of event {told.id}",
            value=told.time_s,
            remedy=f"The profiler takes it from {about.time_s + label_delay_s} on; tell it then.",
        )


def advanced(
    profiler: Profiler, life: Life, entries: Sequence[Entry | Recorded], *, strict: bool
) -> tuple[Life, dict[int, RiskEstimate]]:
    """Return the life after entries more, and what was thought of each payment when it came, by its place.

    Args:
        profiler: Observes and scores.
        life: Before them.
        entries: Right behind it in the log.
        strict: Raise where an entry does not fit, instead of passing it over.

    Raises:
        UserError: See `check_fits`.
    """
    estimates: dict[int, RiskEstimate] = {}
    for entry in entries:
        try:
            after = _after(profiler, life, told_in(entry))
        except UserError:
            if strict:
                raise
            after = replace(life, left_out=life.left_out + 1)
        taken = after.state.num_seen > life.state.num_seen
        life = replace(after, seq=life.seq + 1, evidence_hash=evidence_after(life.evidence_hash, entry))
        if taken and life.last is not None:
            estimates[life.seq] = life.last
    return life, estimates


def relived(profiler: Profiler, entity: str, entries: Sequence[Recorded], *, scored: bool = True) -> Life:
    """Return the life that a whole log tells, bit for bit that of taking in entry by entry.

    Only the last `WATCHED` payments are scored and adapted to one by one, the others at once.

    Args:
        profiler: Observes and scores.
        entity: Its id.
        entries: The log from its first entry.
        scored: Score the last payments too; without, `watched` and `last` stay empty.
    """
    fitting = _fitting(entries, label_delay_s=profiler.model.label_delay_s)
    places = [place for place, told in fitting if isinstance(told, Payment)]
    cut = len(entries)
    if scored:
        cut = places[-WATCHED] if len(places) > WATCHED else 0
    before = [told for place, told in fitting if place < cut]
    payments: list[Payment] = []
    labels: dict[Id, bool] = {}
    for told in before:
        if isinstance(told, Payment):
            payments.append(told)
            labels.pop(told.id, None)  # of an older payment that had the same id
        else:
            labels[told.id] = told.fraud
    kept = {one.id for one in payments[-MAX_SUPPORT:]}
    life = Life(
        seq=cut,
        evidence_hash=entries[cut - 1].evidence_hash if cut else NO_EVIDENCE,
        state=profiler.profile(entity, payments, {one: labels[one] for one in labels if one in kept}),
        last_s=max((told.time_s for told in before), default=0),
        left_out=cut - len(before),
    )
    return advanced(profiler, life, entries[cut:], strict=False)[0]


def _fitting(entries: Sequence[Recorded], *, label_delay_s: int) -> list[tuple[int, Told]]:
    """Return what fits of a whole log, with its place among the entries."""
    fitting: list[tuple[int, Told]] = []
    payments: list[Payment] = []
    last_s = 0
    for place, entry in enumerate(entries):
        told = told_in(entry)
        try:
            check_fits(told, payments, last_s=last_s, label_delay_s=label_delay_s)
        except UserError:
            continue
        fitting.append((place, told))
        last_s = max(last_s, told.time_s)
        if isinstance(told, Payment):
            payments = [*payments, told][-MAX_SUPPORT:]
    return fitting


def _after(profiler: Profiler, life: Life, told: Told) -> Life:
    """Return the life after one payment or label; place and evidence stay.

    Raises:
        UserError: See `check_fits`.
    """
    state = life.state
    check_fits(told, state.payments, last_s=life.last_s, label_delay_s=profiler.model.label_delay_s)
    last_s = max(life.last_s, told.time_s)
    if isinstance(told, Label):
        state = profiler.report(state, told.id, fraud=told.fraud, now_s=told.time_s)
        return replace(life, state=state, last_s=last_s)
    estimate = profiler.score(state, told)
    return replace(
        life,
        state=profiler.observe(state, told),
        last_s=last_s,
        watched=(*life.watched, estimate.p_risk)[-WATCHED:],
        last=estimate,
    )
