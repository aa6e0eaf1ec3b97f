"""Double quotes in delimited files: rules where every field closes, text or rejects where one does not."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.readers.delimited import open_table
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.source import LINE, RejectLog

TITLES = [f"Album {n}" for n in range(1, 9)]


@pytest.fixture
def read(write):
    """Read a table of numbers and titles: read(titles, separator) -> (its title by number, log, quotes)."""

    def run(titles, separator=",", header=None):
        rows = [separator.join((str(n), title)) for n, title in enumerate(titles, start=1)]
        text = "\n".join([header or f"item{separator}title", *rows]) + "\n"
        table = open_table(write("q", {"x.txt": text}) / "x.txt", usual=separator)
        log = RejectLog("x")
        found = [row for frame in table.rows(log) for row in frame.drop(LINE).rows()]
        return dict(found), log, table.quotes

    return run


def changed(**titles):
    return [titles.get(f"t{n}", title) for n, title in enumerate(TITLES, start=1)]


def numbered(titles):
    return {str(n): title for n, title in enumerate(titles, start=1)}


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize(
    "titles",
    [
        changed(t3='"Heroes'),
        changed(t3='"Heroes', t6='Low"'),  # read as RFC 4180, one title with four line breaks
        changed(t3='"'),
        changed(t3='"Heroes" by Bowie', t4='"Low"'),
        changed(t2='12" vinyl', t5='"7 inch', t6='""'),
    ],
)
def test_quotes_are_text_where_one_field_stays_open(read, titles, separator):
    found, log, quotes = read(titles, separator)
    assert (found, log.counts, quotes) == (numbered(titles), {}, "text")


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_quotes_are_rules_where_every_field_closes_in_its_row(read, separator):
    written = changed(t1=f'"a{separator} b"', t2='"The ""Real"" One"', t3='12" vinyl', t4='""')
    found, log, quotes = read(written, separator)
    meant = changed(t1=f"a{separator} b", t2='The "Real" One', t3='12" vinyl', t4="")
    assert (found, log.counts, quotes) == (numbered(meant), {}, "row")


def test_fields_over_several_lines_in_a_proper_csv_file(read):
    found, log, quotes = read(changed(t3='"one\ntwo, ""2""\nthree"', t5='"1,2\n3"'))
    meant = changed(t3='one\ntwo, "2"\nthree', t5="1,2\n3")
    assert (found, log.counts, quotes) == (numbered(meant), {}, "records")


def test_a_quoted_header_makes_quotes_rules_for_any_separator(read):
    found, log, _ = read(changed(t3='"one\ntwo"', t4='"say \\"hi\\""'), ";", header='"item";"title"')
    assert (found, log.counts) == (numbered(changed(t3="one\ntwo", t4='say "hi"')), {})


@pytest.mark.parametrize(
    ("titles", "lines"),
    [
        (changed(t3='"Heroes'), [4]),
        # Together they would be one proper field, but every line of it is a row by itself.
        (changed(t3='"Heroes', t6='Low"'), [4]),
        (changed(t3='"Heroes', t5='"a, b"'), [4]),
        (changed(t3='"Heroes', t4='"Low'), [4, 5]),
        (changed(t8='"cut off'), [9]),
    ],
)
def test_an_open_field_costs_its_own_line_alone(read, titles, lines):
    found, log, quotes = read(titles)
    kept = {n: title.strip('"') if ", " in title else title for n, title in numbered(titles).items()}
    assert found == {n: title for n, title in kept.items() if int(n) + 1 not in lines}
    assert (log.first_lines, quotes) == ({"broken quoting": lines}, "broken")


def test_what_spans_lines_is_not_joined_where_quotes_do_not_balance(read):
    found, log, _ = read(changed(t3='"one\ntwo"', t6='"Heroes'))
    assert set(found) == {"1", "2", "4", "5", "7", "8"}
    assert sorted(line for lines in log.first_lines.values() for line in lines) == [4, 5, 8]


@pytest.mark.parametrize(
    ("row", "meant"),
    [
        ('3,"Heroes" by Bowie', '"Heroes" by Bowie'),
        ('"3","The "Real" One"', 'The "Real" One'),
        ('3,"Heroes" and "Low"', '"Heroes" and "Low"'),
        ('3,"say \\"hi\\", twice"', 'say "hi", twice'),
    ],
)
def test_quotes_within_quotes_that_are_not_doubled(write, row, meant):
    path = write("q", {"x.csv": f"item,title\n1,a\n{row}\n4,d\n"}) / "x.csv"
    log = RejectLog("x")
    rows = [row for frame in open_table(path).rows(log) for row in frame.drop(LINE).rows()]
    assert (rows, log.counts) == ([("1", "a"), ("3", meant), ("4", "d")], {})


def test_lone_quotes_among_events_lose_no_event(write, bring_in, events_of):
    rows = [f"u{n % 3}\ti{n}\t{note}" for n, note in enumerate(['"', "x", '"y', 'z"', "w"])]
    path = write("g", {"e.tsv": "\n".join(["user\titem\tnote", *rows])}) / "e.tsv"
    dataset, _ = bring_in(read_mapped(MappedFile(path=path, mapping={"user": "user", "item": "item"})))
    assert sorted(item for _, item, *_ in events_of(dataset)) == ["i0", "i1", "i2", "i3", "i4"]


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\t\ufeff"), max_size=6)


@given(rows=st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8))
def test_tabs_without_quoting_come_back_as_written_or_as_the_csv_module_reads_them(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tsv") / "x.tsv"
    lines = [f"{n}\t{a}\t{b}" for n, (a, b) in enumerate(rows)]
    path.write_bytes("\n".join(["n\ta\tb", *lines]).encode())
    table = open_table(path, usual="\t")
    log = RejectLog("x")
    found = [row for frame in table.rows(log) for row in frame.drop(LINE).rows()]
    if table.quotes == "text":
        assert found == [(str(n), a, b) for n, (a, b) in enumerate(rows)]
    else:
        # Each line by itself is a whole record to the csv module, too.
        alone = [next(csv.reader(io.StringIO(line), delimiter="\t", strict=True)) for line in lines]
        assert found == [tuple(fields) for fields in alone if len(fields) == 3]


@pytest.mark.parametrize("chunk_bytes", [16, 40, 1000])
def test_records_do_not_depend_on_the_size_of_the_pieces(write, monkeypatch, chunk_bytes):
    text = 'a,b\n1,"x\n\ny"\n2,plain\n3,"\n\n\n"\n4,"q, r"\n5,end\n'
    path = write("q", {"x.csv": text}) / "x.csv"
    monkeypatch.setattr("warmprompt.data.readers.lines.CHUNK_BYTES", chunk_bytes)
    table = open_table(path)
    found = [row for frame in table.rows(RejectLog("x")) for row in frame.rows()]
    read = csv.reader(io.StringIO(text))
    assert [row[1:] for row in found] == [tuple(row) for row in read][1:]
    assert [row[0] for row in found] == [2, 5, 6, 10, 11]
