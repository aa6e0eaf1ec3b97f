"""docs/howto/python.md and the notebook, run as they stand, on a small shop and with a random tiny model."""

import os
import random
import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from warmprompt.cli import run

ROOT = Path(__file__).parents[2]
TINY = {
    "WARMPROMPT_BACKBONE__NAME": "tiny",
    "WARMPROMPT_BACKBONE__NUM_LAYERS": "2",
    "WARMPROMPT_BACKBONE__ITEM_TEXT": "tiny-encoder",
    "WARMPROMPT_BACKBONE__USER_TEXT": "tiny-encoder",
    "WARMPROMPT_MODEL__NUM_FACTORS": "4",
    "WARMPROMPT_MODEL__WORDINGS": "1",
    "WARMPROMPT_TRAIN__TANGENT_EPOCHS": "2",
    "WARMPROMPT_TRAIN__THREADS": "1",
}


@pytest.fixture
def shop(tmp_path, monkeypatch, text_home):
    """Make a folder with the files of a small shop the present one, and settings tiny."""
    draw = random.Random(0)
    kinds = ("tools", "books", "toys")
    items = [
        {"item_id": f"sku{number}", "title": f"Thing {number}", "category": kinds[number % 3]}
        for number in range(1, 41)
    ]
    rows = []
    for user in range(90):
        own = [one["item_id"] for one in items if one["category"] == kinds[user % 3]]
        rows += [
            {"user_id": f"u{user}", "item_id": item, "datetime": f"2024-0{draw.randint(1, 9)}-1{number}"}
            for number, item in enumerate(draw.sample(own, 6))
        ]
    pl.DataFrame(rows).write_csv(tmp_path / "events.csv")
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    monkeypatch.chdir(tmp_path)
    for name, value in TINY.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_every_snippet_of_the_page_runs(shop, capsys):
    page = (ROOT / "docs" / "howto" / "python.md").read_text()
    names: dict[str, object] = {}
    commands = []
    for kind, block in re.findall(r"^```(python|console)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if kind == "python":
            exec(compile(block, "docs/howto/python.md", "exec"), names)
        else:
            commands += [shlex.split(line)[2:] for line in block.splitlines()]
    said = capsys.readouterr().out
    line = (
        "Personaliser(learned-target on 'shop', 40 items, no ratings, backbone 'tiny', experts: user_vector"
    )
    assert line in said
    assert names["frame"].columns == ["user_id", "item_id", "title", "score", "rank"]
    assert names["frame"].filter(user_id="ann").height == 5
    assert [command[0] for command in commands] == ["recommend", "serve"]
    assert run(commands[0]) == 0
    assert pl.read_parquet(shop / "rankings.parquet")["user_id"].n_unique() == 90


def test_the_notebook_runs_from_top_to_bottom(shop):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "own_data.ipynb", as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(shop)}}
    )
    client.execute(env=os.environ | TINY)
    text = "".join(str(cell.get("outputs", "")) for cell in notebook.cells)
    assert "user_id" in text
    assert not [
        cell for cell in notebook.cells if any(one.output_type == "error" for one in cell.get("outputs", []))
    ]


def test_the_notebook_is_stored_without_outputs():
    source = (ROOT / "examples" / "own_data.ipynb").read_text()
    assert '"outputs": []' in source
    assert '"output_type"' not in source
