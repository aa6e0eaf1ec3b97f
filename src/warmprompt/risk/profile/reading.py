"""The texts of many entities, read by the frozen model once and picked row by row.

N is distinct texts, B entities of a batch, T text features, H hidden width, S sentences, X their features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import (
    ReadOut,
    ReadOutSize,
    fit_read_out,
    read_reference,
    text_features,
)
from warmprompt.errors import BadInputError

_CHUNK = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Book:
    """Distinct texts as the model reads them.

    Attributes:
        row_by_text: Text to row.
        prefix: Keys and values of the texts.
        reference_NH: Hidden states at the reference prompt.
        features_NT: Text features.
    """

    row_by_text: Mapping[str, int]
    prefix: TextPrefix
    reference_NH: Tensor
    features_NT: Tensor

    def rows(self, texts: Sequence[str]) -> Tensor:
        """Return the rows of texts; a text that was not read is a KeyError."""
        return torch.tensor([self.row_by_text[text] for text in texts], dtype=torch.long)


def fit_reading(  # noqa: PLR0913 - settings by keyword
    backbone: Backbone,
    texts: Sequence[str],
    *,
    prompt_length: int,
    num_factors: int,
    num_text_features: int,
    reach: float,
    seed: int,
) -> ReadOut:
    """Return the normalised read-out at a prompt drawn from the vocabulary; see `fit_read_out`.

    It reads texts and no label.
    """
    prompt_PH = init_prompt(backbone, length=prompt_length, init="vocab", seed=seed)
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    size = ReadOutSize(num_directions=num_factors, num_text_features=num_text_features, reach=reach)
    hidden_NH = read_reference(backbone, prompt_PH, distinct)
    return fit_read_out(backbone, prompt_PH, distinct, hidden_NH, size, seed=seed)


@torch.no_grad()
def read_book(backbone: Backbone, read: ReadOut, texts: Sequence[str]) -> Book:
    """Read every distinct text once."""
    distinct = sorted(set(texts))
    prefix = read_texts(backbone, distinct)
    hidden = [
        read_out(
            backbone,
            pick(prefix, torch.arange(start, min(start + _CHUNK, len(distinct)))),
            read.reference_PH.expand(min(_CHUNK, len(distinct) - start), -1, -1),
        )
        for start in range(0, len(distinct), _CHUNK)
    ]
    reference_NH = torch.cat(hidden)
    return Book(
        row_by_text={text: row for row, text in enumerate(distinct)},
        prefix=prefix,
        reference_NH=reference_NH,
        features_NT=text_features(read, reference_NH),
    )


@torch.no_grad()
def read_sentences(backbone: Backbone, read: ReadOut, sentences: Sequence[str], *, num: int) -> Tensor:
    """Return the leading principal components of sentences' hidden states, each of variance 1, (S, X).

    The states are those at the reference prompt, their coordinates standardised over the sentences.

    Raises:
        BadInputError: `num` below 1 or above what so many sentences span.
    """
    hidden_SH = read_reference(backbone, read.reference_PH, sentences).double()
    centred_SH = hidden_SH - hidden_SH.mean(0)
    scaled_SH = centred_SH / centred_SH.std(0).clamp(min=1e-6 * float(hidden_SH.abs().mean()))
    left_SX, values_X, _ = torch.linalg.svd(scaled_SH, full_matrices=False)
    most = int((values_X > 1e-4 * values_X[0]).sum())
    if not 1 <= num <= most:
        remedy = f"Choose 1 to {most} for {backbone.name}."
        raise BadInputError(field="num_sentence_features", value=num, remedy=remedy)
    features_SX: Tensor = (left_SX[:, :num] * len(sentences) ** 0.5).float().contiguous()
    return features_SX


def pick(prefix: TextPrefix, rows: Tensor) -> TextPrefix:
    """Return the texts of some rows; rows may repeat."""
    return TextPrefix(
        mask_BT=prefix.mask_BT[rows],
        embeddings_BTH=prefix.embeddings_BTH[rows],
        keys=tuple(keys[rows] for keys in prefix.keys),
        values=tuple(values[rows] for values in prefix.values),
    )
