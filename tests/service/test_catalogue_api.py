"""The catalogue over HTTP: looking up, adding, and ranking for people of whom nothing is kept."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.talking import asking, in_service, items_of, log_of, make_service

from warmprompt import Event
from warmprompt.adaptation.titles import title_index
from warmprompt.service.items import item_of, stored_item
from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.service import ModelSource, load_model

NEW = {"items": [{"id": "new-1", "title": "The Lighthouse Keeper (2026)", "text": "Drama"}]}


def test_empty_query_lists_popular_items(service, personaliser):
    answer = in_service(service, lambda client: client.get("/v1/items", params={"n": 60})).json()
    popularity = personaliser.engine.popularity_V.numpy()
    expected = sorted(range(60), key=lambda item: -popularity[item])
    assert [one["item"] for one in answer["items"]] == [personaliser.items[item] for item in expected]
    assert (answer["total"], answer["rating_scale"]) == (60, [1.0, 5.0])


def test_search_finds_parts_and_misspellings(service, personaliser):
    title = personaliser.title(personaliser.items[7])
    slip = title.replace("a", "e", 1).lower()

    async def talk(client):
        return [
            (await client.get("/v1/items", params={"q": words, "n": 3})).json()["items"]
            for words in (title, title[2:9], slip)
        ]

    for found in in_service(service, talk):
        assert title in [one["title"] for one in found]


def test_untitled_item_is_found_by_id(store, tiny_model, settings, personaliser):
    model = replace(tiny_model, personaliser=untitled(tiny_model.personaliser, 3))
    bare, titled = personaliser.items[3], personaliser.items[4]

    async def talk(client):
        return [
            [one["item"] for one in (await client.get("/v1/items", params={"q": words})).json()["items"]]
            for words in (bare, bare.upper(), titled)
        ]

    by_id, by_loud_id, by_id_of_titled = in_service(make_service(store, model, settings), talk)
    assert by_id[0] == by_loud_id[0] == bare
    assert titled not in by_id_of_titled


def untitled(personaliser, index):
    """Return the run as if one of its items had no title."""
    trained = personaliser.engine.trained
    titles = tuple("" if at == index else title for at, title in enumerate(trained.titles))
    engine = replace(personaliser.engine, trained=replace(trained, titles=titles))
    return replace(personaliser, engine=engine, lookup=title_index(titles, engine.popularity_V.numpy()))


def test_new_item_survives_a_restart(service, store, tiny_model, settings, personaliser):
    async def talk(client):
        added = await client.post("/v1/items", json=NEW)
        again = await client.post("/v1/items", json=NEW)
        found = (await client.get("/v1/items", params={"q": "lighthouse"})).json()["items"][0]
        ranking = await client.get("/v1/users/eve/recommendations", params={"n": 100})
        posted = await client.post("/v1/users/ada/events", json=log_of("new-1", rating=5))
        after = await client.get("/v1/users/ada/recommendations", params={"n": 100})
        return added, again, found, ranking, posted, after

    added, again, found, ranking, posted, after = in_service(service, talk)
    assert (added.status_code, again.status_code, posted.status_code) == (201, 201, 201)
    assert added.json() == again.json() == {"total": 61, "added": 1, "room": 7}
    assert (found["item"], found["added"]) == ("new-1", True)
    assert "new-1" in items_of(ranking)
    assert len(items_of(ranking)) == 61
    assert "new-1" not in items_of(after)
    assert after.json()["events"]["used"] == 1

    source = ModelSource(name="tiny", open=lambda: personaliser)
    from dataclasses import replace

    model = load_model(source, store, replace(settings, room=8))
    assert model.version == tiny_model.version
    after_restart = make_service(store, model, settings)
    later = in_service(
        after_restart, lambda client: client.get("/v1/users/ada/recommendations", params={"n": 100})
    )
    assert later.json()["items"] == after.json()["items"]


@pytest.mark.parametrize(
    ("item", "status", "field"),
    [
        ({"id": "i-taken", "title": "x"}, 409, "id of item"),
        ({"id": 7, "title": "x"}, 422, "id of item"),
        ({"id": "n", "title": "  "}, 422, "body.items.0.title"),
        ({"id": "n"}, 422, "body.items.0.title"),
        ({"id": "n", "title": "x", "genre": "y"}, 422, "body.items.0.genre"),
    ],
)
def test_invalid_item_is_refused(service, personaliser, item, status, field):
    if item["id"] == "i-taken":
        item = item | {"id": personaliser.items[0]}
    answer = in_service(service, lambda client: client.post("/v1/items", json={"items": [item]}))
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert service.store.items().items == ()


def test_items_beyond_capacity_are_refused(service):
    many = {"items": [{"id": f"n{number}", "title": f"Title {number}"} for number in range(9)]}
    answer = in_service(service, lambda client: client.post("/v1/items", json=many))
    assert answer.status_code == 422
    assert "room for 8 more" in answer.json()["remedy"]


def test_item_of_another_process_is_accepted(store, tiny_model, settings):
    from dataclasses import replace

    shared = replace(settings, shared=True)
    one, two = (make_service(store, tiny_model, shared) for _ in range(2))

    async def talk():
        async with asking(one) as first, asking(two) as second:
            await first.post("/v1/items", json=NEW)
            return await second.post("/v1/users/ada/events", json=log_of("new-1"))

    assert asyncio.run(talk()).status_code == 201


def test_item_survives_the_store_round_trip():
    for item in (NewItem(id="7", title="é", text='"x"\n'), NewItem(id=7, title="t")):
        assert item_of(stored_item(item)) == item
    assert stored_item(NewItem(id="7", title="t")).id != stored_item(NewItem(id=7, title="t")).id


def test_ranking_of_inputs_stores_nothing(service, personaliser):
    inputs = [Event(item=item, rating=5.0) for item in personaliser.items[:3]]
    candidates = list(personaliser.items[10:20])
    body = log_of(*personaliser.items[:3], rating=5) | {"about": "hm", "n": 4, "candidates": candidates}
    answer = in_service(service, lambda client: client.post("/v1/rank", json=body))
    state = personaliser.adapt(inputs, about="hm")
    assert items_of(answer) == list(personaliser.rank(state, 4, candidates=candidates).items)
    assert len(service.users) == 0
    assert service.store.users().users == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [({"n": 0}, "body.n"), ({"n": 201}, "body.n"), ({"candidates": []}, "body.candidates"),
     ({"candidates": ["x"]}, "candidate 0"), ({"n": "5"}, "body.n"), ({"n": True}, "body.n")],
)  # fmt: skip
def test_invalid_rank_request_is_refused(service, change, field):
    answer = in_service(service, lambda client: client.post("/v1/rank", json=change))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
