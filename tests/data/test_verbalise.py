"""Users and items in words: what is said, that held-out wording stays unseen, that seeds decide all."""

import math
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.data.dataset import Dataset, Interactions
from warmprompt.data.phrasing import FILM_GENRES, WORDINGS
from warmprompt.data.verbalise import (
    describe_attributes,
    describe_tastes,
    favourite_genres,
    genre_key,
    genre_table,
    item_texts,
    taste_column,
)
from warmprompt.errors import BadInputError

FRAMES = ("training", "heldout")
MOVIELENS_GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def _dataset(items: pl.DataFrame) -> Dataset:
    return Dataset(
        name="four",
        content_hash="",
        user_ids=(),
        item_ids=tuple(range(items.height)),
        interactions=Interactions(
            offsets=np.zeros(1, np.int64), items=np.zeros(0, np.int32), ratings=None, times_s=None
        ),
        items=items,
        users=pl.DataFrame(),
        rating_scale=None,
    )


def _draws(describe, what, frames, *, num=300):
    rng = np.random.default_rng(0)
    return [describe(what, rng=rng, frames=frames) for _ in range(num)]


def test_there_are_as_many_frames_as_promised():
    training = WORDINGS["training"]
    assert len(set(training.tastes)) >= 40
    assert len(set(training.attributes)) >= 20


@pytest.mark.parametrize("field", ["tastes", "film_tastes", "attributes", "people", "joins", "qualifiers"])
def test_held_out_wording_never_occurs_in_training(field):
    seen, unseen = (
        {re.sub(r"\W+", " ", words.lower()).strip() or words for words in getattr(WORDINGS[frames], field)}
        for frames in FRAMES
    )
    assert not seen & unseen


@pytest.mark.parametrize("genre", sorted(FILM_GENRES))
def test_held_out_genre_words_contain_no_training_words(genre):
    training, heldout = FILM_GENRES[genre]
    for known in training:
        for unseen in heldout:
            assert known.lower() not in unseen.lower(), (known, unseen)


def test_no_sentence_is_made_by_both_sets():
    genres = ["Sci-Fi", "Drama"]
    assert not set(_draws(describe_tastes, genres, "training")) & set(
        _draws(describe_tastes, genres, "heldout")
    )


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("genre", MOVIELENS_GENRES)
def test_every_movielens_genre_is_said_in_its_own_words(genre, frames):
    words = FILM_GENRES[genre_key(genre)][FRAMES.index(frames)]
    for text in _draws(describe_tastes, [genre], frames, num=40):
        assert any(word.lower() in text.lower() for word in words), text


@pytest.mark.parametrize("frames", FRAMES)
def test_all_likes_are_named_and_unknown_genres_keep_their_name(frames):
    for text in _draws(describe_tastes, ["Skin Care", "Hair", "Bath"], frames, num=100):
        assert all(word in text.lower() for word in ("skin care", "hair", "bath")), text
        assert "watch" not in text
        assert "cinema" not in text


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("missing", [(), ("age",), ("gender",), ("occupation",), ("age", "gender")])
def test_attributes_are_said_without_gaps(frames, missing):
    known = {"age": "24", "gender": "male", "occupation": "technician"}
    attributes = {key: value for key, value in known.items() if key not in missing}
    said_age = ("24",) if frames == "training" else ("24", "twenties")
    for text in _draws(describe_attributes, attributes, frames):
        assert ("male" in text.lower()) == ("gender" in attributes), text
        assert ("technician" in text.lower()) == ("occupation" in attributes), text
        assert any(age in text for age in said_age) == ("age" in attributes), text
        assert not re.search(r"  | ,|,,|\(\)|\( | \)|[{}]|, ?\.|aged\W*$|\(,", text), text


def test_attributes_read_like_the_example():
    texts = _draws(describe_attributes, {"age": "24", "gender": "M", "occupation": "technician"}, "training")
    assert "24-year-old technician, male" in texts
    assert "I am a 24-year-old technician, male." in texts


@pytest.mark.parametrize(
    ("attributes", "phrase"),
    [
        ({"age": "18"}, "an 18-year-old person"),
        ({"age": "11"}, "an 11-year-old person"),
        ({"age": "24"}, "a 24-year-old person"),
        ({"occupation": "engineer"}, "an engineer"),
        ({"occupation": "unemployed"}, "an unemployed person"),
        ({"occupation": "university lecturer"}, "a university lecturer"),
    ],
)
def test_articles(attributes, phrase):
    assert any(phrase in text for text in _draws(describe_attributes, attributes, "training"))


def test_unknown_attributes_read_key_and_value():
    rng = np.random.default_rng(0)
    attributes = {"home_town": "Rome", "plan": "gold"}
    assert describe_attributes(attributes, rng=rng) == "home town: Rome, plan: gold"
    assert describe_attributes({**attributes, "age": "24"}, rng=rng).endswith(" home town: Rome, plan: gold")


@pytest.mark.parametrize("frames", FRAMES)
def test_nothing_known_says_nothing(frames):
    rng = np.random.default_rng(0)
    assert describe_attributes({}, rng=rng, frames=frames) == ""
    assert describe_attributes({"occupation": "other", "age": ""}, rng=rng, frames=frames) == ""


def test_words_in_braces_are_words():
    rng = np.random.default_rng(0)
    assert "{likes}" in describe_tastes(["{likes}"], rng=rng)
    assert "{who}" in describe_attributes({"occupation": "{who}"}, rng=rng)


@given(seed=st.integers(0, 2**32), genres=st.lists(st.sampled_from(MOVIELENS_GENRES), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_the_generator_decides_everything(seed, genres):
    first, again = (describe_tastes(genres, rng=np.random.default_rng(seed)) for _ in range(2))
    assert first == again
    # A token is at least a word; 20 words leave room for punctuation below 24 tokens.
    assert len(first.split()) <= 20


def test_wrong_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(BadInputError, match="frames"):
        describe_attributes({}, rng=rng, frames="test")
    with pytest.raises(BadInputError, match="genres"):
        describe_tastes([], rng=rng)
    with pytest.raises(BadInputError, match="genres"):
        describe_tastes("Drama", rng=rng)


def test_favourites_follow_the_likelihood_ratio():
    # Drama on 5 of 10 items, War and Noir on 1 of 10, Comedy on 4 of 10.
    genres = [["Drama"]] * 4 + [["Drama", "War"]] + [["Comedy"]] * 4 + [["Noir"]]
    dataset = _dataset(pl.DataFrame({"title": ["t"] * 10, "genres": genres}))
    # Of four items all are dramas, one is a war film: by hand, Drama 4 ln 2 = 2.77 and
    # War ln(1 / .4) + 3 ln(3 / 3.6) = .37.
    items = [0, 1, 2, 4]
    assert 4 * math.log(2) > math.log(1 / 0.4) + 3 * math.log(3 / 3.6) > 0
    assert favourite_genres(items, dataset) == ("Drama", "War")
    assert favourite_genres(items, genre_table(dataset), top=1) == ("Drama",)
    # One item of each rare genre, equal evidence: by name.
    assert favourite_genres([4, 9], dataset)[:2] == ("Noir", "War")
    # A user like the catalogue has no favourite, nor has one without items.
    assert favourite_genres(range(10), dataset) == ()
    assert favourite_genres([], dataset) == ()


def test_favourites_come_from_categories_or_not_at_all():
    with_categories = pl.DataFrame({"title": ["a", "b"], "categories": [["Hair"], ["Skin"]]})
    assert favourite_genres([1], _dataset(with_categories)) == ("Skin",)
    assert favourite_genres([1], _dataset(pl.DataFrame({"title": ["a", "b"]}))) == ()


SIX = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"category": ["Hair", "Skin"] * 3}, "category"),
        ({"kind": ["Hair", None, " ", "Skin", "Hair", "Skin"]}, "kind"),
        ({"colour": ["red", "blue"] * 3, "Category": ["Hair", "Skin"] * 3}, "Category"),
        ({"colour": ["red", "blue"] * 3}, "colour"),
        ({"also": [["B001", "B002"]] * 6, "category": ["Hair", "Skin"] * 3}, "category"),
        ({"genres": [[]] * 6, "category": ["Hair", "Skin"] * 3}, "category"),
        ({"category": ["Hair", "Skin"] * 3, "genres": [["Drama"], *[[]] * 5]}, "genres"),
        ({"category": ["Hair"] * 6}, None),  # everybody likes hair
        ({"brand": ["A", "B", "C", "D", "E", "E"]}, None),  # hardly any is shared
        ({"year": ["1999", "2000"] * 3}, None),
        ({"decade": ["1990", "2000"] * 3}, None),
        ({"price": ["$ 9.99", "$ 19.99"] * 3}, None),
        ({"shop": ["S17", "S18"] * 3}, None),
        ({"description": ["long", "short"] * 3}, None),
        ({"blurb": ["x" * 61, "y" * 61] * 3}, None),
        ({}, None),
    ],
)
def test_the_column_that_sentences_name(columns, expected):
    types = {"genres": pl.List(pl.String), "also": pl.List(pl.String)}
    items = pl.DataFrame(
        {"title": SIX, **columns}, schema_overrides={k: v for k, v in types.items() if k in columns}
    )
    assert taste_column(items) == expected
    assert bool(genre_table(_dataset(items)).names) == (expected is not None)


def test_brands_by_the_thousand_are_no_tastes():
    titles = [f"t{position}" for position in range(1200)]
    few = pl.DataFrame({"title": titles, "brand": [f"brand {position % 200}" for position in range(1200)]})
    many = pl.DataFrame({"title": titles, "brand": [f"brand {position % 201}" for position in range(1200)]})
    assert (taste_column(few), taste_column(many)) == ("brand", None)


def test_one_category_per_item_in_plain_text_counts_like_lists():
    text = pl.DataFrame({"title": SIX, "category": ["Hair", "Skin", "Hair", " Nails ", "Skin", "Nails"]})
    lists = text.with_columns(categories=pl.concat_list(pl.col("category").str.strip_chars())).drop(
        "category"
    )
    one, other = genre_table(_dataset(text)), genre_table(_dataset(lists))
    assert one.names == other.names == ("Hair", "Nails", "Skin")
    assert np.array_equal(one.has_VG, other.has_VG)
    assert favourite_genres([3, 5, 0], _dataset(text), top=1) == ("Nails",)


def test_item_texts():
    items = pl.DataFrame(
        {
            "title": ["Toy Story (1995)", "Heat", "", "Dr."],
            "year": ["1995", "1995", None, ""],
            "genres": [["Animation", "Children's", "Comedy"], None, [], ["Drama"]],
            "brand": [None, "Acme", None, ""],
            "description": ["long", None, None, None],
        }
    )
    dataset = _dataset(items)
    assert item_texts(dataset) == [
        "Toy Story (1995). Animation, Children's, Comedy.",
        "Heat (1995). brand: Acme.",
        "Untitled.",
        "Dr. Drama.",
    ]
    assert item_texts(replace(dataset, items=items.select("title", "description")), leave_out=())[0] == (
        "Toy Story (1995). description: long."
    )
