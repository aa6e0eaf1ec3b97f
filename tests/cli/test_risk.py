"""`warmprompt risk`: what it prints is what the libraries compute; mistakes in one line."""

import csv
import json

import pytest

from warmprompt.cli import run
from warmprompt.risk.network.fedwire import generate_fedwire
from warmprompt.risk.network.statistics import statistics
from warmprompt.risk.study.world import smaller_model


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def links(tmp_path):
    # Eisenberg & Noe by hand: A owes B 10 and has 4; B owes C 8; C owes A 2.
    path = tmp_path / "links.csv"
    path.write_text("payer,payee,amount_minor\nA,B,10\nB,C,8\nC,A,2\n")
    return path


def test_a_generated_network_has_the_generators_figures(capfd, tmp_path):
    out, plot = tmp_path / "links.csv", tmp_path / "network.png"
    command = ["risk", "network", "--banks=80", "--seed=4", f"--out={out}", f"--plot={plot}", "--json"]
    assert run(command) == 0
    told = json.loads(capfd.readouterr().out)
    network = generate_fedwire(4, model=smaller_model(80))
    assert told["num_links"] == network.num_links
    assert told["reciprocity"] == statistics(network).reciprocity
    assert sum(int(row["amount_minor"]) for row in table(out)) == network.total == told["total"]
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run(["risk", "network", str(out), "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert {name: again[name] for name in again if name != "currency"} == {
        name: told[name] for name in told if name != "currency"
    }


def test_clearing_by_hand(capfd, links, tmp_path):
    assets = tmp_path / "assets.csv"
    assets.write_text("bank,assets,to_outside\nA,4,0\nB,1,0\n")
    out = tmp_path / "out.csv"
    for solver in ("fixed-point", "fictitious", "lp"):
        command = ["risk", "clear", str(links), f"--assets={assets}", f"--solver={solver}", f"--out={out}"]
        assert run([*command, "--json"]) == 0
        told = json.loads(capfd.readouterr().out)
        # A pays 4 + what C pays; B passes on 1 more; C pays its 2 in full.
        assert told["payments"] == pytest.approx({"A": 6, "B": 7, "C": 2})
        assert told["defaulted"] == ["A", "B"]
        assert [float(row["equity"]) for row in table(out)] == pytest.approx([0, 0, 5])
    assert run(["risk", "clear", str(links), f"--assets={assets}", f"--plot={tmp_path / 'c.png'}"]) == 0
    said = capfd.readouterr().out
    assert "in default: A, B" in said
    assert (tmp_path / "c.png").exists()


def test_a_day_is_simulated_and_an_outage_hurts(capfd, tmp_path):
    command = ["risk", "simulate", "--banks=60", "--payments=1500", "--seed=2", "--json"]
    assert run(command) == 0
    quiet = json.loads(capfd.readouterr().out)
    assert quiet["payments"] == 1_500
    out = tmp_path / "day.csv"
    assert run([*command, "--outage=B01@20000+90000", f"--out={out}"]) == 0
    down = json.loads(capfd.readouterr().out)
    assert down["value_due_minor_units"] == quiet["value_due_minor_units"]
    assert down["settled"] < quiet["settled"]
    assert sum(int(row["num_unsettled"]) for row in table(out)) == 1_500 - down["settled"]


def test_a_study_writes_report_numbers_and_picture(capfd, tmp_path):
    command = ["risk", "study", "--scenarios=2", "--banks=60", "--payments=600", "--alarms=0.5"]
    assert run([*command, f"--out={tmp_path / 'study'}", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told == json.loads((tmp_path / "study" / "results.json").read_text())
    assert told["settings"]["response"]["measure"] == "credit"
    assert "What earlier detection is worth" in (tmp_path / "study" / "report.md").read_text()
    assert (tmp_path / "study" / "losses.png").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["network", "nowhere.csv"], "error: network file: 'nowhere.csv'."),
        (["network", "x.doc"], "error: network file: 'x.doc'. Give a .csv, .parquet or .xml file."),
        (["network", "--banks=10"], "error: number of banks: '10'. Give at least 54 banks"),
        (["network", "--out=x.txt"], "error: --out: 'x.txt'. Name a .csv file."),
        (["clear", "LINKS"], "error: --assets, --cash-share: 'neither'. Give one of the two."),
        (["clear", "LINKS", "--cash-share=-1"], "error: assets"),
        (["clear", "LINKS", "--cash-share=1", "--alpha=2"], "error: alpha: '2.0'."),
        (["clear", "LINKS", "--cash-share=1", "--alpha=0.5", "--solver=lp"], "error: --solver: 'lp'."),
        (["clear", "LINKS", "--assets=ASSETS"], "error: participant: 'Z'."),
        (["simulate", "--outage=B1"], "error: --outage: 'B1'. Write BANK@START+LENGTH"),
        (["simulate", "--payments=0"], "error: payments_per_day: '0'."),
        (["study", "--scenarios=1"], "error: num_scenarios: '1'. Give at least 2."),
        (["study", "--incident=fire"], "error: Invalid value for '--incident'"),
    ],
)
def test_a_mistake_is_one_line(capfd, links, tmp_path, arguments, line):
    assets = tmp_path / "assets.csv"
    assets.write_text("bank,assets\nZ,4\n")
    given = [one.replace("LINKS", str(links)).replace("ASSETS", str(assets)) for one in arguments]
    assert run(["risk", *given]) == 2
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_message_with_a_document_type_is_refused(capfd, tmp_path):
    bomb = tmp_path / "bomb.xml"
    bomb.write_text('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    assert run(["risk", "network", str(bomb)]) == 2
    assert capfd.readouterr().err.startswith("error: ")
