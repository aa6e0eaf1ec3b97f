"""`warmprompt risk clear` and `network`: which way rows point, balance sheets, one cascade for all."""

import csv
import json

import numpy as np
import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.risk.contagion import DefaultCosts, clear_by_fixed_point, obligations

# A owes B 10, B owes C 8, C owes A 2.
OWED = [("A", "B", 10), ("B", "C", 8), ("C", "A", 2)]


def clear(capfd, *arguments):
    assert run(["risk", "clear", *map(str, arguments), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def refused(capfd, *arguments):
    assert run(["risk", *map(str, arguments)]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    return said


def written(path, header, rows, columns=(0, 1, 2)):
    lines = [",".join(str(row[column]) for column in columns) for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def links(tmp_path):
    return written(tmp_path / "links.csv", "payer,payee,amount_minor", OWED)


def test_every_table_of_the_same_debts_clears_alike(capfd, links, tmp_path):
    expected = clear(capfd, links, "--cash-share=0.3")
    assert (expected["rows"], expected["notes"], expected["defaults"]) == ("owe", [], 2)
    turned = (1, 0, 2)
    given = [
        ("lender,borrower,amount_minor", turned, []),
        ("borrower,lender,amount_minor", (0, 1, 2), []),
        ("debtor,creditor,amount_minor", (0, 1, 2), []),
        ("amount_minor,creditor,debtor", (2, 1, 0), []),
        ("source,target,amount_minor", turned, ["--rows=lend"]),
        ("source,target,amount_minor", (0, 1, 2), ["--rows=owe"]),
        ("payer,payee,amount_minor", turned, ["--rows=lend"]),
        ("source,target,weight", turned, ["--rows=lend"]),
    ]
    for header, columns, options in given:
        path = written(tmp_path / "given.csv", header, OWED, columns)
        assert clear(capfd, path, "--cash-share=0.3", *options)["payments"] == expected["payments"], header
        parquet = tmp_path / "given.parquet"
        pl.read_csv(path).write_parquet(parquet)
        assert clear(capfd, parquet, "--cash-share=0.3", *options)["payments"] == expected["payments"], header
    matrix = tmp_path / "matrix.csv"
    matrix.write_text("amount_minor,A,B,C\nA,,,2\nB,10,,\nC,,8,\n")
    found = clear(capfd, matrix, "--layout=adjacency", "--rows=lend", "--cash-share=0.3")
    assert found["payments"] == expected["payments"]
    assert found["rows"] == "lend"
    assert clear(capfd, matrix, "--layout=adjacency", "--cash-share=0.3")["payments"] != expected["payments"]
    # What is written after reading exposures says who owes whom.
    out = tmp_path / "out.csv"
    assert run(["risk", "network", str(matrix), "--layout=adjacency", "--rows=lend", f"--out={out}"]) == 0
    assert out.read_text() == links.read_text()


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        ("source,target,amount", [], "Say --rows lend where source lends to target"),
        ("lender,borrower,amount", ["--rows=owe"], "these columns say lend"),
        ("debtor,creditor,amount", ["--rows=lend"], "these columns say owe"),
        ("who,whom,amount", [], "lender, borrower; debtor, creditor; source, target"),
        ("who,whom", [], "lender, borrower; debtor, creditor; source, target"),
        ("payer,payee,value", [], "column of"),
    ],
)
def test_a_direction_is_never_guessed(capfd, tmp_path, header, options, words):
    path = written(tmp_path / "links.csv", header, OWED, range(header.count(",") + 1))
    assert words in refused(capfd, "clear", path, "--cash-share=1", *options)
    assert words in refused(capfd, "network", path, *options)


def test_messages_have_their_own_direction(capfd, tmp_path):
    (tmp_path / "paid.xml").write_text("<x/>")
    assert "a message says who pays" in refused(capfd, "network", tmp_path / "paid.xml", "--rows=lend")


def test_columns_that_are_not_used_are_named(capfd, tmp_path):
    path = written(tmp_path / "links.csv", "payer,payee,amount,amount_minor", OWED, (0, 1, 2, 2))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("bank,assets,buffer,rating\nA,4,1,x\nB,1,1,y\nC,0,0,z\n")
    assert clear(capfd, path, f"--assets={sheet}")["notes"] == [
        f"columns of {path} that are not used: amount",
        f"columns of {sheet} that are not used: buffer, rating",
    ]
    assert run(["risk", "network", str(path)]) == 0
    assert "that are not used: amount\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("sheet", "options", "note"),
    [
        ("A,2\nB,10\nC,8\n", [], "column assets is what each bank is owed by the others: interbank assets"),
        ("A,10\nB,8\nC,2\n", [], "column assets is what each bank owes the others; if these are its interb"),
        ("C,2.0000001\nA,10\n", [], "rows lend: --rows lend"),
        ("A,10\nB,8\nC,2\n", ["--rows=lend"], "column assets is what each bank is owed by the others"),
        ("A,2\nB,10\nC,8\n", ["--rows=lend"], "rows owe: --rows owe"),
        ("A,2\nB,10\nC,9\n", [], None),
        ("A,0\nB,0\nC,0\n", [], None),
    ],
)
def test_interbank_assets_are_noticed(capfd, links, tmp_path, sheet, options, note):
    (tmp_path / "sheet.csv").write_text("bank,assets\n" + sheet)
    notes = clear(capfd, links, f"--assets={tmp_path / 'sheet.csv'}", *options)["notes"]
    assert any(note in one for one in notes) if note else notes == []


def test_banks_without_links_are_participants(capfd, links, tmp_path):
    sheet, out = tmp_path / "sheet.csv", tmp_path / "out.csv"
    sheet.write_text("bank,assets,to_outside\nZ,5,3\nA,4,0\nY,1,2\n")
    found = clear(capfd, links, f"--assets={sheet}", f"--out={out}")
    assert found["banks"] == 5
    assert (found["payments"]["Z"], found["payments"]["Y"]) == (3, 1)
    assert found["defaulted"] == ["A", "B", "Y"]
    assert found["notes"] == [
        f"2 of the banks of {sheet} have no link: Z, Y",
        f"2 banks have no row in {sheet} and nothing there: B, C",
    ]
    with out.open() as file:
        assert [row["bank"] for row in csv.DictReader(file)] == ["A", "B", "C", "Z", "Y"]


def test_each_bank_recovers_at_the_rates_of_its_row(capfd, links, tmp_path):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("bank,assets,alpha,beta\nA,4,0.5,1\nB,1,,0.25\nC,0,1,1\n")
    expected = clear_by_fixed_point(
        obligations([[0, 10, 0], [0, 0, 8], [2, 0, 0]]),
        [4, 1, 0],
        costs=DefaultCosts(alpha=[0.5, 0.75, 1], beta=[1, 0.25, 1]),
    )
    found = clear(capfd, links, f"--assets={sheet}", "--alpha=0.75")
    assert list(found["payments"].values()) == pytest.approx(expected.payments_N.tolist())
    assert "choose another solver" in refused(capfd, "clear", links, f"--assets={sheet}", "--solver=lp")
    sheet.write_text("bank,assets,alpha\nA,4,1.5\n")
    said = refused(capfd, "clear", links, f"--assets={sheet}")
    assert said == "error: alpha of A, row 1: '1.5'. Give a finite number from 0 to 1.\n"


def test_every_solver_draws_the_same_cascade(capfd, tmp_path):
    # A line of banks, each short of what it owes only once the one before has failed.
    rows = [(f"B{number}", f"B{number + 1}", 10) for number in range(4)]
    path = written(tmp_path / "links.csv", "payer,payee,amount_minor", rows)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("bank,assets\nB0,5\nB1,1\nB2,1\nB3,1\n")
    results, pictures = [], []
    for solver in ("fixed-point", "fictitious", "lp"):
        plot, out = tmp_path / f"{solver}.png", tmp_path / f"{solver}.csv"
        found = clear(
            capfd, path, f"--assets={sheet}", f"--solver={solver}", f"--plot={plot}", f"--out={out}"
        )
        with out.open() as file:
            results.append(([row["round"] for row in csv.DictReader(file)], found["rounds"]))
        pictures.append(plot.read_bytes())
    assert results == [(["1", "2", "3", "4", "0"], 4)] * 3
    assert pictures == [pictures[0]] * 3
    assert clear(capfd, path, f"--assets={sheet}")["solver"] == "fixed point"


@pytest.mark.data
def test_exposures_of_125_banks_are_recognised(capfd, data_folder):
    folder = data_folder / "clearing"
    if not folder.is_dir():
        pytest.skip("WARMPROMPT_DATA holds no clearing")
    matrix, sheet = folder / "nrm_md_exposures.csv", folder / "nrm_sim_data.csv"
    given = [matrix, "--layout=adjacency", f"--assets={sheet}"]
    notes = clear(capfd, *given)["notes"]
    assert any("columns of" in note and "liabilities, buffer, weights" in note for note in notes)
    assert any("rows lend: --rows lend" in note for note in notes)
    found = clear(capfd, *given, "--rows=lend")
    assert any("column assets is what each bank is owed" in note for note in found["notes"])
    assert any("column liabilities is what each bank owes" in note for note in found["notes"])
    owed = pl.read_csv(sheet)["liabilities"].to_numpy()
    assert found["owed_to_banks"] == pytest.approx(np.sum(owed), rel=1e-6)
