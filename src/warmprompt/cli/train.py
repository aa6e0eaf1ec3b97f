"""`warmprompt train`: learn where prompts start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warmprompt.cli.console import results_console
from warmprompt.cli.progress import shown_progress
from warmprompt.settings import load_settings


def app(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.", show_default=False)],
    data: Annotated[str | None, typer.Option("--data", help="Name of a data set, or its folder.")] = None,
    learner: Annotated[
        str | None,
        typer.Option("--learner", help="reptile, fomaml, maml, meta-sgd, multitask or closed-form."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="A known name, a model folder, or a Hugging Face id.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", help="Read the backbone out after this many layers.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Settings for dense or sparse data: default, sparse, dense-small or dense; auto chooses by "
            "the data's density.",
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            "--horizon",
            help="How many next events rankings are meant for, where events have an order: 1 for the very "
            "next one alone; 10 unless given.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the split and of everything drawn.")] = None,
    tangent_epochs: Annotated[
        int | None, typer.Option("--tangent-epochs", help="Passes at most that fit head and item vectors.")
    ] = None,
    prompt_epochs: Annotated[
        int | None, typer.Option("--prompt-epochs", help="Passes at most through the language model.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as section.key=value; may be repeated.")
    ] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="TOML file with settings.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of other settings.")] = False,
    until: Annotated[
        str | None,
        typer.Option("--until", help="Stop after a stage: start, meta_learning, new_items or experts."),
    ] = None,
) -> None:
    """Learn where prompts start, from the histories of many users.

    Interrupted or killed, the same command goes on from the last checkpoint. Several processes train one
    model together when torchrun starts them: torchrun --nproc-per-node 2 -m warmprompt train ...
    """
    flags = {
        "data.name": data,
        "learner.name": learner,
        "backbone.name": backbone,
        "backbone.num_layers": layers,
        "train.preset": preset,
        "experts.horizon": horizon,
        "train.seed": seed,
        "train.tangent_epochs": tangent_epochs,
        "train.prompt_epochs": prompt_epochs,
    }
    settings = load_settings(
        file=settings_file, environment=os.environ, assignments=assignments or (), flags=flags
    )
    from warmprompt.meta.workers import joined_workers
    from warmprompt.training.run import train_with

    device, timeout_s = settings.backbone.device, settings.train.worker_timeout_s
    with shown_progress() as progress, joined_workers(device=device, timeout_s=timeout_s) as workers:
        trained = train_with(workers, settings, out, until=until, progress=progress, overwrite=overwrite)
        if not workers.is_first:
            return
    if trained is None:
        results_console().print(f"{out}: {until} is done; the same command without --until goes on")
        return
    record = trained.manifest
    validations = [loss for stage, _, _, loss in record["history"] if stage == record["history"][-1][0]]
    learned = f", validation loss {min(validations):.4f}" if validations else ""
    results_console().print(
        f"{out}: {trained.learner} on {record['data']['name']}, {_taken(record)}, "
        f"{record['peak_memory_mb']:,.0f} MiB at most{learned}\n"
        f"next: warmprompt evaluate {out}"
    )


def _taken(manifest: Mapping[str, Any]) -> str:
    """Return the seconds by the clock and of the processor, each with what was announced."""
    announced = manifest.get("budget", {}).get("total", {})

    def compared(taken: float, key: str) -> str:
        return f"{taken:.0f} s" + (f" of at most {announced[key]:.0f}" if key in announced else "")

    clock = compared(manifest["train_s"], "wall_s")
    if "train_cpu_s" not in manifest:
        return clock
    return f"{clock}, processor time {compared(manifest['train_cpu_s'], 'cpu_s')}"
