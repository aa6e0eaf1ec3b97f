"""How item texts become vectors: a block of columns per reader, side by side.

A reader is a frozen model by its name, or "tfidf": TF-IDF vectors of the words, brought to their principal
directions by a truncated singular value decomposition, as in latent semantic analysis.

N is texts, X columns of all readers, B readers, W words, C columns of "tfidf".

Source: Deerwester, Dumais, Furnas, Landauer & Harshman 1990.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse.linalg import svds

from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.model import CatalogueData
from warmprompt.rng import derive
from warmprompt.types import Floats

NUM_DIRECTIONS = 256
MAX_TEXTS = 100_000
"""Texts that directions are found from; of more, so many drawn at random."""

Encode = Callable[[Sequence[str], str], Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class WordReader:
    """The reader "tfidf", fitted on the texts of a catalogue.

    Attributes:
        words: The words that it knows, of no items.
        map_WC: From a TF-IDF vector to the reader's columns.
    """

    words: TfIdf
    map_WC: Floats

    @classmethod
    def of_texts(cls, texts: Sequence[str], *, seed: int) -> WordReader:
        """Return the reader of some texts, with `NUM_DIRECTIONS` columns or one less than there can be."""
        counted = TfIdf.of_texts(texts)
        rows_NW = counted.rows_VW.astype(np.float64)
        if len(texts) > MAX_TEXTS:
            drawn = derive(seed, "texts of directions").permutation(len(texts))[:MAX_TEXTS]
            rows_NW = rows_NW[np.sort(drawn)]
        num_columns = min(NUM_DIRECTIONS, min(rows_NW.shape) - 1)
        words = TfIdf.of_words(counted.hashes_W, counted.idf_W)
        if num_columns < 1:
            return cls(words=words, map_WC=np.zeros((rows_NW.shape[1], 1), dtype=np.float32))
        start = derive(seed, "words of item texts").standard_normal(min(rows_NW.shape))
        _, _, directions_CW = svds(rows_NW, k=num_columns, v0=start)
        return cls(words=words, map_WC=np.ascontiguousarray(directions_CW[::-1].T, dtype=np.float32))

    @classmethod
    def of_data(cls, data: CatalogueData) -> WordReader:
        """Return the reader that a catalogue keeps."""
        hashes_W, idf_W, map_WC = (
            one.cpu().numpy() for one in (data.word_hashes_W, data.word_idf_W, data.word_map_WC)
        )
        return cls(words=TfIdf.of_words(hashes_W, idf_W), map_WC=map_WC)

    def read(self, texts: Sequence[str]) -> Floats:
        """Return the texts' vectors, (N, C), of unit length; zeros where no word is known."""
        rows_NW = self.words.with_items(texts, np.zeros((len(texts), 0), dtype=np.float32)).rows_VW
        vectors_NC: Floats = rows_NW @ self.map_WC
        lengths_N1 = np.linalg.norm(vectors_NC, axis=1, keepdims=True)
        unit_NC: Floats = vectors_NC / np.maximum(lengths_N1, 1e-9, dtype=np.float32)
        return unit_NC


def read_item_texts(
    readers: Sequence[str], texts: Sequence[str], words: WordReader | None, *, encode: Encode
) -> list[Floats]:
    """Return the texts' vectors by each reader, (N, columns of the reader) each.

    Args:
        readers: Names of models, and "tfidf".
        texts: None of them blank.
        words: The reader "tfidf", where it is named.
        encode: Embeds texts with a model of that name.
    """
    found = []
    for name in readers:
        if name == TfIdf.name:
            assert words is not None  # fitted, or kept by the catalogue, wherever it is named
            found.append(words.read(texts))
        else:
            found.append(encode(texts, name))
    return found


def with_item_texts(data: CatalogueData, blocks: Sequence[Floats], words: WordReader | None) -> CatalogueData:
    """Return a catalogue that holds all readers' vectors of its items, and the words that they need."""
    kept: Mapping[str, torch.Tensor] = {}
    if words is not None:
        kept = {
            "word_hashes_W": torch.from_numpy(words.words.hashes_W),
            "word_idf_W": torch.from_numpy(words.words.idf_W),
            "word_map_WC": torch.from_numpy(words.map_WC),
        }
    return replace(
        data,
        item_text_VX=torch.from_numpy(np.hstack(blocks)).float(),
        text_widths_B=torch.tensor([block.shape[1] for block in blocks]),
        **kept,
    )
