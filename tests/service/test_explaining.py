"""Explanations in service: written by the run's own model, with its data set's genres, beside the batches."""

import asyncio
import threading
from dataclasses import replace

import httpx
from tests.service.talking import in_service, listening, log_of, make_service, path

from warmprompt.errors import UnknownNameError
from warmprompt.service.explaining import explainer_factory, explainer_of_run
from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.model.served_model import extended, make_model


def explained(service, items):
    """Return the explanations of two items, and the sentences about them."""

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*items, rating=5))
        answer = await client.get(path("ada", "/recommendations"), params={"n": 2, "explain": "true"})
        assert answer.status_code == 200, answer.text
        rows = answer.json()["items"]
        sentences = [await client.get(path("ada", "/sentence"), params={"item": row["item"]}) for row in rows]
        return [row["explanation"] for row in rows], [one.json() for one in sentences]

    return in_service(service, talk)


def test_sentences_use_the_runs_model_and_genres(store, personaliser, settings, planted_folder, monkeypatch):
    folder, world = planted_folder
    monkeypatch.setattr("warmprompt.service.explaining.find_dataset", lambda _name: folder)
    model = make_model(personaliser, room=8, largest_batch=4, make_explainer=explainer_of_run(writes=True))
    assert any(model.explainer.facts.genres.values())
    explanations, sentences = explained(make_service(store, model, settings), personaliser.items[:3])
    assert [one["how"] for one in explanations] == ["template", "template"]
    assert [one["how"] for one in sentences] == ["model", "model"]
    assert [one["item"] for one in sentences] == [one["item"] for one in explanations]
    assert {one["seq"] for one in sentences} == {3}
    assert all(claim["holds"] for one in (*explanations, *sentences) for claim in one["checks"])
    assert world.dataset.item_ids == personaliser.items
    # An item that came later has no genres, and takes nobody else's.
    more = extended(model, [NewItem(id="new", title="Star Kitchen (2026)")], items_version=1)
    assert more.explainer.facts.genres["new"] == ()
    assert more.explainer.facts.genres.items() >= model.explainer.facts.genres.items()
    assert more.explainer.writer is model.explainer.writer


def test_missing_data_set_gives_no_genres(store, personaliser, settings, monkeypatch):
    def absent(name):
        raise UnknownNameError(field="data set", value=name, remedy="Get it.")

    monkeypatch.setattr("warmprompt.service.explaining.find_dataset", absent)
    model = make_model(personaliser, room=0, largest_batch=4, make_explainer=explainer_of_run(writes=False))
    assert not any(model.explainer.facts.genres.values())
    explanations, sentences = explained(make_service(store, model, settings), personaliser.items[:3])
    assert {one["how"] for one in (*explanations, *sentences)} == {"template"}
    assert [one["sentence"] for one in sentences] == [one["sentence"] for one in explanations]


def test_explanation_does_not_block_adaptation(store, personaliser, settings, tiny_model):
    begun, leave = threading.Event(), threading.Event()

    class Slow:
        def explain(self, state, items):
            begun.set()
            assert leave.wait(60)
            return [{} for _ in items]

    service = make_service(store, replace(tiny_model, explainer=Slow()), settings)

    async def talk(client):
        slow = asyncio.create_task(
            client.get(path("eve", "/recommendations"), params={"explain": "true", "n": 1})
        )
        while not begun.is_set():
            await asyncio.sleep(0.001)
        await client.post(path("ada", "/events"), json=log_of(personaliser.items[0]))
        fresh = (await client.get(path("ada", "/recommendations"))).json()
        assert not slow.done()
        leave.set()
        return fresh, (await slow).status_code

    fresh, status = in_service(service, talk)
    assert (fresh["seq"], fresh["stale"], status) == (1, False, 200)


class Counted:
    """An explainer that waits until it is let go, and counts its calls."""

    def __init__(self):
        self.calls, self.begun, self.leave = [], threading.Event(), threading.Event()

    def explain(self, state, items):
        self.calls.append("explain")
        self.begun.set()
        assert self.leave.wait(60)
        return [{} for _ in items]

    def sentence(self, state, item):
        self.calls.append("sentence")
        return {"item": item, "title": "", "sentence": "", "how": "template", "checks": []}


def test_explanations_whose_clients_left_are_not_made(store, settings, tiny_model, personaliser):
    """Over real connections, because only those can be left: one runs, seven wait and never begin."""
    slow = Counted()
    service = make_service(store, replace(tiny_model, explainer=slow), settings)

    async def talk(address):
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            url, params = path("ada", "/recommendations"), {"explain": "true", "n": 1}
            tasks = [asyncio.create_task(client.get(url, params=params)) for _ in range(8)]
            while not slow.begun.is_set():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(1000):
                left = (await client.get("/metrics")).text
                if 'recommendations",status="499"} 8.0' in left:
                    break
                await asyncio.sleep(0.01)
            # Sentences have a thread of their own: this one waits for no explanation.
            item = personaliser.items[0]
            sentence = await client.get(path("ada", "/sentence"), params={"item": item})
            slow.leave.set()
            again = await client.get(url, params=params)
            return sentence.status_code, again.status_code

    with listening(service) as address:
        assert asyncio.run(talk(address)) == (200, 200)
    assert slow.calls == ["explain", "sentence", "explain"]


def test_at_most_ten_items_are_explained(store, settings, tiny_model):
    slow = Counted()
    slow.leave.set()
    service = make_service(store, replace(tiny_model, explainer=slow), settings)

    async def talk(client):
        url = path("ada", "/recommendations")
        return [await client.get(url, params={"explain": "true", "n": n}) for n in (10, 11)]

    ten, eleven = in_service(service, talk)
    assert (ten.status_code, eleven.status_code, eleven.json()["field"]) == (200, 422, "query.n")


def test_sentence_of_nothing_that_can_be_explained_is_refused(service, store, settings, personaliser):
    own = personaliser.items[0]
    model = make_model(personaliser, room=0, largest_batch=4, make_explainer=explainer_factory())

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(own, rating=5))
        items = (own, "nothing", "")
        return [await client.get(path("ada", "/sentence"), params={"item": item}) for item in items]

    answers = in_service(make_service(store, model, settings), talk)
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert [answer.json()["field"] for answer in answers] == ["item", "item 0", "query.item"]
    assert [answer.status_code for answer in in_service(service, talk)] == [501, 422, 422]
