"""Explanations in service: written by the run's own model, with its data set's genres, beside the batches."""

import asyncio
import threading
from dataclasses import replace

from tests.service.talking import in_service, log_of, make_service, path

from warmprompt.errors import UnknownNameError
from warmprompt.service.explaining import explainer_of_run
from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.model.served_model import extended, make_model


def explained(service, items):
    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(*items, rating=5))
        return await client.get(path("ada", "/recommendations"), params={"n": 2, "explain": "true"})

    answer = in_service(service, talk)
    assert answer.status_code == 200, answer.text
    return [row["explanation"] for row in answer.json()["items"]]


def test_sentences_use_the_runs_model_and_genres(store, personaliser, settings, planted_folder, monkeypatch):
    folder, world = planted_folder
    monkeypatch.setattr("warmprompt.service.explaining.find_dataset", lambda _name: folder)
    model = make_model(personaliser, room=8, largest_batch=4, make_explainer=explainer_of_run(writes=True))
    assert any(model.explainer.facts.genres.values())
    explanations = explained(make_service(store, model, settings), personaliser.items[:3])
    assert [one["how"] for one in explanations] == ["model", "model"]
    assert all(claim["holds"] for one in explanations for claim in one["checks"])
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
    assert {
        one["how"] for one in explained(make_service(store, model, settings), personaliser.items[:3])
    } == {"template"}


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
