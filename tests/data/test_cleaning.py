"""Words for nothing and HTML entities, in every format alike."""

import html
import json

import polars as pl
import pytest

from warmprompt.data.readers import read_folder
from warmprompt.data.readers.cleaning import NULL_VALUES
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import RejectLog
from warmprompt.errors import RejectsError

EVENTS = {"user": "u", "item": "i", "rating": "r", "time": "t"}
NAMES = ("u", "i", "r", "t")
GOOD = [("ann", "x", "4", "100"), ("bob", "y", "5", "200")]


@pytest.fixture
def source_of(write):
    """Write rows as one kind of file: source_of(rows, kind) -> the mapped source."""

    def run(rows, kind, names=NAMES, mapping=EVENTS, **options):
        path = write("g", {}) / f"e.{kind}"
        if kind == "parquet":
            pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").write_parquet(path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
        else:
            separator = {"csv": ",", "tsv": "\t"}[kind]
            path.write_text("\n".join(separator.join(row) for row in [names, *rows]) + "\n")
        return read_mapped(MappedFile(path=path, mapping=mapping), options=ReadOptions(**options))

    return run


KINDS = pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])


@KINDS
@pytest.mark.parametrize("word", ["NULL", "null", "NA", "N/A", "nan", "NaN", "None", r"\N", " NULL "])
def test_a_word_for_nothing_is_no_id(source_of, bring_in, events_of, kind, word):
    rows = [*GOOD, (word, "x", "3", "300"), (word, "y", "3", "300"), ("cat", word, "3", "300")]
    source = source_of(rows, kind)
    with pytest.raises(
        RejectsError, match="2 x user id is .*a word for nothing .--null-values changes the list"
    ):
        bring_in(source)
    dataset, manifest = bring_in(source, max_rejects=0.9)
    assert [(u, i) for u, i, *_ in events_of(dataset)] == [("ann", "x"), ("bob", "y")]
    first = 2 if kind in ("csv", "tsv") else 1
    assert [(each.reason.split(",")[0], each.first_lines) for each in manifest.rejects] == [
        (f"user id is {word.strip()}", (first + 2, first + 3)),
        (f"item id is {word.strip()}", (first + 4,)),
    ]


@KINDS
def test_a_word_for_nothing_is_no_rating_and_no_attribute(source_of, bring_in, events_of, kind):
    rows = [
        ("ann", "x", "NA", "100", "None"),
        ("bob", "y", "5", "200", "Nonesuch"),
        ("bob", "z", "null", "300", " "),
    ]
    names = (*NAMES, "name")
    dataset, manifest = bring_in(source_of(rows, kind, names, EVENTS | {"title": "name"}))
    assert events_of(dataset) == [("ann", "x", None, 100), ("bob", "y", 5.0, 200), ("bob", "z", None, 300)]
    assert dataset.items["title"].to_list() == ["", "Nonesuch", ""]
    assert manifest.rejects == ()


def test_a_word_for_nothing_is_a_missing_time(source_of, bring_in):
    _, manifest = bring_in(source_of([*GOOD, ("cat", "x", "3", "NULL")], "csv"), max_rejects=0.5)
    assert [(each.reason, each.first_lines) for each in manifest.rejects] == [("time is missing", (4,))]


def test_the_list_of_words_can_be_changed(source_of, bring_in, events_of):
    rows = [*GOOD, ("NULL", "x", "3", "300"), ("-", "x", "3", "300")]
    dataset, _ = bring_in(source_of(rows, "csv", null_values=()))
    assert [user for user, *_ in events_of(dataset)] == ["-", "NULL", "ann", "bob"]
    dataset, manifest = bring_in(source_of(rows, "csv", null_values=("-",)), max_rejects=0.5)
    assert [user for user, *_ in events_of(dataset)] == ["NULL", "ann", "bob"]
    assert [each.first_lines for each in manifest.rejects] == [(5,)]


def test_an_empty_id_is_a_reject_whatever_the_list(source_of, bring_in):
    _, manifest = bring_in(source_of([*GOOD, (" ", "x", "3", "1")], "csv", null_values=()), max_rejects=0.5)
    assert [each.reason for each in manifest.rejects] == ["user id is empty"]


def test_space_around_ids_is_dropped(source_of, bring_in, events_of):
    rows = [("ann", " x", " 4", "100"), ("ann ", "y", "5", " 200")]
    dataset, _ = bring_in(source_of(rows, "csv"))
    assert events_of(dataset) == [("ann", "x", 4.0, 100), ("ann", "y", 5.0, 200)]


ENTITIES = "Tom &amp; Jerry &#39;s &quot;A&#x26;B&quot; &eacute;t&eacute; R&reggae &amp &nosuch; &lt;b&gt;"
DECODED = 'Tom & Jerry \'s "A&B" été R&reggae &amp &nosuch; <b>'


@KINDS
def test_entities_are_decoded_in_texts_and_counted(source_of, kind):
    rows = [("a&amp;b", "x&lt;", "3", "100", ENTITIES), ("bob", "y", "5", "200", "plain")]
    source = source_of(rows, kind, (*NAMES, "name"), EVENTS | {"title": "name"})
    log = RejectLog("items")
    titles = [title for frame in source.items(log) for title in frame["title"]]
    assert titles == [DECODED, "plain"]
    assert log.notes == {"HTML entities decoded in texts": 1}
    # Ids are names, not texts.
    users = [user for frame in source.events(RejectLog("events")) for user in frame["user"]]
    assert users == ["a&amp;b", "bob"]


def test_entities_are_decoded_once(source_of, bring_in):
    rows = [("a", "x", "3", "100", "&amp;lt;"), ("a", "y", "3", "101", "&nbsp;")]
    dataset, _ = bring_in(source_of(rows, "csv", (*NAMES, "name"), EVENTS | {"title": "name"}))
    assert dataset.items["title"].to_list() == ["&lt;", ""]


def test_lists_are_cleaned_entry_by_entry(write, bring_in):
    path = write("g", {"e.csv": "u,i,tags\na,x,A&amp;B|None|C\na,y,\na,z,NULL\n"}) / "e.csv"
    mapping = {"user": "u", "item": "i", "tags[|]": "tags"}
    dataset, _ = bring_in(read_mapped(MappedFile(path=path, mapping=mapping)))
    assert dataset.items["tags"].to_list() == [["A&B", "C"], [], []]


@pytest.mark.parametrize(
    "files",
    [
        {
            "ratings.dat": "1::1::5::960000108\n",
            "movies.dat": f"1::{ENTITIES}::Drama\n",
            "users.dat": "1::F::25::4::0\n",
        },
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1,5,960000108\n",
            "movies.csv": f'movieId,title,genres\n1,"{ENTITIES}",Drama\n',
        },
        {
            "x.inter": "user_id:token\titem_id:token\n1\t1\n",
            "x.item": f"item_id:token\tname:token_seq\n1\t{ENTITIES}\n",
        },
        {
            "r.json": '{"reviewerID": "a", "asin": "1", "overall": 5, "unixReviewTime": 1}\n',
            "m.json": json.dumps({"asin": "1", "title": ENTITIES}) + "\n",
        },
    ],
)
def test_entities_are_decoded_in_known_formats(write, bring_in, files):
    dataset, _ = bring_in(read_folder(write("k", files)))
    assert dataset.items["title"].to_list() == [DECODED]


def test_the_usual_words_are_those_that_data_frames_write():
    # The words that pandas takes for missing, and writes; "1.#IND" and the like are numbers of old compilers.
    usual = {"#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "-NaN"}
    assert usual <= set(NULL_VALUES)
    assert all(html.unescape(word) == word == word.strip() != "" for word in NULL_VALUES)
