"""Published counts of real data sets, where WARMPROMPT_DATA names a folder that has them."""

import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts

pytestmark = pytest.mark.data


@pytest.fixture
def imported(data_folder, tmp_path):
    def run(name):
        if not (data_folder / name).is_dir():
            pytest.skip(f"WARMPROMPT_DATA holds no {name}")
        source = read_folder(data_folder / name)
        manifest = import_source(source, tmp_path / name, name=name, now_s=int(time.time()))
        return open_dataset(tmp_path / name), manifest

    return run


def test_movielens_1m(imported):
    dataset, manifest = imported("ml-1m")
    assert (dataset.num_users, dataset.num_items, len(dataset.interactions)) == (6_040, 3_883, 1_000_209)
    assert len(np.unique(dataset.interactions.items)) == 3_706
    counts = np.bincount(dataset.interactions.ratings.astype(int), minlength=6)[1:]
    assert counts.tolist() == [56_174, 107_557, 261_197, 348_971, 226_310]
    assert np.diff(dataset.interactions.offsets).min() == 20  # the README: at least 20 ratings a user
    assert (manifest.rejects, manifest.num_duplicates) == ((), 0)
    assert dataset.users.null_count().row(0) == (0, 0, 0)
    assert dataset.items["year"].null_count() == 0
    # The README's list of genres, all of them in use.
    assert dataset.items["genres"].explode().n_unique() == 18


@pytest.mark.parametrize(
    ("name", "counts", "untitled"),
    [
        ("amazon-beauty-2014", (22_363, 12_101, 198_502), 7),
        ("amazon-video-games-2018", (50_546, 16_859, 440_264), None),
    ],
)
def test_sequences(imported, name, counts, untitled):
    dataset, _ = imported(name)
    assert (dataset.num_users, dataset.num_items, len(dataset.interactions)) == counts
    assert np.diff(dataset.interactions.offsets).min() == 5  # 5-core
    assert dataset.interactions.ratings is None
    if untitled is not None:
        assert (dataset.items["title"] == "").sum() == untitled


def test_gift_cards(imported):
    dataset, manifest = imported("amazon-gift-cards-2018")
    assert manifest.num_rows_read["interactions"] == 2_972
    assert manifest.num_duplicates == 7
    assert (dataset.num_users, dataset.num_items, len(dataset.interactions)) == (458, 148, 2_965)
    times = dataset.interactions.times_s
    assert np.datetime64(int(times.min()), "s").astype("datetime64[D]") == np.datetime64("2012-01-31")
    assert np.datetime64(int(times.max()), "s").astype("datetime64[D]") == np.datetime64("2018-08-22")


@pytest.mark.parametrize("name", ["ml-1m", "amazon-beauty-2014", "amazon-video-games-2018"])
def test_item_texts_belong_to_their_ids(imported, name):
    """Ids that follow each other belong to like things; texts that have slipped by a row would not tell."""
    dataset, _ = imported(name)
    words = TfidfVectorizer().fit_transform(item_texts(dataset))
    order = np.arange(dataset.num_items)
    drawn = np.random.default_rng(0).permutation(order)
    aligned, shuffled = (
        float(words[one[:-1]].multiply(words[one[1:]]).sum(axis=1).mean()) for one in (order, drawn)
    )
    # Measured: .080 and .021 on ml-1m, .047 and .010 on Beauty, .056 and .011 on Video Games.
    assert aligned > 3 * shuffled
    # Texts of what the same people chose are alike too, which a shift of the ids would undo.
    events = dataset.interactions
    same = np.diff(np.repeat(np.arange(dataset.num_users), np.diff(events.offsets))) == 0
    one, other = events.items[:-1][same], events.items[1:][same]
    together = words[one].multiply(words[other]).sum(axis=1).mean()
    moved = words[(one + 1) % dataset.num_items].multiply(words[other]).sum(axis=1).mean()
    assert together > 1.1 * moved
