"""What is answered without the framework's resolution is what the framework would answer."""

import json

import pytest
from tests.service.talking import in_service, log_of, make_service
from tests.service.test_security import give_key

from warmprompt.service import plain_requests
from warmprompt.service.plain_requests import PlainRequests
from warmprompt.service.settings import RequestLimits
from warmprompt.store.opening import open_store

JSON = {"Content-Type": "application/json"}
EVENTS = "/v1/users/ada%2F1/events"
RANKING = "/v1/users/ada%2F1/recommendations"


def requests(item):
    """Return (method, path, body, headers) of requests in many forms, plain and odd."""
    one = json.dumps({"events": [{"item": item, "rating": 5}]}).encode()
    bodies = [
        one,
        json.dumps({"events": [{"item": item}], "about": "I like films"}).encode(),
        json.dumps({"about": "x" * 500}).encode(),
        json.dumps({"events": [{"item": "nothing like it"}]}).encode(),
        json.dumps({"events": [{"item": item, "rating": 99}]}).encode(),
        json.dumps({"events": [{"item": item, "stars": 5}]}).encode(),
        b'{"events": [{"item": "x", "text": "\\ud83d"}]}',
        b'{"events": [{"item": 1, "rating": NaN}]}',
        b"{}",
        b"[]",
        b"null",
        b'{"events": ',
        b"\xff",
        b"",
        b"[" * 100_000,
    ]
    asked = [("POST", EVENTS, body, JSON) for body in bodies]
    asked += [
        ("POST", EVENTS, one, headers)
        for headers in (
            {"Content-Type": "application/json; charset=utf-8"},
            {"Content-Type": "text/plain"},
            {},
            JSON | {"Idempotency-Key": "7f3a"},
            JSON | {"Idempotency-Key": "7f3a"},
            JSON | {"Idempotency-Key": "two words"},
            JSON | {"Idempotency-Key": "k" * 201},
        )
    ]
    asked += [("POST", f"/v1/users/{user}/events", one, JSON) for user in ("%00", "x" * 600, "Zo%C3%AB")]
    asked += [("POST", EVENTS + "?n=1", one, JSON), ("PUT", EVENTS, one, JSON), ("HEAD", RANKING, None, {})]
    queries = ("", "?n=3", "?n=201", "?n=03", "?budget_ms=50&n=2", "?explain=true", "?explain=false", "?m=1")
    asked += [("GET", RANKING + query, None, {}) for query in queries]
    asked += [("GET", f"/v1/users/{user}/recommendations", None, {}) for user in ("bob", "%00", "x" * 600)]
    return asked


async def answers(client, asked):
    found = []
    for method, path, body, headers in asked:
        answer = await client.request(method, path, content=body, headers=headers)
        content = answer.json() if answer.content else None
        if isinstance(content, dict):
            content.pop("adapt_ms", None)
        found.append((method, path, body, answer.status_code, content, sorted(answer.headers)))
    return found


@pytest.fixture
def plain(monkeypatch):
    """Return the list of routes of requests that were answered without the framework."""
    found, answer = [], PlainRequests._answer

    async def noting(self, route, *rest):
        found.append(route)
        await answer(self, route, *rest)

    monkeypatch.setattr(PlainRequests, "_answer", noting)
    return found


def test_answers_are_those_of_the_framework(tmp_path, tiny_model, settings, plain, monkeypatch):
    asked = requests(tiny_model.personaliser.items[0])
    with open_store(f"sqlite:///{tmp_path}/one.db") as store:
        quick = in_service(make_service(store, tiny_model, settings), lambda client: answers(client, asked))
    assert [plain.count(route) for route in (plain_requests.EVENTS, plain_requests.RANKING)] == [10, 4]
    monkeypatch.setattr(plain_requests, "_plain_user", lambda *_: None)
    with open_store(f"sqlite:///{tmp_path}/two.db") as store:
        slow = in_service(make_service(store, tiny_model, settings), lambda client: answers(client, asked))
    for one, other in zip(quick, slow, strict=True):
        assert one == other
    assert len(plain) == 14


def test_keys_scopes_and_rates_hold(store, tiny_model, settings, plain, with_settings):
    item = tiny_model.personaliser.items[0]
    service = with_settings(limits=RequestLimits(per_s=0.001, burst=3))
    reads, writes = give_key(store, "read"), give_key(store, "write", name="writer")
    service.auth.is_open = False

    async def talk(client):
        found = []
        for key, method, path in (
            (None, "POST", EVENTS),
            (reads, "POST", EVENTS),
            (writes, "POST", EVENTS),
            (writes, "GET", RANKING),
            (reads, "GET", RANKING),
            (reads, "GET", RANKING + "?n=4"),
            (reads, "GET", RANKING + "?n=5"),
            (reads, "GET", RANKING + "?n=6"),
        ):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            body = log_of(item) if method == "POST" else None
            answer = await client.request(method, path, json=body, headers=headers)
            found.append(answer.status_code)
        return found

    assert in_service(service, talk) == [401, 403, 201, 403, 200, 200, 200, 429]
    assert len(plain) == 8
    assert store.head("ada/1").last_seq == 1
