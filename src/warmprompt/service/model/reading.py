"""Users' texts as the model reads them, with the same bits in every batch.

A sentence about a user, the user's attributes and what a user wrote with an event are read once by a frozen
model. Floating-point sums over a batch may depend on its shape, and a state that was made while the service
ran has to equal the one rebuilt from the log. So the sentence encoder reads texts that are always padded
(`pool_texts`), and a trial on this machine shows whether a text then has the same bits alone and in batches.
Where it has not, texts are read one by one. A language model reads them one by one.

X is the width of a reading: of sentence embeddings, or of text features where the language model reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from warmprompt.adaptation.engine import Engine, encode
from warmprompt.adaptation.personaliser import Known
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import text_features
from warmprompt.backbone.text import pool_texts
from warmprompt.experts.user_text import UserText
from warmprompt.types import Event, Floats

Readings = Mapping[str, Floats]
"""Text to what the model read, (X,)."""

_PROBES = (
    "I like westerns",
    "quiet",
    "I like slow films about families, and old comedies with long dialogues in small rooms",
    "Thrillers, " * 12,
)


class UserTextReader:
    """Reads texts for one run; safe to share between threads, which wait for one another.

    Args:
        engine: Of the run.
        largest: Texts in a batch at most.
    """

    def __init__(self, engine: Engine, *, largest: int) -> None:
        self._engine = engine
        self._largest = largest
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load the sentence encoder and try its batches; a language model is loaded when it is needed."""
        if self.has_encoder:
            self.read(_PROBES[:1])

    @property
    def has_encoder(self) -> bool:
        """Whether a sentence encoder reads, and not the language model."""
        return self._engine.models.has_encoder

    @property
    def reads_events(self) -> bool:
        """Whether the model uses what users write with events."""
        return self.has_encoder and UserText.name in self._engine.mixture.experts

    @cached_property
    def batch_size(self) -> int:
        """Texts in a batch, found in a trial on this machine: 1 where any bit depends on the batch."""
        encoder = self._engine.encoder
        if encoder is None:
            return 1
        alone = [_vectors([text], encoder) for text in _PROBES]
        for size in range(2, self._largest + 1):
            rows = [row % len(_PROBES) for row in range(size)]
            together_BX = _vectors([_PROBES[row] for row in rows], encoder)
            if any(
                not np.array_equal(alone[row][0], one_X) for row, one_X in zip(rows, together_BX, strict=True)
            ):
                return 1
        return self._largest

    def texts_of(self, known: Known) -> list[str]:
        """Return every text of a user's inputs that the model reads, each once."""
        written = map(_written, known.events) if self.reads_events else ()
        return [text for text in dict.fromkeys([known.text, *written]) if text]

    def read(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Read texts, in batches; a text's bits do not depend on the others."""
        with self._lock:
            found: dict[str, Floats] = {}
            for start in range(0, len(texts), self.batch_size):
                part = texts[start : start + self.batch_size]
                found |= dict(zip(part, self._read(part), strict=True))
            return found

    def as_read(self, known: Known, readings: Readings, *, former: Known) -> Known:
        """Return a user's inputs less the texts that were not read.

        Args:
            known: The inputs.
            readings: Of texts that were read.
            former: Inputs of the last state, whose text counts while that of `known` is unread.
        """
        whose = next((one for one in (known, former) if not one.text or one.text in readings), Known())
        events = known.events
        if self.reads_events:
            events = [e if _written(e) in ("", *readings) else replace(e, text=None) for e in events]
        return Known(events=events, about=whose.about, attributes=whose.attributes)

    def features(self, text: str, readings: Readings) -> Tensor:
        """Return the inputs of the text head for one user, (1, T)."""
        trained = self._engine.trained
        if not text:
            return trained.no_text_T[None]
        reading_1X = torch.from_numpy(readings[text])[None]
        return text_features(trained.readout, reading_1X) if self.has_encoder else reading_1X

    @torch.no_grad()
    def _read(self, texts: Sequence[str]) -> Floats:
        encoder = self._engine.encoder
        if encoder is not None:
            return _vectors(texts, encoder)
        rows: Floats = np.concatenate([encode(self._engine, [text]).features_BT.cpu() for text in texts])
        return rows


def _written(event: Event) -> str:
    """Return what a user wrote with an event, as experts see it; "" for nothing."""
    return (event.text or "").strip()


def _vectors(texts: Sequence[str], encoder: Backbone) -> Floats:
    return pool_texts(texts, encoder, batch_size=len(texts), always_padded=True)
