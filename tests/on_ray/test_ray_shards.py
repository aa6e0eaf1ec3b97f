"""Shards on Ray: what one process writes, also when an actor or the driver is killed.

Ray is not among the packages of the other tests: `make test-ray` installs it beside them, and runs this with
nothing but a loopback interface, since Ray listens on every interface there is.
"""

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from warmprompt import load
from warmprompt.assembly.sharding import BatchJob, rank_shard
from warmprompt.cli import run
from warmprompt.errors import RejectsError

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

pytestmark = [pytest.mark.usefixtures("text_home"), pytest.mark.slow]
NUM_BLOCKS = 12


@pytest.fixture(scope="module", autouse=True)
def _own_home(tmp_path_factory, text_home):
    """Keep what Ray writes to a home folder in the tests' own."""
    home = tmp_path_factory.mktemp("ray-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("RAY_TMPDIR", str(home))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def users(trained_folder, tmp_path_factory):
    items = load(trained_folder).items
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    pl.DataFrame(
        {
            "user_id": [number for number in range(400) for _ in range(3)],
            "item_id": [items[(7 * number + step) % 50] for number in range(400) for step in range(3)],
        }
    ).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def whole(trained_folder, users, tmp_path_factory):
    """Return the folder that one process writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    rank_shard(load(trained_folder), job_of(users, out))
    return out


def job_of(users, out):
    return BatchJob(users=str(users), out=str(out), n=5, vectors=True, rows_per_block=1200 // NUM_BLOCKS)


def files_of(out):
    return {path.name: path.read_bytes() for path in out.iterdir()} if out.exists() else {}


DRIVER = """
import os, sys, time
from warmprompt import load
from warmprompt.assembly import sharding
from warmprompt.integrations import ray_shards
users, out, run = sys.argv[1:4]
class Slow(ray_shards.ShardRanker):
    def __call__(self, shards):
        from warmprompt.assembly import sharding
        write = sharding._write
        def slow(*args, **options):
            write(*args, **options)
            with open(os.path.join(os.path.dirname(out), "pids"), "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(0.5)
        sharding._write = slow
        try:
            return super().__call__(shards)
        finally:
            sharding._write = write
if len(sys.argv) > 4:
    ray_shards.ShardRanker = Slow
job = sharding.BatchJob(users=users, out=out, n=5, vectors=True, rows_per_block=100)
ray_shards.rank_on_ray(load(run), run, job, workers=2)
"""


def start(users, out, run_folder, *slow):
    command = [sys.executable, "-c", DRIVER, str(users), str(out), str(run_folder), *slow]
    return subprocess.Popen(command, start_new_session=True)


def wait_for_a_block(out, process):
    """Return the process id of an actor that has written a block."""
    pids, deadline = out.parent / "pids", time.monotonic() + 180
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(pids.read_text().split()[-1])


def test_two_actors_write_the_bytes_of_one_process(trained_folder, users, whole, tmp_path):
    out = tmp_path / "out"
    assert start(users, out, trained_folder).wait(300) == 0
    assert files_of(out) == files_of(whole)
    seen = pl.read_parquet(out / "block-*.parquet")["user_id"]
    assert sorted(seen) == list(range(400))


def test_a_killed_actor_is_replaced_and_no_user_is_lost(trained_folder, users, whole, tmp_path):
    out = tmp_path / "out"
    process = start(users, out, trained_folder, "slow")
    killed = wait_for_a_block(out, process)
    os.kill(killed, signal.SIGKILL)
    assert process.wait(300) == 0
    assert files_of(out) == files_of(whole)
    assert {int(pid) for pid in (tmp_path / "pids").read_text().split()} - {killed}


def test_a_killed_driver_run_again_writes_the_rest(trained_folder, users, whole, tmp_path):
    out = tmp_path / "out"
    process = start(users, out, trained_folder, "slow")
    wait_for_a_block(out, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    missing = json.loads((out / "manifest.json").read_text())["missing"]
    assert missing
    time.sleep(2)  # the actors of a lost driver end by themselves; what they still write is the same
    assert start(users, out, trained_folder).wait(300) == 0
    assert files_of(out) == files_of(whole)


# Ray deprecates names of its own.
@pytest.mark.filterwarnings("default")
def test_the_command_runs_it_and_a_mistake_is_one_line(trained_folder, users, tmp_path, capfd):
    command = ["recommend", str(trained_folder), "-n", "2", "--engine", "ray", "--workers", "1"]
    assert run([*command, "--users", str(users), "--out", str(tmp_path / "out")]) == 0
    assert "complete: 1 blocks, none is missing" in capfd.readouterr().out
    bad = tmp_path / "bad.parquet"
    pl.read_parquet(users).with_columns(rating=pl.lit(9.0)).write_parquet(bad)
    assert run([*command, "--users", str(bad), "--out", str(tmp_path / "bad")]) == 2
    said = capfd.readouterr().err
    assert "rating is outside 1 to 5" in said
    assert RejectsError.__name__ not in said
