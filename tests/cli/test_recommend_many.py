"""`warmprompt recommend RUN --users FILE --out FILE`: the rows of `model.recommend`, streamed and whole."""

import gzip
import json
import re

import polars as pl
import pytest

import warmprompt.adaptation.many_users as many_users
import warmprompt.data.histories as histories
from warmprompt import Event, Known, load
from warmprompt.cli import run
from warmprompt.data.tables import open_dataset

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture(scope="module")
def model(trained_folder):
    return load(trained_folder)


@pytest.fixture(scope="module")
def events(planted_folder):
    """Return the events of the first fifty users of the planted world, in order of time over all users."""
    dataset = open_dataset(planted_folder[0])
    data = dataset.interactions
    stop = int(data.offsets[50])
    owners = [user for user in range(50) for _ in range(*data.events_of(user).indices(stop))]
    frame = pl.DataFrame(
        {
            "user_id": [dataset.user_ids[user] for user in owners],
            "item_id": [dataset.item_ids[item] for item in data.items[:stop]],
            "rating": data.ratings[:stop],
            "timestamp": data.times_s[:stop],
        }
    )
    return frame.sort("timestamp", maintain_order=True)


def read(path):
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".csv":
        return pl.read_csv(path, schema_overrides={"rank": pl.Int32})
    return pl.read_ndjson(path, schema_overrides={"rank": pl.Int32})


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_file_holds_the_rows_of_the_python_call(suffix, trained_folder, model, events, tmp_path, capfd):
    users, out = tmp_path / "events.csv", tmp_path / "deep" / f"out{suffix}"
    events.write_csv(users)
    assert run(["recommend", str(trained_folder), "--users", str(users), "--out", str(out), "-n", "4"]) == 0
    wanted = model.recommend(events, 4)
    found = read(out)
    assert found.drop("score").equals(wanted.drop("score"))
    assert found["score"].to_list() == pytest.approx(wanted["score"].to_list(), abs=1e-12)
    said = capfd.readouterr().out
    assert re.search(r"200 rows for 50 users in .* users a processor second", " ".join(said.split()))
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_columns_are_named_by_the_map_in_any_file(trained_folder, model, events, tmp_path):
    users, out = tmp_path / "events.parquet", tmp_path / "out.parquet"
    events.rename({"user_id": "uid", "item_id": "sku", "rating": "stars", "timestamp": "at"}).write_parquet(
        users
    )
    named = "user=uid,item=sku,rating=stars,time=at"
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(out)]
    assert run([*command, "--users-map", named, "--exact"]) == 0
    assert read(out).equals(model.recommend(events, exact=True))


def test_spooled_in_pieces_the_rows_are_the_same(trained_folder, model, events, tmp_path, monkeypatch):
    users, out = tmp_path / "events.csv", tmp_path / "out.parquet"
    events.write_csv(users)
    monkeypatch.setattr(many_users, "CHUNK", 7)
    monkeypatch.setattr(histories, "_ROWS_IN_MEMORY", 0)
    assert run(["recommend", str(trained_folder), "--users", str(users), "--out", str(out)]) == 0
    order = ["user_id", "rank"]
    wanted = model.recommend(events).sort(order)
    found = read(out).sort(order)
    assert found.drop("score").equals(wanted.drop("score"))
    # Sums over padded batches are split differently.
    assert found["score"].to_list() == pytest.approx(wanted["score"].to_list(), abs=2e-4)


def test_one_object_per_user_tells_all_that_the_service_takes(trained_folder, model, tmp_path, capfd):
    users, out = tmp_path / "users.jsonl.gz", tmp_path / "out.jsonl"
    items = model.items
    objects = [
        {
            "user": "a",
            "events": [{"item": items[3], "rating": 5.0, "time_s": 5}, {"item": items[4], "rating": 1}],
        },
        {"user": "b", "about": "hm", "attributes": {"occupation": "farmer"}},
        {"user": 3, "events": [items[7], "nowhere"]},
    ]
    with gzip.open(users, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in objects)
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(out), "-n", "3"]
    assert run([*command, "--exclude", model.title(items[9])]) == 0
    assert "left out: 1 of 4 events" in " ".join(capfd.readouterr().out.split())
    known = {
        "a": Known(events=[Event(item=items[3], rating=5.0), Event(item=items[4], rating=1.0)]),
        "b": Known(about="hm", attributes={"occupation": "farmer"}),
        "3": Known(events=[Event(item=items[7])]),
    }
    wanted = model.recommend(known, 3, exclude=[items[9]])
    found = read(out)
    assert found.drop("score").equals(wanted.drop("score"))
    assert found["score"].to_list() == pytest.approx(wanted["score"].to_list(), abs=1e-12)


def test_bad_rows_name_their_lines_or_are_counted(trained_folder, model, tmp_path, capfd):
    users, out = tmp_path / "events.csv", tmp_path / "out.csv"
    item = model.items[0]
    users.write_text(f"user_id,item_id,rating\na,{item},5\nb,{item},9\n,{item},3\nc,{item},2\n")
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(out), "-n", "2"]
    assert run(command) == 2
    said = capfd.readouterr().err
    assert "2 of 4 rows malformed" in said
    assert "rating is outside 1 to 5 (line 3)" in said
    assert "user id is empty (line 4)" in said
    assert list(tmp_path.iterdir()) == [users]
    assert run([*command, "--max-rejects", "0.5"]) == 0
    assert read(out)["user_id"].to_list() == ["a", "a", "c", "c"]
    assert "left out: 1 x user id is empty, line 4" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"user": "b", "events": [{"item": "i00001", "rating": 9}]}, "rating of event: Give 1 to 5"),
        ({"user": "c", "events": [{"item": "i00001", "stars": 5}]}, "event, stars: Known are item, rating,"),
        ({"user": None}, "user id: Give text"),
        ({"user": "d", "events": "i00001"}, "events: Give a list"),
        ({"user": "e", "likes": []}, "object, likes: Known are about,"),
    ],
)
def test_a_bad_object_names_its_line_or_is_counted(body, what, trained_folder, tmp_path, capfd):
    users, out = tmp_path / "users.jsonl", tmp_path / "out.csv"
    users.write_text(json.dumps({"user": "a"}) + "\n" + json.dumps(body) + "\n")
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(out), "-n", "1"]
    assert run(command) == 2
    assert f'1 of 2 rows malformed: "1 x {what}' in capfd.readouterr().err.replace("'", '"')
    assert not out.exists()
    assert run([*command, "--max-rejects", "0.5"]) == 0
    assert read(out)["user_id"].to_list() == ["a"]
    assert re.search(r"left out: 1 x .*, line 2$", capfd.readouterr().out.strip(), re.DOTALL)


def test_items_of_another_catalogue_are_refused_before_any_ranking(trained_folder, tmp_path, capfd):
    users = tmp_path / "events.csv"
    users.write_text("user_id,item_id\na,x1\nb,x2\n")
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(tmp_path / "out.csv")]
    assert run(command) == 2
    assert "0.0% are known to the model, not x1, x2" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--users", "FILE"], "error: --users: "),
        (["--out", "out.csv"], "error: --out: 'out.csv'. Name a file of users with --users."),
        (["--max-rejects", "0"], "error: --max-rejects: "),
        (["--users", "FILE", "--out", "out.csv", "--like", "x"], "error: --like: "),
        (["--users", "FILE", "--out", "out.csv", "--json"], "error: --json: "),
        (["--users", "FILE", "--out", "out.xlsx"], "error: --out: "),
        (["--users", "nowhere.csv", "--out", "out.csv"], "error: "),
        (["--users", "FILE", "--out", "out.csv", "--max-rejects", "2"], "error: --max-rejects: '2.0'."),
    ],
)
def test_options_are_used_or_refused(options, line, trained_folder, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text("user_id,item_id\na,i00001\n")
    assert (
        run(["recommend", str(trained_folder), *(one.replace("FILE", "events.csv") for one in options)]) == 2
    )
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]
