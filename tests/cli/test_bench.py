"""`warmprompt bench adapt`: passes counted, the floor's arithmetic, mistakes in one line."""

import json

import pytest

from warmprompt.cli import run

pytestmark = pytest.mark.usefixtures("text_home")


def test_times_passes_and_floor_fit_together(capfd, trained_folder):
    command = ["bench", "adapt", str(trained_folder), "--k=4", "--batch=1,8", "--rounds=12"]
    assert run([*command, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    asked = [(row["linear"], row["batch"], row["rounds"]) for row in printed["adapt"]]
    assert asked == [(False, 1, 12), (False, 8, 10), (True, 1, 12), (True, 8, 10)]
    for row in printed["adapt"]:
        assert row["num_steps"] == 2
        # A pass per step and one to read the result; none in the linear response.
        assert row["num_forwards"] == (0 if row["linear"] else 3)
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        slowest, fastest = row["batch"] / row["p99_ms"] * 1000, row["batch"] / row["p50_ms"] * 2000
        assert slowest / 2 < row["users_per_s"] < fastest
    floor = printed["floor"]
    # Two Llama layers of width 32: queries and outputs 32 x 32, keys and values 32 x 16, three 32 x 64
    # matrices and two norms; the final norm is cut off with the later layers. Four bytes each.
    assert floor["weight_bytes"] == 4 * 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32)
    assert floor["step_ms"] == pytest.approx(2 * floor["weight_bytes"] / floor["bandwidth_gb_s"] / 1e6)
    assert floor["adapt_ms"] == pytest.approx(2.5 * floor["step_ms"])
    assert printed["machine"]["processor"]
    assert run(command) == 0
    said = capfd.readouterr().out
    assert "floor for one user" in said
    assert "in the linear response" in said
    assert "machine: processor" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "error: run: 'nowhere'."),
        (["RUN", "--batch=a"], "error: --batch: 'a'."),
        (["RUN", "--batch=0"], "error: --batch: '0'. Give 1 to 4096."),
        (["RUN", "--k=99"], "error: --k: '99'. Give 0 to 60."),
        (["RUN", "--rounds=0"], "error: --rounds: '0'."),
    ],
)
def test_a_mistake_is_one_line(capfd, trained_folder, arguments, line):
    assert run(["bench", "adapt", *(one.replace("RUN", str(trained_folder)) for one in arguments)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
