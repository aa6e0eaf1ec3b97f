"""Item ids of any size, as number or as text, over HTTP: what import takes, the service takes, exactly."""

import json
from dataclasses import replace

import pytest
from tests.service.talking import in_service, items_of, make_service, path

from warmprompt.service.model.served_model import make_model

BEYOND = 2**53


def renamed(personaliser, ids):
    """Return the run as if its items were called otherwise."""
    trained = replace(personaliser.engine.trained, item_ids=tuple(ids))
    index = {item: position for position, item in enumerate(ids)}
    return replace(personaliser, engine=replace(personaliser.engine, trained=trained), index=index)


@pytest.fixture(scope="module")
def numbered(personaliser):
    """Return a run whose ids are 5, 0, -7 and then numbers that are equal as doubles."""
    ids = [5, 0, -7, *(BEYOND + number for number in range(len(personaliser.items) - 3))]
    return make_model(renamed(personaliser, ids), room=8, largest_batch=8)


@pytest.fixture(scope="module")
def lettered(personaliser):
    """Return a run of text ids, some of which write numbers."""
    ids = ["5", "05", str(2**64 + 1), *(f"i{number}" for number in range(len(personaliser.items) - 3))]
    return make_model(renamed(personaliser, ids), room=8, largest_batch=8)


@pytest.mark.parametrize("item", [BEYOND + 1, BEYOND + 19, 5, 0, -7])
@pytest.mark.parametrize("spelled", [int, str])
def test_number_id_is_accepted_as_text(store, numbered, settings, item, spelled):
    """The neighbours of the item, which a double takes for it, stay where they were."""

    async def talk(client):
        body = {"events": [{"item": spelled(item), "rating": 5}]}
        posted = await client.post(path("a", "/events"), json=body)
        export = await client.get(path("a"))
        ranking = await client.get(path("a", "/recommendations"), params={"n": 100})
        rank = await client.post("/v1/rank", json=body | {"n": 100, "exclude": [spelled(item)]})
        only = await client.post("/v1/rank", json={"candidates": [spelled(item)]})
        similar = await client.get(f"/v1/items/{spelled(item)}/similar", params={"n": 100})
        hidden = await client.put(f"/v1/items/{spelled(item)}/hidden")
        without = await client.get(path("b", "/recommendations"), params={"n": 100, "exclude": spelled(item)})
        return posted, export, ranking, rank, only, similar, hidden, without

    posted, export, ranking, rank, only, similar, hidden, without = in_service(
        make_service(store, numbered, settings), talk
    )
    others = set(numbered.personaliser.items) - {item}
    assert posted.status_code == 201, posted.text
    assert [entry["body"]["item"] for entry in export.json()["log"]] == [item]
    assert [type(entry["body"]["item"]) for entry in export.json()["log"]] == [int]
    for answer in (ranking, rank, similar, without):
        assert set(items_of(answer)) == others
    assert items_of(only) == [item]
    assert hidden.json()["item"] == item


def test_number_matches_equal_text_id(store, lettered, settings):
    async def talk(client):
        events = [{"item": item} for item in (5, "05", 2**64 + 1)]
        posted = await client.post(path("a", "/events"), json={"events": events})
        return posted, await client.get(path("a"))

    posted, export = in_service(make_service(store, lettered, settings), talk)
    assert posted.status_code == 201, posted.text
    assert [entry["body"]["item"] for entry in export.json()["log"]] == ["5", "05", str(2**64 + 1)]


@pytest.mark.parametrize(
    ("written", "kind"),
    [("true", "true or false"), ("5.0", "a number with a point"), ("1e3", "a number with a point"),
     ("null", "null"), ("[5]", "a list or an object"), ("{}", "a list or an object")],
)  # fmt: skip
def test_non_id_is_refused_with_valid_kinds(store, numbered, settings, written, kind):
    service = make_service(store, numbered, settings)
    body = json.dumps({"events": [{"item": 5}, {"item": "HERE"}]}).replace('"HERE"', written)
    headers = {"Content-Type": "application/json"}
    answer = in_service(
        service, lambda client: client.post(path("a", "/events"), content=body, headers=headers)
    )
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, "body.events.1.item")
    assert problem["remedy"] == f'Give a whole number such as 5, or a text such as "5"; this is {kind}.'


@pytest.mark.parametrize("item", ["5.0", "05", "+5", " 5", "9007199254740992.0", "", "x" * 129, 10**200])
def test_similar_ids_are_not_accepted(store, numbered, settings, item):
    service = make_service(store, numbered, settings)
    answer = in_service(
        service, lambda client: client.post(path("a", "/events"), json={"events": [{"item": item}]})
    )
    assert answer.status_code == 422
    assert service.store.entries("a") == ()


def test_new_number_id_may_be_text(store, numbered, settings):
    new = {"items": [{"id": str(2**60 + 1), "title": "One"}, {"id": 2**60 + 2, "title": "Two"}]}

    async def talk(client):
        added = [await client.post("/v1/items", json=new) for _ in range(2)]
        return added, await client.get("/v1/items", params={"q": "One"})

    added, found = in_service(make_service(store, numbered, settings), talk)
    assert [one.status_code for one in added] == [201, 201]
    assert added[1].json()["added"] == 2
    assert 2**60 + 1 in items_of(found)
    assert f'"item": {2**60 + 1},' in found.text or f'"item":{2**60 + 1},' in found.text


def test_responses_keep_the_id_type(store, numbered, lettered, settings):
    for model, kind in ((numbered, int), (lettered, str)):
        answer = in_service(
            make_service(store, model, settings), lambda client: client.get(path("z", "/recommendations"))
        )
        assert {type(item) for item in items_of(answer)} == {kind}
        assert json.loads(answer.text)["items"][0]["item"] in model.personaliser.index


@pytest.mark.parametrize(
    ("kind", "wanted"), [("numbered", "whole numbers such as 5"), ("lettered", 'texts such as "5"')]
)
def test_unknown_id_is_told_which_kind_is_wanted(store, settings, request, kind, wanted):
    model = request.getfixturevalue(kind)

    async def talk(client):
        return (
            await client.post(path("a", "/events"), json={"events": [{"item": "tt0111161"}]}),
            await client.get(path("a", "/recommendations"), params={"exclude": "tt0111161"}),
            await client.get("/v1/items/tt0111161/similar"),
        )

    answers = in_service(make_service(store, model, settings), talk)
    assert [answer.status_code for answer in answers] == [422, 422, 404]
    for answer in answers:
        assert f"its ids are {wanted}." in answer.json()["remedy"]
