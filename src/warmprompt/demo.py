"""The whole way, once: data, language model, training, evaluation, two new people (`make demo`).

    python -m warmprompt.demo --out runs/demo

Interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.errors import run_guarded
from warmprompt.cli.evaluate import metric_table
from warmprompt.cli.parsing import whole_numbers
from warmprompt.cli.progress import shown_progress
from warmprompt.cli.recommend import liked_events
from warmprompt.settings import EvaluateSettings, load_settings

if TYPE_CHECKING:
    from warmprompt.adaptation.personaliser import Personaliser

DATA, BACKBONE, ITEM_TEXT = "ml-100k", "smollm2-135m", "minilm-l6"
KS = (0, 1, 5, 10)
BASELINES = ("toppop", "itemknn", "ease")
SENTENCE = "I love romantic comedies and a good love story"
LIKES = (
    "Star Wars (1977)",
    "Alien (1979)",
    "Blade Runner (1982)",
    "Terminator, The (1984)",
    "2001: A Space Odyssey (1968)",
)
DISLIKES = ("Sound of Music, The (1965)",)


def main() -> None:
    """Run the demo and leave the process with its exit code."""
    app = typer.Typer(add_completion=False)
    app.command()(demo)
    sys.exit(run_guarded(lambda: app, sys.argv[1:]))


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run and of what it shows.")] = Path(
        "runs/demo"
    ),
    seeds: Annotated[
        str, typer.Option("--seeds", help="Split seeds of the evaluation; each is trained.")
    ] = "0",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of other settings.")] = False,
) -> None:
    """Train on MovieLens-100K with SmolLM2-135M, evaluate, and recommend to two new people."""
    options = EvaluateSettings(k=KS, seeds=whole_numbers("--seeds", seeds) or (), baselines=BASELINES)
    console = results_console()
    begun_s = time.monotonic()
    with _step(console, f"1 of 5. Fetch the data set {DATA}"):
        from warmprompt.data.fetch import ensure_dataset

        ensure_dataset(DATA)
    with _step(console, f"2 of 5. Fetch the frozen models: {BACKBONE} for users, {ITEM_TEXT} for items"):
        from warmprompt.backbone.fetch import get_backbone, is_cached

        for name in (BACKBONE, ITEM_TEXT):
            if not is_cached(name):
                get_backbone(name)
    with (
        _step(console, "3 of 5. Learn, from 70 % of the users, where prompts start"),
        shown_progress() as progress,
    ):
        from warmprompt.training.run import train_run

        settings = load_settings(flags={"data.name": DATA, "backbone.name": BACKBONE})
        trained = train_run(settings, out, progress=progress, overwrite=overwrite)
    facts = trained.manifest
    console.print(f"trained in {facts['train_s']:.0f} s, {facts['peak_memory_mb']:,.0f} MiB at most")
    with _step(console, "4 of 5. Rank for the 20 % of users never seen, given K of their events"):
        from warmprompt.assembly.evaluating import evaluate_run

        with shown_progress() as progress:
            results = evaluate_run(out, options, out=out / "results.json", progress=progress)
    console.print(metric_table(results))
    with _step(console, "5 of 5. Recommend to two new people"):
        from warmprompt.adaptation.opening import open_run

        model = open_run(out)
    _person(console, model, f'somebody who only says: "{SENTENCE}"', about=SENTENCE)
    who = f"somebody who likes {'; '.join(LIKES)} and dislikes {'; '.join(DISLIKES)}"
    _person(console, model, who, likes=LIKES, dislikes=DISLIKES)
    spent = time.monotonic() - begun_s
    console.print(f"done in {spent:.0f} s: {out}/report.md, {out}/metrics.png, {out}/results.json")
    console.print(
        f'try it: warmprompt recommend {out} --like "Toy Story (1995)" --about "I love slow science fiction"'
    )


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    console.print(f"\n{what}")
    begun_s = time.monotonic()
    yield
    console.print(f"   {time.monotonic() - begun_s:.1f} s")


def _person(
    console: Console,
    model: Personaliser,
    who: str,
    *,
    about: str | None = None,
    likes: tuple[str, ...] = (),
    dislikes: tuple[str, ...] = (),
) -> None:
    """Show a person's ranking and how long it took, after one adaptation that warms the processor up."""
    events = liked_events(model, likes, dislikes)
    model.adapt(events)
    begun_s = time.perf_counter()
    state = model.adapt(events, about=about)
    adapted_s = time.perf_counter()
    ranking = model.rank(state, 10)
    ranked_s = time.perf_counter()
    table = Table("", "title", "score", show_edge=False)
    for index, (title, score) in enumerate(zip(ranking.titles, ranking.scores, strict=True), start=1):
        table.add_row(str(index), title, f"{score:.3f}")
    console.print(f"\nFor {who}:")
    console.print(table)
    console.print(
        f"adapted in {1000 * (adapted_s - begun_s):.0f} ms, ranked in {1000 * (ranked_s - adapted_s):.1f} ms"
    )


if __name__ == "__main__":
    main()
