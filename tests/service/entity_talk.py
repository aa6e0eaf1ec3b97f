"""Requests about entities, and the expected estimates."""

from dataclasses import asdict
from urllib.parse import quote

from warmprompt.risk.profile import Payment
from warmprompt.service.entity_history import context_of

START_S = 1_525_000_000
STEP_S = 40_000
WEEK_S = 7 * 86_400


def path(entity, rest=""):
    return f"/v1/entities/{quote(entity, safe='')}{rest}"


def event(index, **changed):
    values = {
        "id": index,
        "time_s": START_S + index * STEP_S,
        "amount_minor": 1000 + 137 * index,
        "counterparty": f"shop {index % 4}",
        "context": {"count_1d": 1.0, "risk_7d": 0.25},
    }
    return values | changed


def label(index, *, fraud, after_s=WEEK_S):
    return {"id": index, "fraud": fraud, "time_s": START_S + index * STEP_S + after_s}


def payment(values):
    return Payment(**values | {"context": context_of(values["context"])})


def judged(event_id, estimate):
    """Return the service's form of an estimate."""
    return {"event": event_id, "abstains": estimate.decision == "unsure"} | asdict(estimate)
