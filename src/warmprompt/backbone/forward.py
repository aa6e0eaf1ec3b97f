"""One pass through the frozen model: `[user text][soft prompt][read-out]`.

The text comes first, so a decoder computes its keys and values once, without a
gradient, and every inner step reuses them: only the prompt and the read-out run
forward and backward. An encoder looks both ways, so its text runs along.

B is users, T text tokens (padded on the right), P prompt vectors, H hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from warmprompt.backbone.load import Backbone
from warmprompt.types import short_repr

if TYPE_CHECKING:
    from transformers import DynamicCache

MAX_TEXT_TOKENS = 48
# Every text starts with these words, also the empty one: decoders use their first token as a sink of
# attention, and a prompt in its place would respond quite unlike a prompt behind a text.
LEAD_TEXT = "About this person: "
READ_OUT_TEXT = " likes"


@dataclass(frozen=True, kw_only=True, eq=False)
class TextPrefix:
    """The user texts of a batch, read once.

    Attributes:
        mask_BT: True at text tokens, False at padding.
        embeddings_BTH: Token embeddings; used by encoders.
        keys: Per layer of a decoder, (B, heads, T, width per head); empty for encoders.
        values: As `keys`.
    """

    mask_BT: Tensor
    embeddings_BTH: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    __repr__ = short_repr

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.mask_BT)


@torch.no_grad()
def read_texts(backbone: Backbone, texts: Sequence[str]) -> TextPrefix:
    """Run the user texts through the frozen model and keep what later passes need.

    Equal texts are read once. A text is cut after `MAX_TEXT_TOKENS` tokens, the lead included.
    """
    position = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    rows = [_token_ids(backbone, text) for text in position]
    width = max((len(row) for row in rows), default=0)
    ids_BT = torch.zeros((len(rows), width), dtype=torch.long)
    mask_BT = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids_BT[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask_BT[index, : len(row)] = True
    ids_BT, mask_BT = ids_BT.to(backbone.device), mask_BT.to(backbone.device)
    embeddings_BTH = backbone.embed(ids_BT)
    chosen_B = torch.tensor([position[text] for text in texts], device=backbone.device)
    if backbone.kind == "encoder":
        return TextPrefix(
            mask_BT=mask_BT[chosen_B], embeddings_BTH=embeddings_BTH[chosen_B], keys=(), values=()
        )
    cache = _empty_cache(backbone)
    backbone.model(
        inputs_embeds=embeddings_BTH, attention_mask=mask_BT.long(), past_key_values=cache, use_cache=True
    )
    pairs = [cast("tuple[Tensor, Tensor]", (layer.keys, layer.values)) for layer in cache.layers]  # type: ignore[union-attr]
    return TextPrefix(
        mask_BT=mask_BT[chosen_B],
        embeddings_BTH=embeddings_BTH[chosen_B],
        keys=tuple(keys[chosen_B] for keys, _ in pairs),
        values=tuple(values[chosen_B] for _, values in pairs),
    )


def repeat_prefix(prefix: TextPrefix, num_users: int) -> TextPrefix:
    """Return one read text for many users, without copying it."""

    def widen(one: Tensor) -> Tensor:
        return one.expand(num_users, *one.shape[1:])

    return TextPrefix(
        mask_BT=widen(prefix.mask_BT),
        embeddings_BTH=widen(prefix.embeddings_BTH),
        keys=tuple(widen(keys) for keys in prefix.keys),
        values=tuple(widen(values) for values in prefix.values),
    )


def text_row(prefix: TextPrefix, row: int) -> TextPrefix:
    """Return one user's read text, one row, memory shared."""
    one = slice(row, row + 1)
    return TextPrefix(
        mask_BT=prefix.mask_BT[one],
        embeddings_BTH=prefix.embeddings_BTH[one],
        keys=tuple(keys[one] for keys in prefix.keys),
        values=tuple(values[one] for values in prefix.values),
    )


def text_rows(prefix: TextPrefix, rows: Tensor) -> TextPrefix:
    """Return some users' read texts, as often and in the order that `rows` names them."""
    return TextPrefix(
        mask_BT=prefix.mask_BT[rows],
        embeddings_BTH=prefix.embeddings_BTH[rows],
        keys=tuple(keys[rows] for keys in prefix.keys),
        values=tuple(values[rows] for values in prefix.values),
    )


def read_out(backbone: Backbone, prefix: TextPrefix, prompts_BPH: Tensor) -> Tensor:
    """Return what the frozen model makes of each user's text and prompt, (B, H) float32.

    A decoder is read at the read-out token, which has seen everything before it; an encoder at the
    mean over prompt and read-out, so that a prompt counts the same behind a short and a long text.
    Differentiable in the prompts.

    Args:
        backbone: The frozen model.
        prefix: From `read_texts`, with as many users as `prompts_BPH`.
        prompts_BPH: One prompt per user.
    """
    prompts_BPH = prompts_BPH.to(backbone.embed(torch.zeros(1, dtype=torch.long, device=backbone.device)))
    tail_BRH = torch.cat([prompts_BPH, _read_out_embedding(backbone).expand(len(prompts_BPH), -1, -1)], dim=1)
    if backbone.kind == "encoder":
        return _read_encoder(backbone, prefix, tail_BRH)
    lengths_B1 = prefix.mask_BT.sum(1, keepdim=True)
    positions_BR = lengths_B1 + torch.arange(tail_BRH.shape[1], device=tail_BRH.device)
    seen_BS = torch.cat([prefix.mask_BT, prefix.mask_BT.new_ones(tail_BRH.shape[:2])], dim=1)
    outputs = backbone.model(
        inputs_embeds=tail_BRH,
        attention_mask=seen_BS.long(),
        position_ids=positions_BR,
        past_key_values=_fresh_cache(backbone, prefix),
        use_cache=False,
    )
    hidden_BH: Tensor = outputs.last_hidden_state[:, -1]
    return hidden_BH.float()


class PlainAttention(TorchFunctionMode):
    """Attention in plain operations, within `with`: these can be differentiated twice and in batches.

    Holds in this thread alone; `torch.nn.attention.sdpa_kernel` switches all threads of the process.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation; that of attention without its fast kernels."""
        del types
        if func is F.scaled_dot_product_attention:
            return _plain_attention(*args, **kwargs or {})
        return func(*args, **kwargs or {})


@contextmanager
def count_forwards(backbone: Backbone) -> Iterator[list[int]]:
    """Yield a list that grows by the batch size with each pass through the model, texts included."""
    sizes: list[int] = []

    def note(_module: object, _args: object, kwargs: dict[str, Tensor]) -> None:
        sizes.append(len(kwargs["inputs_embeds"]))

    handle = backbone.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()


def _plain_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -math.inf)
    plain = torch.ops.aten._scaled_dot_product_attention_math  # noqa: SLF001 - what the formula is called
    attended: Tensor = plain(query, key, value, attn_mask, *rest, **options)[0]
    return attended


def _token_ids(backbone: Backbone, text: str) -> list[int]:
    """Encoders were trained with their first special token in front, so it stays."""
    first = [backbone.tokenizer.cls_token_id] if backbone.kind == "encoder" else []
    ids: list[int] = backbone.tokenizer(LEAD_TEXT + text, add_special_tokens=False)["input_ids"]
    return [one for one in first if one is not None] + ids[:MAX_TEXT_TOKENS]


def _read_out_embedding(backbone: Backbone) -> Tensor:
    ids: list[int] = backbone.tokenizer(READ_OUT_TEXT, add_special_tokens=False)["input_ids"]
    if backbone.kind == "encoder" and backbone.tokenizer.sep_token_id is not None:
        ids = [backbone.tokenizer.sep_token_id]
    return backbone.embed(torch.as_tensor(ids[-1:], device=backbone.device))


def _empty_cache(backbone: Backbone) -> DynamicCache:
    from transformers import DynamicCache

    return DynamicCache(config=backbone.model.config)


def _fresh_cache(backbone: Backbone, prefix: TextPrefix) -> DynamicCache:
    """Return a cache that starts with the text; a pass appends to it by copying, so the text stays."""
    cache = _empty_cache(backbone)
    for index, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
        cache.update(keys, values, index)
    return cache


def _read_encoder(backbone: Backbone, prefix: TextPrefix, tail_BRH: Tensor) -> Tensor:
    """Prompts come before the padding, so that positions are those of an unpadded input."""
    num_users, num_tail = tail_BRH.shape[:2]
    joined_BSH = torch.cat([prefix.embeddings_BTH, tail_BRH], dim=1)
    seen_BS = torch.cat([prefix.mask_BT, prefix.mask_BT.new_ones((num_users, num_tail))], dim=1)
    order_BS = torch.argsort(~seen_BS, dim=1, stable=True)
    joined_BSH = joined_BSH.gather(1, order_BS[..., None].expand_as(joined_BSH))
    seen_BS = seen_BS.gather(1, order_BS)
    hidden_BSH = backbone.model(inputs_embeds=joined_BSH, attention_mask=seen_BS.long()).last_hidden_state
    tail_BR = prefix.mask_BT.sum(1, keepdim=True) + torch.arange(num_tail, device=tail_BRH.device)
    pooled_BH: Tensor = hidden_BSH[torch.arange(num_users, device=tail_BRH.device)[:, None], tail_BR].mean(1)
    return pooled_BH.float()
