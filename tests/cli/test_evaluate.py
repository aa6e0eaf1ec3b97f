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
    tested = max(row["num_users"] for row in cells)
    assert f"rated 4 or more: {tested} users whom no model has trained on" in said.out
    assert "warmprompt; warmprompt, not adapted against toppop." in said.out
    (best,) = [
        row for row in found["differences"] if row["best"] and (row["metric"], row["k"]) == ("NDCG@10", 3)
    ]
    assert best["baseline"] == "toppop"
    assert f"K = 3: {best['value']:+.4f} [" in said.out
    assert "NDCG@10 over toppop, the best baseline on validation users" in said.out
    assert f'next: warmprompt recommend {trained_folder} --like "A TITLE"' in said.out
    assert (tmp_path / "metrics.png").is_file()


def test_further_metrics_and_run_files_are_there_where_they_are_asked_for(capfd, trained_folder, tmp_path):
    out, trec = tmp_path / "results.json", tmp_path / "trec"
    command = ["evaluate", str(trained_folder), "--k", "3", "--baselines", "toppop", "--out", str(out)]
    assert run([*command, "--metrics", "Recall@10,coverage@10", "--trec", str(trec)]) == 0
    said = capfd.readouterr().out
    found = json.loads(out.read_text())
    assert {row["metric"] for row in found["rows"]} == {"HR@10", "NDCG@10", "MRR", "Recall@10", "Coverage@10"}
    for row in found["rows"]:
        if row["metric"] in ("NDCG@10", "Recall@10", "Coverage@10"):
            assert f"{row['value']:.4f}" in said
    assert sorted(path.name for path in trec.iterdir()) == [
        "qrels.seed0.k3.txt",
        "toppop.seed0.k3.run",
        "warmprompt-not-adapted.seed0.k3.run",
        "warmprompt.seed0.k3.run",
    ]
    # A folder that holds something is refused before anything is measured.
    assert run([*command, "--trec", str(trec)]) == 2
    assert "error: output folder: " in capfd.readouterr().err


def test_the_budget_and_what_it_found_stand_on_the_screen(capfd, trained_folder, tmp_path):
    import shutil

    folder = shutil.copytree(trained_folder, tmp_path / "run")
    command = ["evaluate", str(folder), "--k", "3", "--baselines", "ease"]
    assert run([*command, "--tune-budget", "1"]) == 0
    said = capfd.readouterr()
    assert "Baselines tuned on the 12 validation users of split 0, protocol random: " in said.out
    assert "s of a budget of 1 s of processor time" in said.out
    assert "  ease: l2 " in said.out
    assert "tuning ease, trial 1: l2 5000: NDCG@10 " in said.err
    assert run([*command, "--tune-budget", "0"]) == 0
    assert "Baselines have untuned defaults" in capfd.readouterr().out


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
        (["RUN", "--metrics=Recall@5"], 2, "error: metric: 'Recall@5'. Choose all, or some of HR@10"),
        (["RUN", "--metrics=ILS@10", "--candidates=sampled100"], 2, "error: metrics: 'ILS@10'."),
        (["RUN", "--trec=DIR/new", "--candidates=sampled100"], 2, "error: --trec: 'sampled100'."),
        (["RUN", "--tune-budget=-1"], 2, "error: evaluate.tune_budget (flag): '-1.0'."),
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
    for name, path in places.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    assert run(["evaluate", *arguments]) == code
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_k_that_no_history_reaches_is_named(capfd, trained_folder):
    assert run(["evaluate", str(trained_folder), "--k", "0,900,800", "--baselines", "toppop"]) == 0
    said = capfd.readouterr().out
    assert "left out, as too few tested users have that many events: K = 800, 900" in said
