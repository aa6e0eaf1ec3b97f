"""Payments and labels in, risk out, over HTTP in this process, against the profiler asked directly."""

import asyncio
import json
from dataclasses import replace

import pytest
from tests.service.entity_talk import START_S, WEEK_S, event, judged, label, path, payment
from tests.service.talking import in_service

from warmprompt.service import entity_history
from warmprompt.service.entity_history import EntityHistory, read_entry, replay
from warmprompt.service.names import name_of_entity
from warmprompt.store.contract import Entry
from warmprompt.store.sql import SqlStore


def test_each_event_is_scored_before_observed(watching, profiler):
    inputs = [event(index) for index in range(23)]
    labels = [label(2, fraud=True), label(3, fraud=False)]

    async def talk(client):
        first = await client.post(path("card 17", "/events"), json={"events": inputs[:22]})
        late = await client.post(path("card 17", "/events"), json={"labels": labels})
        last = await client.post(path("card 17", "/events"), json={"events": inputs[22:]})
        return first, late, last, await client.get(path("card 17", "/risk"))

    first, late, last, risk_now = in_service(watching(), talk)
    state, expected = profiler.start("card 17"), []
    for one in inputs[:22]:
        expected.append(judged(one["id"], profiler.score(state, payment(one))))
        state = profiler.observe(state, payment(one))
    for one in labels:
        state = profiler.report(state, one["id"], fraud=one["fraud"], now_s=one["time_s"])
    expected.append(judged(22, profiler.score(state, payment(inputs[22]))))
    assert [one.status_code for one in (first, late, last, risk_now)] == [201, 201, 201, 200]
    assert first.json()["estimates"] + last.json()["estimates"] == expected
    assert (first.json()["first_seq"], first.json()["last_seq"]) == (1, 22)
    assert (late.json()["first_seq"], late.json()["last_seq"], late.json()["estimates"]) == (23, 24, [])
    assert {key: value for key, value in risk_now.json().items() if key != "version"} == {
        "last": expected[-1],
        "seq": 25,
        "num_events": 23,
        "num_used": 20,
        "num_labels": 1,  # that of event 2 has left the last 20 with it
        "left_out": 0,
        "drift": False,
        "model": profiler.model_hash,
    }


def test_stored_entity_state_equals_replay(watching, store, risk, monkeypatch):
    """Live, one at a time; from the stored state; and from the log alone, past the watched payments."""
    monkeypatch.setattr(entity_history, "WATCHED", 6)
    num = 24

    async def live(client):
        for index in range(0, num, 8):
            events = [event(one) for one in range(index, index + 8)]
            answer = await client.post(path("a", "/events"), json={"events": events})
            assert answer.status_code == 201, answer.text
        inputs = {"labels": [label(num - 1, fraud=True), label(num - 3, fraud=False)]}
        assert (await client.post(path("a", "/events"), json=inputs)).status_code == 201

    async def more(client):
        inputs = {"events": [event(num + 30)]}
        return (await client.post(path("a", "/events"), json=inputs)).json()

    async def ask(client):
        return (await client.get(path("a", "/risk"))).json()

    in_service(watching(), live)
    added = in_service(watching(), more)
    name = name_of_entity("a")
    stored = store.get_state(name, risk.version)
    again = replay(risk.profiler, "a", store.entries(name))
    assert again.to_bytes() == stored.data
    assert EntityHistory.from_bytes(stored.data).to_bytes() == stored.data
    assert len(again.watched) == 6
    assert (again.seq, again.state.num_seen, again.left_out) == (num + 3, num + 1, 0)
    store.drop_states(keep=[])
    assert store.get_state(name, risk.version) is None
    without = in_service(watching(), ask)
    assert without["last"] == added["estimates"][0]


def test_outdated_or_damaged_state_is_rebuilt(watching, store, risk, monkeypatch):
    name = name_of_entity("a")

    async def post(client, first, last):
        events = [event(index) for index in range(first, last)]
        return (await client.post(path("a", "/events"), json={"events": events})).json()["estimates"]

    async def ask(client):
        return (await client.get(path("a", "/risk"))).json()["last"]

    in_service(watching(), lambda client: post(client, 0, 3))
    with monkeypatch.context() as killed:  # after the append, before the state is stored
        killed.setattr(SqlStore, "put_state", lambda *_: None)
        answers = in_service(watching(), lambda client: post(client, 3, 5))
    stored = store.get_state(name, risk.version)
    assert stored.seq == 3
    assert in_service(watching(), ask) == answers[-1]
    for data in (b"", b"{}", stored.data[:-1], stored.data.replace(b'"seq": 3', b'"seq": 2')):
        store.drop_states(keep=[])
        store.put_state(name, replace(stored, data=data))
        assert in_service(watching(), ask) == answers[-1]


def test_repeated_request_counts_once(watching):
    inputs = {"events": [event(0), event(1)]}

    async def talk(client):
        async def post(key, body):
            return await client.post(path("a", "/events"), json=body, headers={"Idempotency-Key": key})

        first = await post("one", inputs)
        await post("two", {"events": [event(2)]})
        again, other = await post("one", inputs), await post("one", {"events": [event(0)]})
        new = await post("three", inputs)
        return first, again, other, new, await client.get(path("a", "/risk"))

    first, again, other, new, now = in_service(watching(), talk)
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert (again.json()["first_seq"], again.json()["last_seq"]) == (1, 2)
    assert again.json()["estimates"] == first.json()["estimates"]
    assert (other.status_code, new.status_code) == (409, 409)
    assert now.json()["seq"] == 3


def test_concurrent_requests_are_serialised(watching, profiler):
    async def talk(client):
        events = [event(index, time_s=START_S) for index in range(6)]
        await asyncio.gather(*(client.post(path("a", "/events"), json={"events": [one]}) for one in events))
        return (await client.get(path("a"))).json()

    export = in_service(watching(), talk)
    state = profiler.start("a")
    for entry in export["log"]:
        body = json.dumps(entry["body"])
        state = profiler.observe(state, read_entry(Entry(kind=entry["kind"], body=body)))
    assert len(export["log"]) == 6
    assert export["states"][0]["vector"] == state.vector_D.tolist()
    assert export["states"][0]["prompt"] == state.offsets_PH.tolist()


def test_scoring_stores_nothing(watching, store, profiler):
    async def talk(client):
        stranger = await client.post(path("a", "/risk"), json={"events": [event(5), event(4)]})
        unknown = await client.get(path("a", "/risk"))
        await client.post(path("a", "/events"), json={"events": [event(0)]})
        known = await client.post(path("a", "/risk"), json={"events": [event(5)]})
        return stranger, unknown, known, await client.get(path("a", "/risk"))

    stranger, unknown, known, now = in_service(watching(), talk)
    start = profiler.start("a")
    expected = [judged(index, profiler.score(start, payment(event(index)))) for index in (5, 4)]
    assert stranger.json()["estimates"] == expected
    assert unknown.status_code == 404
    state = profiler.observe(start, payment(event(0)))
    assert known.json()["estimates"] == [judged(5, profiler.score(state, payment(event(5))))]
    assert (now.json()["seq"], len(store.entries(name_of_entity("a")))) == (1, 1)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"events": [event(4)]}, 409, "time_s of event 4"),
        ({"events": [event(5)]}, 409, "id of event"),
        ({"events": [event(8), event(7)]}, 422, "time_s of event 1"),
        ({"events": [event(6, time_s=2**39)]}, 422, "time_s of event 6"),
        ({"labels": [label(5, fraud=True, after_s=WEEK_S - 1)]}, 422, "time_s of the label of event 5"),
        ({"labels": [label(9, fraud=True)]}, 422, "id of label"),
        ({"events": [event(6, amount_minor=-1)]}, 422, "body.events.0.amount_minor"),
        ({"events": [event(6, amount_minor=1.5)]}, 422, "body.events.0.amount_minor"),
        ({"events": [event(6, amount_minor=True)]}, 422, "body.events.0.amount_minor"),
        ({"events": [event(6, context={"risk_7d": -1})]}, 422, "body.events.0.context.risk_7d"),
        ({"events": [event(6, context={"mood": 1})]}, 422, "context of event 0"),
        ({"events": [event(6, fraud=True)]}, 422, "body.events.0.fraud"),
        ({"labels": [label(5, fraud=1)]}, 422, "body.labels.0.fraud"),
        ({"events": [event(index) for index in range(6, 107)]}, 422, "body.events"),
        ({}, 422, "body"),
    ],
)
def test_invalid_records_are_refused_without_trace(watching, store, body, status, field):
    async def talk(client):
        assert (await client.post(path("a", "/events"), json={"events": [event(5)]})).status_code == 201
        return await client.post(path("a", "/events"), json=body)

    answer = in_service(watching(), talk)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert answer.json()["remedy"]
    assert len(store.entries(name_of_entity("a"))) == 1


def test_label_does_not_affect_earlier_events(watching, profiler):
    """In one request they are ordered by time; in two requests the earlier event comes too late."""
    together = {"labels": [label(0, fraud=True)], "events": [event(1), event(50)]}

    async def talk(client):
        await client.post(path("a", "/events"), json={"events": [event(0)]})
        merged = await client.post(path("a", "/events"), json=together)
        await client.post(path("b", "/events"), json={"events": [event(0)]})
        await client.post(path("b", "/events"), json={"labels": together["labels"]})
        return merged, await client.post(path("b", "/events"), json={"events": [event(1)]})

    merged, late = in_service(watching(), talk)
    state = profiler.profile("a", [payment(event(0))])
    expected = [judged(1, profiler.score(state, payment(event(1))))]
    state = profiler.profile("a", [payment(event(0)), payment(event(1))], {0: True})
    expected.append(judged(50, profiler.score(state, payment(event(50)))))
    assert merged.json()["estimates"] == expected
    assert (late.status_code, late.json()["field"]) == (409, "time_s of event 1")
