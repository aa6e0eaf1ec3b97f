"""The command that a failed import names: it works where the person stands."""

import json
import shlex
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import typer

from warmprompt.cli import installing
from warmprompt.cli.errors import run_guarded
from warmprompt.cli.installing import install_command

METADATA = """Metadata-Version: 2.4
Name: warmprompt
Version: 1
Requires-Dist: scikit-learn>=1.9
Requires-Dist: psycopg[binary]>=3.3
Requires-Dist: colorama>=1; sys_platform == 'win32'
Provides-Extra: risk
Requires-Dist: numba>=0.68; extra == 'risk'
Requires-Dist: river>=0.26; extra == 'risk'
"""


class Installed(Distribution):
    def __init__(self, url=None, *, editable=True):
        origin = {"url": url, "dir_info": {"editable": editable}} if url else None
        self.contents = {"METADATA": METADATA, "direct_url.json": origin and json.dumps(origin)}

    def read_text(self, filename):
        return self.contents.get(filename)

    def locate_file(self, path):
        return Path(path)


@pytest.fixture
def installed(monkeypatch):
    """Return a function that says how warmprompt came here."""

    def say(*url, **how):
        monkeypatch.setattr(installing, "distribution", lambda name: Installed(*url, **how))

    return say


@pytest.fixture
def clone(monkeypatch, tmp_path):
    """Return a clone with a space in its name, entered, whose environment runs this."""
    folder = tmp_path / "my clone"
    folder.mkdir()
    (folder / "constraints.txt").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "executable", str(folder / ".venv/bin/python"))
    return folder


def test_a_clone_is_installed_again_with_the_extra_and_its_pins(installed, clone):
    installed(clone.as_uri())
    command = install_command("numba.core")
    assert command == ".venv/bin/python -m pip install --constraint constraints.txt --editable '.[risk]'"


def test_what_the_core_lacks_needs_no_extra(installed, clone):
    installed(clone.as_uri())
    assert install_command("sklearn.tree").endswith("--constraint constraints.txt --editable .")


def test_from_elsewhere_whole_paths_are_named(installed, clone, monkeypatch, tmp_path):
    installed(clone.as_uri())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    python, *_, pins, _, source = shlex.split(install_command("river"))
    assert [python, pins, source] == [
        f"{clone}/.venv/bin/python",
        f"{clone}/constraints.txt",
        f"{clone}[risk]",
    ]


@pytest.mark.parametrize("how", [{}, {"url": "file:///somewhere", "editable": False}])
def test_without_a_clone_the_packages_themselves_are_named(installed, clone, how):
    installed(**how)
    assert shlex.split(install_command("numba"))[4:] == ["numba>=0.68", "river>=0.26"]
    assert shlex.split(install_command("psycopg"))[4:] == ["psycopg[binary]>=3.3"]


@pytest.mark.parametrize("module", ["foo", "colorama", ""])
def test_other_modules_have_no_command(installed, clone, module):
    installed(clone.as_uri())
    assert install_command(module) == ""


def test_a_missing_package_of_the_risk_chapter_is_reported_before_work_begins(monkeypatch, capfd):
    # As with the core alone: the last of its packages is missing, and no module of it is loaded yet.
    for name in [name for name in sys.modules if name.startswith("warmprompt.risk")]:
        monkeypatch.delitem(sys.modules, name)
    find = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "river" else find(name))

    def begin():
        import warmprompt.risk.network.edges  # noqa: F401

    app = typer.Typer(add_completion=False)
    app.command()(begin)
    assert run_guarded(lambda: app, []) == 2
    printed = capfd.readouterr().err
    assert printed.startswith("error: this needs 'river', which is not installed. Install it: ")
    assert "risk" in printed or "river>=" in printed
