"""Entities beside users, after deletion, under another profiler and in two processes."""

import asyncio
from dataclasses import replace
from urllib.parse import quote

from tests.service.entity_talk import event, judged, path, payment
from tests.service.talking import asking, in_service, log_of
from tests.service.test_document import keeps_to_its_document

from warmprompt.risk.profile import CONTEXT_NAMES, save_profiler
from warmprompt.service.entities import load_risk
from warmprompt.service.entity_history import WATCHED, context_of, entry_of, replay
from warmprompt.service.names import ENTITY_PREFIX, MAX_ENTITY_BYTES, name_of_entity
from warmprompt.store.sql import SqlStore


def test_entity_and_user_names_never_collide(watching, store, tiny_model):
    names = ["ada", "a/b", "x/risk", "Zoë", ENTITY_PREFIX + "ada", "b" * MAX_ENTITY_BYTES]

    async def talk(client):
        body = log_of(tiny_model.personaliser.items[0])
        for name in names:
            assert (await client.post(path(name, "/events"), json={"events": [event(0)]})).status_code == 201
        assert (await client.post("/v1/users/ada/events", json=body)).status_code == 201
        user = quote(ENTITY_PREFIX + "ada", safe="")
        refused = [
            await client.get(f"/v1/users/{user}"),
            await client.delete(f"/v1/users/{user}"),
            await client.post(f"/v1/users/{user}/events", json=body),
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


def test_deleted_entity_starts_empty(watching):
    async def talk(client):
        headers = {"Idempotency-Key": "one"}
        await client.post(path("a", "/events"), json={"events": [event(5)]}, headers=headers)
        await client.delete(path("a"))
        return await client.post(path("a", "/events"), json={"events": [event(1)]}, headers=headers)

    again = in_service(watching(), talk).json()
    assert (again["first_seq"], again["repeated"], again["num_events"]) == (1, False, 1)


def test_only_deletion_works_without_profiler(service, store, watching):
    async def scenario(client):
        await client.post(path("a", "/events"), json={"events": [event(0)]})

    async def ask(client):
        served = [
            await client.post(path("a", "/events"), json={"events": [event(1)]}),
            await client.get(path("a", "/risk")),
            await client.post(path("a", "/risk"), json={"events": [event(1)]}),
            await client.get(path("a")),
        ]
        return served, await client.delete(path("a"))

    in_service(watching(), scenario)
    served, deleted = in_service(service, ask)
    assert [one.status_code for one in served] == [501] * 4
    assert "--risk" in served[0].json()["remedy"]
    assert (deleted.status_code, deleted.json()["entries"]) == (200, 1)
    assert store.head(name_of_entity("a")) is None


def test_backfill_counts_users_and_keeps_entity_states(watching, store, tiny_model, risk):
    async def talk(client):
        await client.post(path("a", "/events"), json={"events": [event(0)]})
        await client.post("/v1/users/ada/events", json=log_of(tiny_model.personaliser.items[0]))
        for _ in range(500):
            status = (await client.get("/readyz")).json()["backfill"]
            if status and status["users"] == status["current"] == 1 and not status["running"]:
                return status
            service.backfill.wake()
            await asyncio.sleep(0.02)
        return status

    service = watching(backfill=True)
    assert in_service(service, talk) == {"users": 1, "current": 1, "running": False}
    assert store.get_state(name_of_entity("a"), tiny_model.version) is None
    assert store.get_state(name_of_entity("a"), risk.version) is not None


def test_two_processes_replay_a_log_identically(watching, profiler, monkeypatch):
    """Entries that do not fit after concurrent writes are skipped by both and counted."""

    async def talk():
        async with asking(one) as here, asking(other) as there:
            for client, index in ((here, 0), (there, 1), (here, 2)):
                answer = await client.post(path("a", "/events"), json={"events": [event(index)]})
                assert answer.json()["last_seq"] == index + 1
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
    state = profiler.profile("a", [payment(event(index)) for index in range(3)])
    assert here["last"] == judged(6, profiler.score(state, payment(event(6))))
    assert (here["num_events"], here["left_out"], here["seq"]) == (4, 1, 5)


def test_burst_of_high_risk_raises_drift(risk):
    life = replay(risk.profiler, "a", ())
    assert not replace(life, watched=(0.01,) * WATCHED).drifts
    assert replace(life, watched=(0.01,) * (WATCHED // 2) + (0.9,) * (WATCHED // 2)).drifts


def test_version_changes_with_calibration(risk, risk_folder, profiler, tmp_path):
    changed = replace(profiler, calibrations={0: profiler.calibrations[0]})
    save_profiler(changed, tmp_path / "changed")
    other = load_risk(tmp_path / "changed", backbone=profiler.model.backbone)
    assert other.profiler.model_hash == risk.profiler.model_hash
    assert other.version != risk.version
    assert load_risk(risk_folder, backbone=profiler.model.backbone).version == risk.version


def test_responses_match_the_openapi_document(watching):
    def of_entities(path):
        return path.startswith("/v1/entities")

    assert keeps_to_its_document(watching(), of_entities, num_examples=6) >= 20


def test_missing_context_column_is_zero():
    assert context_of({"risk_7d": 0.5}) == tuple(0.5 * (name == "risk_7d") for name in CONTEXT_NAMES)
