"""`warmprompt evaluate`: the table, the files, and mistakes in one line."""

import json

import pytest

from warmprompt.cli import run

pytestmark = pytest.mark.usefixtures("text_home")


def test_the_table_on_the_screen_holds_the_numbers_of_the_file(capfd, trained_folder, tmp_path):
    out = tmp_path / "results.json"
    command = ["evaluate", str(trained_folder), "--k", "0,3", "--baselines", "toppop", "--out", str(out)]
    assert run([*command, "--attributes", "--min-rating", "4"]) == 0
    said = capfd.readouterr()
    found = json.loads(out.read_text())
    cells = [row for row in found["rows"] if row["metric"] == "NDCG@10" and row["seed"] is None]
    assert {(row["model"], row["k"]) for row in cells} == {
        (model, k) for model in ("warmprompt", "warmprompt, not adapted", "toppop") for k in (0, 3)
    }
    for row in cells:
        assert f"{row['value']:.4f}" in said.out
    assert found["settings"]["attributes"] is True
    assert found["settings"]["min_rating"] == 4.0
    assert str(tmp_path / "report.md") in said.out
    assert (tmp_path / "metrics.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["nowhere"], 2, "error: run: 'nowhere'."),
        (["RUN", "--k=1,x"], 2, "error: --k: '1,x'. Write whole numbers with commas, such as 0,1,5."),
        (["RUN", "--k=-1"], 2, "error: evaluate.k (flag)[0]: '-1'."),
        (["RUN", "--protocol=rand"], 2, "error: evaluate.protocol (flag): 'rand'."),
        (["RUN", "--baselines=topop"], 2, "error: baseline: 'topop'. Did you mean toppop?"),
        (["RUN", "--candidates=query-only"], 2, "error: min_rating: "),
        (["RUN", "--out=DIR"], 2, "error: --out: "),
        (["CUT"], 1, "error: damaged model.safetensors: "),
        (["EMPTY"], 1, "error: damaged manifest.json: "),
    ],
)
def test_a_mistake_is_one_line(capfd, trained_folder, tmp_path, arguments, code, line):
    import shutil

    cut, empty = (shutil.copytree(trained_folder, tmp_path / name) for name in ("cut", "empty"))
    model = cut / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-9])
    (empty / "manifest.json").write_bytes(b"")
    places = {"RUN": trained_folder, "CUT": cut, "EMPTY": empty, "DIR": tmp_path}
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    assert run(["evaluate", *arguments]) == code
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_k_that_no_history_reaches_is_named(capfd, trained_folder):
    assert run(["evaluate", str(trained_folder), "--k", "0,900,800", "--baselines", "toppop"]) == 0
    said = capfd.readouterr().out
    assert "left out, as too few tested users have that many events: K = 800, 900" in said
