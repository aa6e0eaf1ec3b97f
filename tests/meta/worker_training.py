"""Train on a planted world as one worker among those that the environment names; called by a test.

Argument: a folder. The states that training ends in are written there by learner, precision and rank: in
float64 without the language model, in float32 with it.
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
from warmprompt.meta.workers import joined_workers
from warmprompt.runs.training_state import load_state, save_state


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


def main(folder):
    torch.set_num_threads(1)
    world = ready_world()
    stage = StagePlan(epochs=2, rate=0.02)
    able = int((np.diff(world.material.training.interactions.offsets) >= 2).sum())
    drawing = Drawing(seed=0, max_support=8, batch_size=batch_size_with_a_last_user(able))
    runs = {name: (learner, drawing) for name, learner in LEARNERS.items()}
    runs["sampled"] = LEARNERS["learned-target"], replace(drawing, sampled_items=16)
    # What one process has begun is gone on with by all.
    runs["gone-on"] = LEARNERS["learned-target"], drawing
    with joined_workers(device="cpu", timeout_s=60) as workers:
        for precision in ("float64", "float32"):
            material, params = in_double(world) if precision == "float64" else (world.material, world.params)
            prompt = replace(stage, epochs=int(precision == "float32"), rate=0.005, max_validation_users=8)
            plan = TrainingPlan(tangent=stage, prompt=prompt)
            for name, (learner, drawn) in runs.items():
                stages = stages_of(learner, material, drawn, plan)
                middle, kept = Path(folder) / f"{name}-{precision}-middle", []
                begun = start_training(learner, params)
                if name == "gone-on" and workers.size > 1:
                    begun = load_state(middle, identity={})
                state = train(begun, stages, plan, save=kept.append, workers=workers)
                if name == "gone-on" and workers.size == 1:
                    save_state(middle, kept[0], identity={})
                file = f"{name}-{precision}-{workers.rank}-of-{workers.size}"
                save_state(Path(folder) / file, state, identity={})


if __name__ == "__main__":
    main(*sys.argv[1:])
