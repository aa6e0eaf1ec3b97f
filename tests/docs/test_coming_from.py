"""Every line of the last column of docs/howto/coming-from.md runs, in order, on a small planted shop."""

import json
import re
import shlex
from pathlib import Path

import polars as pl
import pytest
import typer
from tests.service.talking import asking

from warmprompt.cli import make_app, run
from warmprompt.data.synthetic import planted_world

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "coming-from.md"
TOOLS = ("RecTools", "LensKit", "implicit", "RecBole", "Gorse")
TASKS = ("serve", "similar items", "evaluate|cross-validate", "save", "fit", "load|import", "recommend")
_REQUEST = re.compile(r"(GET|PUT|POST) (/\S+) ?(\{.*\})?")
SMALL = {
    "BACKBONE__NAME": "tiny",
    "BACKBONE__NUM_LAYERS": "2",
    "BACKBONE__ITEM_TEXT": "tiny-encoder",
    "BACKBONE__USER_TEXT": "tiny-encoder",
    "MODEL__NUM_FACTORS": "8",
    "MODEL__WORDINGS": "1",
    "TRAIN__TANGENT_EPOCHS": "2",
    "TRAIN__PROMPT_EPOCHS": "0",
    "TRAIN__THREADS": "1",
    "EVALUATE__K": "0,5",
    "EVALUATE__BASELINES": "toppop",
}


def rows_of(tool):
    """Return (task, here) for each row of a tool's table."""
    section = PAGE.read_text().split(f"\n## {tool}\n")[1].split("\n## ")[0]
    cells = [re.split(r" \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| ")]
    return [(row[0], row[-1].strip("`")) for row in cells[1:]]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write the shop's files to a folder, stand in it, and return the names that the page begins with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    for name, value in SMALL.items():
        monkeypatch.setenv(f"WARMPROMPT_{name}", value)
    data = planted_world(num_users=60, num_items=40, num_tastes=4, seed=0).dataset
    lengths = (data.interactions.offsets[1:] - data.interactions.offsets[:-1]).tolist()
    interactions = pl.DataFrame(
        {
            "user_id": [f"u{user:03}" for user, n in enumerate(lengths) for _ in range(n)],
            "item_id": [f"i{item:03}" for item in data.interactions.items],
            "datetime": pl.from_epoch(pl.Series(data.interactions.times_s), time_unit="s"),
        }
    )
    items = data.items.insert_column(0, pl.Series("item_id", [f"i{item:03}" for item in range(40)]))
    users = data.users.insert_column(0, pl.Series("user_id", [f"u{user:03}" for user in range(60)]))
    for name, frame in {"interactions": interactions, "items": items, "users": users}.items():
        frame.write_parquet(f"{name}.parquet")
    write_recbole(interactions, items, users)
    write_gorse(interactions, items, users)
    names = {}
    exec(PAGE.read_text().split("```python\n")[1].split("```")[0], names)
    assert names["history"]
    return names


def write_recbole(interactions, items, users):
    Path("shop").mkdir()
    tables = {
        "inter": interactions.select(
            pl.col("user_id").alias("user_id:token"),
            pl.col("item_id").alias("item_id:token"),
            pl.col("datetime").dt.epoch("s").alias("timestamp:float"),
        ),
        "item": items.select(
            pl.col("item_id").alias("item_id:token"),
            pl.col("title").alias("title:token_seq"),
            pl.col("genres").list.join(" ").alias("genres:token_seq"),
        ),
        "user": users.select(
            pl.col("user_id").alias("user_id:token"), pl.col("occupation").alias("occupation:token")
        ),
    }
    for name, table in tables.items():
        table.write_csv(f"shop/shop.{name}", separator="\t")


def write_gorse(interactions, items, users):
    """Write what Gorse exports: every third feedback is a like."""
    interactions.with_row_index("row").select(
        pl.when(pl.col("row") % 3 == 0).then(pl.lit("like")).otherwise(pl.lit("read")).alias("feedback_type"),
        "user_id",
        "item_id",
        pl.col("datetime").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("time_stamp"),
    ).write_csv("feedback.csv")
    items.select(
        "item_id",
        pl.lit("false").alias("is_hidden"),
        pl.col("genres").list.join(";").alias("categories"),
        pl.lit("2020-01-01T00:00:00Z").alias("time_stamp"),
        pl.lit("").alias("labels"),
        pl.col("title").alias("description"),
    ).write_csv("items.csv")
    users.select("user_id", pl.col("occupation").fill_null("").alias("labels")).write_csv("users.csv")


def in_shell(line, capfd):
    """Run a command; the service, which would not end, is only read as a command."""
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "warmprompt"
    if words[1] == "serve":
        command = typer.main.get_command(make_app(load=["serve"])).commands["serve"]
        assert str(command.make_context("serve", words[2:]).params["run"]) == words[2]
        assert Path(words[2], "manifest.json").is_file()
        return
    assert run(words[1:]) == 0, capfd.readouterr().err


async def ask(requests, model):
    """Send requests to a service over the model, one after the other."""
    async with asking(service_of(model)) as client:
        for method, path, body in requests:
            answer = await client.request(method, path, json=json.loads(body) if body else None)
            assert answer.status_code < 300, (path, answer.text)


def service_of(model):
    pytest.importorskip("fastapi")
    from tests.service.talking import make_service

    from warmprompt.service.model.served_model import make_model
    from warmprompt.service.settings import ServiceSettings
    from warmprompt.store.opening import open_store

    store = open_store("sqlite:///talk.db").__enter__()
    return make_service(store, make_model(model, room=4, largest_batch=4), ServiceSettings(backfill=False))


@pytest.mark.parametrize("tool", TOOLS)
def test_every_line_for_users_of_a_tool_runs(tool, shop, capfd):
    import asyncio

    requests = []
    for task, line in rows_of(tool):
        if line.startswith("$ "):
            in_shell(line, capfd)
        elif request := _REQUEST.fullmatch(line.replace("ITEM", shop["item"])):
            requests.append(request.groups())
        else:
            exec(line, shop)
            check(task, shop)
    if requests:
        asyncio.run(ask(requests, shop["model"]))


def check(task, names):
    """See that a line has made what its task says."""
    if "table" in names and task.startswith(("recommend", "whitelist", "leave", "a user that")):
        table = names["table"]
        assert {"user_id", "item_id", "score", "rank"} <= set(table.columns)
        assert table.height
    if task.startswith(("cross-validate", "evaluate")):
        assert {row.model for row in names["results"].rows} >= {"warmprompt", "toppop"}
    if task.startswith("save"):
        assert Path("runs/copy/manifest.json").is_file()


@pytest.mark.parametrize("tool", TOOLS)
def test_every_task_is_covered_for_each_tool(tool):
    covered = [task for task, _ in rows_of(tool)]
    for task in (*TASKS, "a user with"):
        assert any(re.match(task, each) for each in covered), f"{tool}: {task}"


def test_the_page_has_the_tools_and_no_other():
    heads = re.findall(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    assert tuple(heads) == TOOLS
