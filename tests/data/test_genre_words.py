"""Which genres a text names: whole words and synonyms that training uses, never the held-out ones."""

import numpy as np
import pytest

from warmprompt.data.genre_words import GenreWords, genre_words
from warmprompt.data.phrasing import FILM_GENRES
from warmprompt.data.verbalise import GenreTable, describe_tastes

NAMES = ("Children's", "Film-Noir", "Sci-Fi", "War", "Drama", "Romance", "Knitting patterns")


@pytest.fixture(scope="module")
def words():
    return genre_words(GenreTable(names=NAMES, has_VG=np.zeros((0, len(NAMES)), dtype=bool)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("I like WAR films.", {"War"}),
        ("kids' movies, and film noir!", {"Children's", "Film-Noir"}),
        ("Any science fiction?", {"Sci-Fi"}),
        ("sci-fi / Knitting  patterns", {"Sci-Fi", "Knitting patterns"}),
        ("A warm award for an unaware software patterns knitter", set()),
        ("knitting, spaceships and melodramas", set()),
        ("classic science fiction and serious dramas", {"Sci-Fi", "Drama"}),
        ("romantic comedies for the family", {"Romance", "Children's"}),
        ("I love stories", {"Romance"}),
        ("I love a good story", set()),
        ("", set()),
        ("戦争", set()),
    ],
)
def test_a_genre_is_named_by_whole_words(words, text, named):
    (found_G,) = words.named_in([text])
    assert {name for name, there in zip(NAMES, found_G, strict=True) if there} == named


def test_every_wording_of_training_is_found_and_no_held_out_one():
    genres = tuple(FILM_GENRES)
    words = genre_words(GenreTable(names=genres, has_VG=np.zeros((0, len(genres)), dtype=bool)))
    rng = np.random.default_rng(0)
    for index, genre in enumerate(genres):
        known = [describe_tastes([genre], rng=rng) for _ in range(40)]
        unseen = [describe_tastes([genre], rng=rng, frames="heldout") for _ in range(40)]
        assert words.named_in(known)[:, index].all(), genre
        assert not words.named_in(unseen).any(), genre


def test_a_word_may_name_several_genres_and_no_text_has_no_rows():
    words = GenreWords(words=(("space",), ("space", "opera"), ("--",)))
    assert words.named_in(["space opera --"]).tolist() == [[True, True, False]]
    assert words.named_in([]).shape == (0, 3)
    assert GenreWords(words=()).named_in(["space"]).shape == (1, 0)
