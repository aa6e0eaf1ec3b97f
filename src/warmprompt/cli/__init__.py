"""The command line: `warmprompt data|backbone|train|evaluate|recommend|serve ...`, all of it in `COMMANDS`.

A command's module is imported only when that command runs, so that help and
mistyped commands answer at once, without torch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from warmprompt.cli.errors import run_guarded

__all__ = ["COMMANDS", "main", "make_app", "run"]


class Command(NamedTuple):
    """One entry of `warmprompt --help`.

    Attributes:
        help: Its line in the list of commands.
        is_group: Whether it holds commands of its own. The `app` of its module is then a Typer app,
            else the command's function.
    """

    help: str
    is_group: bool = False


COMMANDS = {
    "data": Command("Fetch, import and describe data sets.", is_group=True),
    "backbone": Command("Fetch and list the frozen language models.", is_group=True),
    "train": Command("Learn where prompts start, from the histories of many users."),
    "tune": Command("Search the settings that matter most, judged on validation users."),
    "evaluate": Command("Measure rankings for users never seen in training."),
    "evidence": Command(
        "Measure every table of the results, cell by cell, and write their pages.", is_group=True
    ),
    "recommend": Command("Rank the catalogue for one new person, or for a file of users."),
    "describe": Command(
        "List the experts of a run: weight, size, cost, and what ranking loses without each."
    ),
    "similar": Command("List the items most like an item, by what the same people like."),
    "serve": Command("Serve a run over HTTP: events in, rankings adapted to them out."),
    "items": Command("Hide items of a service from its rankings, and show them again.", is_group=True),
    "keys": Command("Make, list and revoke the keys that the service asks for.", is_group=True),
    "risk": Command(
        "Risk profiles; payment networks, clearing, settlement and early detection, simulated.", is_group=True
    ),
    "bench": Command("Time the adaptation of users on this machine.", is_group=True),
}


def main() -> None:
    """Run the command line and leave the process with its exit code: 0, 1 (fault), 2 (mistake) or 130."""
    # What imports make stays: looking for unreachable cycles in it takes a tenth of a short command.
    gc.set_threshold(200_000, 30, 30)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line in this process, importing only the command it names, and return its exit code."""
    named = [argument for argument in arguments if not argument.startswith("-")][:1]
    return run_guarded(lambda: make_app(load=named), arguments or ["--help"])


def make_app(*, load: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return the root app with the commands in `load` ready to run; the others only show in its help."""
    app = typer.Typer(
        name="warmprompt",
        callback=_root,
        add_completion=False,
        no_args_is_help=True,
        # Plain: boxes would import rich's parsers of Markdown and tracebacks, and take three times as long.
        rich_markup_mode=None,
        context_settings={"max_content_width": 110},
    )
    for name, command in COMMANDS.items():
        if name not in load:
            app.command(name, help=command.help)(_not_loaded)
        elif command.is_group:
            app.add_typer(_app_of(name), name=name, help=command.help, no_args_is_help=True)
        else:
            app.command(name)(_app_of(name))
    return app


def _app_of(name: str) -> Any:
    return import_module(f"warmprompt.cli.{name}").app


def _not_loaded() -> None:
    """Stand in the list of commands; `main` loads the one that runs."""


def _show_version(wanted: bool) -> None:
    if wanted:
        # Imported here: it brings the parsers of email along, and help needs none of it.
        from importlib.metadata import version

        typer.echo(f"warmprompt {version('warmprompt')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    """A frozen language model that personalises for people it has hardly seen.

    Exit codes: 0 done, 1 a fault (disk, network, damaged file), 2 something you can mend, 130 interrupted.
    Set WARMPROMPT_DEBUG=1 to see where an error came from.
    """
