"""Tables at rest: what is written is read back; damage, missing parts and killed imports are reported."""

import dataclasses
import io
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from warmprompt.data.describe import describe_folder, render_description
from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder
from warmprompt.data.synthetic import planted_world
from warmprompt.data.tables import (
    MANIFEST,
    TABLE_NAMES,
    Manifest,
    Tables,
    content_hash,
    open_dataset,
    read_data_manifest,
    write_tables,
)
from warmprompt.errors import BadInputError, IntegrityError, StorageError


def render_text(description):
    """Return a description as a terminal of 200 columns shows it."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_description(description))
    return console.export_text()


EMPTY = Manifest(
    name="x",
    source_format="test",
    source_files=(),
    num_users=0,
    num_items=0,
    num_events=0,
    num_rows_read={},
    num_duplicates=0,
    num_repeated_ids={},
    num_unrated_left_out=0,
    rejects=(),
    rating_scale=(1.0, 5.0),
    content_hash="",
    file_hashes={},
    imported_at_s=1,
)


def small_tables(**changes) -> Tables:
    tables = {
        "interactions": pl.DataFrame(
            {
                "user": [1, 1, 3],
                "item": ["a", "b", "a"],
                "order": [0, 1, 0],
                "rating": [4.0, None, 1.0],
                "time_s": [5, 5, 9],
            },
            schema_overrides={"order": pl.Int32, "rating": pl.Float32},
        ),
        "items": pl.DataFrame(
            {"item": ["a", "b", "c"], "title": ["A", "", "C"], "genres": [["x", "y"], [], None]}
        ),
        "users": pl.DataFrame({"user": [1, 2, 3], "age": ["24", None, ""]}),
    }
    return Tables(**(tables | changes))


@pytest.fixture
def stored(tmp_path):
    write_tables(tmp_path / "x", small_tables(), EMPTY)
    return tmp_path / "x"


def test_round_trip(stored):
    dataset = open_dataset(stored)
    assert dataset.user_ids == (1, 2, 3)
    assert dataset.item_ids == ("a", "b", "c")
    assert dataset.interactions.offsets.tolist() == [0, 2, 2, 3]
    assert dataset.interactions.items.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(dataset.interactions.ratings, np.float32([4, np.nan, 1]))
    assert dataset.interactions.times_s.tolist() == [5, 5, 9]
    assert dataset.items.equals(small_tables().items.drop("item"))
    assert dataset.users.equals(small_tables().users.drop("user"))
    types = (dataset.interactions.offsets, dataset.interactions.items, dataset.interactions.ratings)
    assert [array.dtype.name for array in types] == ["int64", "int32", "float32"]


def test_manifest_round_trip(stored):
    manifest = read_data_manifest(stored)
    assert (manifest.num_users, manifest.num_items, manifest.num_events) == (3, 3, 3)
    assert manifest.content_hash == content_hash(small_tables()) == open_dataset(stored).content_hash
    assert (
        dataclasses.replace(manifest, num_users=0, num_items=0, num_events=0, content_hash="", file_hashes={})
        == EMPTY
    )


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("interactions", "rating", [4.0, 0.0, 1.0]),  # a missing rating is not a rating of 0
        ("interactions", "item", ["a", "b", "b"]),
        ("items", "title", ["", "A", "C"]),
        ("items", "genres", [["x"], ["y"], None]),
        ("items", "genres", [["x", "y"], None, []]),
        ("items", "genres", [["xy"], [], None]),
        ("users", "age", ["24", "", None]),
    ],
)
def test_every_change_of_content_changes_the_hash(table, column, values):
    before = small_tables()
    frame = dict(before.named())[table]
    changed = frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))
    assert content_hash(small_tables(**{table: changed})) != content_hash(before)


def test_the_hash_does_not_depend_on_memory_layout():
    tables = small_tables()
    pieces = {name: pl.concat([frame[:1], frame[1:]], rechunk=False) for name, frame in tables.named()}
    assert content_hash(Tables(**pieces)) == content_hash(tables)


def test_the_hash_is_pinned():
    # The hash names data sets in checkpoints, so it must not change between releases.
    assert content_hash(small_tables()) == "0f6b57a64260c0eacbffc54fbd93226e7c33d21548b2617c96025647c66728bf"


@pytest.mark.parametrize("name", TABLE_NAMES)
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_damage_is_named(stored, name, damage):
    path = stored / f"{name}.parquet"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=rf"{name}\.parquet"):
        open_dataset(stored)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"format_version": 1}'])
def test_a_broken_manifest_is_reported(stored, content):
    (stored / MANIFEST).write_text(content)
    with pytest.raises(IntegrityError, match="manifest"):
        open_dataset(stored)


def test_another_format_version_is_the_callers_to_mend(stored):
    entries = json.loads((stored / MANIFEST).read_text()) | {"format_version": 99}
    (stored / MANIFEST).write_text(json.dumps(entries))
    with pytest.raises(BadInputError, match=r"format_version: '99'"):
        open_dataset(stored)


def test_a_data_set_of_version_0_1_is_still_read(stored):
    entries = json.loads((stored / MANIFEST).read_text())
    older = {key: value for key, value in entries.items() if key not in ("weight_unit", "understood")}
    (stored / MANIFEST).write_text(json.dumps(older | {"format_version": 1}))
    manifest = read_data_manifest(stored)
    assert (manifest.format_version, manifest.understood, manifest.weight_unit) == (1, None, None)
    assert open_dataset(stored).interactions.weights is None
    assert "rating scale" in str(render_text(describe_folder(stored)))


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_that_is_no_data_set(tmp_path, made):
    if made:
        (tmp_path / "x").mkdir()
    with pytest.raises(BadInputError, match="no manifest" if made else "no such folder"):
        open_dataset(tmp_path / "x")


def test_replacing_needs_a_word_and_a_data_set(stored):
    with pytest.raises(BadInputError, match="--overwrite"):
        write_tables(stored, small_tables(), EMPTY)
    write_tables(stored, small_tables(), dataclasses.replace(EMPTY, name="y"), overwrite=True)
    assert open_dataset(stored).name == "y"
    (stored / MANIFEST).unlink()
    with pytest.raises(BadInputError, match="holds no manifest"):
        write_tables(stored, small_tables(), EMPTY, overwrite=True)
    assert len(list(stored.iterdir())) == len(TABLE_NAMES)


def test_a_world_survives_the_disk(tmp_path):
    world = planted_world(num_users=9, num_items=30, num_tastes=3, seed=1).dataset
    ids, events = np.array(world.item_ids), world.interactions
    users = np.repeat(np.array(world.user_ids), np.diff(events.offsets))
    order = np.concatenate([np.arange(n) for n in np.diff(events.offsets)])
    tables = Tables(
        interactions=pl.DataFrame(
            {
                "user": users,
                "item": ids[events.items],
                "order": order,
                "rating": events.ratings,
                "time_s": events.times_s,
            },
            schema_overrides={"order": pl.Int32},
        ),
        items=world.items.insert_column(0, pl.Series("item", world.item_ids)),
        users=world.users.insert_column(0, pl.Series("user", world.user_ids)),
    )
    write_tables(tmp_path / "w", tables, EMPTY)
    opened = open_dataset(tmp_path / "w")
    assert opened.content_hash == world.content_hash
    for name in ("offsets", "items", "ratings", "times_s"):
        np.testing.assert_array_equal(getattr(opened.interactions, name), getattr(events, name))


IMPORT = """
import sys, os, resource, signal
from pathlib import Path
import polars as pl
from warmprompt.data.importing import import_source
from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder

mode, source, folder = sys.argv[1:]
write, written = pl.DataFrame.write_parquet, []

def watched(frame, path, **options):
    write(frame, path, **options)
    written.append(path)
    if mode == "kill" and len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

pl.DataFrame.write_parquet = watched
if mode == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
try:
    import_source(read_folder(Path(source)), Path(folder), name="x", now_s=2_000_000_000, overwrite=True)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def import_elsewhere(write, tmp_path):
    rows = "".join(f"{user}\t{item}\n" for user in range(40) for item in range(40))
    source = write("source", {"x.inter": f"user_id:token\titem_id:token\n{rows}"})

    def run(mode):
        command = [sys.executable, "-c", IMPORT, mode, str(source), str(tmp_path / "home" / "x")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_a_killed_import_leaves_nothing_and_the_next_one_cleans_up(import_elsewhere, tmp_path):
    assert import_elsewhere("kill").returncode == -signal.SIGKILL
    home = tmp_path / "home"
    left = list(home.iterdir())
    assert any(path.is_dir() for path in left)  # it was killed in the middle: a hidden folder is there ...
    assert all(path.name.startswith(".") for path in left)
    assert not (home / "x").exists()  # ... and nothing under the name
    assert import_elsewhere("whole").returncode == 0
    assert [path.name for path in home.iterdir()] == ["x"]
    assert len(open_dataset(home / "x").interactions) == 1600


def test_of_two_imports_into_one_name_the_second_is_refused(import_elsewhere, write, tmp_path):
    source = read_folder(write("r", {"x.inter": "user_id:token\titem_id:token\n1\t2\n"}))
    folder = tmp_path / "home" / "x"

    def events(log):
        # In the middle of the first import, another process begins one.
        done = import_elsewhere("whole")
        assert done.stdout.startswith("BadInputError")
        assert f"Process {os.getpid()} on {socket.gethostname()}, since 20" in done.stdout
        yield from source.events(log)

    import_source(dataclasses.replace(source, events=events), folder, name="x", now_s=1)
    assert len(open_dataset(folder).interactions) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_a_killed_replacement_leaves_the_old_data(import_elsewhere, tmp_path):
    import_elsewhere("whole")
    before = open_dataset(tmp_path / "home" / "x").content_hash
    assert import_elsewhere("kill").returncode == -signal.SIGKILL
    assert open_dataset(tmp_path / "home" / "x").content_hash == before


def test_a_full_disk_is_one_line_and_leaves_nothing(import_elsewhere, tmp_path):
    # A limit on the size of files makes writes fail just where a full disk would.
    done = import_elsewhere("full")
    assert done.stdout.startswith(StorageError.__name__), done
    assert len(done.stdout.splitlines()) == 1
    assert list((tmp_path / "home").iterdir()) == []


def test_importing_never_overwrites_unasked(write, bring_in, stored):
    source = read_folder(write("r", {"x.inter": "user_id:token\titem_id:token\n1\t2\n"}))
    before = open_dataset(stored).content_hash
    with pytest.raises(BadInputError, match="exists"):
        import_source(source, stored, name="x", now_s=1)
    assert open_dataset(stored).content_hash == before


def test_the_manifest_of_something_else_is_the_callers_to_mend(tmp_path):
    # A run has a manifest of the same name, so a mistaken path is likely.
    (tmp_path / "manifest.json").write_text('{"format": 2, "learner": "maml"}')
    with pytest.raises(BadInputError, match="of something else.*Name a data set"):
        open_dataset(tmp_path)
