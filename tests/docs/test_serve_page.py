"""The requests of docs/howto/serve.md run as they are written, but for the address and the item."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.service.conftest import personaliser, service, settings, store, tiny_model  # noqa: F401
from tests.service.talking import listening

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "serve.md"


def block(language, containing):
    """Return the page's only block in a language that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (found,) = (one for one in blocks if containing in one)
    return found


def run(*command):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"no_proxy": "*"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_requests_in_curl_run_as_written(service, store, personaliser):  # noqa: F811
    with listening(service) as address:
        lines = block("console", "users/ada/recommendations").replace("\n$ ", "\n").removeprefix("$ ")
        lines = lines.replace("localhost:8000", address.removeprefix("http://"))
        output = run("sh", "-ec", lines.replace('"item": 50', f'"item": "{personaliser.items[0]}"'))
    answers, left = [], output.strip()
    while left:
        answer, end = json.JSONDecoder().raw_decode(left)
        answers.append(answer)
        left = left[end:].strip()
    recorded, ranking, deleted = answers
    assert (recorded["last_seq"], len(ranking["items"]), ranking["seq"], deleted["entries"]) == (2, 5, 2, 2)
    assert store.users().users == ()


def test_requests_in_python_run_as_written(service, store, personaliser):  # noqa: F811
    with listening(service) as address:
        code = block("python", "warmprompt.client").replace("http://127.0.0.1:8000", address)
        output = run(sys.executable, "-c", code.replace("item=50", f"item={personaliser.items[0]!r}"))
    titles = {personaliser.title(item) for item in personaliser.items}
    rows = [line.partition(" ") for line in output.splitlines()]
    assert [rank for rank, _, _ in rows] == ["1", "2", "3", "4", "5"]
    assert titles >= {title for _, _, title in rows}
    assert store.users().users == ()
