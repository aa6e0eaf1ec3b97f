"""What the log keeps of an event: with a weight or without, and as version 0.1 wrote it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from warmprompt import Event
from warmprompt.service.user_history import UserHistory, apply_entries, entry_of, model_inputs
from warmprompt.store.contract import StoredEntry


def history_of(*events):
    written = [entry_of(event) for event in events]
    return apply_entries(UserHistory(), [
        StoredEntry(seq=seq, evidence_hash="", time_s=0, **vars(one))
        for seq, one in enumerate(written, start=1)
    ])  # fmt: skip


@pytest.mark.parametrize("event", [Event(item="a"), Event(item=5, rating=2.5, time_s=7, weight=3.5)])
def test_event_survives_the_log_round_trip(event):
    assert history_of(event).events == {event.item: event}


def test_unweighted_event_has_no_weight_field():
    body = json.loads(entry_of(Event(item="a", rating=4.0)).body)
    assert body == {"item": "a", "rating": 4.0, "time_s": None}


def test_weight_is_ignored_by_unweighted_model():
    events = [Event(item="a", weight=3.0), Event(item="b")]
    model = SimpleNamespace(index={"a": 0, "b": 1}, rating_scale=None, weight_unit=None)
    known, left_out = model_inputs(history_of(*events), model)
    assert (known.events, left_out) == ([replace(events[0], weight=None), events[1]], 0)
    model.weight_unit = 2.0
    assert model_inputs(history_of(*events), model)[0].events == events
