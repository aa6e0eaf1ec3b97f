"""Rounds of writers that are killed at a random moment, and what must hold after each round."""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WRITER = Path(__file__).with_name("writer.py")


def start(url, name, *, num_users=3, num_appends=0):
    """Start a writer; what it acknowledges is kept in a file."""
    acknowledged = tempfile.TemporaryFile()  # noqa: SIM115  (finish closes it)
    command = [sys.executable, str(WRITER), url, name, str(num_users), str(num_appends)]
    return subprocess.Popen(command, stdout=acknowledged), acknowledged


def finish(writer, *, kill):
    """End a writer, or wait for it, and return what it acknowledged."""
    process, acknowledged = writer
    if kill:
        process.send_signal(signal.SIGKILL)
    code = process.wait(timeout=120)
    assert code == (-signal.SIGKILL if kill else 0), "the writer ended by itself"
    acknowledged.seek(0)
    lines = acknowledged.read().decode().splitlines(keepends=True)
    acknowledged.close()
    return [json.loads(line) for line in lines if line.endswith("\n")]


def kill_round(url, name, *, rng: random.Random, num_writers=2, crash=None):
    """Let writers write at once, kill each at a random moment, and return what was acknowledged.

    Args:
        url: Of the store.
        name: Makes keys unique.
        rng: Draws the moments.
        num_writers: Writers at once.
        crash: Called before the first writer is killed, such as to crash the server.
    """
    writers = [start(url, f"{name} {number}") for number in range(num_writers)]
    try:
        for process, acknowledged in writers:
            while acknowledged.seek(0, 2) == 0:
                assert process.poll() is None, "the writer ended before its first append"
                time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.4))
        if crash is not None:
            crash()
        acknowledged = []
        for writer in writers:
            time.sleep(rng.uniform(0.0, 0.05))
            acknowledged += finish(writer, kill=True)
        return acknowledged
    finally:
        for process, _ in writers:
            process.kill()
            process.wait()
