"""Soft prompts: a few vectors next to the token embeddings of a frozen model.

P is prompt vectors, H the width of the model's embeddings.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor

from warmprompt.backbone.forward import MAX_TEXT_TOKENS
from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError
from warmprompt.rng import derive

PromptInit = Literal["vocab", "text", "normal"]


def init_prompt(backbone: Backbone, *, length: int, init: PromptInit, text: str = "", seed: int) -> Tensor:
    """Return the prompt that training starts from, (P, H) float32 on the backbone's device.

    Args:
        backbone: Gives the embedding table and its scale.
        length: P.
        init: `vocab` samples rows of the embedding table, special tokens left out; `text` embeds a
            text, repeated or cut to P tokens; `normal` draws with the table's mean and deviation.
        text: The text of init `text`.
        seed: Of the draw.

    Raises:
        BadInputError: `length` below 1 or beyond what the model can read at once, or init `text` without
            a text.

    Source: Lester, Al-Rfou & Constant 2021, section 3.1.
    """
    if length < 1:
        raise BadInputError(field="prompt.length", value=length, remedy="Give at least 1.")
    check_context_length(length, backbone.max_tokens, backbone.name)
    rng = derive(seed, "prompt")
    if init == "text":
        return backbone.embed(_text_ids(backbone, text, length)).float().clone()
    table = cast("Tensor", backbone.model.get_input_embeddings().weight)
    special = set(backbone.tokenizer.all_special_ids)
    usual = [index for index in range(min(len(backbone.tokenizer), len(table))) if index not in special]
    if init == "vocab":
        ids = torch.as_tensor(rng.choice(usual, size=length), device=backbone.device)
        return backbone.embed(ids).float().clone()
    rows = backbone.embed(torch.as_tensor(rng.choice(usual, size=256), device=backbone.device)).float()
    noise = torch.as_tensor(rng.standard_normal((length, rows.shape[1])), dtype=torch.float32)
    return rows.mean(0) + rows.std(0) * noise.to(rows.device)


def check_context_length(length: int, max_tokens: int | None, name: str) -> None:
    """Refuse a prompt that does not fit beside the longest text into what a model can read at once.

    Args:
        length: P.
        max_tokens: The model's limit, its sliding window included; None without one.
        name: The backbone's, for the error.

    Raises:
        BadInputError: It does not fit.
    """
    # The first special token of an encoder and the read-out come next to text and prompt.
    room = (max_tokens or length + MAX_TEXT_TOKENS + 2) - MAX_TEXT_TOKENS - 2
    if room < 1:
        raise BadInputError(
            field="backbone",
            value=f"{name}, which reads {max_tokens} tokens at once",
            remedy=f"Name one that reads {MAX_TEXT_TOKENS + 2 + length} or more: text, prompt and read-out.",
        )
    if length > room:
        raise BadInputError(field="prompt.length", value=length, remedy=f"Choose 1 to {room} for {name}.")


def _text_ids(backbone: Backbone, text: str, length: int) -> Tensor:
    ids: list[int] = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise BadInputError(
            field="prompt.text_init", value=text, remedy="Give a text, or another prompt.init."
        )
    return torch.as_tensor((ids * length)[:length], device=backbone.device)
