"""Which genres a text names: by a word of the training phrasings, or as the data set spells them.

N is texts, G genres.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.phrasing import FILM_GENRES
from warmprompt.data.verbalise import GenreTable, genre_key
from warmprompt.types import short_repr

_WORD = re.compile(r"\w+")
_OF_ANY_GENRE = {"films", "movies", "stories"}
# "I love" is not about love stories.
_AMBIGUOUS = {"", "love"}


@dataclass(frozen=True, kw_only=True)
class GenreWords:
    """A dictionary from words to genres.

    Attributes:
        words: Per genre, every word or phrase that names it.
    """

    words: tuple[tuple[str, ...], ...]

    __repr__ = short_repr

    def named_in(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which genres each text names, (N, G): by whole words, whatever separates them."""
        named_NG = np.zeros((len(texts), len(self.words)), dtype=np.bool_)
        lengths = sorted({len(phrase) for phrase in self._genres_of})
        for row, text in enumerate(texts):
            said = _words_of(text)
            for length in lengths:
                for index in range(len(said) - length + 1):
                    named_NG[row, self._genres_of.get(said[index : index + length], [])] = True
        return named_NG

    @cached_property
    def _genres_of(self) -> dict[tuple[str, ...], list[int]]:
        """The genres that a phrase names: a look-up per word of a text, however many genres there are."""
        found: dict[tuple[str, ...], list[int]] = {}
        for genre, own in enumerate(self.words):
            for phrase in map(_words_of, own):
                if phrase:
                    found.setdefault(phrase, []).append(genre)
        return found


def genre_words(table: GenreTable) -> GenreWords:
    """Return the dictionary of a data set's genres; film genres have synonyms besides their names.

    What precedes "films", "movies" or "stories" in a synonym names the genre too ("romantic comedies").
    """
    return GenreWords(words=tuple(_synonyms(genre) for genre in table.names))


def _synonyms(genre: str) -> tuple[str, ...]:
    phrases, _ = FILM_GENRES.get(genre_key(genre), ((), ()))
    shorter = (" ".join(phrase.split()[:-1]) for phrase in phrases if phrase.split()[-1] in _OF_ANY_GENRE)
    return tuple(dict.fromkeys((*phrases, *(one for one in shorter if one not in _AMBIGUOUS), genre)))


def _words_of(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
