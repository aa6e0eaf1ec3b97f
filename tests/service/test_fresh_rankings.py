"""Rankings know every event at once; only a text can make somebody wait, and nobody else with them."""

import asyncio
import threading
from dataclasses import replace

import pytest
from tests.service.talking import in_service, items_of, log_of, make_service, path, written

from warmprompt import Event
from warmprompt.service.cached_user import rebuilt
from warmprompt.service.model.reading import UserTextReader
from warmprompt.service.model.served_model import make_model
from warmprompt.service.settings import BatchLimits, RequestLimits


class GatedReader(UserTextReader):
    """Reads while its gate is open, and writes down what it read together."""

    def __init__(self, engine):
        super().__init__(engine, largest=8)
        self.gate = threading.Event()
        self.passes = []

    def read(self, texts):
        assert self.gate.wait(60)
        self.passes.append(list(texts))
        return super().read(texts)


@pytest.fixture
def gated(store, tiny_model, settings):
    """Return a function that makes a service and its reader, the gate closed."""

    def make(**changes):
        reader = GatedReader(tiny_model.adapting_engine)
        model = replace(tiny_model, texts=reader)
        return make_service(store, model, replace(settings, **changes)), reader

    return make


def of_nobody(personaliser, n=10):
    return list(personaliser.rank(personaliser.adapt(), n).items)


@pytest.mark.parametrize("what", ["event", "sentence", "both"])
def test_first_rankings_of_new_users_are_theirs(service, personaliser, what):
    items = personaliser.items[:60]
    users = [
        (
            [items[number]] if what != "sentence" else [],
            f"I like rivers and {number}" if what != "event" else None,
        )
        for number in range(20)
    ]

    async def talk(client):
        async def one(number, events, about):
            user = f"u{number}"
            await client.post(path(user, "/events"), json=log_of(*events) | {"about": about})
            return await client.get(path(user, "/recommendations"))

        return await asyncio.gather(*(one(number, *user) for number, user in enumerate(users)))

    answers = in_service(service, talk)
    for answer, (events, about) in zip(answers, users, strict=True):
        assert not answer.json()["stale"]
        own = personaliser.adapt([Event(item=item) for item in events], about=about)
        assert items_of(answer) == list(personaliser.rank(own, 10).items)
        scores = [row["score"] for row in answer.json()["items"]]
        anybody = personaliser.rank(personaliser.adapt(), 10).scores
        assert scores != pytest.approx(anybody, abs=1e-4)


def test_nobody_waits_for_another_users_text(gated, personaliser):
    service, reader = gated()
    items = personaliser.items

    async def talk(client):
        said = await client.post(path("ada", "/events"), json={"about": "I like quiet films"})
        waiting = asyncio.create_task(client.get(path("ada", "/recommendations")))
        answers = []
        for number in range(20):
            await client.post(path(f"u{number}", "/events"), json=log_of(items[number]))
            answers.append(await client.get(path(f"u{number}", "/recommendations")))
            answers.append(await client.post("/v1/rank", json=log_of(items[number])))
        assert not waiting.done()
        read_meanwhile = list(reader.passes)
        reader.gate.set()
        return said.status_code, answers, read_meanwhile, (await waiting).json()

    said, answers, read_meanwhile, ranking = in_service(service, talk)
    assert said == 201
    assert read_meanwhile == []
    assert [answer.json()["stale"] for answer in answers] == [False] * 40
    assert (ranking["stale"], ranking["seq"]) == (False, 1)
    assert reader.passes == [["I like quiet films"]]


def test_texts_that_wait_are_read_together(gated):
    service, reader = gated()

    async def talk(client):
        await client.post(path("first", "/events"), json={"about": "the first"})
        while not service.users.texts.is_reading:
            await asyncio.sleep(0.001)
        for number in range(8):
            await client.post(path(f"u{number}", "/events"), json={"about": f"I like {number}"})
        await client.post(path("again", "/events"), json={"about": "I like 3"})
        asked = [client.get(path(user, "/recommendations")) for user in ("first", "again", "u0", "u7")]
        answers = asyncio.gather(*asked)
        reader.gate.set()
        return [answer.json()["stale"] for answer in await answers]

    assert in_service(service, talk) == [False] * 4
    assert reader.passes == [["the first"], [f"I like {number}" for number in range(8)]]


def test_ranking_is_stale_only_over_the_bound(gated, personaliser):
    service, reader = gated(batch=BatchLimits(largest=8, window_s=0, queue=2))
    item = personaliser.items[0]

    async def talk(client):
        await client.post(path("first", "/events"), json={"about": "the first"})
        while not service.users.texts.is_reading:
            await asyncio.sleep(0.001)
        for number in range(2):
            await client.post(path(f"u{number}", "/events"), json={"about": f"I like {number}"})
        await client.post(path("ada", "/events"), json=log_of(item))
        known = await client.get(path("ada", "/recommendations"))
        await client.post(path("ada", "/events"), json={"about": "I like quiet films"})
        over = await client.get(path("ada", "/recommendations"))
        await client.post(path("bob", "/events"), json={"about": "I like loud films"})
        refused = await client.get(path("bob", "/recommendations"))
        also_refused = await client.post("/v1/rank", json={"about": "I like loud films"})
        partly = await client.post("/v1/rank", json=log_of(item) | {"about": "I like loud films"})
        metrics = (await client.get("/metrics")).text
        reader.gate.set()
        waiting = await client.get(path("u1", "/recommendations"))
        later = [await client.get(path(user, "/recommendations")) for user in ("ada", "bob")]
        return known, over, refused, also_refused, partly, metrics, waiting, later

    known, over, refused, also_refused, partly, metrics, waiting, later = in_service(service, talk)
    assert not known.json()["stale"]
    assert (over.json()["stale"], over.json()["seq"], over.json()["last_seq"]) == (True, 1, 2)
    assert items_of(over) == items_of(known)
    # Nothing is known of bob but a text that nobody has read: the ranking would be anybody's.
    for answer in (refused, also_refused):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["field"] == "queue of texts"
    assert partly.json()["stale"]
    assert items_of(partly) == items_of(known)
    assert "warmprompt_rankings_stale_total 2.0" in metrics.splitlines()
    assert [one.json()["stale"] for one in (waiting, *later)] == [False] * 3
    assert [one.json()["seq"] for one in later] == [2, 1]


def test_spent_budget_leaves_the_former_text(gated, personaliser):
    service, reader = gated()
    items = personaliser.items

    async def talk(client):
        reader.gate.set()
        await client.post(path("ada", "/events"), json=log_of(items[0]) | {"about": "I like quiet films"})
        before = await client.get(path("ada", "/recommendations"))
        reader.gate.clear()
        await client.post(path("ada", "/events"), json=log_of(items[1]) | {"about": "I like loud films"})
        hasty = await client.get(path("ada", "/recommendations"), params={"budget_ms": 20})
        sent = await client.post(
            "/v1/rank", json=log_of(*items[:2]) | {"about": "I like quiet films"}, params={"budget_ms": 20}
        )
        reader.gate.set()
        return before, hasty, sent, await client.get(path("ada", "/recommendations"))

    before, hasty, sent, after = in_service(service, talk)
    assert (before.json()["stale"], before.json()["seq"]) == (False, 2)
    assert (hasty.json()["stale"], hasty.json()["seq"], hasty.json()["last_seq"]) == (True, 2, 4)
    assert (sent.json()["stale"], hasty.json()["items"]) == (False, sent.json()["items"])
    assert (after.json()["stale"], after.json()["seq"]) == (False, 4)
    assert after.json()["items"] != hasty.json()["items"]


def test_deletion_waits_for_no_model(gated, personaliser):
    service, reader = gated()
    secret = "I collect quokkas"

    async def talk(client):
        body = log_of(personaliser.items[0]) | {"about": secret}
        await client.post(path("ada", "/events"), json=body)
        while not service.users.texts.is_reading:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(client.get(path("ada", "/recommendations")))
        await asyncio.sleep(0.01)
        deleted = await asyncio.wait_for(client.delete(path("ada")), timeout=30)
        assert reader.passes == []
        reader.gate.set()
        answer = (await waiting).json()
        await written(service)
        return deleted.json()["entries"], answer, await client.get(path("ada"))

    entries, answer, export = in_service(service, talk)
    assert (entries, export.status_code) == (2, 404)
    assert (answer["seq"], answer["last_seq"], answer["events"]["used"]) == (0, 0, 0)
    assert [one["item"] for one in answer["items"]] == of_nobody(personaliser)
    assert reader.passes == [[secret]]
    assert service.users.texts._kept.items() == []
    assert service.store.get_state("ada", service.users.model.version) is None


def test_states_made_in_company_equal_their_rebuild(gated, personaliser, tiny_model):
    service, reader = gated()
    items = personaliser.items
    users = [f"u{number}" for number in range(11)]

    async def talk(client):
        for number, user in enumerate(users):
            about = f"I like {'o' * 2 * number}"
            body = log_of(items[number], rating=4) | {"about": about}
            assert (await client.post(path(user, "/events"), json=body)).status_code == 201
        reader.gate.set()
        await written(service)

    in_service(service, talk)
    assert sorted(map(len, reader.passes))[-1] == 8
    for user in users:
        stored = service.store.get_state(user, tiny_model.version)
        assert stored.data == rebuilt(service.store, user, tiny_model).data


def test_user_deleted_during_the_first_append_stays_unknown(service, store, personaliser, monkeypatch):
    append = type(store).append

    async def talk(client):
        def then_delete(self, user, entries, **options):
            done = append(self, user, entries, **options)
            loop = service_loop[0]
            asyncio.run_coroutine_threadsafe(service.users.forget(user), loop).result(30)
            return done

        service_loop = [asyncio.get_running_loop()]
        monkeypatch.setattr(type(store), "append", then_delete)
        posted = await client.post(path("ada", "/events"), json=log_of(personaliser.items[0]))
        return posted, await client.get(path("ada", "/recommendations"))

    posted, ranking = in_service(service, talk)
    assert posted.status_code == 201
    assert (ranking.json()["seq"], ranking.json()["last_seq"]) == (0, 0)
    assert len(service.users) == 0


def test_a_text_costs_more_of_the_rate_limit_than_an_event(with_settings, personaliser):
    service = with_settings(limits=RequestLimits(per_s=0.001, burst=30))
    event = log_of(personaliser.items[0])

    async def talk(client):
        sent = [
            (await client.post(path("ada", "/events"), json={"about": f"I like {number}"})).status_code
            for number in range(3)
        ]
        rank = await client.post("/v1/rank", json={"about": "I like films"})
        events = [(await client.post(path("bob", "/events"), json=event)).status_code for _ in range(6)]
        return sent, rank, events

    sent, rank, events = in_service(service, talk)
    # A text costs its request and ten more: 30 tokens are enough for two, and for six requests without.
    assert sent == [201, 201, 429]
    assert (rank.status_code, "retry-after" in rank.headers) == (429, True)
    assert events == [201] * 6
    assert service.store.head("ada").last_seq == 2


def test_readings_of_a_former_model_are_dropped(service, personaliser, tiny_model):
    other = make_model(personaliser, room=4, largest_batch=8)

    async def talk(client):
        await client.post(path("ada", "/events"), json={"about": "I like quiet films"})
        before = await client.get(path("ada", "/recommendations"))
        service.users.use(other)
        kept = service.users.texts._kept.items()
        return before, kept, await client.get(path("ada", "/recommendations"))

    before, kept, after = in_service(service, talk)
    assert kept == []
    assert before.json()["model"] == tiny_model.version
    assert (after.json()["model"], after.json()["stale"]) == (other.version, False)
    assert items_of(after) == items_of(before)
    assert [job.reader for job, _ in service.users.texts._kept.items()] == [other.texts]


def test_user_of_whom_only_a_text_is_known_waits_for_it(gated):
    service, reader = gated()

    async def talk(client):
        await client.post(path("ada", "/events"), json={"about": "I like quiet films"})
        hasty = {"budget_ms": 0}
        asked = asyncio.gather(
            client.get(path("ada", "/recommendations"), params=hasty),
            client.post("/v1/rank", json={"about": "I like loud films"}, params=hasty),
        )
        done, _ = await asyncio.wait({asked}, timeout=0.1)
        reader.gate.set()
        return done, await asked

    done, answers = in_service(service, talk)
    assert done == set()
    assert [(answer.status_code, answer.json()["stale"]) for answer in answers] == [(200, False)] * 2
