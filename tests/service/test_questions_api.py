"""Questions, and rankings in order, over HTTP: as the model answers when asked directly."""

from dataclasses import replace

import numpy as np
import pytest
from tests.service.talking import in_service, items_of, log_of, make_service

from warmprompt import Event
from warmprompt.experts.mixture import ANCHORS
from warmprompt.experts.position import POSITIONS, PositionPopularity
from warmprompt.experts.registry import ORDERED
from warmprompt.service.model.served_model import make_model


def test_questions_are_the_models_and_leave_out_what_the_log_has(service, personaliser):
    first = personaliser.ask(personaliser.adapt(), 8).items
    marked = [Event(item=first[0]), Event(item=first[3], rating=2.0)]
    second = personaliser.ask(personaliser.adapt(marked), 8, shown=first).items

    async def talk(client):
        url = "/v1/users/ada/questions"
        asked = await client.get(url, params={"n": 8})
        await client.post("/v1/users/ada/events", json=log_of(first[0], first[3]))
        return asked, await client.get(url, params={"n": 8, "shown": list(first)}), await client.get(url)

    asked, after, unasked = in_service(service, talk)
    assert items_of(asked) == list(first)
    assert [row["title"] for row in asked.json()["items"]] == [personaliser.title(item) for item in first]
    assert asked.json()["seq"] == 0
    assert items_of(after) == list(second)
    assert after.json()["seq"] == 2
    assert len(items_of(unasked)) == 12
    assert not {first[0], first[3]} & set(items_of(unasked))


def test_hidden_items_are_not_asked_about_and_new_ones_neither(service, personaliser):
    first = personaliser.ask(personaliser.adapt(), 3).items
    new = {"id": "new-1" if isinstance(first[0], str) else 99_001, "title": "Robots at Sea"}

    async def talk(client):
        assert (await client.put(f"/v1/items/{first[1]}/hidden")).status_code == 200
        assert (await client.post("/v1/items", json={"items": [new]})).status_code == 201
        hidden = await client.get("/v1/users/ada/questions", params={"n": 200})
        assert (await client.delete(f"/v1/items/{first[1]}/hidden")).status_code == 200
        return hidden, await client.get("/v1/users/ada/questions", params={"n": 3})

    hidden, again = in_service(service, talk)
    assert first[1] not in items_of(hidden)
    assert new["id"] not in items_of(hidden)
    assert items_of(again) == list(first)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"n": 0}, "query.n"),
        ({"n": 201}, "query.n"),
        ({"shown": "nothing"}, "shown 0"),
        ({"asked": "50"}, "query.asked"),
    ],
)
def test_a_wrong_question_is_a_problem_that_names_its_parameter(service, params, field):
    answer = in_service(service, lambda client: client.get("/v1/users/ada/questions", params=params))
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.fixture
def ordered_service(store, personaliser, settings):
    """Return a service, and its run, with an expert of order: one item leads until two events are known."""
    shares_PV = np.zeros((len(POSITIONS), len(personaliser.items)), dtype=np.float32)
    shares_PV[:2, 5] = 100
    shares_PV[2:, 9] = 100
    expert = PositionPopularity(shares_PV=shares_PV)
    trained = personaliser.engine.trained
    experts = trained.experts.without(*ORDERED)
    experts = replace(
        experts,
        experts={**experts.experts, expert.name: expert},
        ordered={expert.name: [10.0] * len(ANCHORS)},
    )
    from warmprompt.adaptation.engine import make_engine

    engine = make_engine(replace(trained, experts=experts), models=personaliser.engine.models)
    run = replace(personaliser, engine=engine)
    return make_service(store, make_model(run, room=4, largest_batch=4), settings), run


def test_the_order_of_events_counts_where_a_request_says_so(ordered_service):
    service, run = ordered_service
    body = log_of(*run.items[20:23])

    async def talk(client):
        url = "/v1/users/ada/recommendations"
        before = await client.get(url, params={"n": 1, "ordered": True})
        await client.post("/v1/users/ada/events", json=body)
        whole, in_order, again = [
            await client.get(url, params={"n": 5} | more) for more in ({}, {"ordered": True}, {})
        ]
        ranks = [
            await client.post("/v1/rank", json=body | {"n": 5} | more) for more in ({}, {"ordered": True})
        ]
        refused = await client.get(url, params={"ordered": True, "explain": True})
        return before, whole, in_order, again, ranks, refused

    before, whole, in_order, again, ranks, refused = in_service(service, talk)
    state = run.adapt([Event(item=item) for item in run.items[20:23]])
    assert items_of(before) == [run.items[5]]
    assert items_of(in_order) == list(run.rank(state, 5, ordered=True).items)
    assert items_of(in_order)[0] == run.items[9]
    assert items_of(whole) == items_of(again) == list(run.rank(state, 5).items)
    assert [items_of(answer) for answer in ranks] == [items_of(whole), items_of(in_order)]
    assert (refused.status_code, refused.json()["field"]) == (422, "query.ordered")
