"""The likelihood of texts that users wrote: what a soft prompt in front of a whole language model explains.

A text is read as `[lead][soft prompt][text]`. The lead is read once: its first token serves attention as a
sink, which a prompt in that position would disturb.

B is users, N texts, T tokens of a text (padded on the right), P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from warmprompt.backbone.load import load_causal
from warmprompt.errors import BadInputError
from warmprompt.meta.adapters import Adapter
from warmprompt.types import short_repr

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """A frozen causal language model that has read the lead.

    Attributes:
        model: With its head, in evaluation mode, no parameter requiring a gradient.
        tokenizer: The model's.
        lead: Keys and values of the lead per layer, (1, heads, tokens, width per head) each.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    lead: tuple[tuple[Tensor, Tensor], ...]

    __repr__ = short_repr

    def ids(self, text: str, *, max_tokens: int | None = None) -> list[int]:
        """Return the first tokens of a text in which nothing is special."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids[:max_tokens]

    def embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Return input embeddings, (..., H)."""
        embeddings: Tensor = self.model.get_input_embeddings()(torch.as_tensor(ids, dtype=torch.long))
        return embeddings


def load_text_model(name: str, *, lead: str, exact: bool = False) -> TextModel:
    """Load a whole causal language model in float32 and let it read the lead.

    Args:
        name: As in `load_causal`.
        lead: As in `read_lead`.
        exact: Attention that can be differentiated twice, as MAML needs it.

    Raises:
        BadInputError: An empty lead, or as `load_causal`.
    """
    return read_lead(*load_causal(name, attention="eager" if exact else "sdpa"), lead=lead)


@torch.no_grad()
def read_lead(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, lead: str) -> TextModel:
    """Let a frozen causal language model read what stands in front of every prompt.

    Raises:
        BadInputError: The lead has no token.
    """
    from transformers import DynamicCache

    ids = tokenizer(lead, add_special_tokens=False)["input_ids"]
    if not ids:
        raise BadInputError(field="lead", value=repr(lead), remedy="Give a text of at least one token.")
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
    pairs = (cast("tuple[Tensor, Tensor]", (layer.keys, layer.values)) for layer in cache.layers)  # type: ignore[union-attr]
    return TextModel(model=model, tokenizer=tokenizer, lead=tuple(pairs))


@dataclass(frozen=True, kw_only=True, eq=False)
class UserTexts:
    """Texts of a batch of users, any number each.

    Attributes:
        ids_NT: Tokens.
        mask_NT: True at tokens, False at padding.
        owner_N: Index of the user in the batch.
        num_users: B.
    """

    ids_NT: Tensor
    mask_NT: Tensor
    owner_N: Tensor
    num_users: int


def pack_texts(texts: Sequence[Sequence[Sequence[int]]]) -> UserTexts:
    """Return each user's texts, lists of tokens, as one batch.

    Raises:
        BadInputError: A text without a token.
    """
    rows = [(owner, ids) for owner, own in enumerate(texts) for ids in own]
    for owner, ids in rows:
        if not len(ids):
            raise BadInputError(field=f"text of user {owner}", value="empty", remedy="Leave it out.")
    ids_NT = torch.zeros((len(rows), max((len(ids) for _, ids in rows), default=0)), dtype=torch.long)
    mask_NT = torch.zeros_like(ids_NT, dtype=torch.bool)
    for row, (_, ids) in enumerate(rows):
        ids_NT[row, : len(ids)] = torch.as_tensor(ids)
        mask_NT[row, : len(ids)] = True
    owner_N = torch.tensor([owner for owner, _ in rows], dtype=torch.long)
    return UserTexts(ids_NT=ids_NT, mask_NT=mask_NT, owner_N=owner_N, num_users=len(texts))


def token_losses(lm: TextModel, prompts_NPH: Tensor, ids_NT: Tensor) -> Tensor:
    """Return -log p(token | lead, prompt, tokens before), nats, (N, T); at padding the numbers mean nothing.

    Differentiable in the prompts, which hold at least one vector.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=lm.model.config)
    for index, (keys, values) in enumerate(lm.lead):
        cache.update(keys.expand(len(ids_NT), -1, -1, -1), values.expand(len(ids_NT), -1, -1, -1), index)
    inputs_NSH = torch.cat([prompts_NPH, lm.embed(ids_NT[:, :-1])], dim=1)
    # Padding is on the right, where no token of the text sees it: no mask is needed.
    logits_NTV = lm.model(
        inputs_embeds=inputs_NSH, past_key_values=cache, use_cache=True, logits_to_keep=ids_NT.shape[1]
    ).logits
    losses = F.cross_entropy(logits_NTV.flatten(0, 1), ids_NT.flatten(), reduction="none")
    return losses.view_as(ids_NT)


def user_losses(lm: TextModel, texts: UserTexts, prompts_BPH: Tensor) -> Tensor:
    """Return each user's negative log-likelihood per token over all of that user's texts, (B,)."""
    if not len(texts.owner_N):
        return 0.0 * prompts_BPH.flatten(1).sum(1)
    losses_NT = token_losses(lm, prompts_BPH[texts.owner_N], texts.ids_NT) * texts.mask_NT
    zeros_B = losses_NT.new_zeros(texts.num_users)
    sums_B = zeros_B.index_add(0, texts.owner_N, losses_NT.sum(1))
    tokens_B = zeros_B.index_add(0, texts.owner_N, texts.mask_NT.sum(1).to(zeros_B))
    return sums_B / tokens_B.clamp(min=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextLikelihood:
    """The likelihood of a user's texts behind the user's prompt.

    Attributes:
        lm: Reads the texts.
        support: Texts to adapt to.
        query: Texts to be found likely.
    """

    lm: TextModel
    support: UserTexts
    query: UserTexts

    def inner_loss(
        self, model: Any, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return the loss of the texts times K / (K + kappa): the more texts, the further a prompt goes."""
        texts = self.query if on_query else self.support
        counts_B = torch.bincount(texts.owner_N, minlength=texts.num_users)
        weights_B = counts_B / (counts_B + model.params["support.log_kappa"].exp())
        return lambda moved: weights_B * user_losses(self.lm, texts, adapter.users(model, moved))

    def query_loss(self, model: Any, users_BPH: Tensor) -> Tensor:  # noqa: ARG002 - as in `Objective`
        """Return each user's negative log-likelihood per token of the query, nats, (B,)."""
        return user_losses(self.lm, self.query, users_BPH)
