"""What mkdocs builds from the code: command, settings and Python reference, and drawn formulas.

Nothing generated is stored, so the reference cannot fall behind the program.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import typer
from matplotlib import mathtext, rc_context
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from warmprompt.cli import COMMANDS, make_app
from warmprompt.settings import ENVIRONMENT_PREFIX, Settings

SOURCE = Path(__file__).parents[1] / "src" / "warmprompt"
PACKAGES = [
    "evidence",
    "integrations",
    "service",
    "client",
    "assembly",
    "training",
    "risk",
    "generation",
    "adaptation",
    "runs",
    "meta",
    "experts",
    "scoring",
    "backbone",
    "data",
    "evaluation",
    "baselines",
    "store",
    "settings",
]
MODULES = ["types", "rng", "files", "coalescing", "lru", "errors"]


SETTINGS_HEAD = """# Settings

In rising order: defaults, those of the learner, a preset, a TOML file, the environment, flags.
Unknown keys are errors. An empty value in a file or variable means none, where a setting may be none.
"""


PYTHON_HEAD = """The names on this page are what other programs may rely on. The pages beside it
describe the inside, package by package, for readers of the code."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Draw fenced blocks named `formula`, and list the generated pages of the Python reference."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "formula", "class": "formula", "format": _formula_block})
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference.append({"Python": [{name: path} for name, path in _python_nav().items()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
    } | python_pages()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def commands_page() -> str:
    """Return the reference of every command, as its `--help` tells it."""
    present = [name for name in COMMANDS if find_spec(f"warmprompt.cli.{name}")]
    command = typer.main.get_command(make_app(load=present))
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="warmprompt")
    return _whole_summaries(text).replace("# `warmprompt`", "# Commands", 1)


def _whole_summaries(text: str) -> str:
    """Put each command's whole first sentence where the list of commands cut it short."""
    summaries = dict(re.findall(r"^#+ `warmprompt ([^`]+)`\n\n(.+)$", text, flags=re.MULTILINE))
    lines, group = [], ""
    for line in text.splitlines():
        heading = re.match(r"#+ `warmprompt ?([^`]*)`", line)
        group = heading.group(1) if heading else group
        listed = re.match(r"\* `([\w-]+)`: .*\.\.\.$", line)
        name = f"{group} {listed.group(1)}".strip() if listed else ""
        lines.append(f"* `{listed.group(1)}`: {summaries[name]}" if listed and name in summaries else line)
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return one table of settings per section."""
    parts = [SETTINGS_HEAD]
    for section, kind in get_type_hints(Settings).items():
        if not is_dataclass(kind):
            continue
        summary, described = _read_docstring(kind.__doc__ or "")
        parts.append(
            f"\n## `[{section}]`\n\n{summary}\n\n| key | default | variable | meaning |\n|---|---|---|---|\n"
        )
        for field in fields(kind):
            variable = f"{ENVIRONMENT_PREFIX}{section}__{field.name}".upper()
            default = "none" if field.default is None else f"`{_as_toml(field.default)}`"
            parts.append(f"| `{field.name}` | {default} | `{variable}` | {described[field.name]} |\n")
    return "".join(parts)


def python_pages() -> dict[str, str]:
    """Return the Python reference: the public names on one page, then a page per package."""
    ground = [name for name in MODULES if (SOURCE / f"{name}.py").is_file()]
    pages = {
        "reference/python/index.md": f"# Python\n\n{PYTHON_HEAD}\n\n::: warmprompt\n",
        "reference/python/ground.md": "# Ground floor\n\n" + _blocks(ground),
    }
    for package in _packages():
        files = sorted((SOURCE / package).rglob("*.py"))
        dotted = [".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in files]
        names = [name.removesuffix(".__init__") for name in dotted]
        names = [name for name in names if name != package and "._" not in name]
        head = (
            f"# warmprompt.{package}\n\n::: warmprompt.{package}\n    options: {{show_root_heading: false}}"
        )
        pages[f"reference/python/{package}.md"] = f"{head}\n\n{_blocks(names)}"
    return pages


def _python_nav() -> dict[str, str]:
    named = {"Public names": "index", "Ground floor": "ground"} | {name: name for name in _packages()}
    return {title: f"reference/python/{name}.md" for title, name in named.items()}


def _packages() -> list[str]:
    return [name for name in PACKAGES if (SOURCE / name / "__init__.py").is_file()]


def _blocks(names: list[str]) -> str:
    return "\n".join(f"::: warmprompt.{name}\n" for name in names)


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return a settings class's first line and the meaning of each of its attributes."""
    described = re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", text, flags=re.MULTILINE)
    return text.splitlines()[0], {name: " ".join(meaning.split()) for name, meaning in described}


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def _formula_block(source: str, *_: Any, **__: Any) -> str:
    """Return each line of a block as a drawn formula that takes the page's colour."""
    return "".join(f'<div class="formula">{svg}</div>' for svg in _formulas(source))


def _formulas(source: str) -> Iterator[str]:
    for line in filter(None, map(str.strip, source.splitlines())):
        drawn = io.StringIO()
        with rc_context({"mathtext.fontset": "cm", "svg.hashsalt": line, "font.size": 15}):
            mathtext.math_to_image(f"${line}$", drawn, format="svg")
        svg = drawn.getvalue()
        svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(line)}"', 1)
        svg = re.sub(r"<metadata>.*?</metadata>|<g id=\"patch_1\">.*?</g>", "", svg, flags=re.DOTALL)
        own = sha256(line.encode()).hexdigest()[:8]
        svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{own}-", svg)
        yield svg.replace("<g id=", '<g fill="currentColor" id=', 1)
