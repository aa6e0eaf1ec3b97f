"""Adaptation in batches whose results do not depend on the other users in the batch, to the last bit.

Floating-point sums over a batch depend on its shape. So a user's vector could differ in its last bits between
batches, and a stored state could not be compared with one rebuilt from the log. Here each user's shapes
depend on that user alone:

- events are padded to 0, 64 or 1024, whichever is enough;
- texts are encoded one by one and padded to one length beyond the longest; no text stays no text;
- users of the same widths run together, in a number of rows that has passed a trial on this machine. In the
  trial every row gave the same bits as in a batch of 4, at every row index and with every other user.

No linear algebra library guarantees the last point, but they fulfil it from a few rows on.
`reproducible_sizes` runs the trial at start-up; if it fails, users adapt one by one.

B is users in a pass, K events, T text tokens, P prompt vectors, H hidden width, D factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from warmprompt.adaptation.engine import Engine, adapt_batch, users_linearly
from warmprompt.adaptation.text_cache import TextCache
from warmprompt.backbone.forward import MAX_TEXT_TOKENS, TextPrefix
from warmprompt.data.episodes import EventBatch, pad_strengths
from warmprompt.meta.predict import EncodedTexts
from warmprompt.rng import derive
from warmprompt.service.model.numbers import Numbers
from warmprompt.types import Support

EVENT_WIDTHS = (0, 64, 1024)
LEAST_ROWS = 4
_ROWS_STEP = 2
_ENCODER_STEP = 16
_PROBES = 4


class PaddedTextCache(TextCache):
    """Encoded user texts of one padded width, the least recently used dropped first; safe between threads.

    Args:
        size: Texts kept.
    """

    def __init__(self, size: int = 256) -> None:
        super().__init__(size)

    def get(self, engine: Engine, text: str) -> EncodedTexts:
        """Return a text, encoded alone and padded to the width that all texts share."""
        return super().get(engine, text) if text else engine.no_text

    def _read(self, engine: Engine, text: str) -> EncodedTexts:
        encoded = super()._read(engine, text)
        return _padded(encoded, _text_width(engine, encoded))


def adapt_reproducibly(
    engine: Engine, texts: Sequence[EncodedTexts], supports: Sequence[Support], *, sizes: Sequence[int]
) -> list[Numbers]:
    """Adapt every user from the learned start.

    Args:
        engine: With a catalogue whose width never changes.
        texts: From a `PaddedTextCache`, one per user.
        supports: The users' events, at most 1024 each.
        sizes: Rows that a pass may have, from `reproducible_sizes`.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for user, (text, support) in enumerate(zip(texts, supports, strict=True)):
        widths = (_event_width(len(support.items_K)), text.prefix.mask_BT.shape[1])
        groups.setdefault(widths, []).append(user)
    found: dict[int, Numbers] = {}
    for (width, _), users in groups.items():
        for start in range(0, len(users), max(sizes)):
            part = users[start : start + max(sizes)]
            rows = min(size for size in sizes if size >= len(part))
            padded = part + part[:1] * (rows - len(part))
            adapted = adapt_batch(
                engine,
                _stacked([texts[user] for user in padded]),
                _events([supports[user] for user in padded], width),
            )
            vectors_BD, offsets_BPH = adapted.users_BD.cpu().numpy(), adapted.offsets_BPH.cpu().numpy()
            for row, user in enumerate(part):
                found[user] = Numbers(vector_D=vectors_BD[row].copy(), offsets_PH=offsets_BPH[row].copy())
    return [found[user] for user in range(len(supports))]


def linear_numbers(engine: Engine, text: str, support: Support) -> Numbers:
    """Adapt one user in the linear response, alone, so that no other user changes a bit."""
    users_1D = users_linearly(engine, [text], [support])
    return Numbers(vector_D=users_1D[0].cpu().numpy(), offsets_PH=np.zeros((0, 0), np.float32))


def reproducible_sizes(engine: Engine, *, largest: int) -> tuple[int, ...]:
    """Return the batch sizes that give the same bits on this machine, in rising order; (1,) if none do.

    Synthetic users with and without a text run at 4, 6, 8 ... rows, in different rows and batches. Sizes that
    change any bit are left out.
    """
    texts = PaddedTextCache()
    probes = [_probe(engine, number) for number in range(_PROBES)]
    expected: list[list[bytes]] = []
    agreed = []
    for size in range(LEAST_ROWS, max(largest, LEAST_ROWS) + 1, _ROWS_STEP):
        found = [
            _bits(engine, texts.get(engine, text), probes, size, shift)
            for text in ("", "I like to find out")
            for shift in range(2)
        ]
        expected = expected or [found[0], found[0], found[2], found[2]]
        if found == expected:
            agreed.append(size)
        elif size == LEAST_ROWS:
            return (1,)
    return tuple(agreed)


def _bits(
    engine: Engine, text: EncodedTexts, probes: Sequence[Support], size: int, shift: int
) -> list[bytes]:
    """Return the bits of each probe in a pass of `size` rows that begins with probe `shift`."""
    order = [(row + shift) % len(probes) for row in range(size)]
    found = adapt_reproducibly(engine, [text] * size, [probes[one] for one in order], sizes=(size,))
    bits: list[set[bytes]] = [set() for _ in probes]
    for probe, one in zip(order, found, strict=True):
        bits[probe].add(one.vector_D.tobytes() + one.offsets_PH.tobytes())
    return [b"|".join(sorted(one)) for one in bits]


def _probe(engine: Engine, number: int) -> Support:
    rng = derive(0, "probe", number)
    warm = np.flatnonzero(engine.trained.data.warm_V.cpu().numpy() > 0)
    items_K = rng.choice(warm, size=min(len(warm), 3 + 4 * number), replace=False).astype(np.int32)
    low, high = engine.trained.rating_scale or (np.nan, np.nan)
    ratings_K = (low + (high - low) * rng.random(len(items_K))).astype(np.float32)
    return Support(user="", items_K=items_K, ratings_K=ratings_K)


def _event_width(num_events: int) -> int:
    return min(width for width in EVENT_WIDTHS if width >= num_events)


def _text_width(engine: Engine, text: EncodedTexts) -> int:
    """Return a width above the text's own: a batch without any padding may take another path."""
    if engine.backbone.kind == "decoder":
        return MAX_TEXT_TOKENS + 1
    return text.prefix.mask_BT.shape[1] // _ENCODER_STEP * _ENCODER_STEP + _ENCODER_STEP


def _padded(text: EncodedTexts, width: int) -> EncodedTexts:
    """Return one text, padded on the right."""
    prefix = text.prefix
    room = width - prefix.mask_BT.shape[1]

    def widen(value: Tensor, axis: int) -> Tensor:
        shape = list(value.shape)
        shape[axis] = room
        return torch.cat([value, value.new_zeros(shape)], dim=axis)

    rest = {one.name: getattr(text, one.name) for one in fields(text) if one.name != "prefix"}
    return EncodedTexts(
        prefix=TextPrefix(
            mask_BT=widen(prefix.mask_BT, 1),
            embeddings_BTH=widen(prefix.embeddings_BTH, 1),
            keys=tuple(widen(keys, 2) for keys in prefix.keys),
            values=tuple(widen(values, 2) for values in prefix.values),
        ),
        **rest,
    )


def _stacked(texts: Sequence[EncodedTexts]) -> EncodedTexts:
    """Return texts of one width, one under the other."""
    prefixes = [text.prefix for text in texts]
    layers = range(len(prefixes[0].keys))
    rest = {
        one.name: torch.cat([getattr(text, one.name) for text in texts])
        for one in fields(EncodedTexts)
        if one.name not in {"prefix", "responses"}
    }
    return EncodedTexts(
        prefix=TextPrefix(
            mask_BT=torch.cat([one.mask_BT for one in prefixes]),
            embeddings_BTH=torch.cat([one.embeddings_BTH for one in prefixes]),
            keys=tuple(torch.cat([one.keys[layer] for one in prefixes]) for layer in layers),
            values=tuple(torch.cat([one.values[layer] for one in prefixes]) for layer in layers),
        ),
        responses=tuple(one for text in texts for one in text.responses),
        **rest,
    )


def _events(supports: Sequence[Support], width: int) -> EventBatch:
    shape = (len(supports), width)
    items_BK = np.zeros(shape, dtype=np.int64)
    ratings_BK = np.full(shape, np.nan, dtype=np.float32)
    mask_BK = np.zeros(shape, dtype=np.bool_)
    for row, support in enumerate(supports):
        num_events = len(support.items_K)
        items_BK[row, :num_events] = support.items_K
        ratings_BK[row, :num_events] = support.ratings_K
        mask_BK[row, :num_events] = True
    return EventBatch(
        items_BK=items_BK,
        ratings_BK=ratings_BK,
        mask_BK=mask_BK,
        strengths_BK=pad_strengths([support.strengths_K for support in supports], width),
    )
