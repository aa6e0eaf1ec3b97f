"""The client package against a real service, and against a scripted one that is busy, stale or gone."""

import asyncio
import dataclasses
import subprocess
import sys

import httpx
import pytest
from tests.service.conftest import personaliser, service, settings, store, tiny_model  # noqa: F401
from tests.service.talking import listening, make_service
from tests.service.test_security import give_key

import warmprompt.client
from warmprompt.client import AsyncClient, Client, Event, RefusedError
from warmprompt.service.explaining import explainer_factory
from warmprompt.service.model.served_model import make_model

NAMES = [
    "AsyncClient", "Client", "DeletedAnswer", "Event", "FoundItem", "QuestionsAnswer", "RankedRow",
    "RankingAnswer", "RecordedAnswer", "RefusedError", "SentenceAnswer", "SimilarAnswer",
]  # fmt: skip
RANKING = {
    "items": [{"rank": 1, "item": 50, "title": "Star Wars", "score": 1.5}],
    "stale": False,
    "seq": 1,
    "last_seq": 1,
    "events": {"used": 1, "left_out": 0},
    "model": "m",
    "adapt_ms": None,
}
RECORDED = {"first_seq": 1, "last_seq": 1, "repeated": False, "of a later version": True}
PROBLEM = {"title": "x", "status": 0, "field": "f", "value": "v", "remedy": "Do it."}


class Both:
    """Either client with plain methods, so that each test runs for both."""

    def __init__(self, kind, *args, transport=None, **kwargs):
        http = {Client: httpx.Client, AsyncClient: httpx.AsyncClient}[kind]
        self._make = lambda: kind(
            *args, **({"http": http(transport=transport)} if transport else {}), **kwargs
        )

    def __getattr__(self, name):
        def call(*args, **kwargs):
            if isinstance(client := self._make(), Client):
                with client:
                    return getattr(client, name)(*args, **kwargs)

            async def awaited():
                async with client:
                    return await getattr(client, name)(*args, **kwargs)

            return asyncio.run(awaited())

        return call


@pytest.fixture(params=[Client, AsyncClient], ids=["threads", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture
def waited(monkeypatch):
    """Return the list of waits; nobody waits them."""
    waits, pause = [], asyncio.sleep

    async def sleep(seconds):
        waits.append(seconds)
        await pause(0)

    monkeypatch.setattr("warmprompt.client.clients.time.sleep", waits.append)
    monkeypatch.setattr("warmprompt.client.clients.asyncio.sleep", sleep)
    return waits


def scripted(kind, *outcomes, tries=4):
    """Return a client, and the list of requests that a service with these outcomes received."""
    left, received = list(outcomes), []

    def answer(request):
        received.append(request)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Both(kind, "http://there", transport=httpx.MockTransport(answer), tries=tries), received


def test_public_names_are_these_and_need_no_torch():
    assert warmprompt.client.__all__ == NAMES
    assert all(getattr(warmprompt.client, name).__doc__ for name in NAMES)
    code = "import sys, warmprompt.client; print('torch' in sys.modules, 'fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_methods_of_both_clients_are_the_same():
    def methods(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_answers_are_those_of_the_service(kind, store, settings, personaliser):  # noqa: F811
    model = make_model(personaliser, room=0, largest_batch=4, make_explainer=explainer_factory())
    user, (first, second, third) = "tenant/42 Zoë", personaliser.items[:3]
    with listening(make_service(store, model, settings)) as address, httpx.Client(base_url=address) as plain:
        client = Both(kind, address)
        events = [Event(item=first, rating=5.0), Event(item=second, rating=1.0, time_s=7)]
        recorded = client.send(user, events, attributes={"age": "9"})
        assert (recorded.first_seq, recorded.last_seq, recorded.repeated) == (1, 3, False)
        assert client.send(user, [Event(item=third)]).first_seq == 4

        url = "/v1/users/tenant%2F42%20Zo%C3%AB"
        ranking = client.recommend(user, n=7, exclude=[personaliser.items[5]], explain=True, fresh=True)
        params = {"n": 7, "exclude": personaliser.items[5], "explain": True}
        body = plain.get(f"{url}/recommendations", params=params).json()
        assert [dataclasses.asdict(row) for row in ranking.items] == body["items"]
        assert (ranking.stale, ranking.seq, ranking.last_seq) == (False, 4, 4)
        some = list(personaliser.items[10:14])
        assert {row.item for row in client.recommend(user, candidates=some).items} == set(some)
        asked = client.ask(user, 5, shown=personaliser.items[4:6])
        params = {"n": 5, "shown": list(personaliser.items[4:6])}
        body = plain.get(f"{url}/questions", params=params).json()
        assert [list(row.values()) for row in body["items"]] == [
            [item, title] for item, title in zip(asked.items, asked.titles, strict=True)
        ]
        assert (asked.seq, asked.model) == (4, ranking.model)
        in_order = client.recommend(user, n=4, ordered=True)
        body = plain.get(f"{url}/recommendations", params={"n": 4, "ordered": True}).json()
        assert [row.item for row in in_order.items] == [row["item"] for row in body["items"]]
        shown = ranking.items[0].item
        sentence = client.sentence(user, shown)
        assert (sentence.item, sentence.how, sentence.seq) == (shown, "template", 4)
        assert sentence.sentence == ranking.items[0].explanation["sentence"]
        assert client.export(user) == plain.get(url).json()
        genre = personaliser.engine.trained.attributes.frame["genres"].list[0][0]
        found = client.find(n=60, filter=[f"genres={genre}"])
        assert [dataclasses.asdict(one) for one in found] == plain.get(
            "/v1/items", params={"n": 60, "filter": f"genres={genre}"}
        ).json()["items"]
        similar = client.similar(first, n=3)
        assert [row.item for row in similar.items] == list(personaliser.similar(first, 3).items)
        unstored = client.rank(events, about="films", n=4, exclude=[third], filter={"genres": genre})
        body = {"events": [{"item": first, "rating": 5}, {"item": second, "rating": 1, "time_s": 7}]}
        body |= {"about": "films", "n": 4, "exclude": [third], "filter": {"genres": genre}}
        rows = plain.post("/v1/rank", json=body).json()["items"]
        assert [row.item for row in unstored.items] == [row["item"] for row in rows]
        assert client.forget(user).entries == 4
        assert store.head(user) is None


def test_refusals_have_the_services_field_and_remedy(kind, service, store):  # noqa: F811
    key = give_key(store, "read")
    service.auth.is_open = False
    with listening(service) as address:
        for asked, status, field in [
            (lambda: Both(kind, address).find(), 401, "API key"),
            (lambda: Both(kind, address, key).forget("ada"), 403, "API key"),
            (lambda: Both(kind, address, key).similar("nothing"), 404, "item id"),
            (lambda: Both(kind, address, key).recommend("ada", n=0), 422, "query.n"),
        ]:
            with pytest.raises(RefusedError) as caught:
                asked()
            assert (caught.value.status, caught.value.field) == (status, field)
            assert caught.value.remedy


@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_when_it_says(kind, waited, status):
    busy = httpx.Response(status, json=PROBLEM, headers={"Retry-After": "7"})
    client, received = scripted(kind, busy, busy, httpx.Response(201, json=RECORDED))
    assert client.send("ada", [Event(item=50)]).last_seq == 1
    assert waited == [7, 7]
    keys = {request.headers["idempotency-key"] for request in received}
    assert (len(received), len(keys)) == (3, 1)
    assert {request.content for request in received} == {b'{"events":[{"item":50}]}'}


def test_service_that_stays_busy_is_an_error(kind, waited):
    busy = httpx.Response(503, json=PROBLEM, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    client, received = scripted(kind, busy, busy, busy, tries=3)
    with pytest.raises(RefusedError, match="Do it") as caught:
        client.recommend("ada")
    assert (caught.value.status, caught.value.field, len(received)) == (503, "f", 3)
    assert waited == [1, 1]


def test_lost_connection_is_tried_again(kind, waited):
    client, received = scripted(
        kind, httpx.ConnectError("no"), httpx.ReadTimeout("late"), httpx.Response(201, json=RECORDED)
    )
    assert client.send("ada", about="films").first_seq == 1
    assert len({request.headers["idempotency-key"] for request in received}) == 1
    gone, _ = scripted(kind, *[httpx.ConnectError("no")] * 2, tries=2)
    with pytest.raises(RefusedError, match="Nothing answered") as caught:
        gone.forget("ada")
    assert caught.value.status == 0


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
def test_other_refusals_are_not_repeated(kind, waited, status):
    client, received = scripted(kind, httpx.Response(status, json=PROBLEM))
    with pytest.raises(RefusedError):
        client.recommend("ada")
    assert (len(received), waited) == (1, [])


def test_answer_of_something_else_is_an_error(kind, waited):
    client, _ = scripted(kind, httpx.Response(502, text="<html>Bad gateway</html>"))
    with pytest.raises(RefusedError, match="response: 'Bad Gateway'"):
        client.recommend("ada")


def test_stale_ranking_is_marked_and_asked_again_on_request(kind, waited):
    def stale():
        return httpx.Response(200, json=RANKING | {"stale": True, "seq": 0})

    client, received = scripted(kind, stale())
    assert client.recommend("ada").stale
    assert (len(received), waited) == (1, [])
    client, received = scripted(kind, stale(), stale(), httpx.Response(200, json=RANKING))
    assert not client.recommend("ada", fresh=True).stale
    assert waited == [1, 1]
    client, received = scripted(kind, stale(), stale(), tries=2)
    assert client.recommend("ada", fresh=True, n=3).stale
    assert [str(request.url.query) for request in received] == ["b'n=3'"] * 2
