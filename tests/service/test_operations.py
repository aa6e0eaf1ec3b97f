"""What operators see: health, readiness, metrics, a database that goes away, any request whatever."""

import asyncio
import random
import threading
import weakref
from dataclasses import replace

import pytest
from sqlalchemy import event
from tests.service.talking import in_service, log_of, make_service

from warmprompt.errors import DatabaseAwayError
from warmprompt.service.service import ModelSource
from warmprompt.store.opening import open_store

METRICS = {
    "warmprompt_adaptation_seconds_bucket",
    "warmprompt_ranking_seconds_bucket",
    "warmprompt_request_seconds_bucket",
    "warmprompt_batch_users_bucket",
    "warmprompt_queue_jobs",
    "warmprompt_held_users",
    "warmprompt_rankings_total",
    "warmprompt_rankings_stale_total",
    "warmprompt_model_info",
    "warmprompt_users",
    "warmprompt_users_current",
    "warmprompt_database_up",
    "warmprompt_events_total",
}


class Wire:
    """A store whose database can be taken away."""

    def __init__(self, store):
        self._store = store
        self.away = False

    def __getattr__(self, name):
        if self.away and name != "close":
            raise DatabaseAwayError(field="database", value="db", remedy="Try again later.")
        return getattr(self._store, name)


def test_health_and_readiness_report_the_model(service, tiny_model):
    async def talk(client):
        return (await client.get("/healthz")).json(), (await client.get("/readyz")).json()

    alive, ready = in_service(service, talk)
    assert alive == {"alive": True}
    assert ready == {"ready": True, "database": True, "model": tiny_model.version, "backfill": None}


def test_model_lists_what_scores_are_made_of(service, personaliser, tiny_model):
    found = in_service(service, lambda client: client.get("/v1/model")).json()
    expected = personaliser.describe().to_dict()
    for row in (*found["experts"], *expected["experts"]):
        assert row.pop("microseconds") > 0
    served = {row["name"]: row["weight"] for row in found["experts"]}
    assert served == {row["name"]: row["weight"] for row in expected["experts"]}
    assert (found["model"], found["name"]) == (tiny_model.version, expected["name"])
    assert found["validation"] == expected["validation"]
    assert found["linear"] is expected["linear"]


def test_metrics_count_requests_and_events(service, personaliser):
    async def talk(client):
        await client.post("/v1/users/quokka/events", json=log_of(*personaliser.items[:2]))
        await client.get("/v1/users/quokka/recommendations")
        await client.get("/v1/users/quokka/recommendations")
        await client.get("/v1/users/nobody/recommendations")
        return (await client.get("/metrics")).text

    text = in_service(service, talk)
    assert {name for name in METRICS if name not in text} == set()
    lines = set(text.splitlines())
    assert "warmprompt_events_total 2.0" in lines
    assert 'warmprompt_rankings_total{history="warm"} 2.0' in lines
    assert 'warmprompt_rankings_total{history="cold"} 1.0' in lines
    assert "warmprompt_rankings_cached_total 1.0" in lines
    assert "warmprompt_adaptation_seconds_count 1.0" in lines
    route = 'route="/v1/users/{user_id}/recommendations",status="200"'
    assert f"warmprompt_request_seconds_count{{{route}}} 3.0" in lines
    assert "quokka" not in text


def test_unavailable_database_is_503_until_back(store, tiny_model, settings, personaliser):
    wire = Wire(store)
    service = make_service(wire, tiny_model, settings)

    async def talk(client):
        async def ask():
            posted = await client.post("/v1/users/ada/events", json=log_of(personaliser.items[0]))
            return posted, (await client.get("/readyz")).status_code

        first = await ask()
        wire.away = True
        away = await ask(), await client.get("/v1/users/bob/recommendations"), await client.get("/healthz")
        wire.away = False
        return first, away, await ask(), await client.get("/v1/users/ada/recommendations")

    (first, ready), ((posted, unready), other, alive), (again, ready_again), ranking = in_service(
        service, talk
    )
    assert (first.status_code, ready) == (201, 200)
    assert (posted.status_code, unready, other.status_code, alive.status_code) == (503, 503, 503, 200)
    assert posted.headers["retry-after"] == "1"
    assert (again.status_code, ready_again) == (201, 200)
    assert ranking.json()["last_seq"] == 2


@pytest.mark.parametrize("change", ["deleted", "replaced", "read-only", "full"])
def test_unusable_file_is_503_without_a_path(store, tiny_model, settings, personaliser, change):
    service = make_service(store, tiny_model, settings)
    file = store.database.file
    body = {"events": [{"item": item, "text": "x" * 4000} for item in personaliser.items[:5]]}
    pragma = {"read-only": "query_only = ON", "full": "max_page_count = 1"}.get(change)
    if pragma:  # as the disk would refuse, but for the open connections alone
        event.listen(store.database.engine, "begin", lambda on: on.exec_driver_sql(f"PRAGMA {pragma}"))

    async def talk(client):
        if change == "deleted":
            file.unlink()
        if change == "replaced":
            file.write_bytes(file.rename(file.with_name("kept.db")).read_bytes())
        posted = [await client.post(f"/v1/users/{user}/events", json=body) for user in ("ada", "bob", "cleo")]
        others = [] if pragma else [await client.get("/v1/users/bob"), await client.delete("/v1/users/bob")]
        return posted[-1:] + others, await client.get("/readyz"), await client.get("/healthz")

    refused, ready, alive = in_service(service, talk)
    for answer in refused:
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.text
        assert (answer.json()["field"], answer.json()["value"]) == ("database", None)
        assert str(file.parent) not in answer.text
    assert alive.status_code == 200
    if change == "full":  # whether a page is left for one more small write is SQLite's own affair
        return
    assert (ready.status_code, ready.json()["ready"], ready.json()["database"]) == (503, False, False)


def test_health_answers_head_requests(service):
    async def talk(client):
        return [await client.head(path) for path in ("/healthz", "/readyz")]

    assert [(one.status_code, one.content) for one in in_service(service, talk)] == [(200, b"")] * 2


def test_reloads_keep_no_older_models_and_one_thread(store, tiny_model, settings, personaliser):
    """At most the former one beside that in service; one thread, because each keeps memory that it freed."""
    opened, models = [], []

    def reopen():
        opened.append(threading.current_thread())
        return replace(personaliser, model_hash=f"{len(opened)}")

    service = make_service(store, tiny_model, settings, source=ModelSource(name="tiny", open=reopen))

    async def talk(client):
        for _ in range(10):
            await client.get(f"/v1/users/u{len(models)}/recommendations")
            assert (await client.post("/v1/admin/reload")).status_code == 200
            models.append(weakref.ref(service.users.model))

    in_service(service, talk)
    assert len(set(opened)) == 1
    assert [model() is not None for model in models[:8]] == [False] * 8
    assert models[-1]() is service.users.model


def test_failed_state_write_is_retried(store, tiny_model, settings, personaliser, monkeypatch):
    monkeypatch.setattr("warmprompt.service.writing._RETRY_S", 0.01)
    wire = Wire(store)
    service = make_service(wire, tiny_model, settings)

    async def talk(client):
        await client.post("/v1/users/ada/events", json=log_of(personaliser.items[0]))
        wire.away = True
        ranking = await client.get("/v1/users/ada/recommendations")
        await asyncio.sleep(0.05)
        wire.away = False
        await service.users.writer.drained()
        return ranking.status_code

    assert in_service(service, talk) == 200
    assert store.get_state("ada", tiny_model.version).seq == 1


def test_large_file_is_scrubbed_on_request_only(tmp_path, tiny_model, settings, personaliser, monkeypatch):
    monkeypatch.setattr("warmprompt.service.service._PERIOD_S", 0.01)
    folder = tmp_path / "large"
    folder.mkdir()

    def words_left():
        return any(b"quokka" in file.read_bytes() for file in folder.iterdir())

    with open_store(f"sqlite:///{folder}/users.db", scrub_up_to_bytes=0) as store:
        service = make_service(store, tiny_model, replace(settings, scrub_up_to_bytes=0))

        async def talk(client):
            body = log_of(personaliser.items[0]) | {"about": "I collect quokkas"}
            await client.post("/v1/users/ada/events", json=body)
            deleted = (await client.delete("/v1/users/ada")).json()["scrubbed"]
            await asyncio.sleep(0.2)  # several rounds of chores
            before = words_left(), "warmprompt_scrub_due 1.0" in (await client.get("/metrics")).text
            asked = (await client.post("/v1/admin/scrub")).json()
            return deleted, before, asked, words_left()

        assert in_service(service, talk) == (False, (True, True), {"scrubbed": True}, False)


def test_document_has_an_example_per_route(service):
    document = in_service(service, lambda client: client.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/v1/users/{user_id}",
        "/v1/users/{user_id}/events",
        "/v1/users/{user_id}/questions",
        "/v1/users/{user_id}/recommendations",
        "/v1/users/{user_id}/sentence",
        "/v1/rank",
        "/v1/items",
        "/v1/items/{item_id}/hidden",
        "/v1/items/{item_id}/similar",
        "/v1/model",
        "/v1/entities/{entity_id}",
        "/v1/entities/{entity_id}/events",
        "/v1/entities/{entity_id}/risk",
        "/v1/admin/reload",
        "/v1/admin/scrub",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation.get("description"), operation["operationId"]
            for body in operation.get("requestBody", {}).get("content", {}).values():
                assert body["examples"]


def test_random_requests_cause_no_server_error(service):
    """Bodies, ids, parameters and headers drawn from what breaks things."""
    rng = random.Random(0)
    odd = [
        "",
        "%00",
        "%FF",
        "a" * 10_000,
        "%F0%9F%A6%86",
        "..%2F..",
        "%2F%2F",
        "a/b/c",
        "\u202e",
        "%0A",
        "null",
        "-1",
        "1e999",
        "'; DROP TABLE users;--",
        "%25s",
        "{user_id}",
        "true",
        "NaN",
    ]
    bodies = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"\x00",
        b'{"events": null}',
        b'{"events": [{}]}',
        b"1e999",
        b'{"events": [{"item": {"a": 1}}]}',
        b'{"about": "\\ud800"}',
        b'{"about": "\\u0000"}',
        b'{"events": [{"item": 123456789012345678901234567890}]}',
        b'{"n": 1e400}',
        b'{"about": 1}',
        b'{"items": [{"id": "\\u0000", "title": "x"}]}',
        b'{"attributes": {"": "x"}}',
        b"{" * 5000,
        b'{"attributes": {"a": "' + b"b" * 9000 + b'"}}',
        b'{"candidates": ["\\ud83e\\udd86"]}',
    ]
    paths = [
        "/v1/users/{}",
        "/v1/users/{}/events",
        "/v1/users/{}/recommendations",
        "/v1/rank",
        "/v1/items",
        "/v1/items/{}/hidden",
        "/v1/items/{}/similar",
        "/{}",
        "/v1/{}/x",
        "/metrics",
        "/readyz",
    ]

    async def talk(client):
        seen = {}
        for _ in range(300):
            method = rng.choice(["GET", "GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"])
            pattern = rng.choice(paths)
            path = pattern.format(rng.choice(odd))
            names = {"/v1/items": ["n", "q"], "/v1/users/{}/recommendations": ["n", "explain", "budget_ms"]}
            query = {}
            if rng.random() < 0.5:
                name = rng.choice([*names.get(pattern, []), "x"])
                query = {name: rng.choice(odd[:4] + odd[10:])}
            headers = {
                "Content-Type": rng.choice(["application/json", "text/plain", "x", ""]),
                "Idempotency-Key": rng.choice(["a", " ", "\t", "k" * 300]),
            }
            answer = await client.request(
                method, path, params=query, content=rng.choice(bodies), headers=headers
            )
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            assert answer.status_code < 500 or answer.status_code in {501}, (method, path, query, answer.text)
            if answer.status_code >= 400 and method != "HEAD":
                assert answer.headers["content-type"] == "application/problem+json"
                assert "Traceback" not in answer.text
        return seen

    seen = in_service(service, talk)
    assert len(seen) >= 5
