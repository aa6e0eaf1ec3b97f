"""Keys, limits, headers, and what the log must not contain."""

import asyncio
import logging
import re

import pytest
from tests.service.talking import asking, in_service, log_of

from warmprompt.errors import BadInputError
from warmprompt.service.keys import KeyRing, hash_key, new_key
from warmprompt.service.limits import RateLimit
from warmprompt.service.settings import RequestLimits

SCOPE_OF = {
    ("GET", "/v1/users/ada/recommendations"): "read",
    ("GET", "/v1/users/ada"): "read",
    ("GET", "/v1/users/ada/sentence?item=x"): "read",
    ("GET", "/v1/entities/ada"): "read",
    ("GET", "/v1/entities/ada/risk"): "read",
    ("POST", "/v1/entities/ada/risk"): "read",
    ("POST", "/v1/entities/ada/events"): "write",
    ("DELETE", "/v1/entities/ada"): "write",
    ("GET", "/v1/items"): "read",
    ("GET", "/v1/model"): "read",
    ("GET", "/metrics"): "read",
    ("POST", "/v1/rank"): "read",
    ("POST", "/v1/users/ada/events"): "write",
    ("DELETE", "/v1/users/ada"): "write",
    ("POST", "/v1/items"): "admin",
    ("POST", "/v1/admin/reload"): "admin",
    ("POST", "/v1/admin/scrub"): "admin",
}


def give_key(store, *scopes, name="app"):
    key, kept = new_key(name, scopes, now_s=1)
    store.add_api_key(kept)
    return key


def test_key_is_random_and_stored_hashed(store):
    key = give_key(store, "read")
    assert re.fullmatch(r"wp_[A-Za-z0-9_-]{43}", key)
    assert store.api_keys()[0].key_hash == hash_key(key)
    assert key[3:] not in repr(store.api_keys())
    assert give_key(store, "read", name="other") != key


@pytest.mark.parametrize(
    ("name", "scopes", "field"),
    [("", ["read"], "name of the key"), ("a b", ["read"], "name of the key"), ("a", ["all"], "--scope"),
     ("a", [], "--scope")],
)  # fmt: skip
def test_invalid_key_definition_is_refused(name, scopes, field):
    with pytest.raises(BadInputError, match=field):
        new_key(name, scopes, now_s=1)


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
def test_key_allows_its_scope_only(service, store, scope):
    service.auth.is_open = False
    key = give_key(store, scope)

    async def talk(client):
        return {
            route: (await client.request(*route, headers={"Authorization": f"Bearer {key}"})).status_code
            for route in SCOPE_OF
        }

    for route, status in in_service(service, talk).items():
        opened = scope in {SCOPE_OF[route], "admin"}
        assert (status == 403) == (not opened), (route, status)


def test_every_route_but_health_needs_a_key(service, store):
    service.auth.is_open = False
    give_key(store, "admin")

    async def talk(client):
        document = (await client.get("/openapi.json")).json()
        return {
            (method, path): await client.request(method.upper(), path.replace("{user_id}", "ada"))
            for path, methods in document["paths"].items()
            for method in methods
        }

    open_paths = set()
    for (_, path), answer in in_service(service, talk).items():
        if answer.status_code != 401:
            open_paths.add(path)
        else:
            assert answer.headers["www-authenticate"] == "Bearer"
    assert open_paths == {"/healthz", "/readyz"}


@pytest.mark.parametrize("header", ["Bearer wp_" + "A" * 43, "Bearer x", "Basic abc", "Bearer "])
def test_wrong_key_is_401(service, store, header):
    service.auth.is_open = False
    give_key(store, "admin")
    answer = in_service(service, lambda client: client.get("/v1/items"), Authorization=header)
    assert answer.status_code == 401


def test_key_is_accepted_in_x_api_key(service, store):
    service.auth.is_open = False
    key = give_key(store, "read")
    answer = in_service(service, lambda client: client.get("/v1/items"), **{"X-API-Key": key})
    assert answer.status_code == 200


def test_revoked_key_fails_after_five_seconds(store):
    now = [0.0]
    ring = KeyRing(store, clock=lambda: now[0])
    key = give_key(store, "read")
    assert ring.find(key).name == "app"
    store.revoke_api_key("app")
    assert ring.cached(key) is not None
    now[0] = 5.1
    assert ring.cached(key) is None
    assert ring.find(key) is None


def test_open_access_requires_a_local_host(service):
    answer = in_service(service, lambda client: client.get("/v1/items", headers={"Host": "evil.example"}))
    assert answer.status_code == 421
    assert in_service_again(service, {"Host": "127.0.0.1:8000"}) == 200
    assert in_service_again(service, {"Origin": "http://localhost:8000"}) == 200
    assert in_service_again(service, {"Origin": "https://evil.example"}) == 421
    assert in_service_again(service, {"Origin": "null"}) == 421
    assert in_service_again(service, {"Host": "[::1]"}) == 200


@pytest.mark.parametrize("route", [("POST", "/v1/admin/reload"), ("POST", "/v1/admin/scrub")])
def test_pages_of_other_local_ports_change_nothing(service, route):
    """A form of any page on this machine may send a body-less POST; a browser names the page's origin."""

    origins = ["http://localhost:9999", "http://127.0.0.1:8000", "null", "http://localhost:8000", None]

    async def talk(client):
        return [
            await client.request(
                *route, headers={"Host": "localhost:8000"} | ({"Origin": origin} if origin else {})
            )
            for origin in origins
        ]

    answers = in_service(service, talk)
    assert [answer.status_code for answer in answers] == [403, 403, 421, 200, 200]
    assert [answer.json()["field"] for answer in answers[:3]] == ["Origin"] * 3


def in_service_again(service, headers):
    from warmprompt.service.service import ModelSource, Service

    restarted = Service(
        service.store,
        ModelSource(name="tiny", open=lambda: service.users.model.personaliser),
        service.users.model,
        settings=service.settings,
        keys_needed=False,
    )
    return in_service(restarted, lambda client: client.get("/v1/items", headers=headers)).status_code


def test_first_key_ends_open_access(service, store, monkeypatch):
    monkeypatch.setattr("warmprompt.service.service._PERIOD_S", 0.02)

    async def talk(client):
        before = (await client.get("/v1/items")).status_code
        give_key(store, "read")
        for _ in range(200):
            after = (await client.get("/v1/items")).status_code
            if after == 401:
                break
            await asyncio.sleep(0.02)
        return before, after

    assert in_service(service, talk) == (200, 401)


def test_bucket_refills_with_time():
    now = [0.0]
    limit = RateLimit(per_s=2.0, burst=3, clock=lambda: now[0])
    assert [limit.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait_s("b") == 0
    now[0] = 0.5
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a") > 0
    now[0] = 100.0
    assert [limit.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert [RateLimit(per_s=0, burst=1).wait_s("a") for _ in range(9)] == [0] * 9


def test_rate_limit_is_429_with_retry_after(with_settings):
    service = with_settings(limits=RequestLimits(per_s=0.5, burst=3))

    async def talk(client):
        return [await client.get("/v1/items") for _ in range(4)]

    answers = in_service(service, talk)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "2"


def test_key_guessing_is_limited_per_address(with_settings, store):
    service = with_settings(limits=RequestLimits(per_s=0.001, burst=3))
    service.auth.is_open = False
    key = give_key(store, "read")

    async def talk(client):
        wrong = {"Authorization": "Bearer wp_" + "B" * 43}
        right = {"Authorization": f"Bearer {key}"}
        first = (await client.get("/v1/items", headers=right)).status_code
        guesses = [(await client.get("/v1/items", headers=wrong)).status_code for _ in range(4)]
        return first, guesses, (await client.get("/v1/items", headers=right)).status_code

    assert in_service(service, talk) == (200, [401, 401, 429, 429], 200)


def test_oversized_body_is_413(with_settings):
    service = with_settings(limits=RequestLimits(per_s=0, body_bytes=2048))

    async def stream():
        for _ in range(64):
            yield b" " * 64

    async def talk(client):
        headers = {"Content-Type": "application/json"}
        whole = await client.post("/v1/rank", content=b" " * 4096, headers=headers)
        streamed = await client.post("/v1/rank", content=stream(), headers=headers)
        return whole, streamed, await client.post("/v1/rank", json={"n": 1})

    whole, streamed, small = in_service(service, talk)
    assert (whole.status_code, streamed.status_code, small.status_code) == (413, 413, 200)
    assert streamed.headers["content-type"] == "application/problem+json"


def test_responses_have_security_headers(service):
    async def talk(client):
        return [await client.get(path) for path in ("/v1/items", "/nowhere", "/healthz", "/v1/users/x")]

    for answer in in_service(service, talk):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_log_contains_no_user_text_or_key(service, store, personaliser, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    key = give_key(store, "admin")
    service.auth.is_open = False
    secrets = ["quokka-user", "quokka-text", "quokka-search", "quokka-header", key, key[3:]]

    def explode(*_args, **_kwargs):
        raise RuntimeError("about quokka-text of quokka-user")

    async def talk():
        async with asking(service, Authorization=f"Bearer {key}") as client:
            await client.post(
                "/v1/users/quokka-user/events",
                json=log_of(personaliser.items[0]) | {"about": "quokka-text"},
                headers={"Idempotency-Key": "quokka-header"},
            )
            await client.get("/v1/users/quokka-user/recommendations", params={"n": "quokka-search"})
            await client.get("/v1/items", params={"q": "quokka-search"})
            await client.get("/v1/items", headers={"Authorization": "Bearer quokka-header"})
            await client.post("/v1/rank", json={"about": "quokka-text"})
            failed = await client.get("/v1/users/quokka-user")
            await client.delete("/v1/users/quokka-user")
            return failed

    monkeypatch.setattr(type(service.store), "export", explode)
    failed = asyncio.run(talk())
    assert failed.status_code == 500
    assert "quokka" not in failed.text
    logged = "\n".join(record.getMessage() + str(record.exc_info or "") for record in caplog.records)
    service_lines = [record for record in caplog.records if record.name == "warmprompt.service"]
    assert len(service_lines) >= 7
    assert "RuntimeError" in logged
    assert [secret for secret in secrets if secret in "\n".join(r.getMessage() for r in service_lines)] == []
    assert [secret for secret in secrets if secret in _of_others(caplog)] == []


def _of_others(caplog):
    """Log records of other loggers, except the test's own client."""
    own_client = {"httpx", "httpcore"}
    return "\n".join(
        record.getMessage() for record in caplog.records if record.name.split(".")[0] not in own_client
    )
