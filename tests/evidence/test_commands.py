"""The commands of the evidence, from a plan file to pages."""

from __future__ import annotations

import shutil

import pytest
import tomli_w

from warmprompt.cli import run


@pytest.fixture
def plan(planted_folder, text_home, tmp_path):
    """Return the file of a plan for one table of two models and two seeds."""
    home = text_home / "data" / "told"
    if not home.exists():
        shutil.copytree(planted_folder[0], home)
    table = {"dataset": "told", "seeds": [0, 1], "ks": [0, 2], "models": ["toppop", "ease"]}
    file = tmp_path / "plan.toml"
    file.write_text(tomli_w.dumps({"product": "ease", "blend": "toppop", "tables": [table]}))
    return file


def told(capfd, *arguments):
    code = run(["evidence", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, err


def test_from_status_to_pages(plan, tmp_path, capfd):
    common = ["--plan", plan, "--root", tmp_path / "root"]
    code, out, _ = told(capfd, "status", *common)
    assert code == 0
    assert "told-random" in out
    assert "seed 0,1: toppop, ease" in out
    assert "4 fits are missing; 0 of them take about 0 minutes of processor time" in out
    code, out, err = told(capfd, "build", *common, "--only", "seed=1")
    assert (code, out) == (0, "2 cells measured, 0 still missing\n")
    assert "told, seed 1, ease: 1 of 1 cells in" in err
    _, out, _ = told(capfd, "status", *common)
    assert "seed 0: toppop, ease" in out
    assert "2 fits are missing; 2 of them take" in out
    code, out, _ = told(capfd, "report", *common, "--out", tmp_path / "pages")
    assert code == 0
    assert "told-random.md: 2 cells, 2 missing" in out
    assert "ease (seed 1)" in (tmp_path / "pages" / "told-random.md").read_text()


def test_nothing_is_begun_when_there_is_no_time(plan, tmp_path, capfd):
    code, out, _ = told(capfd, "build", "--plan", plan, "--root", tmp_path / "root", "--limit-minutes", 0)
    assert (code, out) == (0, "0 cells measured, 4 still missing\n")


def test_a_failed_fit_leaves_with_1_and_names_its_log(plan, tmp_path, capfd):
    plan.write_text(plan.read_text().replace('"ease"]', '"melu"]'))
    # A folder in the way of the cells.
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cells").write_text("")
    only = ["--only", "model=toppop", "--only", "seed=0"]
    code, out, _ = told(capfd, "build", "--plan", plan, "--root", tmp_path / "root", *only)
    assert code == 1
    assert "failed: told, seed 0, toppop" in out
    assert ".log)" in out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--only", "sed=1"], "--only"),
        (["--only", "model=eaze"], "--only model"),
        (["--plan", "nowhere.toml"], "plan"),
    ],
)
def test_mistakes_leave_with_2(plan, tmp_path, capfd, words, shown):
    code, _, err = told(capfd, "build", "--plan", plan, "--root", tmp_path, *words)
    assert code == 2
    assert err.startswith(f"error: {shown}")


def test_a_data_set_that_is_not_there_is_left_out_and_named(plan, tmp_path, capfd):
    told_plan = plan.read_text()
    plan.write_text(told_plan + told_plan[told_plan.index("[[tables]]") :].replace('"told"', '"nowhere"'))
    common = ["--plan", plan, "--root", tmp_path / "root"]
    for command in (["build", "--only", "seed=1"], ["status"], ["report", "--out", tmp_path / "pages"]):
        code, out, _ = told(capfd, *command, *common)
        assert code == 0
        assert "left out, not in the data home: nowhere." in out
    assert "not measured yet" in (tmp_path / "pages" / "index.md").read_text()


def test_all_names_are_looked_at_before_the_first_search(tmp_path, capfd):
    code, out, err = told(capfd, "tune", "told", "ease,eaze", "--searches", tmp_path)
    assert (code, out) == (2, "")
    assert "Did you mean ease" in err
    assert list(tmp_path.iterdir()) == []
