"""Encodings, line ends and separators: found where nothing is said, checked where something is."""

import gzip

import pytest

from warmprompt.data.readers import read_folder
from warmprompt.data.readers.delimited import TextOptions, open_table
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.lines import open_text
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

FRENCH = ["Amélie", "Les Élèves", "naïve café", "plain"]
JAPANESE = ["千と千尋の神隠し", "もののけ姫", "カタカナ", "plain"]
RUSSIAN = ["Война и мир", "Привет мир", "plain"]


def table_of(titles, end="\n", separator=","):
    rows = [f"{n}{separator}{title}" for n, title in enumerate(titles)]
    return end.join([f"item{separator}title", *rows, ""])


def titles_in(path, **options):
    table = open_table(path, ("item", "title"), options=TextOptions(**options))
    log = RejectLog("x")
    titles = [title for frame in table.rows(log) for title in frame["title"]]
    assert log.counts == {}
    return titles, table


@pytest.mark.parametrize(
    ("encoding", "titles", "found"),
    [
        ("utf-8", FRENCH, "utf-8"),
        ("utf-8", JAPANESE, "utf-8"),
        ("utf-8-sig", FRENCH, "utf-8"),
        ("latin-1", FRENCH, "latin-1"),
        ("cp1252", [*FRENCH, "“quoted” 5 €"], "cp1252"),
        ("utf-16", JAPANESE, "utf-16"),
        ("utf-16-be", FRENCH, "utf-16-be"),
        ("utf-32", FRENCH, "utf-32"),
        ("ascii", ["plain"], "utf-8"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_are_found(write, encoding, titles, found, packed):
    raw = table_of(titles).encode(encoding)
    path = write("e", {"x.csv": gzip.compress(raw) if packed else raw}) / "x.csv"
    read, table = titles_in(path)
    assert (read, table.text.encoding) == (titles, found)
    assert table.said().startswith(found)


@pytest.mark.parametrize(
    ("encoding", "titles"),
    [("cp1251", RUSSIAN), ("shift_jis", JAPANESE), ("euc-jp", JAPANESE), ("gb18030", JAPANESE)],
)
def test_older_encodings_have_to_be_named(write, encoding, titles):
    path = write("e", {"x.csv": table_of(titles).encode(encoding)}) / "x.csv"
    with pytest.raises(BadInputError, match="line 2: 'neither UTF-8 nor Latin-1 text'.*--encoding"):
        titles_in(path)
    assert titles_in(path, encoding=encoding)[0] == titles


@pytest.mark.parametrize(
    ("written", "given", "said"),
    [
        ("utf-8", "latin-1", "looks like utf-8"),
        ("utf-8", "cp1251", "looks like utf-8"),
        ("utf-8", "utf-16", "looks like utf-8"),
        ("latin-1", "utf-8", r"utf-8 \(line 2\).*looks like latin-1"),
        ("utf-16", "utf-8", "looks like utf-16"),
        ("utf-16-le", "latin-1", "looks like utf-16-le"),
        ("utf-8", "no-such", "Give one such as"),
        ("utf-8", "rot13", "Give one such as"),
    ],
)
def test_a_wrong_encoding_is_recognised(write, written, given, said):
    path = write("e", {"x.csv": table_of(FRENCH).encode(written)}) / "x.csv"
    with pytest.raises(BadInputError, match=f"--encoding: .*{said}"):
        titles_in(path, encoding=given)


def test_a_few_broken_lines_do_not_make_a_utf8_file_latin1(write):
    raw = table_of(FRENCH).encode() + b"9,caf\xe9\n"
    table = open_table(write("e", {"x.csv": raw}) / "x.csv")
    log = RejectLog("x")
    assert [title for frame in table.rows(log) for title in frame["title"]] == FRENCH
    assert log.first_lines == {"not utf-8 text": [6]}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movielens_is_read_in_either_encoding(write, bring_in, encoding):
    files = {
        "ratings.dat": "1::1::5::960000108\n1::2::1::960000119\n",
        "movies.dat": "1::Amélie (2001)::Comédie\n2::Heat (1995)::Drama\n".encode(encoding),
        "users.dat": "1::F::25::4::00000\n",
    }
    source = read_folder(write("ml", files))
    assert source.encodings["movies.dat"].startswith(encoding)
    dataset, _ = bring_in(source)
    assert dataset.items["title"].to_list() == ["Amélie (2001)", "Heat (1995)"]
    assert dataset.items["genres"].to_list() == [["Comédie"], ["Drama"]]


@pytest.mark.parametrize(
    ("end", "found"), [("\n", "LF"), ("\r\n", "CRLF"), ("\r", "CR"), ("\r\r\n\n", "mixed")]
)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_line_ends(write, bring_in, events_of, end, found, name):
    rows = [f'{{"u": {n}, "i": "x"}}' if name == "x.jsonl" else f"{n},x" for n in range(1, 4)]
    header = [] if name == "x.jsonl" else ["u,i"]
    path = write("e", {name: end.join([*header, *rows])}) / name
    dataset, _ = bring_in(read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i"})))
    assert [user for user, *_ in events_of(dataset)] == [1, 2, 3]
    assert open_text(path).line_ends == found


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.dat"])
def test_separators_are_found(write, separator, name):
    path = write("s", {name: table_of(["a b", "c-d"], separator=separator)}) / name
    titles, table = titles_in(path)
    assert (titles, table.separator) == (["a b", "c-d"], separator)


@pytest.mark.parametrize(("given", "meant"), [(r"\t", "\t"), ("tab", "\t"), ("^", "^"), (" ", " ")])
def test_separators_are_used_as_given(write, given, meant):
    path = write("s", {"x.csv": table_of(["a,b;c"], separator=meant)}) / "x.csv"
    assert titles_in(path, separator=given)[0] == ["a,b;c"]


@pytest.mark.parametrize(
    ("separator", "given", "said"),
    [
        (";", ",", "--separator: ','.*looks like ';'"),
        (",", "tab", "--separator: 'tab'.*looks like ','"),
        (",", '"', "--separator: .*Give one such as"),
    ],
)
def test_a_wrong_separator_is_recognised(write, separator, given, said):
    path = write("s", {"x.csv": table_of(["a"], separator=separator)}) / "x.csv"
    with pytest.raises(BadInputError, match=said):
        titles_in(path, separator=given)


def test_a_separator_that_is_not_found_is_asked_for(write):
    path = write("s", {"x.csv": "user^item\n1^2\n"}) / "x.csv"
    mapped = MappedFile(path=path, mapping={"user": "user", "item": "item"})
    with pytest.raises(BadInputError, match="line 1: 'user.item'. Say with --separator"):
        read_mapped(mapped)
    source = read_mapped(mapped, options=ReadOptions(text=TextOptions(separator="^")))
    assert "separator '^'" in source.encodings["x.csv"]


def test_a_file_beside_may_have_its_own_separator(write, bring_in):
    files = {"e.csv": "user;item\na;1\n", "i.csv": "item,title\n1,One; or two\n"}
    path = write("s", files)
    source = read_mapped(
        MappedFile(path=path / "e.csv", mapping={"user": "user", "item": "item"}),
        items=MappedFile(path=path / "i.csv", mapping={"item": "item", "title": "title"}),
        options=ReadOptions(text=TextOptions(separator=";")),
    )
    assert bring_in(source)[0].items["title"].to_list() == ["One; or two"]


def test_the_separator_that_a_spreadsheet_names_in_its_first_line(write):
    path = write("s", {"x.csv": "sep=;\n" + table_of(["a,b"], separator=";")}) / "x.csv"
    table = open_table(path, ("item", "title"))
    rows = [row for frame in table.rows(RejectLog("x")) for row in frame.rows()]
    assert rows == [(3, "0", "a,b")]
    assert table.rows(RejectLog("x")).__next__()[LINE][0] == 3


def test_columns_are_numbers_without_a_header(write, bring_in, events_of):
    path = write("s", {"u.data": "a\t1\t3\t100\nb\t2\t5\t200\n"}) / "u.data"
    mapped = MappedFile(path=path, mapping={"user": "1", "item": "2", "rating": "3", "time": "4"})
    with pytest.raises(BadInputError, match="--no-header"):
        read_mapped(mapped)
    source = read_mapped(mapped, options=ReadOptions(text=TextOptions(header=False)))
    assert events_of(bring_in(source)[0]) == [("a", 1, 3.0, 100), ("b", 2, 5.0, 200)]
    named = MappedFile(path=path, mapping={"user": "who", "item": "2"})
    with pytest.raises(BadInputError, match="--no-header: 'who, 2'. Name the columns.* 1 to 4"):
        read_mapped(named, options=ReadOptions(text=TextOptions(header=False)))


def test_a_column_without_a_name_is_called_by_its_place(write):
    path = write("s", {"x.csv": ",user,item\n0,a,1\n"}) / "x.csv"
    source = read_mapped(MappedFile(path=path, mapping={"user": "user", "item": "item"}))
    assert source.unused == {"interactions": ("(column 1)",)}
