"""`warmprompt recommend RUN --users FILES --out DIR --shard i/n`, and its options."""

import sys

import polars as pl
import pytest

from warmprompt import load
from warmprompt.cli import run

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture
def users(trained_folder, tmp_path):
    items = load(trained_folder).items
    path = tmp_path / "events.parquet"
    pl.DataFrame(
        {
            "user_id": [f"u{number:03}" for number in range(100) for _ in range(3)],
            "item_id": [items[(7 * number + step) % 50] for number in range(100) for step in range(3)],
        }
    ).write_parquet(path)
    return path


def test_shards_rank_what_the_plain_command_ranks(trained_folder, users, tmp_path, capfd):
    plain, out = tmp_path / "plain.parquet", tmp_path / "out"
    command = ["recommend", str(trained_folder), "--users", str(users), "-n", "3"]
    command += ["--exclude", load(trained_folder).title(load(trained_folder).items[2])]
    assert run([*command, "--out", str(plain)]) == 0
    capfd.readouterr()
    for shard in ("1/2", "2/2"):
        assert run([*command, "--out", str(out), "--shard", shard, "--vectors"]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "1 blocks with 100 users in" in said
    assert "0 blocks with 0 users in" in said
    assert said.endswith("complete: 1 blocks, none is missing")
    wanted = pl.read_parquet(plain).group_by("user_id", maintain_order=True).agg("item_id", "score")
    found = pl.read_parquet(out / "block-*.parquet")
    assert found.drop("vector").rows() == wanted.rows()
    assert found.schema["vector"] == pl.Array(pl.Float32, 8)


def test_what_is_missing_is_said(trained_folder, users, tmp_path, capfd):
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(tmp_path / "out")]
    assert run([*command, "--shard", "2/2"]) == 0
    assert "missing: 1 of 1 blocks: 0" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--shard", "1/2"], "error: --shard: '1/2'. Name a file of users with --users."),
        (["--users", "FILE", "--out", "DIR", "--shard", "one"], "error: --shard: 'one'. Write it as i/n"),
        (
            ["--users", "FILE", "--out", "DIR", "--shard", "0/2"],
            "error: --shard: '0/2'. Number",
        ),
        (["--users", "FILE", "--out", "o.csv", "--vectors"], "error: --vectors: 'True'. Give --shard or"),
        (
            ["--users", "FILE", "--out", "DIR", "--shard", "1/1", "--workers", "2"],
            "error: --workers: '2'.",
        ),
        (
            ["--users", "FILE", "--out", "DIR", "--shard", "1/1", "--address", "x"],
            "error: --address: 'x'.",
        ),
        (["--users", "FILE", "--out", "DIR", "--engine", "dask"], "error: --engine: 'dask'. Known is ray."),
        (["--users", "FILE", "--out", "DIR", "--engine", "ray", "--workers", "0"], "error: --workers: '0'."),
        (
            ["--users", "FILE", "--out", "DIR", "--engine", "ray", "--shard", "1/2"],
            "error: --shard: '1/2'. Leave it out: --engine shares the users.",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, line, trained_folder, users, tmp_path, capfd):
    named = {"FILE": str(users), "DIR": str(tmp_path / "out")}
    assert run(["recommend", str(trained_folder), *(named.get(one, one) for one in options)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_ray_the_engine_names_the_extra(trained_folder, users, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["recommend", str(trained_folder), "--users", str(users), "--out", str(tmp_path / "out")]
    assert run([*command, "--engine", "ray"]) == 2
    assert "Install the extra: pip install 'warmprompt[ray]'." in capfd.readouterr().err
