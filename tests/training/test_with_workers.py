"""A whole training by torchrun: the run of one process, written once, and gone on with after a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from safetensors.torch import load_file

from warmprompt.errors import UnknownNameError
from warmprompt.runs.format import load_trained
from warmprompt.settings import to_toml
from warmprompt.training.run import train_run

pytestmark = [pytest.mark.usefixtures("text_home"), pytest.mark.slow]

# Counts who works and, when asked, waits in the middle of the outer loop for the test to kill somebody.
WORKER = """
import os, pathlib, sys, time
from warmprompt import load_settings
from warmprompt.meta import trainer
from warmprompt.training.run import train_with
from warmprompt.meta.workers import joined_workers
settings, out, notes, slow = sys.argv[1:5]
begin = trainer._run_epoch
def noted(state, *rest, **more):
    if state.epoch == 1:
        pathlib.Path(notes, os.environ["RANK"]).write_text(str(os.getpid()))
        time.sleep(float(slow))
    return begin(state, *rest, **more)
trainer._run_epoch = noted
with joined_workers(device="cpu", timeout_s=60) as workers:
    trained = train_with(workers, load_settings(file=pathlib.Path(settings)), out)
    assert (trained is not None) == workers.is_first
"""


@pytest.fixture(scope="module")
def brief(tiny_settings):
    train = replace(tiny_settings.train, tangent_epochs=2, prompt_epochs=1, save_every=1)
    return replace(tiny_settings, train=train, model=replace(tiny_settings.model, new_item_passes=1))


def start(brief, folder, *, slow=0.0):
    """Begin to train into a folder with two workers."""
    (folder / "settings.toml").write_text(to_toml(brief))
    (folder / "worker.py").write_text(WORKER)
    (folder / "notes").mkdir(exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [folder / "settings.toml", folder / "run", folder / "notes", slow]
    return subprocess.Popen(
        [*launcher, str(folder / "worker.py"), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def together(brief, text_home, tmp_path_factory):
    """Return the folder of a run that two workers trained; nobody writes to it."""
    folder = tmp_path_factory.mktemp("together")
    process = start(brief, folder)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert len(list((folder / "notes").iterdir())) == 2
    return folder / "run"


def test_two_workers_write_the_run_of_one_process(brief, together, tmp_path):
    alone = train_run(brief, tmp_path / "alone")
    trained = load_trained(together)
    assert trained.manifest["identity"] == alone.manifest["identity"]
    found, wanted = (load_file(run / "model.safetensors") for run in (together, tmp_path / "alone"))
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        if name.startswith("params."):
            gap = (found[name] - value).abs().max().item() if value.numel() else 0.0
            assert gap <= 1e-5 * max(1.0, value.abs().max().item()), name
    assert len(list((together / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_job_and_the_same_command_goes_on_to_the_same_bits(
    brief, together, tmp_path, rank
):
    process = start(brief, tmp_path, slow=30.0)
    note, deadline = tmp_path / "notes" / str(rank), time.monotonic() + 200
    while not (note.exists() and note.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(int(note.read_text()), signal.SIGKILL)
    killed_s = time.monotonic()
    process.communicate(timeout=120)
    assert process.returncode != 0
    # torchrun looks for dead workers several times a second, then asks the others to end.
    assert time.monotonic() - killed_s < 30
    assert not any(worker.is_running() for worker in workers)
    with pytest.raises(UnknownNameError, match="has not finished"):
        load_trained(tmp_path / "run")
    again = start(brief, tmp_path)
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0, said
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        together / "model.safetensors"
    ).read_bytes()
