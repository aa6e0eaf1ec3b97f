"""Type a page's commands in a folder like a fresh clone, and write what they print into the page.

    python benchmarks/record_page.py .venv-core docs/howto/first-hour.md

The first argument is the environment that the commands run in. Needs port 8000 where the page serves.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.core.clone import Clone, link_clone, reader_variables  # noqa: E402
from tests.core.commands import is_server  # noqa: E402
from tests.core.pages import steps  # noqa: E402


def main(environment: Path, page: Path) -> None:
    """Record the page."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch) / "clone", Path(scratch) / "home"
        home.mkdir()
        clone = Clone(folder=link_clone(folder, environment), variables=reader_variables(environment, home))
        try:
            page.write_text(
                re.sub(
                    r"(?ms)^```console\n(.*?)^```$", lambda block: _typed(clone, block[0]), page.read_text()
                )
            )
        finally:
            clone.stop()


def _typed(clone: Clone, block: str) -> str:
    """Return a block with the output of each command below it."""
    lines = ["```console"]
    for step in steps(block):
        print(f"$ {step.text}", flush=True)
        said = f"serving at {clone.serve(step.text)}" if is_server(step.text) else clone.run(step.text)
        shown = [line.rstrip() for line in _without_places(clone, said).splitlines()]
        lines += [f"$ {step.text}", *(line for line in shown if line)]
    return "\n".join([*lines, "```"])


def _without_places(clone: Clone, said: str) -> str:
    """Name folders as a reader has them."""
    home = clone.variables["WARMPROMPT_HOME"]
    return said.replace(str(clone.folder), ".").replace(home, "~/.local/share/warmprompt")


if __name__ == "__main__":
    os.chdir(ROOT)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
