"""Every command and every block of Python that a page shows, run in the page's order with the core alone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.core.commands import RULES, is_server, kind_of, rule_of
from tests.core.conftest import CHEAP
from tests.core.files import write_python_files
from tests.core.pages import ROOT, Step, pages, steps

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
# Pages on which training is worth its time: the reader's own small data set with the usual settings.
IN_FULL = {"docs/howto/first-hour.md"}
# Pages whose files have the names of other pages' files, and other columns.
OWN_FILES = {"docs/howto/python.md": write_python_files}
# Pages whose Python reads files that its commands read with other columns.
# By the time Python would run, the service that serve.md began with has made way for one with keys.
WITHOUT_PYTHON = {"README.md", "docs/howto/serve.md"}
# The page whose Python starts a process as readers do; that of the others is forked.
PYTHON_IN_NEW_PROCESS = "docs/howto/python.md"


def commands() -> Iterator[str]:
    for page in PAGES.values():
        yield from (step.text for step in steps(page.read_text()) if not step.is_python)


def first_of_each_kind() -> set[str]:
    """Return the first command that is run of each kind: these start a process as readers do."""
    first = {}
    for command in commands():
        if rule_of(command) is None:
            first.setdefault(kind_of(command), command)
    return set(first.values())


IN_NEW_PROCESS = first_of_each_kind()


@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_shows_works(page, clone):
    if page in IN_FULL:
        clone.variables = {name: value for name, value in clone.variables.items() if name not in CHEAP}
    if page in OWN_FILES:
        OWN_FILES[page](clone.folder)
    text = PAGES[page].read_text()
    if "--name shop " in text:  # the page makes it itself
        shutil.rmtree(Path(clone.variables["WARMPROMPT_HOME"]) / "data" / "shop")
    shown = steps(text)
    python = [step for step in shown if step.is_python and page not in WITHOUT_PYTHON]
    typed = [step for step in shown if not step.is_python]
    # A page of Python leaves runs that its commands take.
    if shown and shown[0].is_python:
        _run_python(clone, page, python)
        python = []
    for step in typed:
        try:
            _type(clone, step)
        except AssertionError as error:
            pytest.fail(f"{page}:{step.line}: {error}", pytrace=False)
    _run_python(clone, page, python)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.command)
def test_every_exception_is_needed(rule):
    assert any(rule_of(command) is rule for command in commands())


@pytest.mark.parametrize("page", sorted(set(PAGES) - {"docs/howto/page.md"}))
def test_no_page_is_read_as_one_without_commands(page):
    assert steps(PAGES[page].read_text())


def test_a_command_that_does_not_exist_is_found(clone):
    for command in ("warmprompt trian --data mine", "warmprompt risk network --sed 1", "make demmo"):
        with pytest.raises(AssertionError):
            _type(clone, Step(1, command))


def _type(clone, step: Step) -> None:
    """Do what a reader does with a command; what is asked of a service is asked of one."""
    command = step.text
    rule = rule_of(command)
    if rule is not None:
        for one in _options_only(command) if rule.how == "parse" else ():
            clone.run(one)
        if rule.how == "make":
            clone.run(re.sub("^make", "make --dry-run", command))
    elif is_server(command):
        clone.serve(command)
    elif command.startswith("curl ") and clone.server is None:
        clone.serve("warmprompt serve runs/demo")
        clone.run(command)
    elif command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        clone.variables[name] = value
    else:
        clone.run(command, in_new_process=command in IN_NEW_PROCESS)


def _options_only(command: str) -> list[str]:
    """Return commands that read the options of each part and then show the help."""
    return [f"{part.split(' #')[0].rstrip()} --help" for part in command.split(" & ")]


def _run_python(clone, page: str, blocks: list[Step]) -> None:
    """Run a page's blocks as one program, whose errors then name the lines of the page."""
    program = ""
    for block in blocks:
        program += "\n" * (block.line - 1 - program.count("\n")) + block.text
    if program:
        file = clone.folder / f"{page.replace('/', '_')}.py"
        file.write_text(program)
        clone.run(f"python {file.name}", in_new_process=page == PYTHON_IN_NEW_PROCESS)
