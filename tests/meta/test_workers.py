"""Several workers train the model that one process trains, and a lost one ends the others."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from warmprompt.errors import BadInputError
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.workers import ALONE, Workers, joined_workers
from warmprompt.runs.training_state import load_state

SCRIPT = Path(__file__).with_name("worker_training.py")
# Adding up in another order changes the last bits; the outer loop carries them through all steps.
TOLERANCE = {"float64": 1e-6, "float32": 1e-5}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def started(command, size):
    """Return so many processes of a command, each with its rank, as a launcher gives it."""
    port = free_port()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **address, "RANK": str(rank), "WORLD_SIZE": str(size)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(processes, timeout=300):
    return [(process.communicate(timeout=timeout)[1], process.returncode) for process in processes]


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Return the folder of states that every learner ends in, alone and with two workers."""
    folder = tmp_path_factory.mktemp("states")
    for size in (1, 2):
        for said, code in ended(started([str(SCRIPT), str(folder)], size)):
            assert code == 0, said
    return folder


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", [*LEARNERS, "sampled", "gone-on"])
def test_two_workers_learn_what_one_process_learns(name, precision, worlds, states):
    """The last batch of an epoch has one user, so the second worker has nobody in it."""
    one, first, second = (
        load_state(states / f"{name}-{precision}-{who}", identity={})
        for who in ("0-of-1", "0-of-2", "1-of-2")
    )
    assert worlds.same_state(first, second)
    assert first.learner.step == one.learner.step
    for params in ("best", "learner"):
        found, wanted = (getattr(state, params) for state in (first, one))
        found, wanted = (getattr(side, "params", side) for side in (found, wanted))
        for key, value in wanted.items():
            gap = (found[key] - value).abs().max().item() if value.numel() else 0.0
            assert gap <= TOLERANCE[precision] * max(
                1.0, value.abs().max().item() if value.numel() else 1.0
            ), key
    losses = [[entry[3] for entry in state.history] for state in (first, one)]
    assert losses[0] == pytest.approx(losses[1], rel=TOLERANCE[precision])


SILENT = """
import sys, time, torch
from warmprompt.errors import WorkerLostError
from warmprompt.meta.workers import joined_workers
with joined_workers(device="cpu", timeout_s=3) as workers:
    assert workers.sum(torch.ones(2)).tolist() == [2.0, 2.0]
    if workers.rank == 1:
        time.sleep(60)
    begun = time.monotonic()
    try:
        workers.sum(torch.ones(2))
    except WorkerLostError as error:
        print(round(time.monotonic() - begun, 1), error.line(), file=sys.stderr)
        sys.exit(3)
"""


def test_a_worker_that_does_not_answer_ends_the_others_after_the_time_out():
    first, second = started(["-c", SILENT], 2)
    try:
        begun = time.monotonic()
        said, code = ended([first], timeout=50)[0]
        assert code == 3, said
        assert 2.5 <= float(said.splitlines()[-1].split()[0]) <= 20
        assert "another worker" in said
        assert time.monotonic() - begun < 50
    finally:
        second.kill()
        second.communicate()


def test_a_process_without_a_launcher_is_alone():
    with joined_workers(device="cpu", timeout_s=1, environment={}) as workers:
        assert workers is ALONE
        assert workers.share("x") == "x"
        assert workers.sum(torch.ones(2)).tolist() == [1.0, 1.0]
        assert [1, 2, 3][workers.rows] == [1, 2, 3]


def test_a_launcher_that_names_no_rank_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInputError, match="launcher.*RANK"), joined_workers(device="cpu", timeout_s=1):
        pass


def test_shares_cover_a_batch_once_and_differ_by_one_at_most():
    for count in range(12):
        for size in (1, 2, 3, 5):
            shares = [range(count)[Workers(rank=rank, size=size).rows] for rank in range(size)]
            assert sorted(row for share in shares for row in share) == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
