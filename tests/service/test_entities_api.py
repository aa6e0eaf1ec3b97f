"""Payments and labels in, risk out, over HTTP in this process, against the profiler asked directly."""

import asyncio
import json
from dataclasses import asdict, replace
from urllib.parse import quote

import pytest
from tests.risk.profile.conftest import (  # noqa: F401 - the small made-up world and its profiler
    context,
    entities,
    episodes_of,
    model,
    profiler,
    world,
)
from tests.service.talking import asking, in_service, log_of
from tests.service.test_document import keeps_to_its_document

from warmprompt.risk.profile import CONTEXT_NAMES, Payment, save_profiler
from warmprompt.service import lives
from warmprompt.service.entities import load_risk
from warmprompt.service.lives import WATCHED, Life, context_of, entry_of, relived, told_in
from warmprompt.service.names import ENTITY_PREFIX, MAX_ENTITY_BYTES, name_of_entity
from warmprompt.service.service import Service, Source
from warmprompt.store.contract import Entry
from warmprompt.store.sql import SqlStore

START_S = 1_525_000_000
STEP_S = 40_000
WEEK_S = 7 * 86_400


@pytest.fixture(scope="session")
def risk_folder(profiler, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("risk") / "profiler"
    save_profiler(profiler, folder)
    return folder


@pytest.fixture(scope="session")
def risk(risk_folder, profiler):  # noqa: F811
    return load_risk(risk_folder, backbone=profiler.model.backbone)


@pytest.fixture
def watching(store, tiny_model, settings, risk):
    """Return a function that makes a service of entities over the same store, as after a restart."""

    def make(**changes):
        source = Source(name="tiny", open=lambda: tiny_model.personaliser)
        changed = replace(settings, **changes)
        return Service(store, source, tiny_model, settings=changed, keys_needed=False, risk=risk)

    return make


def path(entity, rest=""):
    return f"/v1/entities/{quote(entity, safe='')}{rest}"


def event(place, **changed):
    told = {
        "id": place,
        "time_s": START_S + place * STEP_S,
        "amount_minor": 1000 + 137 * place,
        "counterparty": f"shop {place % 4}",
        "context": {"count_1d": 1.0, "risk_7d": 0.25},
    }
    return told | changed


def label(place, *, fraud, after_s=WEEK_S):
    return {"id": place, "fraud": fraud, "time_s": START_S + place * STEP_S + after_s}


def payment(told):
    return Payment(**told | {"context": context_of(told["context"])})


def judged(event_id, estimate):
    """Return what the service should say of an estimate."""
    return {"event": event_id, "abstains": estimate.decision == "unsure"} | asdict(estimate)


def test_each_event_is_judged_before_it_is_taken_in(watching, profiler):  # noqa: F811
    told = [event(place) for place in range(23)]
    labels = [label(2, fraud=True), label(3, fraud=False)]

    async def talk(client):
        first = await client.post(path("card 17", "/events"), json={"events": told[:22]})
        late = await client.post(path("card 17", "/events"), json={"labels": labels})
        last = await client.post(path("card 17", "/events"), json={"events": told[22:]})
        return first, late, last, await client.get(path("card 17", "/risk"))

    first, late, last, risk_now = in_service(watching(), talk)
    state, expected = profiler.start("card 17"), []
    for one in told[:22]:
        expected.append(judged(one["id"], profiler.score(state, payment(one))))
        state = profiler.observe(state, payment(one))
    for one in labels:
        state = profiler.report(state, one["id"], fraud=one["fraud"], now_s=one["time_s"])
    expected.append(judged(22, profiler.score(state, payment(told[22]))))
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


def test_the_state_in_the_store_is_that_of_the_log_bit_for_bit(watching, store, risk, monkeypatch):
    """Live, one at a time; from the stored state; and from the log alone, past the watched payments."""
    monkeypatch.setattr(lives, "WATCHED", 6)
    num = 24

    async def live(client):
        for place in range(0, num, 8):
            events = [event(one) for one in range(place, place + 8)]
            answer = await client.post(path("a", "/events"), json={"events": events})
            assert answer.status_code == 201, answer.text
        told = {"labels": [label(num - 1, fraud=True), label(num - 3, fraud=False)]}
        assert (await client.post(path("a", "/events"), json=told)).status_code == 201

    async def more(client):
        told = {"events": [event(num + 30)]}
        return (await client.post(path("a", "/events"), json=told)).json()

    async def ask(client):
        return (await client.get(path("a", "/risk"))).json()

    in_service(watching(), live)
    told = in_service(watching(), more)
    name = name_of_entity("a")
    stored = store.get_state(name, risk.version)
    again = relived(risk.profiler, "a", store.entries(name))
    assert again.to_bytes() == stored.data
    assert Life.from_bytes(stored.data).to_bytes() == stored.data
    assert len(again.watched) == 6
    assert (again.seq, again.state.num_seen, again.left_out) == (num + 3, num + 1, 0)
    store.drop_states(keep=[])
    assert store.get_state(name, risk.version) is None
    without = in_service(watching(), ask)
    assert without["last"] == told["estimates"][0]


def test_a_state_that_is_behind_or_damaged_is_mended_from_the_log(watching, store, risk, monkeypatch):
    name = name_of_entity("a")

    async def tell(client, first, last):
        events = [event(place) for place in range(first, last)]
        return (await client.post(path("a", "/events"), json={"events": events})).json()["estimates"]

    async def ask(client):
        return (await client.get(path("a", "/risk"))).json()["last"]

    in_service(watching(), lambda client: tell(client, 0, 3))
    with monkeypatch.context() as killed:  # after the append, before the state is stored
        killed.setattr(SqlStore, "put_state", lambda *_: None)
        told = in_service(watching(), lambda client: tell(client, 3, 5))
    stored = store.get_state(name, risk.version)
    assert stored.seq == 3
    assert in_service(watching(), ask) == told[-1]
    for data in (b"", b"{}", stored.data[:-1], stored.data.replace(b'"seq": 3', b'"seq": 2')):
        store.drop_states(keep=[])
        store.put_state(name, replace(stored, data=data))
        assert in_service(watching(), ask) == told[-1]


def test_a_repeated_request_counts_once_and_answers_as_before(watching):
    told = {"events": [event(0), event(1)]}

    async def talk(client):
        async def tell(key, body):
            return await client.post(path("a", "/events"), json=body, headers={"Idempotency-Key": key})

        first = await tell("one", told)
        await tell("two", {"events": [event(2)]})
        again, other = await tell("one", told), await tell("one", {"events": [event(0)]})
        new = await tell("three", told)
        return first, again, other, new, await client.get(path("a", "/risk"))

    first, again, other, new, now = in_service(watching(), talk)
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert (again.json()["first_seq"], again.json()["last_seq"]) == (1, 2)
    assert again.json()["estimates"] == first.json()["estimates"]
    assert (other.status_code, new.status_code) == (409, 409)
    assert now.json()["seq"] == 3


def test_requests_at_once_are_taken_in_one_after_the_other(watching, profiler):  # noqa: F811
    async def talk(client):
        events = [event(place, time_s=START_S) for place in range(6)]
        await asyncio.gather(*(client.post(path("a", "/events"), json={"events": [one]}) for one in events))
        return (await client.get(path("a"))).json()

    export = in_service(watching(), talk)
    state = profiler.start("a")
    for entry in export["log"]:
        body = json.dumps(entry["body"])
        state = profiler.observe(state, told_in(Entry(kind=entry["kind"], body=body)))
    assert len(export["log"]) == 6
    assert export["states"][0]["vector"] == state.vector_D.tolist()
    assert export["states"][0]["prompt"] == state.offsets_PH.tolist()


def test_a_judgement_keeps_nothing(watching, store, profiler):  # noqa: F811
    async def talk(client):
        stranger = await client.post(path("a", "/risk"), json={"events": [event(5), event(4)]})
        unknown = await client.get(path("a", "/risk"))
        await client.post(path("a", "/events"), json={"events": [event(0)]})
        known = await client.post(path("a", "/risk"), json={"events": [event(5)]})
        return stranger, unknown, known, await client.get(path("a", "/risk"))

    stranger, unknown, known, now = in_service(watching(), talk)
    start = profiler.start("a")
    expected = [judged(place, profiler.score(start, payment(event(place)))) for place in (5, 4)]
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
        ({"events": [event(place) for place in range(6, 107)]}, 422, "body.events"),
        ({}, 422, "body"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_trace(watching, store, body, status, field):
    async def talk(client):
        assert (await client.post(path("a", "/events"), json={"events": [event(5)]})).status_code == 201
        return await client.post(path("a", "/events"), json=body)

    answer = in_service(watching(), talk)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert answer.json()["remedy"]
    assert len(store.entries(name_of_entity("a"))) == 1


def test_what_a_label_says_is_not_known_to_events_before_it(watching, profiler):  # noqa: F811
    """Told together, each stands where its time puts it; told apart, the earlier event comes too late."""
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


def test_an_entity_and_a_user_of_one_name_never_meet(watching, store, tiny_model):
    names = ["ada", "a/b", "x/risk", "Zoë", ENTITY_PREFIX + "ada", "b" * MAX_ENTITY_BYTES]

    async def talk(client):
        told = log_of(tiny_model.personaliser.items[0])
        for name in names:
            assert (await client.post(path(name, "/events"), json={"events": [event(0)]})).status_code == 201
        assert (await client.post("/v1/users/ada/events", json=told)).status_code == 201
        user = quote(ENTITY_PREFIX + "ada", safe="")
        refused = [
            await client.get(f"/v1/users/{user}"),
            await client.delete(f"/v1/users/{user}"),
            await client.post(f"/v1/users/{user}/events", json=told),
            await client.get(path("b" * (MAX_ENTITY_BYTES + 1), "/risk")),
        ]
        exports = [(await client.get(path(name))).json() for name in names]
        gone = await client.delete(path("ada"))
        return refused, exports, gone, await client.get("/v1/users/ada"), await client.get(path("ada"))

    refused, exports, gone, user, entity = in_service(watching(), talk)
    assert [one.status_code for one in refused] == [422] * 4
    assert [one["entity"] for one in exports] == names
    assert all([entry["kind"] for entry in one["log"]] == ["payment"] for one in exports)
    assert (gone.json()["entries"], gone.json()["states"]) == (1, 1)
    assert [entry["kind"] for entry in user.json()["log"]] == ["event"]
    assert entity.status_code == 404
    assert store.head(name_of_entity("ada")) is None


def test_the_deleted_begin_anew(watching):
    async def talk(client):
        headers = {"Idempotency-Key": "one"}
        await client.post(path("a", "/events"), json={"events": [event(5)]}, headers=headers)
        await client.delete(path("a"))
        return await client.post(path("a", "/events"), json={"events": [event(1)]}, headers=headers)

    again = in_service(watching(), talk).json()
    assert (again["first_seq"], again["repeated"], again["num_events"]) == (1, False, 1)


def test_without_a_profiler_only_deleting_is_served(service, store, watching):
    async def tell(client):
        await client.post(path("a", "/events"), json={"events": [event(0)]})

    async def ask(client):
        served = [
            await client.post(path("a", "/events"), json={"events": [event(1)]}),
            await client.get(path("a", "/risk")),
            await client.post(path("a", "/risk"), json={"events": [event(1)]}),
            await client.get(path("a")),
        ]
        return served, await client.delete(path("a"))

    in_service(watching(), tell)
    served, deleted = in_service(service, ask)
    assert [one.status_code for one in served] == [501] * 4
    assert "--risk" in served[0].json()["remedy"]
    assert (deleted.status_code, deleted.json()["entries"]) == (200, 1)
    assert store.head(name_of_entity("a")) is None


def test_catching_up_counts_users_alone_and_keeps_the_states_of_entities(watching, store, tiny_model, risk):
    async def talk(client):
        await client.post(path("a", "/events"), json={"events": [event(0)]})
        await client.post("/v1/users/ada/events", json=log_of(tiny_model.personaliser.items[0]))
        for _ in range(500):
            told = (await client.get("/readyz")).json()["readaptation"]
            if told and told["users"] == told["current"] == 1 and not told["running"]:
                return told
            service.catch_up.wake()
            await asyncio.sleep(0.02)
        return told

    service = watching(readapt=True)
    assert in_service(service, talk) == {"users": 1, "current": 1, "running": False}
    assert store.get_state(name_of_entity("a"), tiny_model.version) is None
    assert store.get_state(name_of_entity("a"), risk.version) is not None


def test_two_processes_read_one_log_alike(watching, profiler, monkeypatch):  # noqa: F811
    """What one of them could not know when it wrote is passed over by both, and counted."""

    async def talk():
        async with asking(one) as here, asking(other) as there:
            for client, place in ((here, 0), (there, 1), (here, 2)):
                answer = await client.post(path("a", "/events"), json={"events": [event(place)]})
                assert answer.json()["last_seq"] == place + 1
            append = SqlStore.append

            def late(self, name, entries, **key):  # another process is faster between check and append
                monkeypatch.undo()
                append(self, name, [entry_of(payment(event(6)))])
                return append(self, name, entries, **key)

            monkeypatch.setattr(SqlStore, "append", late)
            raced = await here.post(path("a", "/events"), json={"events": [event(4)]})
            return raced.json(), [(await client.get(path("a", "/risk"))).json() for client in (here, there)]

    one, other = watching(shared=True), watching(shared=True)
    raced, (here, there) = asyncio.run(talk())
    assert (raced["first_seq"], raced["estimates"], raced["left_out"]) == (5, [], 1)
    assert here == there
    state = profiler.profile("a", [payment(event(place)) for place in range(3)])
    assert here["last"] == judged(6, profiler.score(state, payment(event(6))))
    assert (here["num_events"], here["left_out"], here["seq"]) == (4, 1, 5)


def test_a_burst_of_high_risks_raises_the_drift_flag(risk):
    life = relived(risk.profiler, "a", ())
    assert not replace(life, watched=(0.01,) * WATCHED).drifts
    assert replace(life, watched=(0.01,) * (WATCHED // 2) + (0.9,) * (WATCHED // 2)).drifts


def test_the_version_changes_with_the_calibration(risk, risk_folder, profiler, tmp_path):  # noqa: F811
    changed = replace(profiler, calibrations={0: profiler.calibrations[0]})
    save_profiler(changed, tmp_path / "changed")
    other = load_risk(tmp_path / "changed", backbone=profiler.model.backbone)
    assert other.profiler.model_hash == risk.profiler.model_hash
    assert other.version != risk.version
    assert load_risk(risk_folder, backbone=profiler.model.backbone).version == risk.version


def test_answers_keep_to_the_document(watching):
    def of_entities(path):
        return path.startswith("/v1/entities")

    assert keeps_to_its_document(watching(), of_entities, num_examples=6) >= 20


def test_a_context_column_left_out_is_zero():
    assert context_of({"risk_7d": 0.5}) == tuple(0.5 * (name == "risk_7d") for name in CONTEXT_NAMES)
