"""The page on entities: its commands run, in its order, without a language model."""

import shlex
from pathlib import Path

from warmprompt.cli import run

PAGE = Path(__file__).parents[2] / "docs" / "risk" / "entities.md"


def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    lines = PAGE.read_text().replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]
    assert len(commands) == 8
    for name, *arguments in commands:
        assert name == "warmprompt"
        assert run(arguments) == 0, (arguments, capfd.readouterr().err)
    assert (tmp_path / "scores.csv").read_text().startswith("entity,period,p_trouble,p_low,p_high,decision,")
    assert "comes first: trouble with probability" in (tmp_path / "watch.html").read_text()
