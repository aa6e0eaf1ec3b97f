"""The first hour with a small data set of one's own, in the environment that `make demo` builds."""

import json

import httpx
import pytest

from warmprompt.baselines.registry import BASELINES
from warmprompt.meta.learners import LEARNERS

# In one process each: importing torch takes longer than training these.
EVERY_LEARNER = """
import os, warmprompt
from warmprompt.meta.learners import LEARNERS
for name in LEARNERS:
    flags = {"data.name": "shop", "learner.name": name}
    warmprompt.train_run(warmprompt.load_settings(environment=os.environ, flags=flags), f"runs/{name}")
    model = warmprompt.load(f"runs/{name}")
    state = model.adapt([warmprompt.Event(item="sku00")], about="I love tea")
    print(f"{name}:{len(model.rank(state, 5).titles)}")
"""
EVERY_PROTOCOL = """
import warmprompt
from typing import get_args, get_type_hints
for name in get_args(get_type_hints(warmprompt.EvaluateSettings)["protocol"]):
    options = warmprompt.EvaluateSettings(protocol=name, k=(1,), baselines=("toppop",))
    assert warmprompt.evaluate_run("runs/shop", options).rows
    print(name)
"""
LORA = """
from warmprompt.baselines import baseline
from warmprompt.data.home import find_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
task = build_task(open_dataset(find_dataset("shop")), ProtocolSettings(ks=(3,)), seed=0)
lora = baseline("lora", backbone="tiny", num_layers=1, num_factors=8, num_epochs=1)()
fitted = lora.fit(task.training, task.validation, seed=0)
print(*fitted.score([task.cases[3][0].support]).shape)
"""


def run_python(clone, program):
    (clone.folder / "program.py").write_text(program)
    return clone.run("python program.py")


@pytest.fixture(scope="module")
def shop(new_clone, shop_data):
    """Yield a clone with a run of the shop."""
    clone = new_clone()
    clone.run("warmprompt train --data shop --out runs/shop")
    yield clone
    clone.stop()


def test_strings_without_ratings_are_imported_whole(shop):
    printed = shop.run("warmprompt data describe shop")
    assert "100" in printed
    assert "1,300" in printed


def test_every_learner_trains_and_recommends(shop):
    assert run_python(shop, EVERY_LEARNER).split() == [f"{name}:5" for name in LEARNERS]


def test_every_baseline_is_measured(shop):
    # LoRA fine-tunes SmolLM2 for minutes; the next test runs it on the smallest model.
    names = [name for name in BASELINES if name != "lora"]
    options = f"--k 0,3 --baselines {','.join(names)} --tune-budget 0 --out results.json"
    shop.run(f"warmprompt evaluate runs/shop {options}")
    rows = json.loads((shop.folder / "results.json").read_text())["rows"]
    assert len({row["model"] for row in rows}) == len(names) + 2


def test_lora_is_fitted(shop):
    assert run_python(shop, LORA).split() == ["1", "60"]


def test_every_protocol_is_measured(shop):
    protocols = run_python(shop, EVERY_PROTOCOL).split()
    assert {"next", "temporal", "cold-item"} <= set(protocols)


def test_a_service_takes_events_and_new_items(shop):
    at = shop.serve("warmprompt serve runs/shop --port 0 --budget-ms 10000")
    with httpx.Client(base_url=at, timeout=60, trust_env=False) as http:
        stored = http.post(
            "/v1/users/ada/events", json={"events": [{"item": "sku00"}], "about": "I like tea"}
        )
        assert stored.is_success, stored.text
        added = http.post("/v1/items", json={"items": [{"id": "new", "title": "Tea No. 99", "text": "Tea"}]})
        assert added.is_success, added.text
        ranked = http.get("/v1/users/ada/recommendations", params={"n": 60}).json()
        assert "new" in {row["item"] for row in ranked["items"]}
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
    (line,) = shop.run(command, code=2, in_new_process=True).splitlines()
    assert line.startswith("error: this needs 'lxml', which is not installed. Install it: ")
    assert "river" in line or "[risk]" in line
    assert not (shop.folder / "none.db").exists()
