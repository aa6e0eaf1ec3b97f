"""Atomic writing, tried against full disks, kills, foreign users and names that are taken."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from warmprompt.errors import BadInputError, StorageError
from warmprompt.files import new_folder, replace_folder, write_atomic, writing_to


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    write_atomic(tmp_path / "deep" / "a.json", b"old")
    write_atomic(tmp_path / "deep" / "a.json", b"new")
    assert (tmp_path / "deep" / "a.json").read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["a.json"]


def test_a_file_has_the_permissions_the_umask_gives(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "run") as temp:
        (temp / "sub").mkdir()
        (temp / "sub" / "x").write_text("x")
        assert names(tmp_path) == [temp.name]
    assert (tmp_path / "run" / "sub" / "x").read_text() == "x"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_interrupted_folder_leaves_nothing_and_the_error_passes(tmp_path, error):
    with pytest.raises(type(error)), new_folder(tmp_path / "run") as temp:
        (temp / "x").write_text("x")
        raise error
    assert names(tmp_path) == []


def test_a_full_folder_is_kept_unless_asked_otherwise(tmp_path):
    (tmp_path / "run").mkdir()
    with new_folder(tmp_path / "run") as temp:
        (temp / "x").write_text("1")
    with pytest.raises(BadInputError, match="not empty"), new_folder(tmp_path / "run"):
        pass
    with new_folder(tmp_path / "run", overwrite=True) as temp:
        (temp / "y").write_text("2")
    assert names(tmp_path / "run") == ["y"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("exchange_works", [True, False])
def test_replacing_swaps_contents_with_and_without_the_systems_exchange(
    tmp_path, monkeypatch, exchange_works
):
    if not exchange_works:
        monkeypatch.setattr("warmprompt.files._exchange", lambda one, other: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["new"]


def test_what_is_in_the_way_is_the_callers_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match="place"):
        write_atomic(tmp_path / "file" / "x", b"")
    with pytest.raises(BadInputError, match="It is a folder"):
        write_atomic(tmp_path / "folder", b"")
    with pytest.raises(BadInputError, match="It is a file"), new_folder(tmp_path / "file"):
        pass
    with pytest.raises(BadInputError, match="too long"):
        write_atomic(tmp_path / ("x" * 300), b"")
    assert names(tmp_path) == ["file", "folder"]


def run(code: str, *, cwd: Path, **kwargs) -> subprocess.CompletedProcess:
    program = "from pathlib import Path\nfrom warmprompt.files import *\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )


def test_a_file_too_large_for_the_process_leaves_the_old_one(tmp_path):
    # Python ignores SIGXFSZ, so the kernel's limit arrives as EFBIG in the middle of a write.
    write_atomic(tmp_path / "x", b"old")
    limit = 4096
    done = run(
        "write_atomic(Path('x'), bytes(100_000))",
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "StorageError" in done.stderr
    assert (tmp_path / "x").read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def mounted(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code on a file system of 64 kB that only the child process sees."""
    script = 'mount -t tmpfs -o size=64k tmpfs "$0" && cd "$0" && exec "$1" -c "$2"'
    program = "from pathlib import Path\nfrom warmprompt.files import *\n" + textwrap.dedent(code)
    command = ["unshare", "--mount", "sh", "-c", script, str(folder), sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def small_disk(tmp_path):
    try:
        able = mounted("", tmp_path).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("no right to mount a small file system here")
    return tmp_path


def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing_half_written(small_disk):
    done = mounted(
        """
        write_atomic(Path('x'), b'old')
        for attempt in (lambda: write_atomic(Path('x'), bytes(100_000)), lambda: fill(Path('run'))):
            def fill(final):
                with new_folder(final) as temp:
                    (temp / 'big').write_bytes(bytes(100_000))
            try:
                attempt()
            except Exception as error:
                print(type(error).__name__, error)
        print(sorted(path.name for path in Path().iterdir()), Path('x').read_bytes())
        """,
        small_disk,
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["StorageError", "StorageError"], done.stderr
    assert all("disk is full" in line for line in lines[:2])
    assert lines[2] == "['x'] b'old'"


@pytest.mark.parametrize(
    "write",
    [
        "(temp / 'x').write_bytes(bytes(1_000_000))",
        "import polars; polars.DataFrame({'x': numbers}).write_csv(temp / 'x')",
        "import polars; polars.DataFrame({'x': numbers}).write_parquet(temp / 'x')",
        "from pyarrow import parquet, table; parquet.write_table(table({'x': numbers}), temp / 'x')",
        "import safetensors.numpy; safetensors.numpy.save_file({'x': numbers}, temp / 'x')",
    ],
    ids=["python", "polars-csv", "polars-parquet", "pyarrow", "safetensors"],
)
def test_every_librarys_way_of_saying_full_is_understood(small_disk, write):
    # On a file system of its own: libraries delete what they failed to write, so never on a device.
    done = mounted(
        f"""
        import numpy
        numbers = numpy.random.default_rng(0).random(100_000)
        try:
            with new_folder(Path('run')) as temp:
                {write}
        except Exception as error:
            print(type(error).__name__, 'disk is full' in str(error))
        print(list(Path().iterdir()))
        """,
        small_disk,
    )
    assert done.stdout.splitlines() == ["StorageError True", "[]"], done.stderr


def test_other_failures_pass_untouched(tmp_path):
    with pytest.raises(FileNotFoundError), writing_to(tmp_path / "out"):
        (tmp_path / "missing").read_text()
    with pytest.raises(IsADirectoryError), writing_to(tmp_path / "sub" / "out"):
        Path("/usr").read_text()
    with pytest.raises(ZeroDivisionError), writing_to(tmp_path / "out"):
        1 / 0  # noqa: B018


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_place_that_may_not_be_written_is_reported(tmp_path):
    os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="may not write there"):
            write_atomic(tmp_path / "deep" / "x", b"")
    finally:
        os.seteuid(0)


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path):
    code = """
        import os, signal
        with new_folder(Path('run')) as temp:
            (temp / 'x').write_text('x')
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(code, cwd=tmp_path).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    write_atomic(tmp_path / "other", b"")
    assert len(names(tmp_path)) == 2
    with new_folder(tmp_path / "run"):
        pass
    assert names(tmp_path) == ["other", "run"]


def test_a_running_writers_files_are_not_swept(tmp_path):
    with new_folder(tmp_path / "run") as first:
        (first / "x").write_text("1")
        with new_folder(tmp_path / "run"):
            pass
        assert (first / "x").read_text() == "1"


def test_a_folder_that_was_filled_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(BadInputError, match="not empty"), new_folder(tmp_path / "run") as temp:
        (temp / "x").write_text("mine")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "x").write_text("theirs")
    assert (tmp_path / "run" / "x").read_text() == "theirs"
    assert names(tmp_path) == ["run"]
