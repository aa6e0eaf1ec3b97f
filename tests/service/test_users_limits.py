"""What is answered when time, room or a model runs out, and when another model takes over."""

import asyncio
import time
from dataclasses import replace

import httpx
import pytest
from tests.service.talking import in_service, log_of, make_service, path, written

from warmprompt.errors import DatabaseAwayError
from warmprompt.service.model.served_model import make_model
from warmprompt.service.settings import BatchLimits, RequestLimits


def test_two_hundred_concurrent_clients_are_answered(with_settings, tiny_model):
    service = with_settings(batch=BatchLimits(largest=8, queue=1000))
    items = tiny_model.personaliser.items

    async def talk(client):
        async def one(number):
            user = f"u{number % 50}"
            posted = await client.post(path(user, "/events"), json=log_of(items[number % 60]))
            ranking = await client.get(path(user, "/recommendations"))
            return posted.status_code, ranking.status_code, ranking.json()["stale"]

        return await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(200))), timeout=120)

    assert set(in_service(service, talk)) == {(201, 200, False)}
    assert sum(service.store.head(f"u{number}").last_seq for number in range(50)) == 200


def test_full_log_refuses_entries(with_settings, tiny_model):
    service = with_settings(limits=RequestLimits(per_s=0, log_entries=3))
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        return [await client.post(path("ada", "/events"), json=log_of(item, item)) for _ in range(2)]

    first, second = in_service(service, talk)
    assert (first.status_code, second.status_code) == (201, 422)
    assert second.json()["field"] == "log of the user"


def test_explanations_come_from_the_explainer(service, store, personaliser, settings, tiny_model):
    class Explains:
        def explain(self, state, items):
            return [{"because": len(state.events), "item": item} for item in items]

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(personaliser.items[0]))
        return await client.get(path("ada", "/recommendations"), params={"n": 3, "explain": "true"})

    nobody = in_service(service, talk)
    assert nobody.status_code == 501
    assert nobody.json()["field"] == "explain"
    model = replace(tiny_model, explainer=Explains())
    places = in_service(make_service(store, model, settings), talk).json()["items"]
    assert [one["explanation"] for one in places] == [{"because": 1, "item": one["item"]} for one in places]


def test_excess_explanations_are_503(store, personaliser, settings, tiny_model):
    class Slow:
        def explain(self, state, items):
            time.sleep(0.2)
            return [{} for _ in items]

    service = make_service(store, replace(tiny_model, explainer=Slow()), replace(settings, explanations=2))

    async def talk(client):
        asked = (client.get(path("eve", "/recommendations"), params={"explain": "true"}) for _ in range(5))
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert sorted(in_service(service, talk)) == [200, 200, 503, 503, 503]


def test_excess_database_calls_are_503(store, tiny_model, settings, personaliser):
    service = make_service(store, tiny_model, replace(settings, store_queue=4, store_threads=1))

    async def talk(client):
        asked = (
            client.post(path(f"u{one}", "/events"), json=log_of(personaliser.items[0])) for one in range(12)
        )
        answers = await asyncio.gather(*asked)
        later = await client.post(path("ada", "/events"), json=log_of(personaliser.items[0]))
        return answers, later.status_code

    answers, later = in_service(service, talk)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {201, 503}
    assert statuses.count(201) >= 4
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert (refused.headers["retry-after"], refused.json()["field"]) == ("1", "queue of the database")
    assert later == 201
    assert sum(store.head(f"u{one}") is not None for one in range(12)) == statuses.count(201)


def test_written_events_are_acknowledged_despite_read_failure(service, store, personaliser):
    entries = store.entries

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(personaliser.items[0]))
        service.users.drop_idle()
        service.users._evict("ada")
        calls = []

        def away(self, *args, **kwargs):
            calls.append(args)
            if len(calls) == 1:  # which would take the news in
                raise DatabaseAwayError(field="database", value="db", remedy="Try again later.")
            return entries(*args, **kwargs)

        append = type(store).append

        def and_another(self, user, entries, **kwargs):
            done = append(self, user, entries, **kwargs)
            append(self, user, entries)  # as another process would, so that memory must read again
            return replace(done, evidence_hash="other")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(store), "entries", away)
            patch.setattr(type(store), "append", and_another)
            posted = await client.post(path("ada", "/events"), json=log_of(personaliser.items[1]))
        return posted, len(calls), (await client.get(path("ada", "/recommendations"))).json()

    posted, num_calls, ranking = in_service(service, talk)
    assert num_calls == 1
    assert (posted.status_code, posted.json()["last_seq"]) == (201, 2)
    assert (ranking["seq"], ranking["last_seq"], ranking["stale"]) == (3, 3, False)


def test_explainer_names_the_events(store, personaliser, settings):
    from warmprompt.service.explaining import explainer_factory

    model = make_model(personaliser, room=8, largest_batch=4, make_explainer=explainer_factory())

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*personaliser.items[:2], rating=5))
        return await client.get(path("ada", "/recommendations"), params={"n": 2, "explain": "true"})

    answer = in_service(make_service(store, model, settings), talk)
    for row in answer.json()["items"]:
        explanation = row["explanation"]
        assert (explanation["item"], explanation["rank"]) == (row["item"], row["rank"])
        assert {one["event"]["item"] for one in explanation["events"]} == set(personaliser.items[:2])
        assert explanation["sentence"]


def test_new_model_version_backfills_states(store, personaliser, settings, tiny_model, monkeypatch):
    drop, left = type(store).drop_states, []

    def slowly(self, **arguments):
        time.sleep(0.2)
        left.append(drop(self, **arguments))
        return left[-1]

    # Readiness covers the deleted states too, however long that takes.
    monkeypatch.setattr(type(store), "drop_states", slowly)
    # Another room makes another version of the same run.
    items = personaliser.items
    service = make_service(store, tiny_model, replace(settings, backfill=True))

    async def talk(client):
        for number in range(6):
            await client.post(path(f"u{number}", "/events"), json=log_of(items[number]))
            await client.get(path(f"u{number}", "/recommendations"))
        before = (await client.get(path("u0", "/recommendations"))).json()
        await written(service)
        left.clear()
        service.users.use(other := make_model(personaliser, room=16, largest_batch=8))
        service.backfill.wake()
        after = (await client.get(path("u0", "/recommendations"))).json()
        for _ in range(600):
            ready = (await client.get("/readyz")).json()
            current = ready["backfill"]
            if current and (current["users"], current["current"]) == (6, 6) and not current["running"]:
                assert left[-1:] == [0]
                break
            await asyncio.sleep(0.05)
        return before, after, ready, other

    before, after, ready, other = in_service(service, talk)
    assert before["model"] == tiny_model.version
    assert after["model"] == ready["model"] == other.version
    assert ready["backfill"] == {"users": 6, "current": 6, "running": False}
    assert store.progress(other.version).current == 6
    assert store.progress(tiny_model.version).current == 0


def test_reload_drops_no_request(store, personaliser, settings, tiny_model):
    from warmprompt.service.service import ModelSource

    source = ModelSource(name="tiny", open=lambda: personaliser)
    service = make_service(store, tiny_model, replace(settings, room=4), source=source)

    async def talk(client):
        async def ask(number):
            posted = await client.post(path(f"u{number}", "/events"), json=log_of(personaliser.items[number]))
            return posted.status_code, (await client.get(path(f"u{number}", "/recommendations"))).status_code

        asked = [asyncio.create_task(ask(number)) for number in range(30)]
        reloaded = await client.post("/v1/admin/reload")
        return await asyncio.gather(*asked), reloaded, (await client.get("/metrics")).text

    asked, reloaded, metrics = in_service(service, talk)
    assert set(asked) == {(201, 200)}
    assert reloaded.json()["model"] == service.users.model.version != tiny_model.version
    assert 'warmprompt_model_reloads_total{outcome="done"} 1.0' in metrics


def test_failed_reload_keeps_the_model(store, settings, tiny_model):
    from warmprompt.errors import MismatchError
    from warmprompt.service.service import ModelSource

    def broken():
        raise MismatchError(field="backbone", value="/runs/secret", remedy="Give the model of /runs/secret.")

    service = make_service(store, tiny_model, settings, source=ModelSource(name="tiny", open=broken))

    async def talk(client):
        return await client.post("/v1/admin/reload"), await client.get(path("ada", "/recommendations"))

    failed, ranking = in_service(service, talk)
    assert (failed.status_code, failed.json()["field"]) == (409, "run")
    assert "secret" not in failed.text
    assert ranking.json()["model"] == tiny_model.version


def test_stored_state_contains_no_user_text(tiny_model, service):
    async def talk(client):
        await client.post(path("ada", "/events"), json={"about": "I collect quokkas"})
        await client.get(path("ada", "/recommendations"))
        await written(service)

    in_service(service, talk)
    assert b"quokka" not in service.store.get_state("ada", tiny_model.version).data


def test_httpx_sends_raw_and_decoded_paths():
    # The tests above rest on it: the path comes raw as well as decoded.
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost"
        ) as client:
            await client.get("/v1/users/a%2Fb")

    asyncio.run(talk())
    assert (seen["path"], seen["raw_path"]) == ("/v1/users/a/b", b"/v1/users/a%2Fb")
