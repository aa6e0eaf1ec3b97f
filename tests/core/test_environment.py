"""The environment holds the core alone, and all of the package but risk and integrations can be used."""

import json

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.core.pages import ROOT

_INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name: d.requires or [] for d in distributions()}))
"""
_IMPORT_ALL = """
import importlib, pkgutil, warmprompt
for module in pkgutil.walk_packages(warmprompt.__path__, "warmprompt."):
    parts = module.name.split(".")[1:]
    of_risk = any(part.startswith("risk") for part in parts)
    of_risk = of_risk or parts in (["service", "entity_history"], ["service", "entities"])
    of_others = parts[0] == "integrations" and len(parts) > 1
    if not of_risk and not of_others and parts[-1] not in ("__main__", "env"):
        importlib.import_module(module.name)
print(warmprompt.__version__, warmprompt.__file__)
"""


def python(new_clone, program):
    clone = new_clone()
    (clone.folder / "program.py").write_text(program)
    return clone.run("python program.py", in_new_process=True)


def test_nothing_but_the_core_is_installed(new_clone):
    # The core is what warmprompt asks for without an extra, and what that asks for in turn.
    installed = {
        canonicalize_name(name): release
        for name, release in json.loads(python(new_clone, _INSTALLED)).items()
    }
    todo, seen = [("warmprompt", "")], set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for needed in map(Requirement, installed.get(name, ())):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(needed.name), one) for one in {"", *needed.extras}]
    in_every_venv = {"pip", "setuptools"}
    assert set(installed) - in_every_venv == {name for name, _ in seen} - in_every_venv


def test_every_module_but_risk_and_integrations_is_imported(new_clone, environment):
    version, file = python(new_clone, _IMPORT_ALL).split()
    assert str(environment) in file or "/src/" not in file
    assert version.count(".") == 2


def test_the_wheel_holds_every_file_of_the_package(environment):
    # The page, migrations, tables and the type marker are files that no import would miss.
    (installed,) = environment.glob("lib/python*/site-packages/warmprompt")
    assert _files(installed) == _files(ROOT / "src" / "warmprompt")


def _files(folder):
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in every if "__pycache__" not in path.parts}
