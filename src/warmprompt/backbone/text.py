"""Texts to vectors: one frozen forward per text, ever.

n is texts, B texts in a batch, T tokens, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.cache import content_key, read_vectors, write_vectors
from warmprompt.backbone.fetch import cache_home
from warmprompt.backbone.load import Backbone, load_backbone, weights_hash_of
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.types import Floats

WINDOW = 256
_RECIPE = 1
_SAVE_EVERY = 2048
_PAD_STEP = 16


def embed_texts(
    texts: Sequence[str],
    *,
    backbone_name: str = "minilm-l6",
    layer: int | None = None,
    batch_size: int = 64,
    home: Path | None = None,
) -> Floats:
    """Embed texts with a frozen model, (n, H), each of length 1; known texts come from the disk.

    A text's vector is the mean hidden state over its tokens, special tokens included. A text longer
    than 256 tokens, or than the model can read at once, is read in windows of that many whose tokens all
    count alike; nothing is cut off.

    Args:
        texts: What to embed, none of them blank; equal texts are run once.
        backbone_name: As in `load_backbone`, always run in float32 on the CPU.
        layer: Read after this layer, counted from 1; None reads after the last.
        batch_size: Windows in one forward.
        home: Cache folder; see `fetch.cache_home`.

    Raises:
        BadInputError: A blank text (its position is named) or a layer the model does not have.
        NotFiniteError: A vector is not finite.
        IntegrityError, StorageError: The cache is damaged or cannot be written.
    """
    _check(texts, batch_size)
    if not texts:
        raise BadInputError(field="texts", value="none", remedy="Give at least one text.")
    weights = weights_hash_of(backbone_name, home=home)
    file = cache_home(home) / "texts" / f"{content_key(_RECIPE, weights, str(layer), WINDOW)[:32]}.sqlite"
    key_of = {text: content_key(text) for text in texts}
    found = read_vectors(file, list(key_of.values()))
    missing = [text for text, key in key_of.items() if key not in found]
    if missing:
        backbone = load_backbone(backbone_name, num_layers=layer, home=home)
        for start in range(0, len(missing), _SAVE_EVERY):
            some = missing[start : start + _SAVE_EVERY]
            vectors = pool_texts(some, backbone, batch_size=batch_size)
            fresh = {key_of[text]: vector for text, vector in zip(some, vectors, strict=True)}
            write_vectors(file, fresh)
            found.update(fresh)
    return np.stack([found[key_of[text]] for text in texts])


def pool_texts(
    texts: Sequence[str], backbone: Backbone, *, batch_size: int = 64, always_padded: bool = False
) -> Floats:
    """Embed texts with a loaded model, (n, H), each of length 1; see `embed_texts`. Nothing is cached.

    Args:
        texts: What to embed, none of them blank.
        backbone: The model.
        batch_size: Windows in one forward.
        always_padded: Pad each window to a multiple of 16 tokens, by one token at least. Then every batch
            takes the same path through the model's kernels; on most machines a text's bits do not depend on
            the batch. Vectors differ from those without in their last bits.

    Raises:
        BadInputError: A blank text; its position is named.
        NotFiniteError: A vector is not finite.
    """
    _check(texts, batch_size)
    width = min(WINDOW, (backbone.max_tokens or WINDOW + 1) - always_padded)
    windows = [
        (index, ids[start : start + width])
        for index, ids in enumerate(token_ids(texts, backbone))
        for start in range(0, len(ids), width)
    ]
    # Texts of equal length side by side: little padding, and the same batches whatever the order given.
    windows.sort(key=lambda window: (len(window[1]), window[1]), reverse=True)
    sums = np.zeros((len(texts), backbone.hidden_size))
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        pooled_BH = _sum_states([ids for _, ids in batch], backbone, always_padded=always_padded)
        np.add.at(sums, [index for index, _ in batch], pooled_BH.numpy())
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise NotFiniteError(
            field=f"vector of text {bad[0]}", value=texts[bad[0]], remedy="Use float32 or another layer."
        )
    unit_nH: Floats = (sums / lengths).astype(np.float32)
    return unit_nH


def token_ids(texts: Sequence[str], backbone: Backbone) -> list[list[int]]:
    """Return each text's token ids with the special tokens its model was trained with.

    SmolLM2 gets none (its `bos_token` is a chat mark and hurts), Gemma a leading `<bos>`, encoders
    both ends.
    """
    encoded = backbone.tokenizer(list(texts), add_special_tokens=True, truncation=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def pad_ids(ids: Sequence[Sequence[int]], *, pad_id: int = 0, least: int = 0) -> tuple[Tensor, Tensor]:
    """Pad lists of token ids on the right: ids (B, T) and a mask (B, T) that is 1 on real tokens.

    Args:
        ids: One list per text.
        pad_id: Of the padding.
        least: T is this at least, else the longest list's length.
    """
    longest = max(least, *(len(one) for one in ids))
    ids_BT = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    mask_BT = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, one in enumerate(ids):
        ids_BT[row, : len(one)] = torch.tensor(one, dtype=torch.long)
        mask_BT[row, : len(one)] = 1
    return ids_BT, mask_BT


@torch.inference_mode()
def _sum_states(ids: Sequence[Sequence[int]], backbone: Backbone, *, always_padded: bool) -> Tensor:
    """Return the sum of the hidden states over the real tokens, (B, H), in float64 on the CPU."""
    least = 0
    if always_padded:
        longest = max(len(one) for one in ids)
        least = min(longest // _PAD_STEP * _PAD_STEP + _PAD_STEP, backbone.max_tokens or WINDOW + _PAD_STEP)
    ids_BT, mask_BT = (tensor.to(backbone.device) for tensor in pad_ids(ids, least=least))
    states_BTH = backbone.model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    if always_padded:  # each window's own tokens alone: a sum over padding is split by its length
        rows = zip(states_BTH, ids, strict=True)
        return torch.stack([states_TH[: len(one)].double().sum(0) for states_TH, one in rows]).cpu()
    summed_BH: Tensor = (states_BTH.double() * mask_BT[:, :, None]).sum(1)
    return summed_BH.cpu()


def _check(texts: Sequence[str], batch_size: int) -> None:
    if isinstance(texts, str):
        raise BadInputError(field="texts", value=texts, remedy="Give a list of texts.")
    if batch_size < 1:
        raise BadInputError(field="batch_size", value=batch_size, remedy="Choose at least 1.")
    for index, text in enumerate(texts):
        if not text.strip():
            raise BadInputError(field=f"text {index}", value=text, remedy="Give every text some words.")
