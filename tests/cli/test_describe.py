"""`describe` lists what a run's scores are made of."""

import json

from warmprompt.cli import run
from warmprompt.experts.registry import ORDERED


def test_every_expert_is_listed_with_its_weight_and_cost(trained_folder, capfd):
    assert run(["describe", str(trained_folder)]) == 0
    text = capfd.readouterr().out
    assert "found on" in text
    assert run(["describe", str(trained_folder), "--json"]) == 0
    described = json.loads(capfd.readouterr().out)
    names = [row["name"] for row in described["experts"]]
    assert names[:2] == ["user_vector", "popularity"]
    for row in described["experts"]:
        assert row["name"] in text
        assert max(row["weight"], *row["weights_by_events"].values(), 0) > 0
        assert row["num_bytes"] >= row["num_parameters"] > 0
        counted = row["name"] not in ("user_vector", "popularity", *ORDERED)
        assert (row["ndcg_without"] is not None) == counted
        assert bool(row["weights_by_events"]) == (row["name"] in ORDERED)
    assert described["validation"]["num_users"] > 0
    assert "with the order of events" in text
    assert set(described["order"]) == {"ndcg", "without", "half_life_days", "horizon"}


def test_a_folder_without_a_run_is_named(tmp_path, capfd):
    assert run(["describe", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capfd.readouterr().err
