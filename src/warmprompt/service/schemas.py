"""Schemas of requests and responses; unknown keys and wrong types are refused, nothing is coerced."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from warmprompt.service.catalogue_schemas import AnyItemId, FilterIn, ItemIdText, Strict, TimeS
from warmprompt.service.settings import MAX_PLACES
from warmprompt.types import MAX_TEXT

MAX_EVENTS_AT_ONCE = 500
MAX_CANDIDATES = 5000
MAX_PAYMENTS_AT_ONCE = 100

PaymentId = ItemIdText | Annotated[int, Field(ge=-(2**53), le=2**53)]
About = Annotated[str, Field(max_length=1000, description="A sentence about the user.")]
Attributes = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=200)]],
    Field(max_length=20, description="Such as age and occupation, as text."),
]


class EventIn(Strict):
    """One thing a user did with one item."""

    item: AnyItemId
    rating: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="On the data set's own scale; without it the event counts as a like."
    )
    time_s: TimeS | None = Field(
        default=None, description="Seconds since 1970, or ISO 8601 with an offset; not in the future."
    )
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="A count or an amount, where the model was trained with weights."
    )
    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = Field(
        default=None,
        description="What the user wrote about it, such as a review, a note or a query; used where the model "
        "reads such texts.",
    )


class EventsIn(Strict):
    """New inputs of a user: events, a sentence, attributes; at least one of them."""

    events: Annotated[list[EventIn], Field(max_length=MAX_EVENTS_AT_ONCE)] = Field(default=[])
    about: About | None = Field(default=None, description='Replaces the former sentence; "" removes it.')
    attributes: Attributes | None = Field(
        default=None, description="Replace the former ones; {} removes them."
    )


class RankIn(Strict):
    """Inputs for one ranking, which are not stored."""

    events: Annotated[list[EventIn], Field(max_length=MAX_EVENTS_AT_ONCE)] = Field(default=[])
    about: About | None = None
    attributes: Attributes | None = None
    candidates: Annotated[list[AnyItemId], Field(min_length=1, max_length=MAX_CANDIDATES)] | None = Field(
        default=None, description="Rank only these items."
    )
    exclude: Annotated[list[AnyItemId], Field(max_length=MAX_CANDIDATES)] | None = Field(
        default=None, description="Rank none of these items."
    )
    filter: FilterIn | None = None
    ordered: bool = Field(
        default=False, description="The events are all that the person did, oldest first: their order counts."
    )
    n: Annotated[int, Field(ge=1, le=MAX_PLACES)] = Field(default=10, description="Places in the ranking.")


class PaymentIn(Strict):
    """One payment of an entity, with what is known when it comes."""

    id: PaymentId = Field(description="The event's own; a label names it.")
    time_s: TimeS = Field(
        description="Seconds since 1970, or ISO 8601 with an offset; not before the last record, nor in the "
        "future."
    )
    amount_minor: Annotated[int, Field(ge=0, le=2**53)] = Field(
        description="Hundredths of the currency unit."
    )
    counterparty: PaymentId
    context: Annotated[
        dict[
            Annotated[str, Field(max_length=64)], Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
        ],
        Field(max_length=64),
    ] = Field(default={}, description="Others' payments to the counterparty, by column; else 0.")


class LabelIn(Strict):
    """Whether a payment was fraud."""

    id: PaymentId = Field(description="Of the event; one of the entity's last ones.")
    fraud: bool
    time_s: TimeS = Field(
        description="When this became known, as of events; not before the profiler's label delay."
    )


class EntityEventsIn(Strict):
    """New records of an entity: events, labels; at least one of them."""

    events: Annotated[list[PaymentIn], Field(max_length=MAX_PAYMENTS_AT_ONCE)] = Field(
        default=[], description="In order of time."
    )
    labels: Annotated[list[LabelIn], Field(max_length=MAX_PAYMENTS_AT_ONCE)] = Field(default=[])


class CandidatesIn(Strict):
    """Events to be estimated and not stored."""

    events: Annotated[list[PaymentIn], Field(min_length=1, max_length=MAX_PAYMENTS_AT_ONCE)] = Field(
        description="Each by itself, as if it came next."
    )


class Recorded(BaseModel):
    """Written to the log, on the disk."""

    first_seq: int = Field(description="Number of the first entry in the log.")
    last_seq: int
    repeated: bool = Field(description="The idempotency key had been used for the same: nothing was written.")


class RankedItemOut(BaseModel):
    """One item of a ranking."""

    rank: int
    item: str | int
    title: str
    score: float = Field(description="Only differences between items of one user mean something.")
    explanation: dict[str, Any] | None = Field(default=None, description="With explain=true.")


class EventsUsed(BaseModel):
    """How many events the ranking rests on."""

    used: int
    left_out: int = Field(
        description="Of items or ratings that this model does not have, or beyond the last 1000."
    )


class RankingOut(BaseModel):
    """The best items, best first."""

    items: list[RankedItemOut]
    stale: bool = Field(
        description="A text could not be read in time; the ranking includes all events, and not that text."
    )
    seq: int = Field(description="Entries of the user's log that the ranking includes.")
    last_seq: int = Field(description="Entries of the user's log.")
    events: EventsUsed
    model: str = Field(description="Version of the model that ranked.")
    adapt_ms: float | None = Field(
        description="How long the pass of the model for this state took; null where the store had it."
    )


class SentenceOut(BaseModel):
    """Why an item has its rank, in words."""

    item: str | int
    title: str
    sentence: str
    how: Literal["model", "template"] = Field(description="Who wrote it.")
    checks: list[dict[str, Any]] = Field(description="Its claims, and whether each holds.")
    stale: bool = Field(description="It does not rest on the whole log yet.")
    seq: int = Field(description="Entries of the user's log that it rests on.")


class LogEntry(BaseModel):
    """An entry of a log."""

    seq: int
    kind: str
    body: dict[str, Any]
    time_s: int
    evidence_hash: str


class StateOut(BaseModel):
    """A state that a model derived from the log."""

    model: str
    seq: int
    evidence_hash: str
    vector: list[float]
    prompt: list[list[float]] = Field(description="The soft prompt, as an offset from the model's own.")


class KeyUsed(BaseModel):
    """An idempotency key and the entries it named."""

    key: str
    first_seq: int
    last_seq: int


class ExportOut(BaseModel):
    """Everything stored about a user."""

    user: str
    first_seen_s: int
    log: list[LogEntry]
    idempotency_keys: list[KeyUsed]
    states: list[StateOut]


class EstimateOut(BaseModel):
    """The risk of one event, from what was known before it."""

    event: str | int
    p_risk: float = Field(description="Calibrated probability of fraud.")
    p_low: float = Field(description="Lower member of its Venn-Abers pair.")
    p_high: float = Field(description="Upper member.")
    decision: Literal["fraud", "genuine", "unsure"] = Field(
        description="The only answer in the conformal set at 90 %, or `unsure`. The set covers nine in ten "
        "frauds, and of genuine events nine in ten: where fraud is rare it may be `fraud` at a low p_risk. "
        "Weigh costs by p_risk."
    )
    abstains: bool = Field(description="The conformal set at 90 % holds both answers or none.")
    score: float = Field(description="Log-odds before calibration; what events are ranked by.")
    typicality: float = Field(description="Above 0 the event suits this entity better than others; nats.")
    num_known: int = Field(description="Events on which the profile was based.")


class EntityOut(BaseModel):
    """The basis of the profile."""

    seq: int = Field(description="Entries of the entity's log, all of which the profile includes.")
    num_events: int = Field(description="Events ever observed.")
    num_used: int = Field(description="The last ones, on which the profile is based.")
    num_labels: int = Field(description="Of these, labelled.")
    left_out: int = Field(description="Entries of the log that do not fit and were skipped.")
    drift: bool = Field(description="The p_risk of the last 64 events changed in mean.")
    model: str = Field(description="Hash of the profiler's model.")
    version: str = Field(description="Hash of the profiler's files, calibration included.")


class EntityRecorded(Recorded, EntityOut):
    """Written to the log, on the disk, and observed."""

    estimates: list[EstimateOut] = Field(
        description="Of each event in the order observed, from before it; one that was left out has none."
    )


class RiskOut(EntityOut):
    """The risk of the entity's last event when it came."""

    last: EstimateOut | None = Field(description="Null where no entry of the log fits.")


class CandidatesOut(EntityOut):
    """The risk of events that were not stored."""

    estimates: list[EstimateOut] = Field(description="In the order of the request.")


class EntityExportOut(BaseModel):
    """Everything stored about an entity."""

    entity: str
    first_seen_s: int
    log: list[LogEntry]
    idempotency_keys: list[KeyUsed]
    states: list[StateOut]


class DeletedOut(BaseModel):
    """Numbers of deleted rows; all zero for an unknown id."""

    entries: int
    states: int
    idempotency_keys: int
    scrubbed: bool = Field(
        description="No byte of it is left in the database's own files; otherwise they are removed later."
    )


class BackfillOut(BaseModel):
    """How many users' states are up to date."""

    users: int
    current: int
    running: bool


class ReadyOut(BaseModel):
    """Whether requests can be answered."""

    ready: bool
    database: bool
    model: str
    backfill: BackfillOut | None = Field(description="Null until first counted.")


class ExpertOut(BaseModel):
    """One part of the score."""

    name: str
    weight: float = Field(description="Of experts of order, for users of ten events.")
    weights_by_events: dict[int, float] = Field(
        description="Of experts of order: number of events to weight."
    )
    num_parameters: int
    num_bytes: int
    microseconds: float = Field(description="Processor time to score one user, on this machine.")
    ndcg_without: float | None = Field(description="NDCG@10 of validation users without it, if searched.")


class ModelOut(BaseModel):
    """What scores are made of."""

    model: str
    name: str = Field(description="Learner, data set and backbone.")
    linear: bool = Field(description="Whether users adapt in the language model's linear response.")
    experts: list[ExpertOut]
    validation: dict[str, Any] = Field(
        description="Users on whom weights were selected, and NDCG@10 there; empty if nothing was searched."
    )
    order: dict[str, Any] = Field(
        description="NDCG@10 of validation users' next events per number of events, with and without order."
    )


class AliveOut(BaseModel):
    """The process answers."""

    alive: bool


class ReloadedOut(BaseModel):
    """The model in service."""

    model: str


class ScrubbedOut(BaseModel):
    """Whether deleted bytes are left in the database's own files."""

    scrubbed: bool = Field(
        description="None are left. False on PostgreSQL, and while a reader still needs them."
    )


class ProblemOut(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: str = Field(description="What was wrong.")
    value: str | None = Field(description="The value it had, shortened.")
    remedy: str = Field(description="What to do about it.")
