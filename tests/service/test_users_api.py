"""Events in, rankings out, over HTTP in this process, against the model asked directly."""

import asyncio
import json
import time
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from tests.service.talking import asking, in_service, items_of, log_of, make_service

from warmprompt import Event
from warmprompt.backbone.forward import count_forwards
from warmprompt.service.batcher import BatchLimits
from warmprompt.service.held import rebuilt
from warmprompt.service.model.live import make_model
from warmprompt.service.settings import RequestLimits

ODD_IDS = [
    "ada",
    "tenant/42",
    "/",
    "a/events",
    "x/recommendations",
    "events",
    "Zoë 🦆",
    "a b+c%2F",
    "?q=1#x",
    "\x01\x1f\x7f",
    "é" * 256,
    "..a",
]


def path(user, rest=""):
    return f"/v1/users/{quote(user, safe='')}{rest}"


def test_a_ranking_is_that_of_the_model_adapted_to_all_that_was_told(service, personaliser):
    told = [Event(item=item, rating=float(1 + place)) for place, item in enumerate(personaliser.items[:5])]
    body = {"events": [{"item": one.item, "rating": one.rating} for one in told], "about": "I like it slow"}

    async def talk(client):
        first = await client.post(path("ada", "/events"), json=body)
        ranking = await client.get(path("ada", "/recommendations"), params={"n": 7})
        return first, ranking

    first, ranking = in_service(service, talk)
    assert first.status_code == 201
    assert first.json() == {"first_seq": 1, "last_seq": 6, "repeated": False}
    state = personaliser.adapt(told, about="I like it slow")
    expected = personaliser.rank(state, 7)
    assert items_of(ranking) == list(expected.items)
    places = ranking.json()["items"]
    assert [one["place"] for one in places] == list(range(1, 8))
    assert tuple(one["title"] for one in places) == expected.titles
    # Rounded to six digits, after sums in another order.
    assert [one["score"] for one in places] == pytest.approx(expected.scores, abs=1e-3)
    told_of = {key: ranking.json()[key] for key in ("stale", "seq", "last_seq", "events")}
    assert told_of == {"stale": False, "seq": 6, "last_seq": 6, "events": {"used": 5, "left_out": 0}}


def test_somebody_unknown_gets_what_a_stranger_gets_and_leaves_no_trace(service, personaliser):
    async def talk(client):
        return await client.get(path("nobody", "/recommendations")), await client.get(path("nobody"))

    ranking, export = in_service(service, talk)
    assert items_of(ranking) == list(personaliser.rank(personaliser.adapt([]), 10).items)
    assert export.status_code == 404
    assert service.store.head("nobody") is None
    assert len(service.users) == 0


def test_an_unchanged_state_is_ranked_without_the_language_model(service, tiny_model):
    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(tiny_model.personaliser.items[0]))
        fresh = await client.get(path("ada", "/recommendations"))
        with count_forwards(tiny_model.personaliser.engine.backbone) as passes:
            again = [await client.get(path("ada", "/recommendations"), params={"n": n}) for n in (10, 5, 10)]
        return fresh, again, list(passes)

    fresh, again, passes = in_service(service, talk)
    assert passes == []
    assert again[0].content == again[2].content == fresh.content
    assert items_of(again[1]) == items_of(fresh)[:5]


def test_concurrent_users_share_a_pass(service, tiny_model):
    items = tiny_model.personaliser.items

    async def talk(client):
        for number in range(8):
            service.store.append(f"u{number}", _entries(items[number]))
        with count_forwards(tiny_model.personaliser.engine.backbone) as passes:
            answers = await asyncio.gather(
                *(client.get(path(f"u{number}", "/recommendations")) for number in range(8))
            )
        return answers, list(passes)

    answers, passes = in_service(service, talk)
    assert all(not one.json()["stale"] for one in answers)
    # Alone each takes three passes: two steps and the last one. All eight fit a batch, which may begin early.
    assert len(passes) <= 6


@pytest.mark.parametrize("user", ODD_IDS)
def test_any_text_is_a_user_id(service, user, tiny_model):
    async def talk(client):
        told = await client.post(path(user, "/events"), json=log_of(tiny_model.personaliser.items[3]))
        return told, await client.get(path(user, "/recommendations")), await client.get(path(user))

    told, ranking, export = in_service(service, talk)
    assert told.status_code == 201, told.text
    assert ranking.json()["events"]["used"] == 1
    assert export.json()["user"] == user
    assert service.store.head(user).last_seq == 1


def test_a_slash_may_also_come_plain(service, tiny_model):
    async def talk(client):
        told = await client.post("/v1/users/a/b/events", json=log_of(tiny_model.personaliser.items[3]))
        return told, await client.get("/v1/users/a%2Fb")

    told, export = in_service(service, talk)
    assert told.status_code == 201
    assert export.json()["user"] == "a/b"


@pytest.mark.parametrize("raw", ["%00", "%FF", "a" * 513, "a" * 10_000, "%C3%A9" * 257])
def test_an_id_that_cannot_be_is_a_problem_by_name(service, raw):
    answer = in_service(service, lambda client: client.get(f"/v1/users/{raw}/recommendations"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == "user id"
    assert len(answer.content) < 1000


def test_an_idempotency_key_counts_once(service, tiny_model):
    items = tiny_model.personaliser.items
    key = {"Idempotency-Key": "k1"}

    async def talk(client):
        first = await client.post(path("ada", "/events"), json=log_of(items[0]), headers=key)
        again = await client.post(path("ada", "/events"), json=log_of(items[0]), headers=key)
        other = await client.post(path("ada", "/events"), json=log_of(items[1]), headers=key)
        ranking = await client.get(path("ada", "/recommendations"))
        return first, again, other, ranking

    first, again, other, ranking = in_service(service, talk)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert again.json() == first.json() | {"repeated": True}
    assert ranking.json()["last_seq"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": [{"item": "nothing"}]}, "item of event 0"),
        ({"events": [{"item": "i00001", "rating": 9}]}, "rating of event 0"),
        ({"events": [{"item": "i00001"}, {"item": "i00002", "time_s": 1_800_000_000}]}, "time of event 1"),
        ({"events": [{"item": "i00001", "rating": "5"}]}, "body.events.0.rating"),
        ({"events": [{"item": True}]}, "body.events.0.item.constrained-str"),
        ({"events": [{"item": "i00001", "stars": 5}]}, "body.events.0.stars"),
        ({"events": [], "likes": []}, "body.likes"),
        ({"about": "word " * 150}, "text about the user"),
        ({"attributes": {"age": 24}}, "body.attributes.age"),
        ({}, "body"),
        ([], "body"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_not_written(service, body, field, personaliser):
    body = json.loads(json.dumps(body).replace("i00001", str(personaliser.items[0])))
    body = json.loads(json.dumps(body).replace("i00002", str(personaliser.items[1])))
    answer = in_service(service, lambda client: client.post(path("ada", "/events"), json=body))
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["field"] == field
    assert problem["remedy"]
    assert service.store.head("ada") is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"events": [{"item": NaN}]}'])
def test_a_body_that_is_no_json_is_a_problem(service, body):
    headers = {"Content-Type": "application/json"}
    answer = in_service(
        service, lambda client: client.post(path("ada", "/events"), content=body, headers=headers)
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_sentence_is_replaced_and_taken_back(service, personaliser):
    async def talk(client):
        for body in ({"about": "hm"}, {"attributes": {"occupation": "farmer"}}, {"about": ""}):
            assert (await client.post(path("ada", "/events"), json=body)).status_code == 201
        return await client.get(path("ada", "/recommendations"))

    ranking = in_service(service, talk)
    expected = personaliser.rank(personaliser.adapt([], attributes={"occupation": "farmer"}), 10)
    assert items_of(ranking) == list(expected.items)


def test_deleting_leaves_nothing_in_log_states_or_memory(service, tiny_model, tmp_path):
    secret = "I collect quokkas"
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(item) | {"about": secret})
        await client.get(path("ada", "/recommendations"))
        await _written(service)
        assert len(service.store.export("ada").states) == 1
        deleted = await client.delete(path("ada"))
        after = await client.get(path("ada", "/recommendations"))
        return deleted, after, await client.delete(path("ada")), await client.get(path("ada"))

    deleted, after, again, export = in_service(service, talk)
    assert deleted.json() == {"entries": 2, "states": 1, "idempotency_keys": 0, "scrubbed": True}
    assert again.json()["entries"] == 0
    assert export.status_code == 404
    assert after.json()["last_seq"] == 0
    assert len(service.users) == 0
    texts = service.users.model.texts
    assert not any("quokkas" in text for text in texts._kept)
    service.store.close()
    for file in tmp_path.iterdir():
        assert b"quokkas" not in file.read_bytes()


def test_a_user_deleted_while_their_adaptation_waits_does_not_come_back(service, tiny_model):
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        await asyncio.gather(
            *(client.post(path("ada", "/events"), json=log_of(item)) for _ in range(3)),
            *(client.get(path("ada", "/recommendations")) for _ in range(3)),
            client.delete(path("ada")),
        )
        await client.delete(path("ada"))
        await _written(service)
        return await client.get(path("ada"))

    assert in_service(service, talk).status_code == 404
    assert service.store.get_state("ada", tiny_model.version) is None


def test_a_stored_state_is_the_one_that_the_log_gives_bit_for_bit(service, tiny_model):
    items = tiny_model.personaliser.items

    async def talk(client):
        async def one(number):
            for step in range(4):
                body = log_of(items[(7 * number + step) % 60], rating=1 + (number + step) % 5)
                await client.post(path(f"u{number}", "/events"), json=body)
                if (number + step) % 2:
                    await client.get(path(f"u{number}", "/recommendations"))
            await client.get(path(f"u{number}", "/recommendations"))

        await asyncio.gather(*(one(number) for number in range(12)))
        await _written(service)

    in_service(service, talk)
    for number in range(12):
        stored = service.store.get_state(f"u{number}", tiny_model.version)
        assert stored is not None
        assert stored == rebuilt(service.store, f"u{number}", tiny_model)
        assert stored.seq == 4


def test_after_a_restart_states_come_from_the_store(service, store, tiny_model, settings):
    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*tiny_model.personaliser.items[:4]))
        return (await client.get(path("ada", "/recommendations"))).json()

    before = in_service(service, talk)
    again = make_service(store, tiny_model, settings)
    with count_forwards(tiny_model.personaliser.engine.backbone) as passes:
        after = in_service(again, lambda client: client.get(path("ada", "/recommendations"))).json()
    assert passes == []
    assert after == before | {"adapt_ms": None}


def test_a_log_that_grew_elsewhere_is_seen_where_the_store_is_shared(with_settings, store, tiny_model):
    items = tiny_model.personaliser.items
    service = with_settings(shared=True)

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(items[0]))
        one = (await client.get(path("ada", "/recommendations"))).json()
        store.append("ada", _entries(items[1]))
        two = (await client.get(path("ada", "/recommendations"))).json()
        store.delete("ada")
        none = (await client.get(path("ada", "/recommendations"))).json()
        store.append("ada", _entries(items[2]))
        anew = (await client.get(path("ada", "/recommendations"))).json()
        return [(one["seq"], one["events"]["used"]) for one in (one, two, none, anew)]

    assert in_service(service, talk) == [(1, 1), (2, 2), (0, 0), (1, 1)]


def test_two_services_on_one_store_lose_nothing_and_agree(store, tiny_model, settings):
    items = tiny_model.personaliser.items
    shared = replace(settings, shared=True)
    services = [make_service(store, tiny_model, shared) for _ in range(2)]

    async def talk():
        async with asking(services[0]) as one, asking(services[1]) as two:
            await asyncio.gather(
                *(
                    client.post(path("ada", "/events"), json=log_of(items[place + 20 * side]))
                    for place in range(15)
                    for side, client in enumerate((one, two))
                )
            )
            return [await client.get(path("ada", "/recommendations")) for client in (one, two)]

    answers = [answer.json() for answer in asyncio.run(talk())]
    assert [answer["last_seq"] for answer in answers] == [30, 30]
    assert answers[0]["items"] == answers[1]["items"]


def test_when_the_budget_is_spent_the_best_state_at_hand_answers(service, tiny_model, monkeypatch):
    items = tiny_model.personaliser.items

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(items[0]))
        fresh = (await client.get(path("ada", "/recommendations"))).json()
        service.store.append("bob", _entries(items[0]))
        blocked = asyncio.Event()
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(
            service.users.model_thread,
            lambda: asyncio.run_coroutine_threadsafe(blocked.wait(), loop).result(),
        )
        await client.post(path("ada", "/events"), json=log_of(items[1]))
        hasty = {"budget_ms": 30}
        old = (await client.get(path("ada", "/recommendations"), params=hasty)).json()
        start = (await client.get(path("bob", "/recommendations"), params=hasty)).json()
        rank = (await client.post("/v1/rank", json=log_of(items[0]), params=hasty)).json()
        blocked.set()
        await waiting
        new = (await client.get(path("ada", "/recommendations"))).json()
        return fresh, old, start, rank, new

    fresh, old, start, rank, new = in_service(service, talk)
    assert (old["stale"], old["seq"], old["last_seq"]) == (True, 1, 2)
    assert old["items"] == fresh["items"]
    assert (start["stale"], start["seq"], start["last_seq"]) == (True, 0, 1)
    assert rank["stale"]
    assert (new["stale"], new["seq"]) == (False, 2)


def test_beyond_the_queue_is_503_with_a_time_to_come_again(with_settings, tiny_model):
    service = with_settings(batch=BatchLimits(largest=4, window_s=0.001, queue=6))
    items = tiny_model.personaliser.items

    async def talk(client):
        for number in range(40):
            service.store.append(f"u{number}", _entries(items[number]))
        answers = await asyncio.gather(
            *(client.get(path(f"u{number}", "/recommendations")) for number in range(40))
        )
        later = await client.get(path("u39", "/recommendations"))
        return answers, later

    answers, later = in_service(service, talk)
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["field"] == "queue of adaptations"
    assert later.status_code == 200


def test_two_hundred_clients_at_once_all_get_an_answer(with_settings, tiny_model):
    service = with_settings(batch=BatchLimits(largest=8, queue=1000))
    items = tiny_model.personaliser.items

    async def talk(client):
        async def one(number):
            user = f"u{number % 50}"
            told = await client.post(path(user, "/events"), json=log_of(items[number % 60]))
            ranking = await client.get(path(user, "/recommendations"))
            return told.status_code, ranking.status_code, ranking.json()["stale"]

        return await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(200))), timeout=120)

    assert set(in_service(service, talk)) == {(201, 200, False)}
    assert sum(service.store.head(f"u{number}").last_seq for number in range(50)) == 200


def test_a_log_that_is_too_long_takes_no_more(with_settings, tiny_model):
    service = with_settings(limits=RequestLimits(per_s=0, log_entries=3))
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        return [await client.post(path("ada", "/events"), json=log_of(item, item)) for _ in range(2)]

    first, second = in_service(service, talk)
    assert (first.status_code, second.status_code) == (201, 422)
    assert second.json()["field"] == "log of the user"


def test_explanations_are_asked_of_what_explains(service, store, personaliser, settings, tiny_model):
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


def test_more_explanations_than_may_wait_are_503(store, personaliser, settings, tiny_model):
    class Slow:
        def explain(self, state, items):
            time.sleep(0.2)
            return [{} for _ in items]

    service = make_service(store, replace(tiny_model, explainer=Slow()), replace(settings, explanations=2))

    async def talk(client):
        asked = (client.get(path("eve", "/recommendations"), params={"explain": "true"}) for _ in range(5))
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert sorted(in_service(service, talk)) == [200, 200, 503, 503, 503]


def test_the_real_explainer_names_the_events_behind_an_item(store, personaliser, settings):
    from warmprompt.service.explaining import explainer_factory

    model = make_model(personaliser, room=8, largest_batch=4, make_explainer=explainer_factory())

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*personaliser.items[:2], rating=5))
        return await client.get(path("ada", "/recommendations"), params={"n": 2, "explain": "true"})

    answer = in_service(make_service(store, model, settings), talk)
    for place in answer.json()["items"]:
        told = place["explanation"]
        assert (told["item"], told["place"]) == (place["item"], place["place"])
        assert {one["event"]["item"] for one in told["events"]} == set(personaliser.items[:2])
        assert told["sentence"]


def test_a_model_of_another_version_takes_over_and_states_follow(store, personaliser, settings, tiny_model):
    # Another room makes another version of the same run.
    items = personaliser.items
    service = make_service(store, tiny_model, replace(settings, readapt=True))

    async def talk(client):
        for number in range(6):
            await client.post(path(f"u{number}", "/events"), json=log_of(items[number]))
            await client.get(path(f"u{number}", "/recommendations"))
        before = (await client.get(path("u0", "/recommendations"))).json()
        await _written(service)
        service.users.use(other := make_model(personaliser, room=16, largest_batch=8))
        service.catch_up.wake()
        after = (await client.get(path("u0", "/recommendations"))).json()
        for _ in range(600):
            ready = (await client.get("/readyz")).json()
            current = ready["readaptation"]
            if current and (current["users"], current["current"]) == (6, 6) and not current["running"]:
                break
            await asyncio.sleep(0.05)
        return before, after, ready, other

    before, after, ready, other = in_service(service, talk)
    assert before["model"] == tiny_model.version
    assert after["model"] == ready["model"] == other.version
    assert ready["readaptation"] == {"users": 6, "current": 6, "running": False}
    assert store.progress(other.version).current == 6
    assert store.progress(tiny_model.version).current == 0


def test_reloading_drops_no_request(store, personaliser, settings, tiny_model):
    from warmprompt.service.service import Source

    source = Source(name="tiny", open=lambda: personaliser)
    service = make_service(store, tiny_model, replace(settings, room=4), source=source)

    async def talk(client):
        async def ask(number):
            told = await client.post(path(f"u{number}", "/events"), json=log_of(personaliser.items[number]))
            return told.status_code, (await client.get(path(f"u{number}", "/recommendations"))).status_code

        asked = [asyncio.create_task(ask(number)) for number in range(30)]
        reloaded = await client.post("/v1/admin/reload")
        return await asyncio.gather(*asked), reloaded, (await client.get("/metrics")).text

    asked, reloaded, metrics = in_service(service, talk)
    assert set(asked) == {(201, 200)}
    assert reloaded.json()["model"] == service.users.model.version != tiny_model.version
    assert 'warmprompt_model_reloads_total{outcome="done"} 1.0' in metrics


def test_a_run_that_cannot_be_loaded_leaves_the_model_in_service(store, settings, tiny_model):
    from warmprompt.errors import MismatchError
    from warmprompt.service.service import Source

    def broken():
        raise MismatchError(field="backbone", value="x", remedy="Give the same model.")

    service = make_service(store, tiny_model, settings, source=Source(name="tiny", open=broken))

    async def talk(client):
        return await client.post("/v1/admin/reload"), await client.get(path("ada", "/recommendations"))

    failed, ranking = in_service(service, talk)
    assert failed.status_code == 409
    assert ranking.json()["model"] == tiny_model.version


def test_stored_bytes_hold_no_word_of_the_user(tiny_model, service):
    async def talk(client):
        await client.post(path("ada", "/events"), json={"about": "I collect quokkas"})
        await client.get(path("ada", "/recommendations"))
        await _written(service)

    in_service(service, talk)
    assert b"quokka" not in service.store.get_state("ada", tiny_model.version).data


async def _written(service):
    for _ in range(2000):
        if service.users.batcher.idle and not len(service.users.writer):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("states are not written")


def _entries(*items):
    from warmprompt.service.told import entry_of

    return [entry_of(Event(item=item)) for item in items]


def test_httpx_speaks_to_the_service_as_a_server_does():
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
