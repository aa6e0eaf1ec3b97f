"""Exclusions, filters, similar and hidden items over HTTP, against the model; wrong ones are problems."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.talking import asking, in_service, items_of, log_of, make_service, path

from warmprompt import Event
from warmprompt.service.keys import new_key
from warmprompt.service.service import ModelSource, load_model
from warmprompt.store.opening import open_store


@pytest.fixture(scope="module")
def genres(personaliser):
    """Return every item's genre."""
    return dict(
        zip(personaliser.items, personaliser.engine.trained.attributes.frame["genres"].list[0], strict=True)
    )


def asked(service, url, **params):
    return in_service(service, lambda client: client.get(url, params=params))


def test_recommendations_apply_exclusions_and_filters(service, personaliser, genres):
    genre = genres[personaliser.items[0]]
    without = [item for item, one in genres.items() if one == genre][:3]

    async def talk(client):
        await client.post("/v1/users/ada/events", json=log_of(personaliser.items[5], rating=5))
        url = "/v1/users/ada/recommendations"
        whole = await client.get(url, params={"n": 100})
        part = await client.get(
            url, params={"n": 100, "exclude": without, "filter": f"genres={genre.upper()}"}
        )
        again = await client.get(url, params={"n": 100})
        return whole, part, again

    whole, part, again = in_service(service, talk)
    expected = [item for item in items_of(whole) if genres[item] == genre and item not in without]
    assert items_of(part) == expected
    assert items_of(again) == items_of(whole)


def test_rank_applies_exclusions_and_filters(service, personaliser, genres):
    first, second = sorted(set(genres.values()))[:2]
    events = [Event(item=item, rating=5.0) for item in personaliser.items[:2]]
    options = {"exclude": list(personaliser.items[10:20]), "filter": {"genres": [first, second]}}
    body = log_of(*personaliser.items[:2], rating=5) | options | {"n": 60}
    answer = in_service(service, lambda client: client.post("/v1/rank", json=body))
    expected = personaliser.rank(personaliser.adapt(events), 60, **options)
    assert set(items_of(answer)) == set(expected.items)


def test_popular_items_can_be_filtered(service, genres):
    genre = sorted(set(genres.values()))[0]
    answer = asked(service, "/v1/items", n=60, filter=f"genres={genre}")
    assert {genres[item] for item in items_of(answer)} == {genre}
    assert len(items_of(answer)) == list(genres.values()).count(genre)
    assert answer.json()["attributes"] == ["genres"]


def test_similar_items_match_the_model(service, personaliser, genres):
    item = personaliser.items[3]
    genre = genres[personaliser.items[4]]

    async def talk(client):
        plain = await client.get(f"/v1/items/{item}/similar")
        part = await client.get(f"/v1/items/{item}/similar", params={"n": 60, "filter": f"genres={genre}"})
        return plain, part

    plain, part = in_service(service, talk)
    expected = personaliser.similar(item)
    assert items_of(plain) == list(expected.items)
    assert [one["score"] for one in plain.json()["items"]] == [round(score, 6) for score in expected.scores]
    assert (plain.json()["item"], plain.json()["title"]) == (item, personaliser.title(item))
    assert items_of(part) == list(personaliser.similar(item, 60, filter={"genres": genre}).items)


@pytest.mark.parametrize("url", ["/v1/users/ada/recommendations", "/v1/items/ITEM/similar"])
def test_candidates_of_a_stored_user_are_those_of_the_model(service, personaliser, url):
    some = list(personaliser.items[10:20])

    async def talk(client):
        await client.post("/v1/users/ada/events", json=log_of(personaliser.items[0], rating=5))
        return await client.get(
            url.replace("ITEM", personaliser.items[0]),
            params={"candidates": some, "exclude": some[3], "n": 20},
        )

    if url.endswith("similar"):
        expected = personaliser.similar(personaliser.items[0], 20, candidates=some, exclude=some[3:4])
    else:
        state = personaliser.adapt([Event(item=personaliser.items[0], rating=5.0)])
        expected = personaliser.rank(state, 20, candidates=some, exclude=some[3:4])
    assert items_of(in_service(service, talk)) == list(expected.items)
    assert len(expected.items) == 9


@pytest.mark.parametrize(
    ("params", "field", "remedy"),
    [
        ({"candidates": "nothing"}, "candidate 0", "The catalogue does not have it"),
        ({"exclude": "nothing"}, "exclude 0", "The catalogue does not have it"),
        ({"filter": "genre=x"}, "filter", "Attributes of the items: genres."),
        ({"filter": "genres=x"}, "filter genres", "Its values: "),
        ({"filter": "genres"}, "filter", "Write genres=Comedy"),
        ({"filter": "genres=1.."}, "filter genres", "It has no numbers."),
        ({"exclude": ""}, "query.exclude.0", "It should have at least 1 character"),
        ({"exclude": "x" * 129}, "query.exclude.0", "at most 128 characters"),
        ({"filter": [f"a{n}=b" for n in range(21)]}, "query.filter", "at most 20 items"),
    ],
)
@pytest.mark.parametrize("url", ["/v1/users/ada/recommendations", "/v1/items/ITEM/similar"])
def test_invalid_selection_is_422(service, personaliser, url, params, field, remedy):
    answer = asked(service, url.replace("ITEM", personaliser.items[0]), **params)
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, field)
    assert remedy in problem["remedy"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"exclude": ["x"]}, "exclude 0"),
        ({"exclude": [True]}, "body.exclude.0"),
        ({"filter": {"genre": "x"}}, "filter"),
        ({"filter": {"genres": "x"}}, "filter genres"),
        ({"filter": {"genres": {"min": 1}}}, "filter genres"),
        ({"filter": {"genres": {"min": 2, "max": 1}}}, "filter genres"),
    ],
)
def test_invalid_rank_selection_is_422(service, change, field):
    answer = in_service(service, lambda client: client.post("/v1/rank", json=change))
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "filter", [{"genres": {}}, {"genres": []}, {"genres": True}, {"genres": {"from": 1}}, "x"]
)
def test_malformed_filter_is_422(service, filter):  # noqa: A002
    answer = in_service(service, lambda client: client.post("/v1/rank", json={"filter": filter}))
    assert answer.status_code == 422
    assert answer.json()["field"].startswith("body.filter")


@pytest.mark.parametrize(
    ("method", "below"), [("GET", "/similar"), ("PUT", "/hidden"), ("DELETE", "/hidden")]
)
def test_unknown_item_is_404(service, method, below):
    answer = in_service(service, lambda client: client.request(method, f"/v1/items/no%2Fthing{below}"))
    problem = answer.json()
    assert (answer.status_code, problem["field"], problem["value"]) == (404, "item id", "no/thing")


def test_run_without_attributes_reports_it(store, tiny_model, settings, personaliser):
    trained = replace(personaliser.engine.trained, attributes=None)
    bare = replace(personaliser, engine=replace(personaliser.engine, trained=trained))
    service = make_service(store, replace(tiny_model, personaliser=bare), settings)
    answer = asked(service, "/v1/users/ada/recommendations", filter="genres=x")
    assert (answer.status_code, answer.json()["field"]) == (422, "filter")
    assert "The run holds no item attributes" in answer.json()["remedy"]


# Hidden items.


def test_hiding_applies_at_once_and_is_reversible(service, personaliser):
    item, near = personaliser.items[0], personaliser.items[1]

    async def everything(client):
        return [
            items_of(await client.get(path("ada", "/recommendations"), params={"n": 100})),
            items_of(await client.get(path("eve", "/recommendations"), params={"n": 100})),
            items_of(await client.post("/v1/rank", json={"n": 100})),
            items_of(await client.get(f"/v1/items/{near}/similar", params={"n": 100})),
            items_of(await client.get("/v1/items", params={"n": 100})),
        ]

    async def talk(client):
        await client.post(path("ada", "/events"), json=log_of(personaliser.items[5], rating=5))
        before = await everything(client)
        cached = await everything(client)
        hidden = await client.put(f"/v1/items/{item}/hidden")
        away = await everything(client)
        found = await client.get("/v1/items", params={"q": personaliser.title(item)})
        listed = await client.get("/v1/items", params={"hidden": True})
        posted = await client.post(path("ada", "/events"), json=log_of(item, rating=1))
        taken_back = await client.delete(path("ada"))
        await client.post(path("ada", "/events"), json=log_of(personaliser.items[5], rating=5))
        shown = await client.delete(f"/v1/items/{item}/hidden")
        return (
            before,
            cached,
            hidden,
            away,
            found,
            listed,
            posted,
            taken_back,
            shown,
            await everything(client),
        )

    before, cached, hidden, away, found, listed, posted, _, shown, after = in_service(service, talk)
    assert before == cached == after
    for whole, left in zip(before, away, strict=True):
        assert item in whole
        assert left == [one for one in whole if one != item]
    assert hidden.json() == {"item": item, "hidden": True, "num_hidden": 1}
    assert shown.json() == {"item": item, "hidden": False, "num_hidden": 0}
    assert [one["hidden"] for one in found.json()["items"] if one["item"] == item] == [True]
    assert items_of(listed) == [item]
    assert posted.status_code == 201


def test_hiding_is_idempotent(service, personaliser):
    async def talk(client):
        url = f"/v1/items/{personaliser.items[0]}/hidden"
        return [
            (await client.request(method, url)).json()["num_hidden"]
            for method in ("PUT", "PUT", "DELETE", "DELETE")
        ]

    assert in_service(service, talk) == [1, 1, 0, 0]


def test_hidden_items_survive_restart_and_reload(service, store, tiny_model, settings, personaliser):
    item = personaliser.items[0]

    async def talk(client):
        await client.put(f"/v1/items/{item}/hidden")
        await client.post("/v1/items", json={"items": [{"id": "new-1", "title": "The Lighthouse"}]})
        await client.put("/v1/items/new-1/hidden")
        await client.post("/v1/admin/reload")
        return await client.get(path("eve", "/recommendations"), params={"n": 100})

    whole = set(personaliser.items) - {item}
    assert set(items_of(in_service(service, talk))) == whole
    model = load_model(ModelSource(name="tiny", open=lambda: personaliser), store, replace(settings, room=8))
    assert model.version == tiny_model.version
    restarted = make_service(store, model, settings)
    assert set(items_of(asked(restarted, path("eve", "/recommendations"), n=100))) == whole


def test_processes_sharing_a_store_share_hiding(store, tiny_model, settings, personaliser):
    shared = replace(settings, shared=True)
    one, two = (make_service(store, tiny_model, shared) for _ in range(2))
    item = personaliser.items[0]

    async def talk():
        async with asking(one) as first, asking(two) as second:
            url = path("eve", "/recommendations")
            before = items_of(await second.get(url, params={"n": 100}))
            await first.put(f"/v1/items/{item}/hidden")
            await two.sync_items()  # as its chores do every two seconds
            return before, items_of(await second.get(url, params={"n": 100}))

    before, after = asyncio.run(talk())
    assert item in before
    assert after == [one for one in before if one != item]


def test_process_polls_hidden_items(store, tiny_model, settings, personaliser, tmp_path):
    # The command line writes to the SQLite file beside the service.
    service = make_service(store, tiny_model, settings)

    async def talk():
        async with asking(service) as client:
            with open_store(f"sqlite:///{tmp_path / 'users.db'}") as beside:
                beside.hide_items([f'"{personaliser.items[0]}"'], hidden=True)
            for _ in range(200):
                found = items_of(await client.get("/v1/items", params={"n": 100}))
                if len(found) == len(personaliser.items) - 1:
                    return found
                await asyncio.sleep(0.1)
            return found

    assert personaliser.items[0] not in asyncio.run(talk())


def test_hiding_needs_admin_and_similar_needs_read(store, tiny_model, settings, personaliser):
    keys = {}
    for scope in ("read", "write", "admin"):
        keys[scope], kept = new_key(scope, [scope], now_s=1)
        store.add_api_key(kept)
    service = make_service(store, tiny_model, settings)
    item = personaliser.items[0]

    async def talk(client):
        answers = {}
        for scope, key in keys.items():
            headers = {"Authorization": f"Bearer {key}"}
            answers[scope] = [
                (await client.put(f"/v1/items/{item}/hidden", headers=headers)).status_code,
                (await client.delete(f"/v1/items/{item}/hidden", headers=headers)).status_code,
                (await client.get(f"/v1/items/{item}/similar", headers=headers)).status_code,
            ]
        return answers

    assert in_service(service, talk) == {
        "read": [403, 403, 200], "write": [403, 403, 403], "admin": [200, 200, 200]
    }  # fmt: skip


# New items carry attributes.


def test_new_item_is_filtered_by_attributes(service, store, settings, personaliser, genres):
    genre = genres[personaliser.items[0]]
    new = [
        {"id": "new-1", "title": "The Lighthouse", "attributes": {"genres": [genre, "Nautical"]}},
        {"id": "new-2", "title": "The Harbour", "attributes": {"genres": "nautical"}},
        {"id": "new-3", "title": "The Meadow"},
    ]

    async def talk(client):
        added = await client.post("/v1/items", json={"items": new})
        again = await client.post("/v1/items", json={"items": new})
        url = path("eve", "/recommendations")
        ranked = [
            await client.get(url, params={"n": 100, "filter": f"genres={one}"}) for one in (genre, "Nautical")
        ]
        return added.status_code, again.status_code, *map(items_of, ranked)

    added, again, of_genre, nautical = in_service(service, talk)
    assert (added, again) == (201, 201)
    assert set(of_genre) == {item for item, one in genres.items() if one == genre} | {"new-1"}
    assert set(nautical) == {"new-1", "new-2"}

    model = load_model(ModelSource(name="tiny", open=lambda: personaliser), store, replace(settings, room=8))
    later = asked(
        make_service(store, model, settings), path("eve", "/recommendations"), filter="genres=NAUTICAL"
    )
    assert set(items_of(later)) == {"new-1", "new-2"}


@pytest.mark.parametrize(
    ("attributes", "field", "remedy"),
    [
        ({"genre": "x"}, "attributes of item 'n'", "Attributes of the items: genres."),
        ({"genres": 5}, "body.items.0.attributes.genres.constrained-str", "string"),
        ({"genres": [5]}, "body.items.0.attributes.genres.constrained-str", "string"),
    ],
)
def test_unknown_attributes_are_refused(service, attributes, field, remedy):
    new = {"items": [{"id": "n", "title": "x", "attributes": attributes}]}
    answer = in_service(service, lambda client: client.post("/v1/items", json=new))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert remedy in answer.json()["remedy"]
    assert service.store.items().items == ()


def test_stored_item_with_unknown_attributes_is_kept(store, settings, personaliser):
    from warmprompt.service.items import stored_item
    from warmprompt.service.model.catalogue import NewItem

    store.put_items([stored_item(NewItem(id="old", title="Old", attributes={"colour": "red"}))])
    model = load_model(ModelSource(name="tiny", open=lambda: personaliser), store, replace(settings, room=8))
    assert "old" in model.personaliser.items
