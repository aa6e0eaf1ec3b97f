"""User texts that were read before: reading one takes a pass of a model, and many users share theirs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

from warmprompt.adaptation.engine import Engine, encode
from warmprompt.meta.predict import EncodedTexts

_KEPT_TEXTS = 64


class TextCache:
    """The last user texts and what the model made of them; safe to share between threads.

    Args:
        size: Texts kept, the least recently used one leaving first.
    """

    def __init__(self, size: int = _KEPT_TEXTS) -> None:
        self._size = size
        self._kept: OrderedDict[str, EncodedTexts] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an empty cache of the same size: texts can be read again."""
        return type(self), (self._size,)

    def get(self, engine: Engine, text: str) -> EncodedTexts:
        """Return the text as the model reads it, reading it where it is not kept."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        fresh = self._read(engine, text)
        with self._lock:
            self._kept[text] = fresh
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return fresh

    def peek(self, text: str) -> EncodedTexts | None:
        """Return a text that is kept, None where it is not; nothing is read, kept or dropped."""
        with self._lock:
            return self._kept.get(text)

    def forget(self, text: str) -> None:
        """Drop a text."""
        with self._lock:
            self._kept.pop(text, None)

    def __len__(self) -> int:
        """Texts kept."""
        return len(self._kept)

    def _read(self, engine: Engine, text: str) -> EncodedTexts:
        return encode(engine, [text])


class Texts(Protocol):
    """Where a personaliser has user texts from; safe to share between threads."""

    def get(self, engine: Engine, text: str) -> EncodedTexts:
        """Return the text as the model reads it, reading it where it is not kept."""

    def peek(self, text: str) -> EncodedTexts | None:
        """Return a text that is kept, None where it is not."""
