"""Train on a planted world as one worker among those that the environment names; called by a test.

Arguments: the learner, the precision of the tangent stage (float64 or float32), and a folder. The state that
training ends in is written there under the worker's rank.
"""

import importlib.util
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.tasks import Drawing, stages_of
from warmprompt.meta.trainer import StagePlan, TrainingPlan, start_training, train
from warmprompt.runs.training_state import save_state
from warmprompt.workers import joined_workers


def ready_world():
    spec = importlib.util.spec_from_file_location("meta_worlds", Path(__file__).with_name("worlds.py"))
    worlds = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = worlds
    spec.loader.exec_module(worlds)
    return worlds.ready_world(num_users=100)


def in_double(world):
    """Return material and parameters in float64."""
    data = world.material.data
    doubled = {
        one.name: getattr(data, one.name).double()
        for one in fields(data)
        if getattr(data, one.name).is_floating_point()
    }
    features = {text: value.double() for text, value in world.material.features.items()}
    material = replace(world.material, data=replace(data, **doubled), features=features)
    return material, {name: value.double() for name, value in world.params.items()}


def batch_size_with_a_last_user(num_users):
    """Return a size of batches that leaves one user for the last, who is no second worker's."""
    return next(size for size in range(30, 1, -1) if num_users % size == 1)


def main(name, precision, folder):
    torch.set_num_threads(1)
    world = ready_world()
    material, params = world.material, world.params
    if precision == "float64":
        material, params = in_double(world)
    able = int((np.diff(material.training.interactions.offsets) >= 2).sum())
    drawing = Drawing(seed=0, max_support=8, batch_size=batch_size_with_a_last_user(able))
    stage = StagePlan(epochs=2, rate=0.02)
    plan = TrainingPlan(tangent=stage, prompt=replace(stage, epochs=int(precision == "float32"), rate=0.005))
    learner = LEARNERS[name]
    with joined_workers(device="cpu", timeout_s=60) as workers:
        begun = start_training(learner, params)
        stages = stages_of(learner, material, drawing, plan)
        state = train(begun, stages, plan, workers=workers)
        save_state(Path(folder) / f"{workers.rank}-of-{workers.size}", state, identity={})


if __name__ == "__main__":
    main(*sys.argv[1:])
