"""The report of made-up runs against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from warmprompt.risk.profile.report import summarise_models, write_report


def made_up_run(seed):
    rng = np.random.default_rng(seed)
    day = 86_400
    run = {
        "time": 60 * day + rng.integers(0, 14 * day, size=800),
        "entity": rng.integers(0, 60, size=800),
        "calibration/time": 18 * day + rng.integers(0, 49 * day, size=600),
    }
    for k in (0, 5):
        for part, size in (("calibration", 600), ("test", 800)):
            fraud = rng.random(size) < 0.1
            run[f"{part}/{k}/fraud"] = fraud
            run[f"{part}/{k}/score/prompt"] = 2 * fraud + rng.normal(size=size)
            run[f"{part}/{k}/score/rules"] = 1 * fraud + rng.normal(size=size)
            run[f"{part}/{k}/score/prior"] = np.full(size, 0.1)
    about = {"seed": seed, "commit": "abc1234", "customers": [1, 2, 3, 4], "frauds": [5] * 4, "rows": [6] * 4}
    return run | {
        "about": np.array(json.dumps(about | {"tuned": {"rules": [{"ratio": 0.5}, 0.4], "prior": [{}, 0.1]}}))
    }


def test_report_of_made_up_runs(tmp_path):
    runs = [made_up_run(seed) for seed in (0, 1)]
    found = summarise_models(runs, ks=(0, 5), product="prompt", rng=np.random.default_rng(0))
    expected = np.mean(
        [average_precision_score(run["test/5/fraud"], run["test/5/score/prompt"]) for run in runs]
    )
    assert found.values["prompt", 5]["AP"] == pytest.approx(expected, abs=1e-12)
    value, low, high = found.differences[5]["rules"]
    assert low < value < high
    assert low > 0
    assert np.isnan(found.values["prior", 0]["ECE"])
    assert found.values["prompt", 0]["ECE"] < 0.05
    for what, share in (
        ("frauds", "cover fraud"),
        ("all payments", "cover"),
        ("genuine payments", "cover genuine"),
    ):
        value, low, high = found.coverage[what, 5]
        assert value == pytest.approx(found.values["prompt", 5][share], abs=1e-12)
        assert low < value < high
    write_report(found, tmp_path / "page")
    assert (
        f"| prompt | {found.values['prompt', 0]['AP']:.4f} | {expected:.4f} |"
        in (tmp_path / "page.md").read_text()
    )
    assert json.loads((tmp_path / "page.json").read_text())["about"][1]["seed"] == 1
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
