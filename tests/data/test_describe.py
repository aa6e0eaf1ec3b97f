"""Figures of a data set that can be counted by hand, and the commands that show them."""

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from warmprompt.cli.data import app
from warmprompt.data.describe import describe_dataset, render_description
from warmprompt.errors import BadInputError, UnknownNameError

# ann has 6 events, bob 2 after one duplicate, cy 1; item 9 has none.
EVENTS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
    f"{user}\t{item}\t{rating}\t{time}\n"
    for user, item, rating, time in [
        *(("ann", item, 3, 86_400 * item) for item in range(1, 7)),
        ("bob", 1, 5, 0),
        ("bob", 1, 4, 10),
        ("bob", 2, 4, 10),
        ("cy", 6, 1.5, 86_400 * 365),
    ]
)
ITEMS = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n" + "".join(
    f"{item}\tFilm {item}\t{'Drama' if item < 4 else ''}\n" for item in (1, 2, 3, 4, 5, 6, 9)
)
FILES = {"x.inter": EVENTS, "x.item": ITEMS}


def test_figures(write, bring_in):
    description = describe_dataset(*bring_in(write("x", FILES)))
    bins = [(each.low, each.high, each.num_users) for each in description.events_per_user]
    assert bins == [(1, 1, 1), (2, 2, 1), (3, 5, 0), (6, 10, 1)]
    assert description.median_events == 2
    assert description.p_cold == pytest.approx(2 / 3)
    assert (description.first_s, description.last_s) == (10, 86_400 * 365)
    assert description.num_rated_items == 6
    assert description.density == pytest.approx(9 / (3 * 6))
    assert description.ratings == ((1.5, 1), (3.0, 6), (4.0, 2))
    assert description.item_columns == pytest.approx({"title": 1.0, "genres": 3 / 7})
    assert description.manifest.num_duplicates == 1
    assert json.loads(json.dumps(description.as_json()))["manifest"]["num_events"] == 9


def test_rendering_shows_rejects_by_reason(write, bring_in):
    files = FILES | {"x.inter": EVENTS + "dan\t1\tgood\t5\n"}
    shown = Console(file=io.StringIO(), width=120)
    shown.print(render_description(describe_dataset(*bring_in(write("x", files), max_rejects=0.2))))
    text = shown.file.getvalue()
    assert "rating is not a number" in text
    assert "1970-01-01 to 1971-01-01" in text
    assert "66.7%" in text


def test_no_times_no_ratings(write, bring_in):
    description = describe_dataset(*bring_in(write("x", {"x.inter": "user_id:token\titem_id:token\n1\t2\n"})))
    assert (description.first_s, description.ratings) == (None, ())
    Console(file=io.StringIO()).print(render_description(description))


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))

    def run(*arguments):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_import_describe_list(write, call):
    path = write("x", FILES)
    assert "3 users, 7 items, 9 events; left out: 1 duplicates, 0 rejects" in call(
        "import", path, "--name", "mine"
    )
    assert json.loads(call("describe", "mine", "--json"))["num_rated_items"] == 6
    assert "median events per user" in call("describe", "mine")
    rows = json.loads(call("list", "--json"))
    assert [row["name"] for row in rows if row["imported"]] == ["mine"]
    assert "ml-100k" in call("list")
    with pytest.raises(BadInputError, match="--overwrite"):
        call("import", path, "--name", "mine")
    call("import", path, "--name", "mine", "--overwrite")
    with pytest.raises(UnknownNameError, match="Known: mine"):
        call("describe", "min")


def test_import_with_a_mapping(write, call):
    path = write(
        "x", {"e.csv": "u,i,r,t,name\na,b,3,7,Bee\na,c,,9,Sea\n,c,1,9,Sea\n", "u.csv": "u,job\na,nurse\n"}
    )
    output = call(
        *("import", path / "e.csv", "--name", "mine", "--map", "user=u, item=i,rating=r,time=t,title=name"),
        *("--users", path / "u.csv", "--users-map", "user=u,occupation=job"),
        *("--rating-scale", "1,5", "--max-rejects", "0.5", "--time-unit", "ms"),
    )
    assert "1 users, 2 items, 2 events" in output
    assert "interactions: 1 x user id is empty, line 4" in output
    assert json.loads(call("describe", "mine", "--json"))["manifest"]["rating_scale"] == [1, 5]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--map", "user"), "NAME=COLUMN"),
        (("--map", "user=a,user=b"), "each name once"),
        (("--map", "user=u,item=i", "--format", "recbole"), "0 .inter files"),
        (("--map", "user=u,item=i", "--rating-scale", "5,1"), "LOW,HIGH"),
        (("--map", "user=u,item=i", "--rating-scale", "five"), "LOW,HIGH"),
        (("--map", "user=u,item=i", "--items", "x.csv"), "--items-map"),
        (("--items", "x.csv"), "no known format"),
        (("--format", "netflix"), "movielens-1m"),
        ((), "no known format"),
    ],
)
def test_wrong_options_are_named(write, call, options, said):
    path = write("x", {"e.csv": "u,i\n1,2\n"})
    with pytest.raises((BadInputError, UnknownNameError)) as caught:
        call("import", path / "e.csv" if options[:1] == ("--map",) else path, "--name", "mine", *options)
    assert said in caught.value.line()
