"""Each example in deploy/ runs every shard once: its commands, with a program that notes what it is asked."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
NUM_SHARDS = 8


@pytest.fixture
def noting(tmp_path):
    """Return a function that runs a command and returns what `warmprompt` was asked, argument by argument."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = bin_folder / "warmprompt"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@" >"$NOTES/$$"\n[ ! -e "$NOTES/../fail" ]\n')
    program.chmod(0o755)
    notes = tmp_path / "notes"
    notes.mkdir()

    def run(command, **variables):
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, **variables, "PATH": path, "NOTES": str(notes)}
        code = subprocess.run(command, env=env, check=False, timeout=60).returncode
        return code, [path.read_text().split("|")[:-1] for path in notes.iterdir()]

    return run


def assert_each_shard_once(asked, run, users, out):
    assert sorted(one[-1] for one in asked) == [f"{i}/{NUM_SHARDS}" for i in range(1, NUM_SHARDS + 1)]
    start = ["recommend", run, "--users", users, "--out", out, "--shard"]
    assert all(one[:-1] == start for one in asked)


def test_the_shell_loop_runs_each_shard_once_and_fails_with_any(noting, tmp_path):
    command = ["sh", str(DEPLOY / "shards.sh"), "a run", "events/*.parquet", "out", str(NUM_SHARDS)]
    code, asked = noting(command)
    assert code == 0
    assert_each_shard_once(asked, "a run", "events/*.parquet", "out")
    (tmp_path / "fail").touch()
    assert noting(command)[0] == 1


def test_the_indexed_job_runs_each_shard_once(noting):
    job = yaml.safe_load((DEPLOY / "shards-kubernetes.yaml").read_text())["spec"]
    assert (job["completionMode"], job["completions"]) == ("Indexed", NUM_SHARDS)
    (pod,) = job["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in pod["env"]}
    for index in range(job["completions"]):
        # Kubernetes numbers from 0.
        _, asked = noting([*pod["command"], *pod["args"]], **variables, JOB_COMPLETION_INDEX=str(index))
    assert_each_shard_once(asked, "/run/model", "s3://bucket/events", "s3://bucket/rankings")


def test_the_slurm_array_runs_each_shard_once(noting):
    script = DEPLOY / "shards.slurm"
    first, last = map(
        int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script.read_text(), re.MULTILINE).groups()
    )
    for task in range(first, last + 1):
        variables = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(last - first + 1)}
        _, asked = noting(["bash", str(script), "a run", "events/*.parquet", "out"], **variables)
    assert_each_shard_once(asked, "a run", "events/*.parquet", "out")
