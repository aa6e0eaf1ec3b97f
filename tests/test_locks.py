"""Locks between real processes: one holds, the others are refused at once, the dead hold nothing."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from warmprompt.errors import BadInputError
from warmprompt.files import locked

HOLD = """
import time
from pathlib import Path
from warmprompt.files import locked
with locked(Path('.lock'), field='run folder', value='here', doing='is training into it'):
    print('held', flush=True)
    time.sleep(600)
"""
TAKE_OFTEN = """
import os, time
from pathlib import Path
from warmprompt.errors import BadInputError
from warmprompt.files import locked
taken, end = 0, time.monotonic() + 3
while time.monotonic() < end:
    try:
        with locked(Path('.lock'), field='x', value='x', doing='x'):
            with open('inside', 'x') as file:
                pass
            os.unlink('inside')
            taken += 1
    except BadInputError:
        pass
print(taken)
"""


@contextmanager
def holder(cwd):
    """Yield a process that holds the lock of a folder, and end it."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take(folder):
    return locked(folder / ".lock", field="run folder", value=folder, doing="is training into it")


def test_a_lock_names_the_process_that_holds_it(tmp_path):
    with holder(tmp_path) as process, pytest.raises(BadInputError) as caught, take(tmp_path):
        pass
    line = caught.value.line()
    assert f"Process {process.pid} on {socket.gethostname()}, since 20" in line
    assert "is training into it; wait until it has ended" in line


def test_a_killed_process_keeps_no_lock(tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]  # what it left locks nothing
        with take(tmp_path):
            assert f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_another_thread_of_the_same_process_is_refused_too(tmp_path):
    def try_it():
        with take(tmp_path):
            pass

    refused = pytest.raises(BadInputError, match=f"Process {os.getpid()}")
    with take(tmp_path), ThreadPoolExecutor(1) as pool, refused:
        pool.submit(try_it).result()
    with take(tmp_path):
        pass


def test_of_many_processes_one_at_a_time_holds_the_lock(tmp_path):
    """Each of six takes it as often as it can; two at once would write both names into one file."""
    command = [sys.executable, "-c", TAKE_OFTEN]
    running = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * 6
    assert sum(map(int, outputs)) > 100
    assert list(tmp_path.iterdir()) == []
