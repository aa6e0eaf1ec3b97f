"""What is answered from memory is what the framework would answer, to the byte; all else goes its way."""

from dataclasses import replace

import pytest
from tests.service.talking import in_service, items_of, log_of, make_service
from tests.service.test_security import give_key

from warmprompt.service.ranking_cache import RankingCache
from warmprompt.service.settings import RequestLimits

PATH = "/v1/users/ada%2F1/recommendations"
PLAIN = ["", "?n=3", "?n=3&budget_ms=250", "?explain=false", "?budget_ms=0&n=10"]
ODD = [
    "?n=03",
    "?n=3&n=4",
    "?n=x",
    "?n=0",
    "?n=201",
    "?n=1000",
    "?explain=1",
    "?nn=3",
    "?n=+3",
    "?n=%33",
    "?&",
    "?n=",
]


@pytest.fixture
def answered(monkeypatch):
    """Return the list of queries that were answered from memory."""
    found, answer = [], RankingCache._answered

    async def noting(self, question, scope, receive, send):
        done = await answer(self, question, scope, receive, send)
        if done:
            found.append(scope["query_string"].decode())
        return done

    monkeypatch.setattr(RankingCache, "_answered", noting)
    return found


def test_cache_and_framework_responses_are_equal(service, personaliser, answered, monkeypatch):
    async def talk(client):
        await client.post("/v1/users/ada%2F1/events", json=log_of(*personaliser.items[:3]))
        with monkeypatch.context() as bare:
            bare.setattr("warmprompt.service.plain_requests._plain_user", lambda *_: None)
            slow = [await client.get(PATH + query) for query in PLAIN]
        return slow, [await client.get(PATH + query) for query in PLAIN]

    slow, fast = in_service(service, talk)
    assert answered == [query[1:] for query in PLAIN]
    for one, other in zip(slow, fast, strict=True):
        assert one.status_code == other.status_code == 200
        assert one.content == other.content
        assert dict(one.headers) == dict(other.headers)


def test_unusual_queries_bypass_the_cache(service, personaliser, answered, monkeypatch):
    async def talk(client):
        await client.post("/v1/users/ada%2F1/events", json=log_of(*personaliser.items[:3]))
        await client.get(PATH)
        await client.get(PATH + "?n=3")
        with_it = [(await client.get(PATH + query)) for query in ODD]
        monkeypatch.setattr("warmprompt.service.plain_requests._plain_user", lambda *_: None)
        without = [(await client.get(PATH + query)) for query in ODD]
        return with_it, without

    with_it, without = in_service(service, talk)
    assert [one.status_code for one in with_it] == [one.status_code for one in without]
    assert [one.content for one in with_it] == [one.content for one in without]
    assert 422 in {one.status_code for one in with_it}
    assert answered == []


def test_new_event_invalidates_cached_ranking(service, personaliser, answered):
    async def talk(client):
        seqs = []
        for item in personaliser.items[:3]:
            await client.post("/v1/users/ada%2F1/events", json=log_of(item))
            seqs += [(await client.get(PATH)).json()["seq"] for _ in range(3)]
        await client.delete("/v1/users/ada%2F1")
        return seqs, (await client.get(PATH)).json()["last_seq"]

    assert in_service(service, talk) == ([1, 1, 1, 2, 2, 2, 3, 3, 3], 0)
    assert len(answered) == 6


def test_cached_rankings_need_key_scope_and_rate(store, tiny_model, settings, personaliser, answered):
    service = make_service(store, tiny_model, replace(settings, limits=RequestLimits(per_s=0.001, burst=4)))
    service.auth.is_open = False
    reads, writes = give_key(store, "read", name="reads"), give_key(store, "write", name="writes")

    async def talk(client):
        async def ask(key):
            return (await client.get(PATH, headers={"Authorization": f"Bearer {key}"})).status_code

        body = log_of(*personaliser.items[:3])
        await client.post(
            "/v1/users/ada%2F1/events", json=body, headers={"Authorization": f"Bearer {writes}"}
        )
        good = [await ask(reads) for _ in range(3)]
        return good, await ask(writes), await ask("wp_" + "A" * 43), [await ask(reads) for _ in range(4)]

    good, wrong_scope, unknown, often = in_service(service, talk)
    assert (good, wrong_scope, unknown) == ([200, 200, 200], 403, 401)
    assert often[-1] == 429
    assert len(answered) >= 4


def test_cache_sees_other_processes_entries(store, tiny_model, settings, personaliser, answered):
    one = make_service(store, tiny_model, replace(settings, shared=True))
    from warmprompt.service.user_history import entry_of
    from warmprompt.types import Event

    async def talk(client):
        await client.post("/v1/users/ada%2F1/events", json=log_of(personaliser.items[0]))
        first = [(await client.get(PATH)).json()["seq"] for _ in range(2)]
        store.append("ada/1", [entry_of(Event(item=personaliser.items[1]))])  # as another process would
        return first, [(await client.get(PATH)).json()["seq"] for _ in range(2)]

    assert in_service(one, talk) == ([1, 1], [2, 2])
    assert len(answered) == 2


def test_unknown_users_share_one_ranking(service, personaliser, monkeypatch):
    ranked, rank = [], type(personaliser).rank

    def counted(self, *args, **kwargs):
        ranked.append(args)
        return rank(self, *args, **kwargs)

    monkeypatch.setattr(type(personaliser), "rank", counted)

    async def talk(client):
        first = [await client.get(f"/v1/users/{user}/recommendations") for user in ("ada", "bob", "ada")]
        others = [await client.get("/v1/users/ada/recommendations", params={"n": n}) for n in range(1, 7)]
        best = first[0].json()["items"][0]["item"]
        await client.put(f"/v1/items/{best}/hidden")
        without = await client.get("/v1/users/cleo/recommendations")
        await client.post("/v1/users/ada/events", json=log_of(personaliser.items[0], rating=5))
        known = await client.get("/v1/users/ada/recommendations")
        return first, others, best, without, known

    first, others, best, without, known = in_service(service, talk)
    assert len({answer.content for answer in first}) == 1
    assert [len(items_of(answer)) for answer in others] == list(range(1, 7))
    assert best not in items_of(without)
    assert (known.json()["seq"], known.json()["events"]["used"]) == (1, 1)
    assert len(ranked) == 1 + 6 + 1 + 1
