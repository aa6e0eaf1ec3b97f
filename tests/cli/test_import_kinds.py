"""Files as people have them, through the command line: what went wrong once, and its neighbours."""

import json

import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.data.home import dataset_folder

MAP = "user=user,item=item,rating=rating,time=time"
ITEMS_MAP = "item=item,title=title"
EVENTS = [(u, i, (u * i) % 5 + 1, 1_500_000_000 + u * 100 + i) for u in range(1, 21) for i in range(1, 13)]
HEADER = ("user", "item", "rating", "time")


@pytest.fixture
def bring(tmp_path, monkeypatch, capfd):
    """Write files and import them: bring({name: text or bytes}, *arguments) -> (code, said)."""
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))

    def run_import(files, *arguments):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        first = tmp_path / next(iter(files))
        placed = [str(tmp_path / each) if each in files else each for each in arguments]
        code = run(["data", "import", str(first), "--name", "mine", "--overwrite", *placed])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run_import


def table(rows, header=HEADER, separator=",", end="\n"):
    return end.join(separator.join(map(str, row)) for row in [header, *rows]) + end


def titles():
    items = pl.read_parquet(dataset_folder("mine") / "items.parquet")
    return dict(items.select("item", "title").rows())


def manifest():
    return json.loads((dataset_folder("mine") / "manifest.json").read_text())


@pytest.mark.parametrize(("first", "last"), [('"Heroes', "Low"), ('"Heroes', 'Low"'), ('"', '12" vinyl')])
def test_lone_quotes_in_a_tsv_swallow_no_title(bring, first, last):
    named = {i: {3: first, 7: last}.get(i, f"Album {i}") for i in range(1, 13)}
    items = table(named.items(), ("item", "title"), "\t")
    files = {"ev.tsv": table(EVENTS, separator="\t"), "items.tsv": items}
    code, said = bring(files, "--map", MAP, "--items", "items.tsv", "--items-map", ITEMS_MAP)
    assert (code, titles()) == (0, named), said
    assert "0 rejects" in said
    assert "quotes are text" in said


@pytest.mark.parametrize("last", ["Low", 'Low"'])
def test_a_lone_quote_in_a_csv_is_a_reject_with_its_line(bring, last):
    named = {i: {3: '"Heroes', 7: last}.get(i, f"Album {i}") for i in range(1, 13)}
    files = {"ev.csv": table(EVENTS), "items.csv": table(named.items(), ("item", "title"))}
    arguments = ("--map", MAP, "--items", "items.csv", "--items-map", ITEMS_MAP)
    code, said = bring(files, *arguments)
    assert code == 2
    assert "1 x broken quoting (line 4)" in said
    code, said = bring(files, *arguments, "--max-rejects", "0.1")
    assert (code, titles()) == (0, named | {3: ""}), said


def test_lone_quotes_in_events_lose_no_event(bring):
    rows = [(*event, '"note' if n == 5 else "x") for n, event in enumerate(EVENTS)]
    code, said = bring({"ev.tsv": table(rows, (*HEADER, "note"), "\t")}, "--map", MAP)
    assert (code, manifest()["num_events"]) == (0, len(EVENTS)), said
    assert "not used: interactions note" in said


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_the_encoding_is_found_and_reported(bring, encoding):
    name = "Amélie" if encoding == "latin-1" else "Amélie 5 €"
    items = table([(i, name) for i in range(1, 13)], ("item", "title")).encode(encoding)
    files = {"ev.csv": table(EVENTS), "items.csv": items}
    code, out = bring(files, "--map", MAP, "--items", "items.csv", "--items-map", ITEMS_MAP)
    assert (code, set(titles().values())) == (0, {name})
    assert f"items.csv {encoding}" in out


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_ends_make_no_difference(bring, end):
    code, said = bring({"ev.csv": table(EVENTS, end=end)}, "--map", MAP)
    assert (code, manifest()["num_events"]) == (0, len(EVENTS)), said


@pytest.mark.parametrize("word", ["NULL", "nan", "None", "NA"])
def test_a_word_for_nothing_makes_no_user(bring, word):
    rows = [(word if n % 40 == 0 else u, i, r, t) for n, (u, i, r, t) in enumerate(EVENTS)]
    code, said = bring({"uid.csv": table(rows)}, "--map", MAP)
    assert code == 2
    assert f"6 x user id is {word}, a word for nothing (--null-values changes the list) (line 2, 42," in said
    code, said = bring({"uid.csv": table(rows)}, "--map", MAP, "--max-rejects", "0.1")
    assert (code, manifest()["num_events"]) == (0, len(EVENTS) - 6)
    assert f"rejects: interactions: 6 x user id is {word}" in said
    code, said = bring({"uid.csv": table(rows)}, "--map", MAP, "--null-values", "-,?")
    assert (code, manifest()["num_users"]) == (0, 21)


NAMES = ("user_id:token", "business_id:token", "stars:float", "date:float")


@pytest.mark.parametrize(
    "header",
    [
        NAMES,
        ("user_id:token", "venue_id:token", "rating:float", "timestamp:float"),
        ("session_id:token", "product_id:token", "score:float", "time:float"),
    ],
)
@pytest.mark.parametrize("factor", [1, 1000])
def test_atomic_files_by_the_names_that_public_data_have(bring, header, factor):
    rows = [(u, i, r, t * factor) for u, i, r, t in EVENTS]
    code, said = bring({"yelp.inter": table(rows, header, "\t")})
    assert code == 0, said
    assert f"user={header[0].partition(':')[0]}, item={header[1].partition(':')[0]}, rating=" in said
    assert "2017-07-14" in said


def test_atomic_files_by_names_of_their_own(bring):
    header = ("who:token", "what:token", "stars:float", "date:float")
    files = {"own.inter": table(EVENTS, header, "\t")}
    code, said = bring(files)
    assert code == 2
    assert "Add a column user_id:token, or say which one it is: --map user=COLUMN." in said
    for mapping in ("user=who,item=what", "user=who:token,item=what:token"):
        code, said = bring(files, "--map", mapping)
        assert code == 0, said
        assert "user=who, item=what, rating=stars, time=date" in said
    code, said = bring(files, "--map", "user=who,item=nope")
    assert code == 2
    assert "column: 'nope'. Name one of its columns: who, what, stars, date." in said


def test_a_column_that_the_caller_names_plays_no_other_part(bring):
    code, said = bring({"x.inter": table(EVENTS, NAMES, "\t")}, "--map", "weight=stars")
    assert (code, manifest()["rating_scale"]) == (0, None), said
    assert "weight=stars" in said
    assert "rating=" not in said


def test_rows_of_python_literals(bring):
    rows = "".join(
        f"{{u'username': u'p{u}', u'product_id': u'{i}', u'text': u'it\\'s fine', u'early': False}}\n"
        for u, i, *_ in EVENTS
    )
    code, said = bring({"steam.json": rows}, "--map", "user=username,item=product_id")
    assert (code, manifest()["num_events"]) == (0, len(EVENTS)), said
    assert "not used: interactions text, early" in said


def test_entities_and_blank_titles(bring):
    written = {1: "Tom &amp; Jerry", 2: "   ", 3: None, 4: "NULL", 5: "Dup", 6: "Dup", 7: "&lt;b&gt;"}
    items = "".join(json.dumps({"item": i, "title": title}) + "\n" for i, title in written.items())
    events = "".join(json.dumps(dict(zip(HEADER, event, strict=True))) + "\n" for event in EVENTS)
    arguments = ("--map", MAP, "--items", "it.jsonl", "--items-map", ITEMS_MAP)
    code, said = bring({"ev.jsonl": events, "it.jsonl": items}, *arguments)
    assert code == 0, said
    shown = {i: title for i, title in titles().items() if i in written}
    assert shown == {1: "Tom & Jerry", 2: "", 3: "", 4: "", 5: "Dup", 6: "Dup", 7: "<b>"}
    assert "2 x HTML entities decoded in texts" in said


def test_a_semicolon_file_with_and_without_its_separator(bring):
    quoted = table([[f'"{value}"' for value in event] for event in EVENTS], [f'"{n}"' for n in HEADER], ";")
    for given in ((), ("--separator", ";")):
        code, said = bring({"bx.csv": quoted}, "--map", MAP, *given)
        assert (code, manifest()["num_events"]) == (0, len(EVENTS)), said
        assert "separator ';', quoted fields" in said
    code, said = bring({"bx.csv": quoted}, "--map", MAP, "--separator", ",")
    assert code == 2
    assert "looks like ';'" in said


def test_a_known_format_takes_items_from_a_file_beside(bring):
    items = table([(i, f"Album {i}", "x") for i in range(1, 13)], ("sku", "name", "more"))
    files = {"x.inter": table(EVENTS, NAMES, "\t"), "i.csv": items}
    code, said = bring(files, "--items", "i.csv", "--items-map", "item=sku,title=name")
    assert (code, titles()) == (0, {i: f"Album {i}" for i in range(1, 13)}), said
    assert "not used: items more" in said
