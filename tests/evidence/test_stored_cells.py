"""Cells stored next to their page: read back as they were written, to float16, and paired with new rows."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tomli_w

from warmprompt.cli import run
from warmprompt.errors import BadInputError, IntegrityError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evidence.jobs import missing_jobs, wanted_cells
from warmprompt.evidence.measured_table import read_cells
from warmprompt.evidence.pages import write_pages
from warmprompt.evidence.plan import read_plan
from warmprompt.evidence.statistics import further_gains, headline_gains, rows
from warmprompt.evidence.stored_cells import read_stored, restore_cells, store_cells
from warmprompt.evidence.worker import do_job

ROUNDING = 2.0**-11  # of float16: half the distance of two neighbours, relative


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture
def plan(raw, root):
    """Return a plan of four models whose cells are all there."""
    plan = read_plan(raw)
    for job in missing_jobs(plan, root / "cells"):
        do_job(job, root)
    return plan


@pytest.fixture
def pairs(plan, root):
    """Return every cell with its name, in the order of the table."""
    measured = read_cells(plan, plan.tables[0], root / "cells")
    return [(wanted, measured.cells[wanted.model, wanted.seed]) for _, _, wanted in wanted_cells(plan)]


def test_cells_return_as_float16_of_themselves(pairs, tmp_path):
    store_cells(pairs, tmp_path / "page.json")
    found = dict(read_stored(tmp_path / "page.json"))
    assert list(found) == [wanted.key for wanted, _ in pairs]
    for wanted, cell in pairs:
        again = found[wanted.key]
        assert list(again.tested) == list(cell.tested)
        for k, users in cell.tested.items():
            assert list(again.tested[k]) == list(users)
            expected = np.array(list(users.values())).astype(np.float16).astype(np.float64)
            np.testing.assert_array_equal(np.array(list(again.tested[k].values())), expected)
        for k, users in cell.validation.items():
            np.testing.assert_array_equal(
                np.mean(list(again.validation[k].values()), axis=0), np.mean(list(users.values()), axis=0)
            )
        rest = [name for name in vars(cell) if name not in ("tested", "validation", "rounded")]
        assert {name: getattr(again, name) for name in rest} == {name: getattr(cell, name) for name in rest}
        assert again.rounded
        assert not cell.rounded


def test_columns_are_the_rows_of_the_table(pairs, tmp_path):
    store_cells(pairs, tmp_path / "page.json")
    table = pl.read_parquet(tmp_path / "page.parquet")
    assert table.columns == ["model", "seed", "k", "user", *METRICS]
    assert [table[metric].dtype for metric in METRICS] == [pl.Float16] * len(METRICS)
    wanted, cell = pairs[0]
    own = table.filter(pl.col("model") == wanted.model, pl.col("seed") == wanted.seed, pl.col("k") == 2)
    expected = np.mean(list(cell.tested[2].values()), axis=0)
    assert own.select(METRICS).cast(pl.Float64).mean().row(0) == pytest.approx(expected, rel=ROUNDING)


def test_lost_cells_give_the_same_statistics(plan, root, tmp_path):
    write_pages(plan, root, tmp_path / "pages")
    lost = tmp_path / "lost"
    (restored,) = restore_cells(plan, lost / "cells", tmp_path / "pages")
    assert (restored.num_cells, restored.changed) == (8, ())
    assert missing_jobs(plan, lost / "cells") == []
    table = plan.tables[0]
    before, after = (read_cells(plan, table, folder / "cells") for folder in (root, lost))
    for one, other in zip(rows(before, num_resamples=50), rows(after, num_resamples=50), strict=True):
        assert (one.model, one.k, one.metric, one.seed) == (other.model, other.k, other.metric, other.seed)
        # A mean of values of one sign, each off by at most this share of itself.
        assert other.value == pytest.approx(one.value, rel=ROUNDING)
    gains = [headline_gains(plan, one, num_resamples=200) for one in (before, after)]
    for one, other in zip(*gains, strict=True):
        assert (one.other, one.k, one.metric, one.num_users) == (
            other.other, other.k, other.metric, other.num_users
        )  # fmt: skip
        assert other.value == pytest.approx(one.value, abs=ROUNDING * (one.product_value + one.other_value))
    write_pages(plan, lost, tmp_path / "again")
    text = (tmp_path / "again" / "planted-random.md").read_text()
    assert "Of 8 cells 8 were read back from `planted-random.parquet`" in text
    assert "were read back" not in (tmp_path / "pages" / "planted-random.md").read_text()
    # Rounding once more changes nothing.
    files = [tmp_path / name / "planted-random.parquet" for name in ("pages", "again")]
    assert pl.read_parquet(files[0]).equals(pl.read_parquet(files[1]))


def test_a_new_row_is_measured_alone_and_paired(raw, plan, root, tmp_path):
    write_pages(plan, root, tmp_path)
    raw["tables"][0]["models"] = ["@simple", "userknn", "ease", "shuffled"]
    raw["compare"] = ["userknn"]
    wider = read_plan(raw)
    fresh = tmp_path / "fresh"
    restore_cells(wider, fresh / "cells", tmp_path)
    jobs = missing_jobs(wider, fresh / "cells")
    assert {wanted.model for job in jobs for wanted in job.cells} == {"userknn"}
    for job in jobs:
        do_job(job, fresh)
        do_job(job, root)
    pages = [read_cells(wider, wider.tables[0], folder / "cells") for folder in (root, fresh)]
    exact, paired = (further_gains(wider, one, num_resamples=200) for one in pages)
    assert [one.other for one in paired] == ["userknn"] * 9
    for one, other in zip(exact, paired, strict=True):
        assert (one.k, one.metric, one.num_users, one.seeds) == (
            other.k, other.metric, other.num_users, other.seeds
        )  # fmt: skip
        # The new row is exact, the product's cells are rounded.
        assert other.other_value == one.other_value
        assert other.value == pytest.approx(one.value, abs=ROUNDING * one.product_value)


def test_rows_of_other_settings_stay_lost(raw, plan, root, tmp_path):
    write_pages(plan, root, tmp_path)
    raw["models"].append({"name": "itemknn", "baseline": "itemknn", "settings": {"shrinkage": 99.0}})
    other = read_plan(raw)
    (restored,) = restore_cells(other, tmp_path / "cells", tmp_path)
    assert restored.num_cells == 6
    missing = missing_jobs(other, tmp_path / "cells")
    assert {wanted.model for job in missing for wanted in job.cells} == {"itemknn"}
    raw["tables"][0]["protocol"] = "next"
    raw["tables"][0]["name"] = "planted-random"
    assert restore_cells(read_plan(raw), tmp_path / "other", tmp_path) == ()


def test_changed_code_is_named(plan, pairs, tmp_path):
    older = [
        (wanted, replace(cell, code_hash="0" * 16) if wanted.model == "toppop" else cell)
        for wanted, cell in pairs
    ]
    store_cells(older, tmp_path / "planted-random.json")
    (restored,) = restore_cells(plan, tmp_path / "cells", tmp_path)
    assert restored.changed == ("toppop",)
    assert restored.line() == (
        "restored 8 cells of planted-random from planted-random.parquet; code changed since: toppop "
        "(--no-restore measures them anew)"
    )


def test_a_file_above_the_limit_is_parted(pairs, tmp_path):
    page = tmp_path / "page.json"
    store_cells(pairs, page)
    whole = (tmp_path / "page.parquet").stat().st_size
    expected = {key: cell.tested for key, cell in read_stored(page)}
    limit = whole * 2 // 3
    store_cells(pairs, page, max_bytes=limit)
    files = sorted(tmp_path.glob("page*.parquet"))
    assert len(files) > 1
    assert all(file.stat().st_size <= limit for file in files)
    found = {key: cell.tested for key, cell in read_stored(page)}
    assert list(found) == list(expected)
    for key, tested in expected.items():
        for k, users in tested.items():
            np.testing.assert_array_equal(list(found[key][k].values()), list(users.values()))
    store_cells(pairs, page)
    assert list(tmp_path.glob("page*.parquet")) == [tmp_path / "page.parquet"]


def test_a_single_cell_above_the_limit_is_refused(pairs, tmp_path):
    with pytest.raises(BadInputError, match=r"page: one cell exceeds 100 bytes.*Test fewer users"):
        store_cells(pairs, tmp_path / "page.json", max_bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_refused(plan, pairs, tmp_path):
    store_cells(pairs, tmp_path / "planted-random.json")
    (tmp_path / "planted-random.parquet").write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match="version control"):
        restore_cells(plan, tmp_path / "cells", tmp_path)


def test_commands_restore_by_default(planted_folder, text_home, tmp_path, capfd):
    home = text_home / "data" / "stored"
    if not home.exists():
        shutil.copytree(planted_folder[0], home)
    table = {"dataset": "stored", "seeds": [0], "ks": [0, 2], "models": ["toppop", "itemknn"]}
    file = tmp_path / "plan.toml"
    file.write_text(tomli_w.dumps({"product": "itemknn", "blend": "toppop", "tables": [table]}))

    def call(command, root, *words):
        common = ["--plan", file, "--root", tmp_path / root, "--out", tmp_path / "pages"]
        assert run(["evidence", command, *map(str, (*common, *words))]) == 0
        return capfd.readouterr().out

    templates = ["--templates", tmp_path / "none", "--searches", tmp_path / "none"]
    (tmp_path / "none").mkdir()
    call("build", "first")
    call("report", "first", *templates)
    out = call("build", "second")
    assert "restored 2 cells of stored-random from stored-random.parquet\n0 cells measured" in out
    assert "2 cells measured" in call("build", "third", "--no-restore")
    assert "restored 2 cells" in call("report", "fourth", *templates)
    assert "0 fits are missing" in call("status", "fifth")
