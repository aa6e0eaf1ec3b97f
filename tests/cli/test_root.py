"""The root command: what starts, how failures are reported, and with which code they leave."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from warmprompt.cli import COMMANDS, run
from warmprompt.cli.errors import run_guarded
from warmprompt.errors import FaultError, IntegrityError, UnknownNameError

PYTHON = [sys.executable, "-m", "warmprompt"]


def outcome(capfd, action: Callable[[], object], *arguments: str) -> tuple[int, str]:
    """Run an app whose only command does `action`; return the exit code and what stderr holds."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(number: Annotated[int, typer.Option()] = 0) -> None:
        action()

    code = run_guarded(lambda: app, arguments)
    return code, capfd.readouterr().err


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UnknownNameError(field="--data", value="x", remedy="Try y."), 2, "error: --data: 'x'. Try y.\n"),
        (
            IntegrityError(field="file", value="a\nb", remedy="Fetch again."),
            1,
            "error: file: 'a b'. Fetch again.\n",
        ),
        (FaultError(field="f", value="v", remedy="R."), 1, "error: f: 'v'. R.\n"),
        (OSError(errno.ENOSPC, "no space"), 1, "error: cannot write: the disk is full. Free some space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/x"),
            1,
            "error: /etc/x: Permission denied. Check the path and its permissions.\n",
        ),
        (
            ValueError("two\nlines"),
            1,
            "internal error: ValueError: two lines (WARMPROMPT_DEBUG=1 shows where)\n",
        ),
        (MemoryError(), 1, "internal error: MemoryError"),
        (
            ModuleNotFoundError("No module named 'sklearn.tree'", name="sklearn.tree"),
            2,
            "error: this needs 'sklearn.tree', which is not installed. Install it: ",
        ),
        (ModuleNotFoundError("No module named 'foo'", name="foo"), 1, "internal error: ModuleNotFoundError"),
        (SystemExit(7), 7, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("why"), 1, "error: why\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
        (typer.BadParameter("no"), 2, "error: Invalid value: no."),
    ],
)
def test_each_failure_leaves_with_its_code_and_one_line(capfd, monkeypatch, error, code, line):
    monkeypatch.delenv("WARMPROMPT_DEBUG", raising=False)
    # A full disk is also what a full stdout looks like; the guard then points stdout nowhere.
    monkeypatch.setattr("warmprompt.cli.errors._silence_stdout", lambda: None)
    got, shown = outcome(capfd, raising(error))
    assert got == code
    assert shown.startswith(line)
    assert shown.count("\n") == (1 if line else 0)


def test_success_is_zero_and_silent(capfd):
    assert outcome(capfd, lambda: None) == (0, "")


def test_debug_shows_the_traceback_before_the_line(capfd, monkeypatch):
    monkeypatch.setenv("WARMPROMPT_DEBUG", "1")
    code, shown = outcome(capfd, raising(ValueError("x")))
    assert code == 1
    assert "Traceback" in shown
    assert shown.endswith("internal error: ValueError: x\n")


def test_a_wrong_option_type_is_a_usage_error_in_one_line(capfd):
    code, shown = outcome(capfd, lambda: None, "--number", "three")
    assert code == 2
    assert shown.startswith("error: Invalid value for '--number'")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["--frob"], "No such option: --frob"),
        (["--version", "x"], None),
    ],
)
def test_a_mistyped_command_line_names_the_nearest_and_the_help(capfd, arguments, message):
    code = run(arguments)
    shown = capfd.readouterr()
    if message is None:
        assert (code, shown.err) == (0, "")
        assert shown.out.startswith("warmprompt ")
    else:
        assert code == 2
        assert message in shown.err
        assert shown.err.count("\n") == 1


def test_an_import_that_fails_is_reported_like_any_failure(capfd):
    def broken() -> typer.Typer:
        raise ImportError("libfoo.so is missing")

    assert run_guarded(broken, []) == 1
    assert capfd.readouterr().err.startswith("internal error: ImportError: libfoo.so is missing")


def test_help_lists_every_command_without_importing_any():
    code = (
        "import sys; from warmprompt.cli import run; assert run(['--help']) == 0;"
        "heavy = {'torch', 'transformers', 'polars', 'numpy', 'scipy', 'implicit', 'matplotlib', 'pydantic',"
        " 'rich'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == "[]\n"
    assert all(f" {name} " in done.stdout for name in COMMANDS)


def test_opening_runs_imports_only_what_ranking_needs():
    code = (
        "import sys; import warmprompt.adaptation.opening;"
        "idle = {'transformers', 'torch._dynamo', 'sympy', 'tensorboard', 'implicit', 'matplotlib', 'optuna',"
        " 'sklearn', 'scipy.optimize', 'peft', 'alembic', 'sqlalchemy', 'accelerate', 'pyarrow',"
        " 'warmprompt.data.readers'};"
        "print(sorted(idle & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_help_takes_under_half_a_second_of_processor_time():
    # Processor time, not the clock: help waits for nothing, and other work on the machine is not its fault.
    # About 0.2 s on one slow core; the least of three, since caches are cold at first.
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PYTHON, "--help"], capture_output=True, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_no_arguments_show_the_help_and_succeed(capfd):
    assert run([]) == 0
    assert "Usage: warmprompt" in capfd.readouterr().out


def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*PYTHON, "--help"], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_reported():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PYTHON, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: cannot write: the disk is full")
    assert done.stderr.count(b"\n") == 1


def test_an_interrupt_from_outside_leaves_with_130():
    code = (
        "import sys, os, signal, typer; from warmprompt.cli.errors import run_guarded;"
        "app = typer.Typer();"
        "app.command()(lambda: os.kill(os.getpid(), signal.SIGINT));"
        "sys.exit(run_guarded(lambda: app, []))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == b""
