"""Vectors on disk: what was written is read, damage and full disks are named, writers do not collide."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from warmprompt.backbone.cache import content_key, read_vectors, write_vectors
from warmprompt.errors import IntegrityError, StorageError


def _vectors(keys, width=4):
    return {
        key: np.random.default_rng(index).standard_normal(width, np.float32) for index, key in enumerate(keys)
    }


def test_what_was_written_is_read_bit_for_bit(tmp_path):
    file = tmp_path / "deep" / "vectors.sqlite"
    # More keys than one query may carry.
    written = _vectors([f"key {index}" for index in range(1201)])
    write_vectors(file, written)
    read = read_vectors(file, [*written, "absent"])
    assert read.keys() == written.keys()
    assert all(np.array_equal(read[key], written[key]) for key in written)


def test_adding_keeps_what_is_there(tmp_path):
    file = tmp_path / "vectors.sqlite"
    write_vectors(file, {"a": np.zeros(2, np.float32)})
    write_vectors(file, {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})
    read = read_vectors(file, ["a", "b"])
    assert read["a"].tolist() == [0, 0]
    assert read["b"].tolist() == [1, 1]


def test_no_file_holds_nothing(tmp_path):
    assert read_vectors(tmp_path / "none.sqlite", ["a"]) == {}
    assert not (tmp_path / "none.sqlite").exists()


def test_a_write_that_fails_half_way_leaves_the_old_content(tmp_path):
    file = tmp_path / "vectors.sqlite"
    write_vectors(file, _vectors(["a"]))
    with pytest.raises((TypeError, ValueError)):
        write_vectors(file, {"b": np.zeros(4, np.float32), "c": "no vector"})
    assert read_vectors(file, ["a", "b", "c"]).keys() == {"a"}


def test_processes_may_write_at_the_same_time(tmp_path):
    file = tmp_path / "vectors.sqlite"
    program = (
        "import sys, pathlib, numpy as np\n"
        "from warmprompt.backbone.cache import write_vectors\n"
        "for index in range(20):\n"
        "    write_vectors(pathlib.Path(sys.argv[1]), {f'{sys.argv[2]} {index}': np.zeros(2, np.float32)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(file), who]) for who in "ab"]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len(read_vectors(file, [f"{who} {index}" for who in "ab" for index in range(20)])) == 40


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to have a header" * 20, b"\0" * 4096]
)
def test_a_damaged_file_is_named(tmp_path, content):
    file = tmp_path / "vectors.sqlite"
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"vectors\.sqlite"):
        read_vectors(file, ["a"])


def test_vectors_of_several_widths_are_damage(tmp_path):
    file = tmp_path / "vectors.sqlite"
    write_vectors(file, {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(IntegrityError, match="widths"):
        read_vectors(file, ["a", "b"])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="WARMPROMPT_HOME"):
        write_vectors(tmp_path / "file" / "vectors.sqlite", _vectors(["a"]))
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StorageError, match="WARMPROMPT_HOME"):
        write_vectors(tmp_path / "folder.sqlite", _vectors(["a"]))


def test_a_full_disk_is_named_and_the_file_stays_whole(tmp_path, monkeypatch):
    file = tmp_path / "vectors.sqlite"
    write_vectors(file, _vectors(["a"]))
    real = sqlite3.connect

    def small_disk(*args, **kwargs):
        database = real(*args, **kwargs)
        # SQLite's own "database or disk is full" (SQLITE_FULL).
        database.execute("PRAGMA max_page_count = 4")
        return database

    monkeypatch.setattr(sqlite3, "connect", small_disk)
    with pytest.raises(StorageError, match="full"):
        write_vectors(file, _vectors([f"key {index}" for index in range(100)], width=400))
    monkeypatch.undo()
    assert read_vectors(file, ["a", "key 0"]).keys() == {"a"}


def test_parts_of_a_key_do_not_run_into_one_another():
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("ab", "c") == content_key("ab", "c")
