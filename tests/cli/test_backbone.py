"""`warmprompt backbone`: what people read."""

import pytest
from typer.testing import CliRunner

from warmprompt.backbone.catalogue import KNOWN
from warmprompt.backbone.load import weights_hash_of
from warmprompt.cli.backbone import app
from warmprompt.errors import BadInputError, UnknownNameError


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run one command with an empty cache and return its output; errors come through."""
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return run


def test_list_names_all_and_says_what_is_untrained(run):
    lines = run("list").splitlines()
    for source in KNOWN.values():
        (line,) = (line for line in lines if f" {source.name} " in line)
        assert source.licence in line
        assert ("untrained" in line) == (not source.trained)


def test_describe_gives_the_facts(run):
    output = run("describe", "tiny")
    # By hand: 259 tokens of width 32, four layers of attention (q, k, v, o), a gated network of width
    # 64 and two norms, and the last norm.
    layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64 + 2 * 32
    assert f"{259 * 32 + 4 * layer + 32:,}" in output
    assert weights_hash_of("tiny") in output
    assert "no, random weights" in output


def test_errors_come_through(run):
    with pytest.raises(UnknownNameError, match="smollm2-135m"):
        run("describe", "smollm")
    with pytest.raises(BadInputError, match="built on the spot"):
        run("get", "tiny")


def test_a_narrow_screen_cuts_no_name(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert all(f" {name} " in run("list") for name in KNOWN)
