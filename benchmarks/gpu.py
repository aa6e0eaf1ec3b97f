"""One command for a GPU: adapt users, train by every learner, and compare both with the CPU.

    python benchmarks/gpu.py                    # the first CUDA device
    python benchmarks/gpu.py --device cpu       # the same without one, in smaller batches

Needs no network and no files: users are made up, and the language model has the shape of SmolLM2-135M's
first six layers with random weights. It adapts users of ten events in batches of 1, 32 and 256, in the linear
response and by the prompt, and takes 20 outer steps of each learner. Times are p50 and p99 of calls that
begin and end with an idle device. The share of peak is that of the fastest matrix product that this script
measures on the device itself. Prompt adaptation at a batch of one is compared with 300 ms.

Numbers of the device are compared with those of the CPU: user vectors relative to their largest coordinate,
losses of the first outer steps relative to their size. In float32 a difference above 1e-3 is an error;
bfloat16 rounds to three digits, and its difference is stated only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commits import commit
from timing import quantiles
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.backbone.tiny import byte_tokenizer
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.episodes import EventBatch
from warmprompt.data.synthetic import planted_world
from warmprompt.evaluation.machine import describe_machine
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import make_catalogue
from warmprompt.meta.predict import adapt_linearly, adapt_users, encode_texts
from warmprompt.meta.tasks import TrainingInputs, epoch_batches, training_task
from warmprompt.meta.texts import write_texts
from warmprompt.settings import Settings, load_settings
from warmprompt.training.start import Start, build_start, drawing_of, plan_of

TOLERANCE = 1e-3
CONSUMER_MS = 300.0
K, OUTER_STEPS = 10, 20


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: for a device, and for a test that it runs at all."""

    hidden: int = 576
    inner: int = 1536
    heads: int = 9
    layers: int = 6
    items: int = 2000
    users: int = 400
    factors: int = 32
    calls: int = 100
    batches: tuple[int, ...] = (1, 32, 256)
    steps: int = OUTER_STEPS
    compared: int = 3


SMALL = Size(
    hidden=48, inner=96, heads=3, layers=2, items=60, users=60, factors=4, calls=3, batches=(1, 4), steps=2,
    compared=2,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """One device with the model and the start on it; `eager` can be differentiated twice."""

    backbone: Backbone
    eager: Backbone
    start: Start
    inputs: TrainingInputs


def main() -> None:
    """Measure, compare, print; leave with 1 where float32 numbers differ from the CPU's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, help="users of an outer step; 32 on a GPU, 4 on a CPU")
    parser.add_argument("--small", action="store_true", help="a tiny model, to see that everything runs")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON, too")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is visible; give --device cpu")
    begun_s = time.perf_counter()
    size = SMALL if asked.small else Size()
    with tempfile.TemporaryDirectory(prefix="warmprompt-gpu-") as scratch:
        found = measured(
            size, Path(scratch), asked.device, asked.batch or (32 if asked.device == "cuda" else 4)
        )
    found["seconds"] = time.perf_counter() - begun_s
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if not found["agrees"]:
        sys.exit("float32 numbers differ from the CPU's by more than 1e-3")


def measured(size: Size, scratch: Path, device: str, batch: int) -> dict[str, Any]:
    """Return all numbers."""
    write_backbone(size, scratch / "model")
    world = planted_world(num_users=size.users, num_items=size.items, num_tastes=6, seed=0).dataset
    parts = np.split(np.random.default_rng(0).permutation(size.users), [size.users * 9 // 10])
    training, validation = (take_users(world, np.sort(part)) for part in parts)
    settings = settings_of(size, scratch / "model", batch)
    backbone = load_backbone(str(scratch / "model"))
    start = build_start(
        settings, training, validation, backbone, learner=LEARNERS["learned-target"], progress=lambda _: None
    )
    # Without a GPU bfloat16 is slower than float32 and says nothing; a small run shows that it runs.
    dtypes = ("float32", "bfloat16") if device == "cuda" or size is SMALL else ("float32",)
    making = (scratch / "model", start, settings, training, validation)
    reference = place(*making, device="cpu", dtype="float32")
    users = {number: made_up(number, size.items) for number in size.batches}
    some, few = users[size.batches[1]], settings_of(size, scratch / "model", 4)
    wanted = numbers(reference, some, few, size.compared)
    peaks = {dtype: peak_flops(device, dtype, size) for dtype in dtypes}
    rows: list[dict[str, Any]] = []
    differences = {}
    for dtype in dtypes:
        own = (device, dtype) != ("cpu", "float32")
        one = place(*making, device=device, dtype=dtype) if own else reference
        found = adaptation_rows(one, users, size.calls, device=device, peak=peaks[dtype])
        found += training_rows(one, settings, size.steps, device=device, peak=peaks[dtype])
        rows += [{"dtype": dtype, **row} for row in found]
        found = numbers(one, some, few, size.compared)
        differences[dtype] = {name: apart(found[name], wanted[name]) for name in wanted}
    return {
        "machine": describe_machine(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "commit": commit(),
        "torch": torch.__version__,
        "batch": batch,
        "peak_tflops": {dtype: peak / 1e12 for dtype, peak in peaks.items()},
        "rows": rows,
        "differences": differences,
        "agrees": max(differences["float32"].values()) <= TOLERANCE,
    }


def write_backbone(size: Size, folder: Path) -> None:
    """Write a random model with one token per byte."""
    tokenizer = byte_tokenizer(wrap=False)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads // 3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def settings_of(size: Size, model: Path, batch: int) -> Settings:
    """Return settings without any other model."""
    return load_settings(
        assignments=[
            f"backbone.name={model}",
            "backbone.num_layers=",
            "backbone.item_text=",
            "backbone.user_text=",
            f"model.num_factors={size.factors}",
            "model.wordings=1",
            f"train.batch_size={batch}",
            "train.preset=default",
        ]
    )


def place(  # noqa: PLR0913 - what lies there
    model: Path,
    start: Start,
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    *,
    device: Any,
    dtype: Any,
) -> Place:
    """Return the model and the start on a device."""
    backbone = load_backbone(str(model), device=device, dtype=dtype)
    moved = Start(
        params={name: value.to(device) for name, value in start.params.items()},
        data=on(start.data, device),
        readout=on(start.readout, device),
        features={text: value.to(device) for text, value in start.features.items()},
    )
    inputs = TrainingInputs(
        training=training,
        validation=validation,
        texts=write_texts(training, wordings=1, seed=settings.train.seed),
        validation_texts=write_texts(validation, wordings=1, seed=settings.train.seed),
        data=moved.data,
        backbone=backbone,
        readout=moved.readout,
        features=moved.features,
    )
    eager = load_backbone(str(model), device=device, dtype=dtype, attention="eager")
    return Place(backbone=backbone, eager=eager, start=moved, inputs=inputs)


def on(record: Any, device: str) -> Any:
    """Return a record of tensors on a device."""
    return replace(record, **{one.name: getattr(record, one.name).to(device) for one in fields(record)})


def made_up(num_users: int, num_items: int) -> EventBatch:
    """Return users of ten random events."""
    rng = np.random.default_rng(num_users)
    return EventBatch(
        items_BK=np.stack([rng.choice(num_items, K, replace=False) for _ in range(num_users)]),
        ratings_BK=rng.integers(1, 6, (num_users, K)).astype(np.float32),
        mask_BK=np.ones((num_users, K), dtype=np.bool_),
    )


def calls_of(one: Place, events: EventBatch) -> dict[str, Callable[[], Tensor]]:
    """Return ways to adapt users, by name."""
    num_users = len(events.items_BK)
    params = with_target(one, "learned-target")
    catalogue = make_catalogue(params, one.start.data)
    texts = encode_texts(one.backbone, one.start.readout, [""] * num_users)
    features_BT = one.start.features[""].expand(num_users, -1)

    def by_prompt(name: str) -> Callable[[], Tensor]:
        return lambda: (
            adapt_users(
                catalogue, LEARNERS[name], one.backbone, one.start.readout, texts=texts, events=events
            ).users_BD
        )

    def linear() -> Tensor:
        return adapt_linearly(catalogue, LEARNERS["learned-target"], features_BT=features_BT, events=events)

    return {
        "linear": linear,
        "prompt, one pass": by_prompt("learned-target"),
        "prompt, a step of gradient": by_prompt("fomaml"),
    }


def with_target(one: Place, learner: str) -> dict[str, Tensor]:
    """Return the start's parameters and those that a learner's objective adds."""
    params = dict(one.start.params)
    added = LEARNERS[learner].objective.initial_params(
        params["prior.start"].shape[0],
        max_support=20,
        kappa=float(params["support.log_kappa"].exp()),
        seed=0,
    )
    return {**{name: value.to(one.backbone.device) for name, value in added.items()}, **params}


def adaptation_rows(
    one: Place, users: dict[int, EventBatch], calls: int, *, device: str, peak: float
) -> list[dict[str, Any]]:
    """Return times of adapting users, in milliseconds a call."""
    rows = []
    for num_users, events in users.items():
        for name, call in calls_of(one, events).items():
            # A CPU takes a thousand times longer for large batches.
            rounds = calls if device == "cuda" or num_users == 1 else max(calls // num_users, 3)
            flops = flops_of(call)
            rows.append(row(f"adapt {num_users}, {name}", timed_ms(call, rounds, device), flops, peak))
    return rows


def training_rows(
    one: Place, settings: Settings, steps: int, *, device: str, peak: float
) -> list[dict[str, Any]]:
    """Return times of outer steps through the language model."""
    rows = []
    for name in LEARNERS:
        step = stepping(one, settings, name)
        flops = flops_of(step)
        rows.append(row(f"outer step, {name}", timed_ms(step, steps, device, warm=0), flops, peak))
    return rows


def stepping(one: Place, settings: Settings, name: str) -> Callable[[], float]:
    """Return a function that takes the next outer step of a learner and returns its loss."""
    learner, plan, drawing = LEARNERS[name], plan_of(settings), drawing_of(settings, num_items=0)
    inputs = replace(one.inputs, backbone=one.eager) if learner.needs_second_order else one.inputs
    batches = epoch_batches(inputs, drawing, stage="prompt", epoch=0)
    state, number = learner.init(with_target(one, name)), 0

    def step() -> float:
        nonlocal state, number
        users = batches[number % len(batches)]
        task = training_task(inputs, drawing, users, stage="prompt", epoch=0, learner=learner)
        state, report = learner.step(state, task, rate=plan.prompt.rate, clip_norm=plan.clip_norm)
        number += 1
        return report.loss

    return step


def numbers(one: Place, events: EventBatch, settings: Settings, steps: int) -> dict[str, list[float]]:
    """Return what two devices have to agree in: user vectors, and the losses of the first outer steps."""
    adapting = calls_of(one, events).items()
    found = {f"vectors, {name}": call().float().cpu().flatten().tolist() for name, call in adapting}
    for name in LEARNERS:
        step = stepping(one, settings, name)
        found[f"losses, {name}"] = [step() for _ in range(steps)]
    return found


def apart(found: list[float], wanted: list[float]) -> float:
    """Return the largest difference relative to the largest number."""
    return float(np.abs(np.subtract(found, wanted)).max() / np.abs(wanted).max())


def flops_of(call: Callable[[], object]) -> int:
    """Return the operations of the matrix products and the attention of a call, once texts are read."""
    call()
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peak_flops(device: str, dtype: str, size: Size) -> float:
    """Return the operations a second of the fastest of some square products."""
    best = 0.0
    widths = (1024, 4096, 8192) if device == "cuda" else (512, 1024)
    for width in (256,) if size is SMALL else widths:
        one = torch.ones((width, width), device=device, dtype=getattr(torch, dtype))
        best = max(best, 2 * width**3 / (min(timed_ms(lambda one=one: one @ one, 10, device)) / 1000))
    return best


def timed_ms(call: Callable[[], object], rounds: int, device: str, *, warm: int = 3) -> list[float]:
    """Return the milliseconds of calls, after some that do not count."""

    def idle() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    times = []
    for number in range(-warm, rounds):
        idle()
        begun_s = time.perf_counter()
        call()
        idle()
        if number >= 0:
            times.append(1000 * (time.perf_counter() - begun_s))
    return times


def row(name: str, times: list[float], flops: float, peak: float) -> dict[str, Any]:
    """Return one line of the table."""
    share = flops / (float(np.median(times)) / 1000) / peak
    return {"what": name, **quantiles(times), "share_of_peak": share}


def table(found: dict[str, Any]) -> str:
    """Return everything as text."""
    lines = [
        f"{found['device']}, torch {found['torch']}, {found['seconds']:.0f} s in all; peak "
        + ", ".join(f"{value:.2f} TFLOP/s in {dtype}" for dtype, value in found["peak_tflops"].items()),
        f"{'':9} {'':40} {'p50 ms':>9} {'p99 ms':>9} {'share of peak':>14}",
    ]
    for one in found["rows"]:
        share = f"{one['share_of_peak']:14.2%}" if one["share_of_peak"] else f"{'':14}"
        lines.append(f"{one['dtype']:9} {one['what']:40} {one['p50']:9.2f} {one['p99']:9.2f} {share}")
    for dtype, differences in found["differences"].items():
        worst = max(differences, key=lambda name: differences[name])
        verdict = f", {'within' if found['agrees'] else 'ABOVE'} 1e-3" if dtype == "float32" else ""
        lines.append(f"{dtype} against the CPU: {differences[worst]:.1e} at most ({worst}){verdict}")
    alone = next(one for one in found["rows"] if one["what"] == "adapt 1, prompt, one pass")
    word = "below" if alone["p99"] < CONSUMER_MS else "NOT below"
    lines.append(f"one user by the prompt: p99 {alone['p99']:.1f} ms, {word} {CONSUMER_MS:.0f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
