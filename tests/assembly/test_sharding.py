"""Blocks of rankings: each user once, the same bytes however the work is shared, whole after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import warmprompt.data.histories as histories
from warmprompt import Event, Known, load
from warmprompt.assembly import sharding
from warmprompt.assembly.block_folder import block_name
from warmprompt.assembly.sharding import BatchJob, rank_shard
from warmprompt.data.histories import part_of
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, RejectsError, StorageError

pytestmark = pytest.mark.usefixtures("text_home")
ROWS_PER_BLOCK = 300


@pytest.fixture(scope="module")
def model(trained_folder):
    return load(trained_folder)


@pytest.fixture(scope="module")
def events(planted_folder):
    """Return all events of the planted world in order of time, so that each user's rows are far apart."""
    dataset = open_dataset(planted_folder[0])
    data = dataset.interactions
    owners = np.repeat(np.arange(dataset.num_users), np.diff(data.offsets))
    frame = pl.DataFrame(
        {
            "user_id": [dataset.user_ids[user] for user in owners],
            "item_id": [dataset.item_ids[item] for item in data.items],
            "rating": data.ratings,
            "timestamp": data.times_s,
        }
    )
    return frame.sort("timestamp", maintain_order=True)


@pytest.fixture
def users(events, tmp_path):
    """Return a folder of three Parquet files with the events."""
    folder = tmp_path / "events"
    folder.mkdir()
    third = events.height // 3
    for number, start in enumerate((0, third, 2 * third)):
        part = events[start : start + third] if number < 2 else events[start:]
        part.write_parquet(folder / f"{number}.parquet")
    return folder


def job_of(users, out, **options):
    return BatchJob(
        **{"users": str(users), "out": str(out), "n": 5, "rows_per_block": ROWS_PER_BLOCK, **options}
    )


def run_all(model, job, num_shards):
    return [rank_shard(model, job, shard=shard + 1, num_shards=num_shards) for shard in range(num_shards)]


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


def blocks_of(out):
    return {path.name: path.read_bytes() for path in out.glob("block-*.parquet")}


def test_a_users_block_is_the_crc_32_of_the_id():
    # The published check value of CRC-32 (ISO-HDLC).
    assert part_of(pl.Series(["123456789"]), 1_000_003).to_list() == [0xCBF43926 % 1_000_003]
    assert part_of(pl.Series([123456789]), 1_000_003).to_list() == [0xCBF43926 % 1_000_003]
    assert part_of(pl.Series([None, "", "123456789", None]), 10).to_list() == [0, 0, 0xCBF43926 % 10, 0]


@pytest.mark.parametrize("ids", [pl.Series(range(64_000)), pl.Series([f"u{n:07}" for n in range(64_000)])])
def test_users_spread_evenly_over_blocks(ids):
    counts = part_of(ids, 64).value_counts()["count"].cast(pl.Int64).to_numpy()
    # 1,000 each; a binomial's standard deviation is 31.4, and five of them bound the largest of 64.
    assert len(counts) == 64
    assert abs(counts - 1000).max() < 160


def test_each_user_is_ranked_once_as_one_call_ranks_them(model, events, users, tmp_path):
    out = tmp_path / "out"
    report = rank_shard(model, job_of(users, out, vectors=True))
    num_blocks = -(-events.height // ROWS_PER_BLOCK)
    assert (report.num_blocks, report.num_written, report.missing) == (num_blocks, num_blocks, ())
    assert num_blocks > 5
    seen = []
    for block in range(num_blocks):
        frame = pl.read_parquet(out / block_name(block))
        assert set(part_of(frame["user_id"], num_blocks)) <= {block}
        seen += frame["user_id"].to_list()
        known = [
            Known(
                events=[
                    Event(item=item, rating=rating)
                    for item, rating in events.filter(pl.col("user_id") == user)
                    .sort("timestamp", maintain_order=True)
                    .select("item_id", "rating")
                    .iter_rows()
                ]
            )
            for user in frame["user_id"]
        ]
        wanted = model.rank_many(known, 5)
        assert frame["items"].to_list() == [list(one.items) for one in wanted]
        assert frame["scores"].to_list() == [list(one.scores) for one in wanted]
        vectors = np.stack([state.vector_D for state in model.adapt_many(known)]) if known else np.zeros(0)
        assert frame["vector"].to_numpy().tobytes() == vectors.tobytes()
    assert sorted(seen) == sorted(events["user_id"].unique())
    assert report.num_users == len(seen)
    said = manifest_of(out)
    assert (said["num_users"], said["num_rows_read"], said["missing"]) == (len(seen), events.height, [])


@pytest.mark.parametrize("num_shards", [2, 3, 40])
def test_any_number_of_shards_writes_the_same_bytes(num_shards, model, users, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    rank_shard(model, job_of(users, one))
    reports = run_all(model, job_of(users, many), num_shards)
    assert blocks_of(one) == blocks_of(many)
    assert manifest_of(one) == manifest_of(many)
    assert sum(report.num_rows_read for report in reports) == manifest_of(one)["num_rows"]


def test_the_manifest_names_what_is_missing_until_nothing_is(model, users, tmp_path):
    out = tmp_path / "out"
    first = rank_shard(model, job_of(users, out), shard=2, num_shards=2)
    even = list(range(0, first.num_blocks, 2))
    assert list(first.missing) == even == manifest_of(out)["missing"]
    assert "num_users" not in manifest_of(out)
    last = rank_shard(model, job_of(users, out), shard=1, num_shards=2)
    assert last.missing == () == tuple(manifest_of(out)["missing"])
    again = rank_shard(model, job_of(users, out))
    assert (again.num_written, again.num_there, again.num_users) == (0, again.num_blocks, 0)


def test_a_lost_block_alone_is_made_again(model, users, tmp_path):
    out = tmp_path / "out"
    rank_shard(model, job_of(users, out))
    whole = blocks_of(out)
    (out / block_name(3)).unlink()
    report = rank_shard(model, job_of(users, out), shard=1, num_shards=1)
    assert report.num_written == 1
    assert blocks_of(out) == whole


def test_spooled_rows_make_the_same_bytes(model, users, tmp_path, monkeypatch):
    rank_shard(model, job_of(users, tmp_path / "one"))
    monkeypatch.setattr(histories, "_ROWS_IN_MEMORY", 0)
    rank_shard(model, job_of(users, tmp_path / "two"))
    assert blocks_of(tmp_path / "one") == blocks_of(tmp_path / "two")


def test_an_object_store_holds_what_a_disk_holds(model, users, tmp_path):
    rank_shard(model, job_of(users, tmp_path / "out"))
    store = fsspec.filesystem("memory")
    for path in users.iterdir():
        store.pipe_file(f"/in/{path.name}", path.read_bytes())
    run_all(model, job_of("memory://in", "memory://out"), 2)
    found = {path.rpartition("/")[2]: store.cat_file(path) for path in store.ls("/out", detail=False)}
    assert json.loads(found.pop("manifest.json")) == manifest_of(tmp_path / "out")
    assert found == blocks_of(tmp_path / "out")
    store.rm("/out", recursive=True)
    store.rm("/in", recursive=True)


def test_a_store_that_fails_is_a_storage_error(model, users, monkeypatch):
    store = fsspec.filesystem("memory")

    def full(path, value, **_):
        raise OSError("quota used up")

    monkeypatch.setattr(type(store), "pipe_file", lambda self, path, value, **_: full(path, value))
    with pytest.raises(StorageError, match="quota used up"):
        rank_shard(model, job_of(users, "memory://out"))


def test_a_pattern_and_a_map_choose_files_and_columns(model, events, users, tmp_path):
    renamed = {"user_id": "uid", "item_id": "sku", "rating": "weight"}
    for path in users.iterdir():
        pl.read_parquet(path).rename(renamed).with_columns(rating=pl.lit(0.0)).write_parquet(
            users / f"b{path.name}"
        )
    columns = {"user": "uid", "item": "sku", "rating": "weight", "time": "timestamp"}
    run_all(model, job_of(f"{users}/b*.parquet", tmp_path / "two", columns=columns), 1)
    rank_shard(model, job_of(f"{users}/[0-9].parquet", tmp_path / "one"))
    frames = [pl.read_parquet(tmp_path / name / "block-*.parquet") for name in ("one", "two")]
    assert frames[0].equals(frames[1])


def test_few_users_leave_blocks_without_a_row(model, tmp_path):
    users = tmp_path / "one.parquet"
    pl.DataFrame({"user_id": [7] * 3, "item_id": list(model.items[:3])}).write_parquet(users)
    report = rank_shard(model, job_of(users, tmp_path / "out", rows_per_block=1, vectors=True))
    assert (report.num_blocks, report.num_users, report.missing) == (3, 1, ())
    frame = pl.read_parquet(tmp_path / "out" / "block-*.parquet")
    assert frame["user_id"].to_list() == [7]
    assert {len(pl.read_parquet(tmp_path / "out" / block_name(block))) for block in range(3)} == {0, 1}


def test_malformed_rows_are_counted_with_their_lines_or_refused(model, events, tmp_path):
    users = tmp_path / "events.parquet"
    wrong = events[:40].with_columns(
        rating=pl.when(pl.int_range(40) == 11).then(9.0).otherwise(pl.col("rating")).cast(pl.Float32)
    )
    wrong.write_parquet(users)
    with pytest.raises(RejectsError, match=r"rating is outside 1 to 5 \(line 12\)"):
        rank_shard(model, job_of(users, tmp_path / "out"))
    report = rank_shard(model, job_of(users, tmp_path / "kept", max_rejects=0.5))
    assert report.rejects == {"rating is outside 1 to 5": (1, (12,))}
    assert manifest_of(tmp_path / "kept")["num_rows_read"] == 40


@pytest.mark.parametrize(
    ("change", "field"),
    [({"n": 4}, "n"), ({"vectors": True}, "vectors"), ({"selection": {"drop": ["popularity"]}}, "selection")],
)
def test_blocks_of_another_job_are_refused(change, field, model, users, tmp_path):
    rank_shard(model, job_of(users, tmp_path / "out"), shard=1, num_shards=2)
    before = blocks_of(tmp_path / "out")
    with pytest.raises(MismatchError, match=f"manifest.json, {field}: "):
        rank_shard(model, job_of(users, tmp_path / "out", **change), shard=2, num_shards=2)
    assert blocks_of(tmp_path / "out") == before


def test_files_that_changed_are_refused(model, events, users, tmp_path):
    rank_shard(model, job_of(users, tmp_path / "out"), shard=1, num_shards=2)
    pl.read_parquet(users / "1.parquet").reverse().write_parquet(users / "1.parquet")
    with pytest.raises(MismatchError, match=r"manifest\.json, inputs"):
        rank_shard(model, job_of(users, tmp_path / "out"), shard=2, num_shards=2)


def test_a_block_of_another_job_or_lost_rows_are_found_at_the_end(model, users, tmp_path):
    out = tmp_path / "out"
    rank_shard(model, job_of(users, out))
    whole = pq.read_table(out / block_name(2))
    note = json.loads(whole.schema.metadata[b"warmprompt"])
    for change, what in (
        ({"num_rows_read": 1}, "rows of events in the blocks"),
        ({"request": ""}, "of another job"),
    ):
        changed = json.dumps({**note, **change}).encode()
        pq.write_table(whole.replace_schema_metadata({b"warmprompt": changed}), out / block_name(2))
        with pytest.raises(IntegrityError, match=what):
            rank_shard(model, job_of(users, out))


def test_the_last_of_two_that_end_together_writes_the_truth(model, users, tmp_path, monkeypatch):
    # Another process writes its last block after this one looked and before it wrote the manifest.
    out = tmp_path / "out"
    rank_shard(model, job_of(users, out))
    lost = (out / block_name(0)).read_bytes()
    (out / block_name(0)).unlink()
    write = sharding._write_manifest

    def late(folder, request, missing):
        (out / block_name(0)).write_bytes(lost)
        write(folder, request, missing)

    monkeypatch.setattr(sharding, "_write_manifest", late)
    report = rank_shard(model, job_of(users, out), shard=2, num_shards=2)
    assert report.missing == ()
    assert manifest_of(out)["missing"] == []


def write_text(folder):
    (folder / "a.parquet").write_text("no parquet at all")
    return folder


def write_two_kinds(folder):
    pl.DataFrame({"user_id": [1], "item_id": ["a"]}).write_parquet(folder / "a.parquet")
    pl.DataFrame({"user_id": ["1"], "item_id": ["a"]}).write_parquet(folder / "b.parquet")
    return folder


def write_without_users(folder):
    pl.DataFrame({"who": [1], "item_id": ["a"]}).write_parquet(folder / "a.parquet")
    return folder


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda folder: folder / "nowhere.parquet", "--users: "),
        (lambda folder: folder, "Name a Parquet file, a folder of them"),
        (lambda folder: "nostore://bucket/events", "Give a path, or a URL of a store"),
        (write_text, "Give Parquet files; this is none."),
        (write_two_kinds, "Give all files the columns of"),
        (write_without_users, "Say which one it is: --users-map"),
    ],
)
def test_a_place_without_usable_files_is_one_clear_error(make, line, model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(BadInputError, match=line):
        rank_shard(model, job_of(make(folder), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("columns", "value"), [({"user": "who"}, "user=who"), ({"person": "user_id"}, "person=user_id")]
)
def test_a_map_to_nothing_is_refused(columns, value, model, users, tmp_path):
    columns = {"user": "user_id", "item": "item_id", **columns}
    with pytest.raises(BadInputError, match=value):
        rank_shard(model, job_of(users, tmp_path / "out", columns=columns))


@pytest.mark.parametrize(("shard", "num_shards"), [(0, 2), (3, 2), (1, 0)])
def test_shards_are_numbered_from_one(shard, num_shards, model, users, tmp_path):
    with pytest.raises(BadInputError, match="Number shards from 1 to n"):
        rank_shard(model, job_of(users, tmp_path / "out"), shard=shard, num_shards=num_shards)


SLOW = """
import sys, time
from warmprompt import load
from warmprompt.assembly import sharding
write = sharding._write
def slow(*args, **options):
    write(*args, **options)
    time.sleep(0.3)
sharding._write = slow
job = sharding.BatchJob(users=sys.argv[2], out=sys.argv[3], n=5, rows_per_block=300)
sharding.rank_shard(load(sys.argv[1]), job)
"""


def test_a_killed_process_run_again_writes_what_an_undisturbed_one_writes(
    model, trained_folder, users, tmp_path
):
    rank_shard(model, job_of(users, tmp_path / "whole"))
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(trained_folder), str(users), str(out)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(blocks_of(out)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = blocks_of(out)
    assert 2 <= len(there) < manifest_of(out)["num_blocks"]
    report = rank_shard(model, job_of(users, out))
    assert report.num_there == len(there)
    assert blocks_of(out) == blocks_of(tmp_path / "whole")
    assert manifest_of(out) == manifest_of(tmp_path / "whole")
    assert {path.name for path in out.iterdir()} == {*blocks_of(out), "manifest.json"}
