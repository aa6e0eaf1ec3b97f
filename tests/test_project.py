"""What surrounds the code: pins, documentation, file map, and what must never be in the repository."""

import importlib.metadata as metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from warmprompt.cli import COMMANDS, make_app
from warmprompt.settings import setting_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "warmprompt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Ray is in an environment of its own, which make test-ray makes.
EXTRAS = {name: of for name, of in PROJECT["optional-dependencies"].items() if name != "ray"}


@cache
def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@cache
def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_package_that_an_install_brings_is_pinned_to_what_is_tested():
    todo = [
        Requirement(text) for text in (*PROJECT["dependencies"], *(r for e in EXTRAS.values() for r in e))
    ]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        # pip comes with the environment; pip-audit asks for it.
        if (name, frozenset(wanted.extras)) in seen or name == "pip":
            continue
        seen.add((name, frozenset(wanted.extras)))
        assert name in pins(), f"{name} is not in constraints.txt"
        installed = metadata.version(name).partition("+")[0]
        assert pins()[name] == installed, f"{name} is pinned to another version than the one under test"
        assert wanted.specifier.contains(installed), f"{name} is older than pyproject.toml asks"
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)
    assert {name for name, _ in seen} == set(pins()) - {"hatchling"}


def test_every_pin_can_be_installed_by_the_oldest_python_that_the_project_allows():
    oldest = f"{PROJECT['requires-python'].removeprefix('>=')}.0"
    asked = {name: metadata.metadata(name).get("Requires-Python") for name in set(pins()) - {"hatchling"}}
    assert not [name for name, needed in asked.items() if needed and oldest not in SpecifierSet(needed)]


def test_the_build_backend_is_pinned_alike():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert build == [f"hatchling=={pins()['hatchling']}"]


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert metadata.version("warmprompt") == version
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "transformers", "polars", "numpy"}
    code = f"import sys, warmprompt; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_ray_is_pinned_to_one_minor_version_and_imported_by_its_integration_alone():
    (ray,) = PROJECT["optional-dependencies"]["ray"]
    assert re.fullmatch(r"ray\[data\]>=2\.(\d+),<2\.(\d+)", ray)
    first, beyond = (int(one) for one in re.findall(r"2\.(\d+)", ray))
    assert beyond == first + 1
    importing = [
        path.name
        for path in SOURCE.rglob("*.py")
        if re.search(r"^\s*(import|from) ray\b", path.read_text(), flags=re.MULTILINE)
    ]
    assert importing == ["ray_shards.py"]


def test_the_file_map_lists_every_package_and_module_and_nothing_else():
    readme = (ROOT / "README.md").read_text()
    listed = set(re.findall(r"^\| `src/warmprompt/([\w.]+)/?` \|", readme, flags=re.MULTILINE))
    present = {path.name for path in SOURCE.iterdir() if path.name not in {"__pycache__", "py.typed"}}
    assert listed == present - {"__init__.py", "__main__.py"}


def test_the_architecture_page_lists_the_same():
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = set(re.findall(r"^  ([\w]+(?:\.py|/)) ", page, flags=re.MULTILINE))
    present = {p.name + ("/" if p.is_dir() else "") for p in SOURCE.iterdir() if p.name[0] not in "_p"}
    assert listed == present


def test_the_architecture_page_names_who_imports_torch():
    page = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    named = re.search(r"Only (.+?) import torch, as do `baselines`", page)
    assert named
    importing = {
        path.relative_to(SOURCE).parts
        for path in SOURCE.rglob("*.py")
        if re.search(r"^\s*(import|from) torch\b", path.read_text(), flags=re.MULTILINE)
    }
    # Large packages are named by the part of them that does.
    places = {"/".join(parts[: 2 if parts[0] in ("risk", "service") else 1]) for parts in importing}
    assert places == {*re.findall(r"`([\w/]+)`", named[1]), "baselines"}


def commands(command: Any, name: str = "warmprompt") -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {child}")


@cache
def all_commands() -> dict[str, Any]:
    return dict(commands(typer.main.get_command(make_app())))


@cache
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_are_the_fixed_ones():
    assert {name.split()[1] for name in all_commands() if " " in name} == {
        "data", "backbone", "train", "tune", "evaluate", "evidence", "recommend", "describe", "similar",
        "bench", "serve", "items", "keys", "risk",
    }  # fmt: skip


def test_every_command_and_option_says_what_it_is_for():
    for name, command in all_commands().items():
        assert (command.help or "").strip(), f"{name} has no help"
        for param in command.params:
            assert (param.help or "").strip(), f"{name} {param.name} has no help"


def test_the_list_of_commands_says_what_each_commands_own_help_says():
    for name, entry in COMMANDS.items():
        assert all_commands()[f"warmprompt {name}"].help.splitlines()[0] == entry.help


def test_every_command_and_option_stands_in_the_reference():
    page = hooks().commands_page()
    for name, command in all_commands().items():
        assert name == "warmprompt" or f"# `{name}`\n" in page
        for param in command.params:
            shown = param.opts[0] if param.opts[0].startswith("-") else f"`{param.name}"
            assert shown in page, f"{name} {shown}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_shown_in_use(command):
    pages = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
    assert any(f"warmprompt {command} " in page.read_text() for page in pages)


def test_every_setting_stands_in_the_reference_with_its_meaning():
    page = hooks().settings_page()
    sections = dict(
        zip(*[iter(re.split(r"^## `\[(\w+)\]`$", page, flags=re.MULTILINE)[1:])] * 2, strict=True)
    )
    for name in setting_names():
        section, _, key = name.partition(".")
        row = re.search(rf"^\| `{key}` \| .+ \| `WARMPROMPT_{name.replace('.', '__').upper()}` \| (.+) \|$",
                        sections[section], flags=re.MULTILINE)  # fmt: skip
        assert row, name
        assert row[1].endswith("."), name


def test_every_module_stands_in_the_python_reference():
    text = "".join(hooks().python_pages().values())
    left_out = {"cli", "demo", "__main__", "__init__"}  # the first has the command reference
    for file in SOURCE.rglob("*.py"):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if parts[0] not in left_out and not any(re.match("_(?!_init)", part) for part in parts):
            dotted = ".".join(("warmprompt", *parts)).removesuffix(".__init__")
            assert f"::: {dotted}\n" in text, f"{dotted} is missing from docs/hooks.py"


def test_no_page_or_style_asks_another_host():
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()
    for file in [*(ROOT / "docs").rglob("*.css"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        assert not re.search(r"(?:url\(|src=|!\[[^\]]*\]\()[\"']?https?:", file.read_text()), file


def test_links_in_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_no_tracked_file_names_the_place_it_was_made_in():
    words = re.compile(rf"{re.escape(str(ROOT))}|/wor[k]/".encode())
    found = [
        f"{path.name}: {hit[0].decode()}" for path in tracked() if (hit := words.search(path.read_bytes()))
    ]
    assert found == []


def test_no_data_weights_or_pickles_are_tracked():
    suffixes = {
        ".pkl",
        ".pickle",
        ".pt",
        ".pth",
        ".bin",
        ".gguf",
        ".safetensors",
        ".npy",
        ".npz",
        ".zip",
        ".whl",
    }
    assert [path for path in tracked() if path.suffix in suffixes or path.stat().st_size > 1_000_000] == []


def test_files_stay_short_enough_to_read():
    long = {path.name: lines for path in tracked() if path.suffix == ".py" and SOURCE in path.parents
            and (lines := len(path.read_text().splitlines())) > 400}  # fmt: skip
    assert long == {}


@pytest.mark.parametrize("word", ["TOD[O]", "FIXM[E]", "NotImplementedErro[r]"])
def test_nothing_is_left_unfinished(word):
    assert [
        path for path in tracked() if path.suffix == ".py" and re.search(rf"\b{word}\b", path.read_text())
    ] == []


@pytest.mark.parametrize(
    "target",
    ["demo", "demo-risk", "serve", "test", "test-core", "test-ray", "check", "docs", "bench", "evidence"],
)
def test_the_make_target_exists(target):
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
