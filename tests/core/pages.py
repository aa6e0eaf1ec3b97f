"""What a page of the documentation tells its reader to type: commands and Python, in the page's order."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In a block without a language, a line that begins so is a command and any other is what a program prints.
_PROGRAMS = r"(?:\.venv/bin/\w+|warmprompt|make|python3?|pip) "
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """Something to type.

    Attributes:
        line: Where it stands in the page, from 1.
        text: A command as bash reads it, or a block of Python.
        is_python: Which of the two.
    """

    line: int
    text: str
    is_python: bool = False


def pages() -> list[Path]:
    """Return the pages whose every command is run."""
    return [
        ROOT / "README.md",
        ROOT / "docs" / "quickstart.md",
        *sorted((ROOT / "docs" / "howto").glob("*.md")),
    ]


def steps(page: str) -> list[Step]:
    """Return a page's steps: `console` blocks with or without `$`, `sh` blocks, `python` blocks.

    A block in `py` looks the same to the reader and is left out: it needs what the core has not.
    """
    found = []
    for block in _FENCE.finditer(page):
        language, body = block[2], block[3]
        first = page.count("\n", 0, block.start(3)) + 1
        if language == "python":
            found.append(Step(first, body, is_python=True))
        elif language in {"console", "sh", "bash"}:
            prompt = r"\$ " if re.search(r"^ *\$ ", body, re.MULTILINE) else ""
            found += _commands(body, first, rf" *{prompt}")
        elif not language:
            found += _commands(body, first, rf" *(?:\$ )?(?={_PROGRAMS})")
    return found


def _commands(body: str, first: int, prompt: str) -> list[Step]:
    """Return the commands of a block; one goes on over line ends that are escaped or within quotes."""
    found: list[Step] = []
    lines = body.splitlines()
    at = 0
    while at < len(lines):
        begins = re.match(prompt, lines[at])
        if begins is None or not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        line, text = first + at, lines[at][begins.end() :]
        while not _is_whole(text) and at + 1 < len(lines):
            at += 1
            text += "\n" + lines[at]
        found.append(Step(line, text))
        at += 1
    return found


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True
