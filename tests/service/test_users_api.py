"""Events in, rankings out, over HTTP in this process, against the model asked directly."""

import asyncio
import json
from dataclasses import replace

import pytest
from tests.service.talking import (
    asking,
    entries,
    in_service,
    items_of,
    log_of,
    make_service,
    path,
    written,
)

from warmprompt import Event
from warmprompt.backbone.forward import count_forwards
from warmprompt.service.cached_user import rebuilt

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


@pytest.mark.parametrize(
    ("method", "url", "field", "remedy"),
    [
        (
            "GET",
            "/v1/users/ada/recommendations?N=5",
            "query.N",
            "Use n, ordered, explain, budget_ms, candidates, exclude, filter.",
        ),
        ("GET", "/v1/items?q=a&limit=5", "query.limit", "Use q, n, filter, hidden."),
        ("DELETE", "/v1/users/ada?scrub=1", "query.scrub", "Remove it; this route has no parameters."),
    ],
)
def test_unknown_parameter_is_refused(service, method, url, field, remedy):
    answer = in_service(service, lambda client: client.request(method, url))
    problem = answer.json()
    assert (answer.status_code, problem["field"], problem["remedy"]) == (422, field, remedy)


def test_missing_content_type_names_the_header(service):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = in_service(service, lambda client: client.post("/v1/rank", content=b"n=5", headers=form))
    assert (answer.status_code, answer.json()["field"]) == (422, "body")
    assert "Content-Type: application/json" in answer.json()["remedy"]


def test_ranking_matches_the_adapted_model(service, personaliser):
    inputs = [Event(item=item, rating=float(1 + index)) for index, item in enumerate(personaliser.items[:5])]
    body = {"events": [{"item": one.item, "rating": one.rating} for one in inputs], "about": "I like it slow"}

    async def talk(client):
        first = await client.post(path("ada", "/events"), json=body)
        ranking = await client.get(path("ada", "/recommendations"), params={"n": 7})
        return first, ranking

    first, ranking = in_service(service, talk)
    assert first.status_code == 201
    assert first.json() == {"first_seq": 1, "last_seq": 6, "repeated": False}
    state = personaliser.adapt(inputs, about="I like it slow")
    expected = personaliser.rank(state, 7)
    assert items_of(ranking) == list(expected.items)
    rows = ranking.json()["items"]
    assert [one["rank"] for one in rows] == list(range(1, 8))
    assert tuple(one["title"] for one in rows) == expected.titles
    # Rounded to six digits, after sums in another order.
    assert [one["score"] for one in rows] == pytest.approx(expected.scores, abs=1e-3)
    freshness = {key: ranking.json()[key] for key in ("stale", "seq", "last_seq", "events")}
    assert freshness == {"stale": False, "seq": 6, "last_seq": 6, "events": {"used": 5, "left_out": 0}}


def test_unknown_user_gets_default_without_trace(service, personaliser):
    async def talk(client):
        return await client.get(path("nobody", "/recommendations")), await client.get(path("nobody"))

    ranking, export = in_service(service, talk)
    assert items_of(ranking) == list(personaliser.rank(personaliser.adapt([]), 10).items)
    assert export.status_code == 404
    assert service.store.head("nobody") is None
    assert len(service.users) == 0


def test_unchanged_state_skips_the_language_model(service, tiny_model):
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
            service.store.append(f"u{number}", entries(items[number]))
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
        posted = await client.post(path(user, "/events"), json=log_of(tiny_model.personaliser.items[3]))
        return posted, await client.get(path(user, "/recommendations")), await client.get(path(user))

    posted, ranking, export = in_service(service, talk)
    assert posted.status_code == 201, posted.text
    assert ranking.json()["events"]["used"] == 1
    assert export.json()["user"] == user
    assert service.store.head(user).last_seq == 1


def test_unencoded_slash_is_accepted(service, tiny_model):
    async def talk(client):
        posted = await client.post("/v1/users/a/b/events", json=log_of(tiny_model.personaliser.items[3]))
        return posted, await client.get("/v1/users/a%2Fb")

    posted, export = in_service(service, talk)
    assert posted.status_code == 201
    assert export.json()["user"] == "a/b"


@pytest.mark.parametrize("raw", ["%00", "%FF", "a" * 513, "a" * 10_000, "%C3%A9" * 257])
def test_invalid_user_id_is_named(service, raw):
    answer = in_service(service, lambda client: client.get(f"/v1/users/{raw}/recommendations"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == "user id"
    assert len(answer.content) < 1000


def test_idempotency_key_counts_once(service, tiny_model):
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
        ({"events": [{"item": "i00001", "weight": 2}]}, "weight of event 0"),
        ({"events": [{"item": "i00001", "weight": 0}]}, "body.events.0.weight"),
        ({"events": [{"item": "i00001", "text": "x" * 5001}]}, "body.events.0.text"),
        ({"events": [{"item": "i00001", "text": 7}]}, "body.events.0.text"),
        ({"events": [{"item": True}]}, "body.events.0.item"),
        ({"events": [{"item": "i00001", "stars": 5}]}, "body.events.0.stars"),
        ({"events": [], "likes": []}, "body.likes"),
        ({"about": "word " * 150}, "text about the user"),
        ({"attributes": {"age": 24}}, "body.attributes.age"),
        ({}, "body"),
        ([], "body"),
    ],
)
def test_invalid_events_are_named_and_not_written(service, body, field, personaliser):
    body = json.loads(json.dumps(body).replace("i00001", str(personaliser.items[0])))
    body = json.loads(json.dumps(body).replace("i00002", str(personaliser.items[1])))
    answer = in_service(service, lambda client: client.post(path("ada", "/events"), json=body))
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["field"] == field
    assert problem["remedy"]
    assert service.store.head("ada") is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"events": [{"item": NaN}]}'])
def test_malformed_body_is_a_problem(service, body):
    headers = {"Content-Type": "application/json"}
    answer = in_service(
        service, lambda client: client.post(path("ada", "/events"), content=body, headers=headers)
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_sentence_is_replaced_and_removed(service, personaliser):
    async def talk(client):
        for body in ({"about": "hm"}, {"attributes": {"occupation": "farmer"}}, {"about": ""}):
            assert (await client.post(path("ada", "/events"), json=body)).status_code == 201
        return await client.get(path("ada", "/recommendations"))

    ranking = in_service(service, talk)
    expected = personaliser.rank(personaliser.adapt([], attributes={"occupation": "farmer"}), 10)
    assert items_of(ranking) == list(expected.items)


def test_deletion_leaves_nothing(service, tiny_model, tmp_path):
    secret = "I collect quokkas"
    item = tiny_model.personaliser.items[0]

    def texts_kept():
        return [job.text for job, _ in service.users.texts._kept.items()]

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(item) | {"about": secret})
        await client.get(path("ada", "/recommendations"))
        await written(service)
        assert texts_kept() == [secret]
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
    assert texts_kept() == []
    service.store.close()
    for file in tmp_path.iterdir():
        assert b"quokkas" not in file.read_bytes()


def test_pending_adaptation_does_not_restore_deleted_user(service, tiny_model):
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        await asyncio.gather(
            *(client.post(path("ada", "/events"), json=log_of(item)) for _ in range(3)),
            *(client.get(path("ada", "/recommendations")) for _ in range(3)),
            client.delete(path("ada")),
        )
        await client.delete(path("ada"))
        await written(service)
        return await client.get(path("ada"))

    assert in_service(service, talk).status_code == 404
    assert service.store.get_state("ada", tiny_model.version) is None


def test_stored_user_state_equals_rebuild(service, tiny_model):
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
        await written(service)

    in_service(service, talk)
    for number in range(12):
        stored = service.store.get_state(f"u{number}", tiny_model.version)
        assert stored is not None
        assert stored == rebuilt(service.store, f"u{number}", tiny_model)
        assert stored.seq == 4


def test_restart_reads_states_from_the_store(service, store, tiny_model, settings):
    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*tiny_model.personaliser.items[:4]))
        return (await client.get(path("ada", "/recommendations"))).json()

    before = in_service(service, talk)
    again = make_service(store, tiny_model, settings)
    with count_forwards(tiny_model.personaliser.engine.backbone) as passes:
        after = in_service(again, lambda client: client.get(path("ada", "/recommendations"))).json()
    assert passes == []
    assert after == before | {"adapt_ms": None}


def test_shared_store_shows_other_processes_entries(with_settings, store, tiny_model):
    items = tiny_model.personaliser.items
    service = with_settings(shared=True)

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(items[0]))
        one = (await client.get(path("ada", "/recommendations"))).json()
        store.append("ada", entries(items[1]))
        two = (await client.get(path("ada", "/recommendations"))).json()
        store.delete("ada")
        none = (await client.get(path("ada", "/recommendations"))).json()
        store.append("ada", entries(items[2]))
        again = (await client.get(path("ada", "/recommendations"))).json()
        return [(one["seq"], one["events"]["used"]) for one in (one, two, none, again)]

    assert in_service(service, talk) == [(1, 1), (2, 2), (0, 0), (1, 1)]


def test_two_services_on_one_store_agree(store, tiny_model, settings):
    items = tiny_model.personaliser.items
    shared = replace(settings, shared=True)
    services = [make_service(store, tiny_model, shared) for _ in range(2)]

    async def talk():
        async with asking(services[0]) as one, asking(services[1]) as two:
            await asyncio.gather(
                *(
                    client.post(path("ada", "/events"), json=log_of(items[index + 20 * side]))
                    for index in range(15)
                    for side, client in enumerate((one, two))
                )
            )
            return [await client.get(path("ada", "/recommendations")) for client in (one, two)]

    answers = [answer.json() for answer in asyncio.run(talk())]
    assert [answer["last_seq"] for answer in answers] == [30, 30]
    assert answers[0]["items"] == answers[1]["items"]


def test_malformed_json_is_reported(service):
    answer = in_service(
        service,
        lambda client: client.post(
            path("ada", "/events"), content=b"hello", headers={"Content-Type": "application/json"}
        ),
    )
    assert answer.status_code == 400
    assert (answer.json()["field"], answer.json()["remedy"]) == ("body", "Send valid JSON.")
    assert "hello" not in answer.text
