"""`benchmarks/gpu.py` runs as it is, on a processor and with a tiny model; a GPU was not at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from warmprompt.meta.learners import LEARNERS

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    # An empty home and another folder: nothing is read but the package.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "WARMPROMPT_HOME": str(folder / "home"), "HOME": str(folder)}
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--out", str(folder / "out.json")]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text()), done.stdout


def test_every_way_to_adapt_and_every_learner_is_timed(found):
    numbers, said = found
    named = {row["what"] for row in numbers["rows"]}
    assert {f"outer step, {name}" for name in LEARNERS} <= named
    ways = ("linear", "prompt, one pass", "prompt, a step of gradient")
    assert {f"adapt {size}, {way}" for size in (1, 4) for way in ways} <= named
    assert all(0 < row["p50"] <= row["p99"] for row in numbers["rows"])
    assert "one user by the prompt: p99" in said


def test_the_processor_agrees_with_itself_and_rounding_shows(found):
    numbers, _ = found
    assert numbers["agrees"]
    assert set(numbers["differences"]["float32"].values()) == {0.0}
    # Three digits of the mantissa: a difference that were zero would mean that float32 was compared.
    assert max(numbers["differences"]["bfloat16"].values()) > 1e-4


def test_a_device_that_is_not_there_is_one_clear_error():
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), "--device", "cuda"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "no CUDA device is visible; give --device cpu" in done.stderr
