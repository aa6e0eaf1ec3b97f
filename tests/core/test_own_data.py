"""The first hour with a small data set of one's own, in the environment that `make demo` builds."""

import json

import httpx
import pytest

from warmprompt.baselines.registry import BASELINES
from warmprompt.meta.learners import LEARNERS


@pytest.fixture(scope="module")
def shop(new_clone, shop_data):
    """Yield a clone with a run of the shop."""
    clone = new_clone()
    clone.run("warmprompt train --data shop --out runs/shop")
    yield clone
    clone.stop()


def test_strings_without_ratings_are_imported_whole(shop):
    told = shop.run("warmprompt data describe shop")
    assert "100" in told
    assert "1,300" in told


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_trains_and_recommends(shop, learner):
    shop.run(f"warmprompt train --data shop --learner {learner} --out runs/{learner}")
    told = json.loads(shop.run(f"warmprompt recommend runs/{learner} --like 'Tea No. 0' -n 5 --json"))
    assert len(told["items"]) == 5


def test_every_baseline_is_measured(shop):
    shop.run(f"warmprompt evaluate runs/shop --k 0,3 --baselines {','.join(BASELINES)} --out results.json")
    rows = json.loads((shop.folder / "results.json").read_text())["rows"]
    assert len({row["model"] for row in rows}) == len(BASELINES) + 2


@pytest.mark.parametrize("protocol", ["next", "temporal", "cold-item"])
def test_other_protocols_are_measured(shop, protocol):
    shop.run(f"warmprompt evaluate runs/shop --protocol {protocol} --k 1 --baselines toppop")


def test_a_service_takes_events_and_new_items(shop):
    at = shop.serve("warmprompt serve runs/shop --port 0 --budget-ms 10000")
    with httpx.Client(base_url=at, timeout=60, trust_env=False) as http:
        told = http.post("/v1/users/ada/events", json={"events": [{"item": "sku00"}], "about": "I like tea"})
        assert told.status_code == 200, told.text
        added = http.post(
            "/v1/items", json={"items": [{"item": "new", "title": "Tea No. 99", "text": "Tea"}]}
        )
        assert added.status_code in (200, 201), added.text
        ranked = http.get("/v1/users/ada/recommendations", params={"n": 60}).json()
        assert "new" in {place["item"] for place in ranked["items"]}
        # Without --risk there are no entities, and without the extra the page and the document are served.
        payment = {"id": 1, "time_s": 1, "amount_minor": 1, "counterparty": "x"}
        assert http.post("/v1/entities/card/events", json={"events": [payment]}).status_code == 501
        assert http.get("/openapi.json").status_code == 200
        assert http.get("/").status_code == 200


@pytest.mark.parametrize(
    "command",
    [
        "warmprompt serve runs/shop --port 0 --risk nowhere --store sqlite:///none.db",
        "warmprompt risk network --seed 1",
        "warmprompt risk train --out profiler",
    ],
)
def test_what_needs_an_extra_is_refused_at_once(shop, command):
    (line,) = shop.run(command, code=2).splitlines()
    assert line.startswith("error: this needs 'lxml', which is not installed. Install it: ")
    assert "river" in line or "[risk]" in line
    assert not (shop.folder / "none.db").exists()
