"""Train on a planted world in child processes that are killed, then in one that is not; called by a test.

Arguments: a folder, then the number of events (steps and saves) after which each child is killed.
This process only imports: children are forked from it before any library has started a thread.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import torch

from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.tasks import Drawing, stages_of
from warmprompt.meta.trainer import StagePlan, TrainingPlan, start_training, train
from warmprompt.runs.training_state import load_state, save_state

PLAN = TrainingPlan(
    tangent=StagePlan(epochs=3, rate=0.05, validate_every=2),
    prompt=StagePlan(epochs=2, rate=0.01, max_validation_users=8),
    save_every=2,
)


def run(path, tell):
    """Go on from the state at `path`, telling of each step and just before each save."""
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("meta_worlds", Path(__file__).with_name("worlds.py"))
    worlds = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = worlds
    spec.loader.exec_module(worlds)
    ready, learner = worlds.ready_world(num_users=120), LEARNERS["maml"]
    state = load_state(path, identity={"world": 0}) or start_training(learner, ready.params)

    def save(now):
        tell(b"s")
        save_state(path, now, identity={"world": 0})

    train(
        state,
        stages_of(learner, ready.material, Drawing(seed=0, max_support=8, batch_size=16), PLAN),
        PLAN,
        save=save,
        progress=lambda _: tell(b"t"),
    )


def in_child(path, kill_after):
    """Run in a child, kill it after so many events, and return how it ended and how many events it noted."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        run(path, lambda note: os.write(writing, note))
        os._exit(0)
    os.close(writing)
    notes = b""
    while len(notes) < kill_after and (note := os.read(reading, 1)):
        notes += note
    if len(notes) == kill_after:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reading)
    return status, len(notes)


def main(folder, *moments):
    """Print the exit status and number of events of every child."""
    for moment in moments:
        print(*in_child(folder / "killed" / "state", moment))
    for name in ("killed", "whole"):
        print(*in_child(folder / name / "state", 10**6))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
