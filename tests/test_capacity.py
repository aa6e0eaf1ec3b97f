"""The capacity page is arithmetic on measured numbers: each formula against numbers worked out by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def capacity():
    spec = importlib.util.spec_from_file_location("capacity", ROOT / "benchmarks" / "capacity.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "capacity", module)
        spec.loader.exec_module(module)
        yield module


def test_what_is_needed_is_what_a_hand_works_out(capacity):
    measured = {
        "user_ms": 1.0, "large_items": 1_000_000, "large_batch_ms": 9.0, "large_alone_ms": 19.0,
        "adapt_ms": 1.0, "cached_per_s": 1000.0, "process_mb": 200.0, "user_bytes": 10_000.0,
        "prompt_bytes": 20_000.0,
    }  # fmt: skip
    given = capacity.Assumptions(
        users=3_600_000, items=2_000_000, requests_per_s=1000, fresh_share=0.2, utilisation=0.5,
        batch_hours=2, dollars_per_core_hour=0.1, item_tables=1,
    )  # fmt: skip
    need = capacity.needed(measured, given)
    # 1 + 2 x 9 ms a user, 3.6 million users: 19 core hours, 10 cores for 2 hours.
    assert need["batch_ms"] == pytest.approx(19)
    assert need["batch_core_hours"] == pytest.approx(19)
    assert need["batch_cores"] == 10
    assert need["batch_dollars"] == pytest.approx(1.9)
    # 200 fresh ones of 1 + 2 x 19 ms take 7.8 cores, 800 cached ones .8; half used: 17.2.
    assert need["fresh_ms"] == pytest.approx(39)
    assert need["serving_cores"] == 18
    # 2 million items of 64 + 384 numbers of 4 bytes.
    assert need["process_gb"] == pytest.approx(3.584 + 0.2)
    assert need["store_gb"] == pytest.approx(36)


def test_start_and_user_solve_the_two_measured_equations(capacity):
    # 5 s to start and 2 ms a user: 1,000,000 events are 10 blocks of 10,000 users.
    shards = {
        "users": 100_000, "events": 1_000_000,
        "one": [{"cpu_s": 205.0}], "one_of_a_hundred": [{"cpu_s": 25.0}],
    }  # fmt: skip
    names = ("speed", "store", "service-load-postgresql", "catalogues")
    others = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names}
    measured = capacity.measured_in({**others, "shards": shards})
    assert measured["user_ms"] == pytest.approx(2)
    assert measured["start_s"] == pytest.approx(5)


def test_the_page_is_what_the_script_writes(capacity):
    names = ("speed", "store", "service-load-postgresql", "shards", "catalogues")
    measured = capacity.measured_in(
        {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names}
    )
    assert (RESULTS / "capacity.md").read_text() == capacity.page(measured, capacity.Assumptions())
    assert set(capacity.MEANING) == {one.name for one in capacity.fields(capacity.Assumptions)}
