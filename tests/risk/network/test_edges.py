"""Networks from CSV and Parquet: exact amounts, and one clear error for each thing that can be wrong."""

import numpy as np
import polars as pl
import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.network.edges import read_adjacency_csv, read_edges_csv, read_edges_parquet

HEADER = "payer,payee,amount_minor\n"


@pytest.fixture
def write(tmp_path):
    def _write(text, name="edges.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def test_csv_keeps_ids_and_whole_amounts_as_they_are_written(write):
    # An id with leading zeros is no number; 2^53 + 1 is no float.
    network = read_edges_csv(write(HEADER + "021000021,B,9007199254740993\nB,021000021,1\n"), currency="USD")
    assert network.nodes == ("021000021", "B")
    assert network.amount("021000021", "B") == 2**53 + 1
    assert (network.matrix.dtype, network.currency) == (np.int64, "USD")


def test_columns_may_be_called_otherwise_and_hold_floats(write):
    path = write("note,owed,lender,borrower\nx,2.5,L,B\n")
    network = read_edges_csv(path, columns=("borrower", "lender", "owed"))
    assert network.amount("B", "L") == 2.5


def test_parquet_gives_the_same_network_as_csv(write, tmp_path):
    table = pl.DataFrame({"payer": [1, 2, 1], "payee": [2, 3, 3], "amount_minor": [5, 6, 7]})
    table.write_parquet(tmp_path / "edges.parquet")
    parquet = read_edges_parquet(tmp_path / "edges.parquet")
    csv = read_edges_csv(write(HEADER + "1,2,5\n2,3,6\n1,3,7\n"))
    assert parquet.nodes == csv.nodes
    assert np.array_equal(parquet.matrix.toarray(), csv.matrix.toarray())
    assert parquet.amount("1", "3") == 7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,B,-5\n", "amount of A -> B: '-5'"),
        ("A,B,0\n", "amount of A -> B: '0'"),
        ("A,B,1\nA,C,1.5\n", "row 2: '1.5'. Give whole minor units"),
        ("A,B,nan\n", "row 1: 'nan'"),
        ("A,B,\n", "row 1: 'None'"),
        ("A,B,99999999999999999999\n", "row 1: '99999999999999999999'"),
        ("A,B,1\n,B,1\n", "column 'payer', row 2"),
        ("A,A,1\n", "self-loop"),
        ("A,B,1\nA,B,2\n", "duplicate link"),
        ("A,B,1,extra\n", "CSV file"),
        ("", "no row"),
    ],
)
def test_a_wrong_row_refuses_the_file(write, rows, message):
    with pytest.raises(BadInputError, match=message):
        read_edges_csv(write(HEADER + rows))


@pytest.mark.parametrize("amount", ["nan", "NaN", "inf", "-inf", "1e400", "-2.5"])
def test_floats_that_are_no_amounts_are_refused(write, amount):
    with pytest.raises(BadInputError, match="A -> B"):
        read_edges_csv(write(f"payer,payee,owed\nA,B,{amount}\n"), columns=("payer", "payee", "owed"))


@pytest.mark.parametrize("text", [b"", b"  \n\n", b"\xff\xfe\x00"])
def test_files_that_are_empty_or_no_text_are_refused(write, text):
    for read in (read_edges_csv, read_adjacency_csv):
        with pytest.raises(BadInputError, match=r"edges\.csv"):
            read(write(text))


def test_missing_files_and_columns_are_refused(write, tmp_path):
    with pytest.raises(BadInputError, match="Name a file that exists"):
        read_edges_csv(tmp_path / "none.csv")
    with pytest.raises(BadInputError, match=r"'payee'. Name columns that are there: payer, amount_minor"):
        read_edges_csv(write("payer,amount_minor\nA,1\n"))
    with pytest.raises(BadInputError, match="Give a Parquet file"):
        read_edges_parquet(write("PAR1 not really"))


def test_ids_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "edges.parquet"
    pl.DataFrame({"payer": [0.5], "payee": ["B"], "amount_minor": [1]}).write_parquet(path)
    with pytest.raises(BadInputError, match=r"column 'payer': 'Float64'"):
        read_edges_parquet(path)


def test_fractions_of_minor_units_in_parquet_are_refused(tmp_path):
    path = tmp_path / "edges.parquet"
    pl.DataFrame({"payer": ["A", "A"], "payee": ["B", "C"], "amount_minor": [1.0, 1.5]}).write_parquet(path)
    with pytest.raises(BadInputError, match="row 2: '1.5'"):
        read_edges_parquet(path)


def test_a_bank_outside_the_list_is_refused(write):
    with pytest.raises(UnknownNameError, match="participant: 'C'"):
        read_edges_csv(write(HEADER + "A,C,1\n"), nodes=["A", "B"])


def test_adjacency_follows_the_headers_order_whatever_the_rows_do(write):
    network = read_adjacency_csv(write(",B,A,C\nA,3,0,1.5\nC,,2,\nB,0,4,0\n"))
    assert network.nodes == ("B", "A", "C")
    assert network.matrix.toarray().tolist() == [[0, 4, 0], [3, 0, 1.5], [0, 2, 0]]


def test_adjacency_in_minor_units_is_exact(write):
    network = read_adjacency_csv(write("from,A,B\nA,,9007199254740993\nB,1,\n"), minor=True)
    assert network.amount("A", "B") == 2**53 + 1
    with pytest.raises(BadInputError, match=r"column 'B', row 1: '0.5'"):
        read_adjacency_csv(write("from,A,B\nA,,0.5\nB,1,\n"), minor=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",A,B\nA,0,1\n", r"\['B'\]"),
        (",A,B\nA,0,1\nC,1,0\n", r"\['B', 'C'\]"),
        (",A,B\nA,0,1\nB,1,0\nB,1,0\n", "comes twice"),
        (",A,A\nA,0,1\n", "comes twice"),
        (",A,B\nA,1,1\nB,1,0\n", "self-loop: 'A'"),
        (",A,B\nA,0,-1\nB,1,0\n", "amount of A -> B"),
        (",A,B\nA,0,x\nB,1,0\n", "column 'B', row 1: 'x'"),
    ],
)
def test_a_matrix_that_is_no_network_is_refused(write, text, message):
    with pytest.raises(BadInputError, match=message):
        read_adjacency_csv(write(text))
