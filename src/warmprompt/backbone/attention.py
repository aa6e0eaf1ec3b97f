"""Attention as the transformers library computes it, bit for bit, and the cache of what a text leaves behind.

B is texts, S tokens of an input, T all tokens it may look at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class KeysValues(NamedTuple):
    """What one layer keeps of the tokens before: each (B, heads, tokens, width per head)."""

    keys: Tensor
    values: Tensor


@dataclass
class TextCache:
    """Keys and values of the tokens before an input, layer by layer."""

    layers: list[KeysValues] = field(default_factory=list)

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Append to a layer's keys and values by copying, and return all of them."""
        if layer == len(self.layers):
            # As the library lays them out: products of another layout may differ in the last bit.
            keys, values = keys.contiguous(), values.contiguous()
            self.layers.append(KeysValues(keys, values))
        else:
            before = self.layers[layer]
            keys, values = torch.cat([before.keys, keys], dim=-2), torch.cat([before.values, values], dim=-2)
            self.layers[layer] = KeysValues(keys, values)
        return keys, values

    @property
    def num_tokens(self) -> int:
        """Tokens held."""
        return self.layers[0].keys.shape[-2] if self.layers else 0


def turned(rows: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Return queries or keys turned by their positions, given cosines and sines; see Su et al. 2021."""
    first, second = rows.chunk(2, dim=-1)
    return rows * turns[0] + torch.cat((-second, first), dim=-1) * turns[1]


def additive(seen: Tensor, like: Tensor) -> Tensor:
    """Return a mask to be added to scores: 0 where a token is seen, the lowest number elsewhere."""
    return torch.where(
        seen, torch.zeros((), dtype=like.dtype, device=like.device), torch.finfo(like.dtype).min
    )


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, causal: bool, eager: bool
) -> Tensor:
    """Return what the queries read, (B, S, heads, width per head).

    Args:
        queries: (B, heads, S, width per head).
        keys: (B, shared heads, T, width per head); heads share them in groups.
        values: As `keys`.
        mask: What each query may look at, (B, 1, S, T): true or false, or to be added for `eager`.
        causal: Without a mask, look to the left only.
        eager: Compute in plain operations.
    """
    (num_users, num_heads, num_new, width), scale = queries.shape, queries.shape[-1] ** -0.5
    shared = num_heads // keys.shape[1]
    if eager:
        keys, values = _repeated(keys, shared), _repeated(values, shared)
        weights = torch.matmul(queries, keys.transpose(2, 3)) * scale
        weights = weights if mask is None else weights + mask
        weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(queries.dtype)
        return torch.matmul(weights, values).transpose(1, 2)
    grouped = shared > 1 and mask is None
    if shared > 1 and mask is not None:
        if num_new == 1:
            queries = queries.reshape(num_users, num_heads // shared, shared, width)
        else:
            keys, values = _repeated(keys, shared), _repeated(values, shared)
    told = F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        scale=scale,
        is_causal=causal and mask is None and num_new > 1,
        enable_gqa=grouped,
    )
    return told.reshape(num_users, num_heads, num_new, width).transpose(1, 2)


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Return each head's rows several times over, (B, heads x times, tokens, width per head)."""
    if times == 1:
        return rows
    return rows[:, :, None].expand(-1, -1, times, -1, -1).reshape(len(rows), -1, *rows.shape[2:])
