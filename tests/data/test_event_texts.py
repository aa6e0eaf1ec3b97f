"""What users write with their events: read, kept event by event, and cut only with a count."""

import gzip
import json
import warnings

import numpy as np
import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.data.dataset import Dataset, keep_events, take_users
from warmprompt.data.histories import read_histories
from warmprompt.data.home import dataset_folder
from warmprompt.data.readers import ReadOptions, open_source
from warmprompt.data.readers.frames import frames_source
from warmprompt.data.tables import open_dataset
from warmprompt.types import MAX_TEXT

FRAME = {
    "user_id": ["u2", "u1", "u1", "u2", "u3", "u1"],
    "item_id": ["b", "b", "a", "c", "a", "c"],
    "datetime": [5, 9, 3, 1, 2, 4],
    "text": ["two b", "one b", None, "two c", "  ", "one c"],
}
WRITTEN = {("u2", "b"): "two b", ("u1", "b"): "one b", ("u2", "c"): "two c", ("u1", "c"): "one c"}
# Content hashes that commit df2e710 gave these rows, which knew no texts.
HASH_WITHOUT = "7361105b2cdc24935d3097db4dfd8854edc339e6c65e1e4ab76081435850263f"


def texts_of(dataset):
    """Return what was written, by user and item."""
    events = dataset.interactions
    found = {}
    for user, user_id in enumerate(dataset.user_ids):
        rows = events.events_of(user)
        for item, text in zip(events.items[rows], events.texts[rows], strict=True):
            if text is not None:
                found[user_id, dataset.item_ids[item]] = text
    return found


def reviews(field, **words):
    """Return review lines of the release of 2014 or 2018."""
    return [
        {
            "reviewerID": u,
            "asin": i,
            "overall": 5.0,
            "unixReviewTime": 100 - len(u + i),
            field: text,
            **words,
        }
        for (u, i), text in {
            ("u1", "a"): "x &quot;y&quot;",
            ("u1", "bb"): "",
            ("u22", "a"): "née, z",
        }.items()
    ]


@pytest.mark.parametrize("release", ["2014", "2018", "2023"])
def test_amazon_reviews_keep_their_texts(tmp_path, bring_in, release):
    rows = reviews("reviewText", **({"helpful": [0, 0]} if release == "2014" else {}))
    if release == "2023":
        names = {"reviewerID": "user_id", "asin": "parent_asin", "overall": "rating", "reviewText": "text"}
        names["unixReviewTime"] = "timestamp"
        rows = [{names[key]: value for key, value in row.items()} for row in rows]
    del rows[1]["text" if release == "2023" else "reviewText"]
    with gzip.open(tmp_path / "reviews.json.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    dataset, manifest = bring_in(tmp_path / "reviews.json.gz")
    assert manifest.source_format == f"amazon-{release}"
    assert texts_of(dataset) == {("u1", "a"): 'x "y"', ("u22", "a"): "née, z"}
    assert any("2 events carry a text" in note for note in manifest.understood.notes)


def test_amazon_reviews_without_texts_have_none(tmp_path, bring_in):
    rows = [
        {key: value for key, value in row.items() if key != "reviewText"} for row in reviews("reviewText")
    ]
    (tmp_path / "reviews.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset, manifest = bring_in(tmp_path / "reviews.json")
    assert dataset.interactions.texts is None
    assert "text" not in manifest.understood.used["interactions"]


def test_frames_keep_texts_and_their_hash_includes_them():
    dataset = Dataset.from_frames(pl.DataFrame(FRAME))
    assert texts_of(dataset) == WRITTEN
    renamed = pl.DataFrame(FRAME).rename({"text": "review"})
    assert Dataset.from_frames(renamed, columns={"text": "review"}).content_hash == dataset.content_hash
    other = pl.DataFrame(FRAME | {"text": [*FRAME["text"][:-1], "one C"]})
    assert Dataset.from_frames(other).content_hash != dataset.content_hash


def test_data_without_texts_keep_their_content_hash():
    bare = {name: column for name, column in FRAME.items() if name != "text"}
    without = Dataset.from_frames(pl.DataFrame(bare))
    empty = Dataset.from_frames(pl.DataFrame(bare | {"text": [None, "", " ", None, "NULL", None]}))
    assert without.content_hash == empty.content_hash == HASH_WITHOUT
    assert without.interactions.texts is None
    assert empty.interactions.texts is None


def test_a_mapped_column_is_the_text(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    rows = pl.DataFrame(FRAME).rename({"text": "note"})
    rows.write_csv(tmp_path / "events.csv")
    columns = "user=user_id,item=item_id,time=datetime,text=note"
    code = run(["data", "import", str(tmp_path / "events.csv"), "--name", "mine", "--map", columns])
    assert code == 0, capfd.readouterr()
    back = open_dataset(dataset_folder("mine"))
    assert texts_of(back) == WRITTEN
    assert back.content_hash == Dataset.from_frames(pl.DataFrame(FRAME)).content_hash


def test_a_recbole_sequence_of_words_is_one_text(tmp_path, bring_in):
    lines = ["user_id:token\titem_id:token\treview:token_seq", "u1\ta\tgood and loud", "u2\ta\t"]
    (tmp_path / "small.inter").write_text("\n".join(lines) + "\n")
    source = open_source(tmp_path / "small.inter", ReadOptions(columns={"text": "review"}))
    assert texts_of(bring_in(source)[0]) == {("u1", "a"): "good and loud"}


def test_long_texts_are_cut_and_counted():
    lines = []
    long = {"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "text": ["é" * 5001, "é" * 5000, "x"]}
    dataset = Dataset.from_frames(pl.DataFrame(long), progress=lines.append)
    assert [len(text) for text in dataset.interactions.texts] == [MAX_TEXT, MAX_TEXT, 1]
    assert any("1 x texts of users cut to 5,000 characters" in line for line in lines)


def test_of_repeats_the_last_text_stays():
    rows = {"user_id": ["u"] * 2, "item_id": ["a"] * 2, "datetime": [9, 5], "text": ["late", "early"]}
    assert texts_of(Dataset.from_frames(pl.DataFrame(rows))) == {("u", "a"): "late"}


def test_texts_stay_with_their_events():
    rng = np.random.default_rng(0)
    pairs = [(f"u{user}", f"i{item}") for user in range(30) for item in range(20) if rng.random() < 0.4]
    order = rng.permutation(len(pairs))
    rows = {
        "user_id": [pairs[row][0] for row in order],
        "item_id": [pairs[row][1] for row in order],
        "text": ["-".join(pairs[row]) if row % 3 else None for row in order],
    }
    dataset = Dataset.from_frames(pl.DataFrame(rows))
    whole = {pairs[row]: "-".join(pairs[row]) for row in order if row % 3}
    assert texts_of(dataset) == whole
    some = rng.permutation(dataset.num_users)[:9]
    names = {dataset.user_ids[user] for user in some}
    part = take_users(dataset, some)
    assert texts_of(part) == {pair: text for pair, text in whole.items() if pair[0] in names}
    keep_E = rng.random(len(part.interactions)) < 0.5
    kept = texts_of(keep_events(part, keep_E))
    owners = np.repeat(part.user_ids, np.diff(part.interactions.offsets))
    items = [part.item_ids[item] for item in part.interactions.items]
    expected = {
        pair: whole[pair]
        for pair, keep in zip(zip(owners, items, strict=True), keep_E, strict=True)
        if keep and pair in whole
    }
    assert kept == expected
    assert part.texts_at(slice(0, 0)) is None


def test_histories_to_rank_for_carry_texts(tmp_path):
    source = frames_source(pl.DataFrame(FRAME | {"text": ["x" * 6000, *FRAME["text"][1:]]}))
    with pytest.warns(UserWarning, match="1 texts of users cut to 5,000 characters"):
        found = read_histories(source, ["a", "b"], now_s=100, scratch=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = {one.user: dict(zip(one.items_K.tolist(), one.texts_K, strict=True)) for one in found}
    assert texts == {"u2": {1: "x" * MAX_TEXT}, "u1": {1: "one b", 0: None}, "u3": {0: None}}
