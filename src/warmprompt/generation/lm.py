"""The whole frozen model as a reader: contexts with a soft prompt in them, and trees of continuations.

Ranking reads a few layers; here all of them run, and the head that names the next token. Continuations
grow behind a context as a tree: each token sees the context and its own ancestors and nothing else, so
any number of beginnings share one pass, and no cache is ever copied from one beam to another.

Every layer sees the whole context: a model with sliding windows is only itself within its window.

B is rows, T context positions (padded on the left), N tokens of one pass, S tree tokens so far,
W tokens of the vocabulary, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.adaptation.engine import Engine
from warmprompt.backbone.load import load_causal, weights_hash_of
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.types import short_repr

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

Bools = NDArray[np.bool_]
Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """A frozen causal language model with its head.

    Attributes:
        name: As the run names its backbone.
        model: In evaluation mode, no parameter requiring a gradient.
        tokenizer: The model's.
        end_id: The token that ends an answer.
        weights_hash: Of the weights at rest.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_id: int
    weights_hash: str

    __repr__ = short_repr

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text in which nothing is special: nobody can write a chat mark."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Return the input embeddings of tokens, (T, H)."""
        tokens_T = torch.tensor(ids, dtype=torch.long, device=self.device)
        embeddings: Tensor = self.model.get_input_embeddings()(tokens_T)
        return embeddings


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """Contexts as the model has read them, and the tokens that grow behind each.

    Attributes:
        mask_BT: True at context tokens, False at padding.
        keys, values: Per layer, (B, heads, T + S, width per head).
        sees_BSS: True where tree token i sees tree token j: its ancestors and itself.
        depth_BS: Tokens from the context to each tree token, itself included.
        next_BW: Log-probabilities of the first token behind each context.
    """

    mask_BT: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    sees_BSS: Bools
    depth_BS: Positions
    next_BW: Tensor

    @property
    def num_tokens(self) -> int:
        """S."""
        return int(self.depth_BS.shape[1])


def open_language_model(engine: Engine) -> LanguageModel:
    """Load all layers of a run's backbone.

    Raises:
        BadInputError: The backbone is an encoder, which writes nothing, or names no end token.
        MismatchError: The weights are not those that the run was trained with.
        FetchError, IntegrityError, StorageError: See `fetch.get_backbone`.
    """
    backbone = engine.backbone
    model, tokenizer = load_causal(
        backbone.name,
        dtype="bfloat16" if backbone.dtype == torch.bfloat16 else "float32",
        device="cuda" if backbone.device.type == "cuda" else "cpu",
    )
    weights_hash = weights_hash_of(backbone.name)
    if weights_hash != backbone.weights_hash:
        raise MismatchError(
            field=f"weights of backbone {backbone.name}",
            value=weights_hash[:12],
            remedy=f"The run was trained with {backbone.weights_hash[:12]}; restore them, or train again.",
        )
    if tokenizer.eos_token_id is None:
        raise BadInputError(
            field="backbone", value=backbone.name, remedy="Choose a model whose tokenizer names an end token."
        )
    return LanguageModel(
        name=backbone.name,
        model=model,
        tokenizer=tokenizer,
        end_id=int(tokenizer.eos_token_id),
        weights_hash=weights_hash,
    )


@torch.inference_mode()
def read_contexts(lm: LanguageModel, contexts: Sequence[Tensor]) -> Tree:
    """Run contexts through the model, one row each, and keep what continuations need.

    Args:
        lm: The model.
        contexts: Input embeddings, (T, H) each; may differ in length.
    """
    width = max(len(context) for context in contexts)
    joined_BTH = contexts[0].new_zeros((len(contexts), width, contexts[0].shape[1]))
    mask_BT = torch.zeros((len(contexts), width), dtype=torch.bool, device=joined_BTH.device)
    for row, context in enumerate(contexts):
        joined_BTH[row, width - len(context) :] = context
        mask_BT[row, width - len(context) :] = True
    cache = transformers.DynamicCache()
    outputs = lm.model(
        inputs_embeds=joined_BTH,
        attention_mask=mask_BT.long(),
        position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    keys, values = _layers(cache)
    return Tree(
        mask_BT=mask_BT,
        keys=keys,
        values=values,
        sees_BSS=np.zeros((len(contexts), 0, 0), dtype=np.bool_),
        depth_BS=np.zeros((len(contexts), 0), dtype=np.int64),
        next_BW=torch.log_softmax(outputs.logits[:, -1].float(), dim=-1),
    )


def repeat_context(tree: Tree, num_rows: int) -> Tree:
    """Return one row's context for many rows, without copying it."""

    def widen(one: Tensor) -> Tensor:
        return one.expand(num_rows, *one.shape[1:])

    return replace(
        tree,
        mask_BT=widen(tree.mask_BT),
        keys=tuple(widen(one) for one in tree.keys),
        values=tuple(widen(one) for one in tree.values),
        sees_BSS=np.broadcast_to(tree.sees_BSS, (num_rows, *tree.sees_BSS.shape[1:])),
        depth_BS=np.broadcast_to(tree.depth_BS, (num_rows, tree.num_tokens)),
        next_BW=widen(tree.next_BW),
    )


@torch.inference_mode()
def grow(lm: LanguageModel, tree: Tree, ids_BN: Positions, parents_BN: Positions) -> tuple[Tree, Tensor]:
    """Add tokens to the trees in one pass; return the trees and what may follow each token.

    Args:
        lm: The model.
        tree: From `read_contexts` or an earlier `grow`; never written to.
        ids_BN: Tokens to add. Rows are padded with any token whose parent is -1 and which nobody names.
        parents_BN: Place of each token's parent in the tree, counted over all tokens ever added to the
            row: -1 is the context, S + n the n-th token of this pass, which must come before its child.

    Returns:
        The grown trees, and log-probabilities (B, N, W) of the token behind each new one.
    """
    num_rows, num_new = ids_BN.shape
    before = tree.num_tokens
    sees_BSS = np.zeros((num_rows, before + num_new, before + num_new), dtype=np.bool_)
    sees_BSS[:, :before, :before] = tree.sees_BSS
    depth_BS = np.concatenate([tree.depth_BS, np.zeros((num_rows, num_new), dtype=np.int64)], axis=1)
    rows = np.arange(num_rows)
    for position in range(num_new):
        parent_B, slot = parents_BN[:, position], before + position
        has_B = parent_B >= 0
        sees_BSS[rows[has_B], slot] = sees_BSS[rows[has_B], parent_B[has_B]]
        depth_BS[rows[has_B], slot] = depth_BS[rows[has_B], parent_B[has_B]]
        sees_BSS[:, slot, slot] = True
        depth_BS[:, slot] += 1
    device = tree.mask_BT.device
    new_sees_BNS = torch.as_tensor(sees_BSS[:, before:], device=device)
    context_BNT = tree.mask_BT[:, None].expand(-1, num_new, -1)
    cache = transformers.DynamicCache()
    for index, read in enumerate(zip(tree.keys, tree.values, strict=True)):
        cache.update(*read, index)
    lengths_B1 = tree.mask_BT.sum(1, keepdim=True)
    outputs = lm.model(
        input_ids=torch.as_tensor(ids_BN, device=device),
        attention_mask=_additive(torch.cat([context_BNT, new_sees_BNS], dim=2), lm.model.dtype),
        position_ids=lengths_B1 + torch.as_tensor(depth_BS[:, before:], device=device) - 1,
        past_key_values=cache,
        use_cache=True,
    )
    keys, values = _layers(cache)
    grown = replace(tree, keys=keys, values=values, sees_BSS=sees_BSS, depth_BS=depth_BS)
    return grown, torch.log_softmax(outputs.logits.float(), dim=-1)


def _layers(cache: DynamicCache) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    pairs = [cast("tuple[Tensor, Tensor]", (layer.keys, layer.values)) for layer in cache.layers]  # type: ignore[union-attr]
    return tuple(keys for keys, _ in pairs), tuple(values for _, values in pairs)


def _additive(sees_BNS: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask that attention adds, (B, 1, N, T + S): 0 where a token sees, else the least number."""
    hidden = torch.zeros(sees_BNS.shape, dtype=dtype, device=sees_BNS.device)
    return hidden.masked_fill_(~sees_BNS, torch.finfo(dtype).min)[:, None]
