"""The commands of the evidence, from a plan file to pages."""

from __future__ import annotations

import shutil

import pytest
import tomli_w

from warmprompt.cli import run


@pytest.fixture
def plan(planted_folder, text_home, tmp_path):
    """Return the file of a plan for one table of two models and two seeds."""
    home = text_home / "data" / "little"
    if not home.exists():
        shutil.copytree(planted_folder[0], home)
    table = {"dataset": "little", "seeds": [0, 1], "ks": [0, 2], "models": ["toppop", "ease"]}
    file = tmp_path / "plan.toml"
    file.write_text(tomli_w.dumps({"product": "ease", "blend": "toppop", "tables": [table]}))
    return file


def call(capfd, *arguments):
    code = run(["evidence", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, err


def test_from_status_to_pages(plan, tmp_path, capfd):
    common = ["--plan", plan, "--root", tmp_path / "root"]
    code, out, _ = call(capfd, "status", *common)
    assert code == 0
    assert "little-random" in out
    assert "seed 0,1: toppop, ease" in out
    assert "4 fits are missing; 0 of them take about 0 minutes of processor time" in out
    code, out, err = call(capfd, "build", *common, "--only", "seed=1")
    assert (code, out) == (0, "2 cells measured, 0 still missing\n")
    assert "little, seed 1, ease: 1 of 1 cells in" in err
    _, out, _ = call(capfd, "status", *common)
    assert "seed 0: toppop, ease" in out
    assert "2 fits are missing; 2 of them take" in out
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "index.md").write_text("{{users; little-random; 0}} users")
    code, out, _ = call(
        capfd, "report", *common, "--out", tmp_path / "pages", "--templates", tmp_path / "templates"
    )
    assert code == 0
    assert "little-random.md: 2 cells, 2 missing" in out
    assert "ease (seed 1)" in (tmp_path / "pages" / "little-random.md").read_text()
    assert (tmp_path / "index.md").read_text().endswith(" users")


def test_no_time_starts_no_job(plan, tmp_path, capfd):
    code, out, _ = call(capfd, "build", "--plan", plan, "--root", tmp_path / "root", "--limit-minutes", 0)
    assert (code, out) == (0, "0 cells measured, 4 still missing\n")


def test_failed_fits_exit_with_one(plan, tmp_path, capfd):
    plan.write_text(plan.read_text().replace('"ease"]', '"melu"]'))
    # A folder in the way of the cells.
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cells").write_text("")
    only = ["--only", "model=toppop", "--only", "seed=0"]
    code, out, _ = call(capfd, "build", "--plan", plan, "--root", tmp_path / "root", *only)
    assert code == 1
    assert "failed: little, seed 0, toppop" in out
    assert ".log)" in out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--only", "sed=1"], "--only"),
        (["--only", "model=eaze"], "--only model"),
        (["--plan", "nowhere.toml"], "plan"),
    ],
)
def test_mistakes_exit_with_two(plan, tmp_path, capfd, words, shown):
    code, _, err = call(capfd, "build", "--plan", plan, "--root", tmp_path, *words)
    assert code == 2
    assert err.startswith(f"error: {shown}")


def test_absent_data_sets_are_named(plan, tmp_path, capfd):
    text = plan.read_text()
    plan.write_text(text + text[text.index("[[tables]]") :].replace('"little"', '"nowhere"'))
    common = ["--plan", plan, "--root", tmp_path / "root"]
    for command in (["build", "--only", "seed=1"], ["status"], ["report", "--out", tmp_path / "pages"]):
        code, out, _ = call(capfd, *command, *common)
        assert code == 0
        assert "left out, not in the data home: nowhere." in out
    assert "not measured yet" in (tmp_path / "pages" / "index.md").read_text()


def test_names_are_checked_before_searching(tmp_path, capfd):
    code, out, err = call(capfd, "tune", "little", "ease,eaze", "--searches", tmp_path)
    assert (code, out) == (2, "")
    assert "Did you mean ease" in err
    assert list(tmp_path.iterdir()) == []
