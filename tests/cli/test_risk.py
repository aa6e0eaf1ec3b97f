"""`warmprompt risk`: what it prints is what the libraries compute; mistakes in one line."""

import csv
import json

import numpy as np
import polars as pl
import pytest
import torch

from warmprompt.backbone.load import load_backbone
from warmprompt.cli import run
from warmprompt.risk.network.fedwire import generate_fedwire
from warmprompt.risk.network.statistics import statistics
from warmprompt.risk.profile import (
    MAX_SUPPORT,
    Payment,
    ProfileSettings,
    WorldSettings,
    build_episodes,
    counterparty_context,
    draw_cuts,
    make_profiler,
    make_world,
    save_profiler,
    train_profile,
)
from warmprompt.risk.profile.population import BoostingSettings
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
    printed = json.loads(capfd.readouterr().out)
    network = generate_fedwire(4, model=smaller_model(80))
    assert printed["num_links"] == network.num_links
    assert printed["reciprocity"] == statistics(network).reciprocity
    assert sum(int(row["amount_minor"]) for row in table(out)) == network.total == printed["total"]
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run(["risk", "network", str(out), "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert {name: again[name] for name in again if name != "currency"} == {
        name: printed[name] for name in printed if name != "currency"
    }


def test_clearing_by_hand(capfd, links, tmp_path):
    assets = tmp_path / "assets.csv"
    assets.write_text("bank,assets,to_outside\nA,4,0\nB,1,0\n")
    out = tmp_path / "out.csv"
    for solver in ("fixed-point", "fictitious", "lp"):
        command = ["risk", "clear", str(links), f"--assets={assets}", f"--solver={solver}", f"--out={out}"]
        assert run([*command, "--json"]) == 0
        printed = json.loads(capfd.readouterr().out)
        # A pays 4 + what C pays; B passes on 1 more; C pays its 2 in full.
        assert printed["payments"] == pytest.approx({"A": 6, "B": 7, "C": 2})
        assert printed["defaulted"] == ["A", "B"]
        assert [float(row["equity"]) for row in table(out)] == pytest.approx([0, 0, 5])
    assert run(["risk", "clear", str(links), f"--assets={assets}", f"--plot={tmp_path / 'c.png'}"]) == 0
    said = capfd.readouterr().out
    assert "in default: A, B" in said
    assert (tmp_path / "c.png").exists()


def test_links_that_come_twice_are_summed_if_asked_for_and_no_default_draws_nothing(capfd, tmp_path):
    twice = tmp_path / "twice.csv"
    twice.write_text("payer,payee,amount_minor\nA,B,1\nA,B,2\nB,A,1\n")
    plot = tmp_path / "cascade.png"
    command = ["risk", "clear", str(twice), "--duplicates=sum", "--cash-share=1", f"--plot={plot}"]
    assert run([*command, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["payments"] == {"A": 3, "B": 1}
    assert run(command) == 0
    assert f"nobody defaults: {plot} was not drawn\n" in capfd.readouterr().out
    assert not plot.exists()


def test_a_matrix_is_the_network_of_its_links(capfd, links, tmp_path):
    matrix = tmp_path / "matrix.csv"
    for corner, kind in (("amount_minor", int), ("amount", float)):
        matrix.write_text(f"{corner},A,B,C\nA,,10,\nB,0,,8\nC,2,,\n")
        again = tmp_path / "again.csv"
        command = ["risk", "network", str(matrix), "--layout=adjacency", "--json"]
        assert run([*command, f"--out={again}"]) == 0
        printed = json.loads(capfd.readouterr().out)
        assert isinstance(printed["total"], kind)
        assert printed["total"] == 20
        assert table(again)[0][corner] == ("10" if kind is int else "10.0")
    cleared = []
    for given in ([str(links)], [str(matrix), "--layout=adjacency"]):
        assert run(["risk", "clear", *given, "--cash-share=0.3", "--json"]) == 0
        cleared.append(json.loads(capfd.readouterr().out))
    assert cleared[0] == cleared[1]
    assert run(["risk", "network", str(matrix)]) == 2
    assert "or --layout adjacency for a matrix." in capfd.readouterr().err
    for text in (",A,B\nA,,nan\nB,1,\n", ",A,B\nA,,-1\nB,1,\n", ",A,B\nA,3,1\nB,1,\n", ",A,B\nA,,1\n", ""):
        matrix.write_text(text)
        assert run(["risk", "network", str(matrix), "--layout=adjacency"]) == 2
        assert capfd.readouterr().err.count("\n") == 1
    assert run(["risk", "network", str(tmp_path / "x.parquet"), "--layout=adjacency"]) == 2
    assert "A matrix is read from a .csv file." in capfd.readouterr().err


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
    printed = json.loads(capfd.readouterr().out)
    assert printed == json.loads((tmp_path / "study" / "results.json").read_text())
    assert printed["settings"]["response"]["measure"] == "credit"
    assert "What earlier detection is worth" in (tmp_path / "study" / "report.md").read_text()
    assert (tmp_path / "study" / "losses.png").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["network", "nowhere.csv"], "error: network file: 'nowhere.csv'."),
        (["network", "x.doc"], "error: network file: 'x.doc'. Give a .csv, .parquet or .xml file."),
        (["profile", "nowhere"], "error: profiler folder: 'nowhere'."),
        (["profile", "nowhere", "--last=0"], "error: --last: '0'. Give at least 1."),
        (["profile", "nowhere", "--customers=0"], "error: --customers: '0'. Give at least 1."),
        (["profile", "nowhere", "--plot=a.jpg"], "error: --plot: 'a.jpg'. Name a .png file."),
        (["network", "--banks=10"], "error: number of banks: '10'. Give at least 54 banks"),
        (["network", "--out=x.txt"], "error: --out: 'x.txt'. Name a .csv file."),
        (["clear", "LINKS"], "error: --assets, --cash-share: 'neither'. Give one of the two."),
        (["clear", "LINKS", "--cash-share=-1"], "error: --cash-share: '-1.0'."),
        (["clear", "LINKS", "--cash-share=nan"], "error: --cash-share: 'nan'."),
        (["clear", "LINKS", "--assets=NEGATIVE"], "error: assets of B, row 1: '-4'."),
        (["clear", "LINKS", "--assets=NAN"], "error: to_outside of B, row 1: 'nan'."),
        (["clear", "TWICE", "--cash-share=1"], "error: duplicate link, 1 in all: 'A -> B'."),
        (["clear", "LINKS", "--cash-share=1", "--alpha=2"], "error: alpha: '2.0'."),
        (["clear", "LINKS", "--cash-share=1", "--alpha=0.5", "--solver=lp"], "error: --solver: 'lp'."),
        (["clear", "LINKS", "--assets=ASSETS"], "error: participant: 'Z'."),
        (["simulate", "--outage=B1"], "error: --outage: 'B1'. Write BANK@START+LENGTH"),
        (["simulate", "--payments=0"], "error: payments_per_day: '0'."),
        (["study", "--scenarios=1"], "error: num_scenarios: '1'. Give at least 2."),
        (["study", "--alarms=nan"], "error: alarms_per_day: 'nan'. Give at least 0.005, one in the 200 days"),
        (["study", "--alarms=0.001"], "error: alarms_per_day: '0.001'. Give at least 0.005"),
        (["simulate", "--banks=1000000"], "error: Invalid value for '--banks'"),
        (["study", "--incident=fire"], "error: Invalid value for '--incident'"),
    ],
)
def test_a_mistake_is_one_line(capfd, links, tmp_path, arguments, line):
    assets = tmp_path / "assets.csv"
    assets.write_text("bank,assets\nZ,4\n")
    files = {
        "NEGATIVE": "bank,assets\nB,-4\n",
        "NAN": "bank,assets,to_outside\nB,4,nan\n",
        "TWICE": "payer,payee,amount_minor\nA,B,1\nA,B,2\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    given = [one.replace("LINKS", str(links)).replace("ASSETS", str(assets)) for one in arguments]
    for name in files:
        given = [one.replace(name, str(tmp_path / f"{name}.csv")) for one in given]
    assert run(["risk", *given]) == 2
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


PAID = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pacs.009.001.08"><FICdtTrf><GrpHdr><MsgId>M1</MsgId>
<NbOfTxs>0001</NbOfTxs></GrpHdr><CdtTrfTxInf><PmtId><EndToEndId>E</EndToEndId><UETR>u</UETR></PmtId>
<IntrBkSttlmAmt Ccy="USD">10.00</IntrBkSttlmAmt><IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt>
<InstgAgt><FinInstnId><Othr><Id>one</Id></Othr></FinInstnId></InstgAgt>
<InstdAgt><FinInstnId><Othr><Id>two</Id></Othr></FinInstnId></InstdAgt></CdtTrfTxInf></FICdtTrf></Document>"""
BACK = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pacs.004.001.09"><PmtRtr><GrpHdr><MsgId>R1</MsgId>
<NbOfTxs>1</NbOfTxs></GrpHdr><TxInf><OrgnlUETR>u</OrgnlUETR>
<RtrdIntrBkSttlmAmt Ccy="USD">2.50</RtrdIntrBkSttlmAmt></TxInf></PmtRtr></Document>"""


def test_messages_and_their_returns_are_one_network(capfd, tmp_path):
    for name, text in (("paid.xml", PAID), ("back.xml", BACK), ("links.csv", "payer,payee,amount_minor\n")):
        (tmp_path / name).write_text(text)
    paid, back, links = (str(tmp_path / name) for name in ("paid.xml", "back.xml", "links.csv"))
    out = tmp_path / "out.csv"
    assert run(["risk", "network", back, paid, "--out", str(out)]) == 0
    assert out.read_text() == "payer,payee,amount_minor\none,two,750\n"
    capfd.readouterr()
    assert run(["risk", "network", back]) == 2
    said = capfd.readouterr().err
    assert "R1" in said
    assert "urn:iso:std:iso:20022:tech:xsd:pacs.004.001.09" in said
    assert run(["risk", "network", paid, links]) == 2
    assert "Give one file, or several .xml messages." in capfd.readouterr().err


def test_a_message_with_a_document_type_is_refused(capfd, tmp_path):
    bomb = tmp_path / "bomb.xml"
    bomb.write_text('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    assert run(["risk", "network", str(bomb)]) == 2
    assert capfd.readouterr().err.startswith("error: ")


@pytest.fixture(scope="session")
def made_up():
    return make_world(
        WorldSettings(num_customers=120, num_terminals=200, num_days=70, radius=9.0, customers_per_day=1.0),
        seed=0,
    ).payments


@pytest.fixture(scope="session")
def profiler(made_up, computed_once):
    torch.set_num_threads(1)
    context, entities = counterparty_context(made_up), np.unique(made_up.entity_N)

    def episodes(chosen, ks=(0, 1, 5, 20)):
        cuts = draw_cuts(chosen, days=(25, 45), start_s=1_522_540_800, per_entity=3, ks=ks, seed=0)
        return build_episodes(made_up, context, cuts)

    settings = ProfileSettings(
        num_factors=4,
        num_hidden=4,
        num_text_features=4,
        prompt_length=2,
        num_reference=16,
        tangent_epochs=1,
        prompt_steps=1,
        batch=64,
        boosting=BoostingSettings(num_trees=5, num_leaves=4, min_leaf=20),
    )

    def train():
        return train_profile(
            episodes(entities[:50]),
            episodes(entities[50:60]),
            load_backbone("tiny", num_layers=1),
            settings=settings,
            label_delay_s=7 * 86_400,
            seed=0,
        )

    model = computed_once("smaller-risk-model", train)
    return make_profiler(model, {k: episodes(entities[60:], ks=(k,)) for k in (0, 20)})


def test_a_customers_scores_are_those_of_a_replayed_stream(capfd, made_up, profiler, tmp_path):
    save_profiler(profiler, tmp_path / "profiler")
    table = pl.DataFrame(
        {
            "TX_DATETIME": pl.from_epoch(pl.Series(made_up.time_N), time_unit="s"),
            "CUSTOMER_ID": made_up.entity_N,
            "TERMINAL_ID": made_up.counterparty_N,
            "TX_AMOUNT": made_up.amount_minor_N / 100,
            "TX_FRAUD": made_up.fraud_N.astype(int),
        }
    )
    table.write_parquet(tmp_path / "payments.parquet")
    counts = np.bincount(made_up.entity_N)
    entity = int(np.flatnonzero((counts > 30) & (counts < 60))[0])
    command = ["risk", "profile", str(tmp_path / "profiler"), str(tmp_path / "payments.parquet")]
    assert run([*command, f"--entity={entity}", "--last=3", "--json"]) == 0
    whole = json.loads(capfd.readouterr().out)
    printed = whole["payments"]
    assert whole["entity"] == entity
    # Nothing was saved about whom it was fitted to; drift is watched over all of the customer's payments.
    assert whole["used_in_training"] is False
    assert whole["drift"]["p_risk"] == {"num_values": int(counts[entity]), "alarms_s": []}

    context = counterparty_context(made_up)
    state, waiting, scores = profiler.start(entity), [], []
    for row in np.flatnonzero(made_up.entity_N == entity):
        now_s = int(made_up.time_N[row])
        while waiting and made_up.time_N[waiting[0]] + 7 * 86_400 <= now_s:
            due = int(waiting.pop(0))
            if due in {one.id for one in state.payments}:
                state = profiler.report(state, due, fraud=bool(made_up.fraud_N[due]), now_s=now_s)
        payment = Payment(
            id=int(row),
            time_s=now_s,
            amount_minor=int(made_up.amount_minor_N[row]),
            counterparty=int(made_up.counterparty_N[row]),
            context=tuple(context[row].tolist()),
        )
        scores.append(profiler.score(state, payment))
        state = profiler.observe(state, payment)
        waiting.append(row)
    assert [row["p_risk"] for row in printed] == [score.p_risk for score in scores[-3:]]
    assert [row["score"] for row in printed] == [score.score for score in scores[-3:]]
    assert printed[-1]["num_known"] == MAX_SUPPORT

    plot = tmp_path / "customer.png"
    assert run([*command, f"--entity={entity}", "--last=2", f"--plot={plot}"]) == 0
    shown = capfd.readouterr().out
    assert f"customer {entity}" in shown
    assert f"drift of p_risk, of all payments of the customer: no alarm in {counts[entity]}" in shown
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run([*command, "--entity=999999"]) == 2
    assert capfd.readouterr().err == "error: --entity: '999999'. Name a customer of the payments.\n"
