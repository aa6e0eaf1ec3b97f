"""The message and the exit code of a failed command: one line on stderr, never a traceback.

0    done
1    a fault: disk full, damaged file, download failed, or a defect of ours ("internal error")
2    the caller's to mend: unknown name, bad value, usage, a package that is not installed
130  interrupted
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import typer
from typer.exceptions import TyperException

from warmprompt.errors import UserError, WarmpromptError

FAULT, MISTAKE, INTERRUPTED = 1, 2, 130

_DISK = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def run_guarded(make_app: Callable[[], typer.Typer], arguments: Sequence[str]) -> int:
    """Run a command line and return the exit code; whatever goes wrong is one line on stderr.

    Importing the command, which is what `make_app` does, is guarded as well.

    With WARMPROMPT_DEBUG=1 in the environment the traceback comes before the line.
    """
    try:
        command = typer.main.get_command(make_app())
        result = command.main(args=list(arguments), prog_name="warmprompt", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as leaving:
        return _code_of(leaving)
    except BrokenPipeError:
        _silence_stdout()
        return FAULT
    except Exception as error:  # noqa: BLE001  the last stop before the person
        return _tell(error)
    return result if isinstance(result, int) else 0


def _tell(error: Exception) -> int:
    if isinstance(error, TyperException):
        return _tell_usage(error)
    if os.environ.get("WARMPROMPT_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, WarmpromptError):
        _print_line(f"error: {error.line()}")
        return MISTAKE if isinstance(error, UserError) else FAULT
    if isinstance(error, ModuleNotFoundError) and (command := _install_command(error.name)):
        _print_line(f"error: this needs {error.name!r}, which is not installed. Install it: {command}")
        return MISTAKE
    if isinstance(error, OSError) and error.errno in _DISK:
        _print_line(f"error: cannot write: {_DISK[error.errno]}. Free some space or name another place.")
        if error.filename is None:
            _silence_stdout()
        return FAULT
    if isinstance(error, OSError) and error.filename is not None:
        _print_line(f"error: {error.filename}: {error.strerror}. Check the path and its permissions.")
        return FAULT
    where = "" if os.environ.get("WARMPROMPT_DEBUG") == "1" else " (WARMPROMPT_DEBUG=1 shows where)"
    _print_line(f"internal error: {type(error).__name__}: {error}{where}")
    return FAULT


def _install_command(module: str | None) -> str:
    from warmprompt.cli.installing import install_command

    return install_command(module or "")


def _tell_usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ != "NoArgsIsHelpError":  # that one has printed the help already
        path = getattr(context, "command_path", "warmprompt")
        _print_line(f"error: {error.format_message().rstrip('.')}. See '{path} --help'.")
    return error.exit_code


def _print_line(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)  # noqa: T201


def _code_of(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code
    _print_line(f"error: {leaving.code}")
    return FAULT


def _silence_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush cannot fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
