"""The two families that the package fetches, Llama and BERT, read without the transformers library.

Importing that library's models costs more processor time than all else that a ranking does. These
modules have its names of weights and its calls, and return the same bits; other families are read by it.

B is texts, S tokens of an input, T all tokens it may look at, H hidden width, V vocabulary.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from warmprompt.backbone.attention import TextCache, additive, attend, turned
from warmprompt.errors import BadInputError

Attention = Literal["sdpa", "eager"]

# What a configuration must say for the code below to be what the model is.
_LLAMA = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
_BERT = {"hidden_act": "gelu", "position_embedding_type": "absolute"}


@dataclass(frozen=True)
class Output:
    """What a model returns.

    Attributes:
        last_hidden_state: (B, S, H).
    """

    last_hidden_state: Tensor


class Llama(nn.Module):
    """A decoder of the Llama family without its head.

    Args:
        config: Its `config.json`.
        num_layers: Layers to build; fewer than the model has leave out the last norm.
        attention: As in `load_backbone`.

    Source: Touvron et al. 2023; rotary positions: Su et al. 2021.
    """

    def __init__(self, config: dict[str, Any], *, num_layers: int, attention: Attention) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["rms_norm_eps"]
        head_width = config.get("head_dim") or width // config["num_attention_heads"]
        self.embed_tokens = _table(config["vocab_size"], width)
        self.layers = nn.ModuleList(_LlamaLayer(config, head_width) for _ in range(num_layers))
        self.norm = _RMSNorm(width, eps) if num_layers == config["num_hidden_layers"] else nn.Identity()
        every_other = torch.arange(0, head_width, 2, dtype=torch.float, device="cpu")
        frequencies = 1.0 / (config["rope_parameters"]["rope_theta"] ** (every_other / head_width))
        self.inv_freq = nn.Buffer(frequencies, persistent=False)
        self._eager = attention == "eager"

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.embed_tokens

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: TextCache | None = None,
        use_cache: bool | None = None,  # noqa: ARG002 - a cache that is given is used
    ) -> Output:
        """Return the hidden states after the last layer.

        Args:
            input_ids: Token ids, (B, S), or else:
            attention_mask: 1 at tokens, those in the cache included, (B, T); None without padding.
            inputs_embeds: Embeddings, (B, S, H).
            position_ids: Places of the tokens, (B, S); None counts on from the cache.
            past_key_values: Tokens before these; the new ones are appended.
            use_cache: Not needed.
        """
        hidden_BSH = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        num_before = past_key_values.num_tokens if past_key_values is not None else 0
        num_new = hidden_BSH.shape[1]
        if position_ids is None:
            position_ids = torch.arange(num_new, device=hidden_BSH.device)[None] + num_before
        mask = self._mask(hidden_BSH, attention_mask, num_before + num_new)
        with torch.no_grad():
            angles_BSX = position_ids[..., None].float() * self.inv_freq.float()
            angles_BSX = torch.cat((angles_BSX, angles_BSX), dim=-1)
            turns = (
                angles_BSX.cos().to(hidden_BSH.dtype)[:, None],
                angles_BSX.sin().to(hidden_BSH.dtype)[:, None],
            )
        for index, layer in enumerate(self.layers):
            hidden_BSH = layer(hidden_BSH, mask, turns, past_key_values, index, eager=self._eager)
        return Output(self.norm(hidden_BSH))

    def _mask(self, hidden_BSH: Tensor, padding_BT: Tensor | None, num_all: int) -> Tensor | None:
        """Return what each token may look at, (B, 1, S, T); None where that is all before it."""
        num_new, padding_BT = hidden_BSH.shape[1], None if padding_BT is None else padding_BT.bool()
        if not self._eager and num_new in (1, num_all) and (padding_BT is None or bool(padding_BT.all())):
            return None
        at = torch.arange(num_all, device=hidden_BSH.device)
        seen = (at <= at[num_all - num_new :, None])[None, None]
        if padding_BT is not None:
            seen = seen & padding_BT[:, None, None]
        return additive(seen, hidden_BSH) if self._eager else seen.expand(len(hidden_BSH), -1, -1, -1)


class Bert(nn.Module):
    """An encoder of the BERT family without its pooler.

    Args:
        config: Its `config.json`.
        num_layers: Layers to build.
        attention: As in `load_backbone`.

    Source: Devlin et al. 2019.
    """

    def __init__(self, config: dict[str, Any], *, num_layers: int, attention: Attention) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": _table(config["vocab_size"], width),
                "position_embeddings": _table(config["max_position_embeddings"], width),
                "token_type_embeddings": _table(config["type_vocab_size"], width),
                "LayerNorm": nn.LayerNorm(width, eps=eps),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_BertLayer(config) for _ in range(num_layers))})
        self._eager = attention == "eager"

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return cast("nn.Embedding", self.embeddings["word_embeddings"])

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
    ) -> Output:
        """Return the hidden states after the last layer; arguments as `Llama`."""
        parts = self.embeddings
        words_BSH = parts["word_embeddings"](input_ids) if inputs_embeds is None else inputs_embeds
        at = torch.arange(words_BSH.shape[1], device=words_BSH.device)[None]
        hidden_BSH = words_BSH + parts["token_type_embeddings"](torch.zeros_like(at))
        hidden_BSH = parts["LayerNorm"](hidden_BSH + parts["position_embeddings"](at))
        mask = None
        if attention_mask is not None and not bool((seen_BS := attention_mask.bool()).all()):
            mask = seen_BS[:, None, None].expand(-1, 1, hidden_BSH.shape[1], -1)
            mask = additive(mask, hidden_BSH) if self._eager else mask
        for layer in cast("nn.ModuleList", self.encoder["layer"]):
            hidden_BSH = layer(hidden_BSH, mask, eager=self._eager)
        return Output(hidden_BSH)


def native_config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of a model that can be read here; None for another family or make."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return None if _family_of(config) is None else config


def load_native(
    folder: Path, config: dict[str, Any], *, num_layers: int, attention: Attention
) -> Llama | Bert:
    """Read a model's first layers from a folder.

    Args:
        folder: With `*.safetensors`.
        config: From `native_config`.
        num_layers: Layers to keep.
        attention: As in `load_backbone`.

    Raises:
        BadInputError: A weights file is broken, or a weight is missing.
    """
    family = _family_of(config) or Llama
    with torch.device("meta"):
        model = family(config, num_layers=num_layers, attention=attention)
    wanted = list(model.state_dict())
    try:
        with ExitStack() as stack:
            opened = [
                stack.enter_context(safe_open(file, framework="pt"))
                for file in sorted(folder.glob("*.safetensors"))
            ]
            where = {name.removeprefix("model."): (one, name) for one in opened for name in one.keys()}  # noqa: SIM118
            # Cloned: the tensors would otherwise be views of a file that may be replaced.
            weights = {name: where[name][0].get_tensor(where[name][1]).clone() for name in wanted}
    except (OSError, SafetensorError, KeyError) as error:
        raise BadInputError(
            field="backbone",
            value=f"{folder}: {error}",
            remedy="Fetch the model again: a file is damaged, or a weight is missing.",
        ) from error
    model.load_state_dict(weights, assign=True)
    return model


def _family_of(config: dict[str, Any]) -> type[Llama] | type[Bert] | None:
    kind = config.get("model_type")
    if kind == "bert" and all(config.get(key, value) == value for key, value in _BERT.items()):
        return None if config.get("is_decoder") else Bert
    if kind == "llama" and all(config.get(key, value) == value for key, value in _LLAMA.items()):
        positions = config.get("rope_parameters") or {}
        return (
            Llama
            if set(positions) == {"rope_theta", "rope_type"} and positions["rope_type"] == "default"
            else None
        )
    return None


class _LlamaLayer(nn.Module):
    def __init__(self, config: dict[str, Any], head_width: int) -> None:
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["rms_norm_eps"]
        heads = config["num_attention_heads"] * head_width
        shared_heads = config.get("num_key_value_heads", config["num_attention_heads"]) * head_width
        self._head_width = head_width
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(width, heads, bias=False),
                "k_proj": nn.Linear(width, shared_heads, bias=False),
                "v_proj": nn.Linear(width, shared_heads, bias=False),
                "o_proj": nn.Linear(heads, width, bias=False),
            }
        )
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": nn.Linear(width, inner, bias=False),
                "up_proj": nn.Linear(width, inner, bias=False),
                "down_proj": nn.Linear(inner, width, bias=False),
            }
        )
        self.input_layernorm = _RMSNorm(width, eps)
        self.post_attention_layernorm = _RMSNorm(width, eps)

    def forward(
        self,
        hidden_BSH: Tensor,
        mask: Tensor | None,
        turns: tuple[Tensor, Tensor],
        cache: TextCache | None,
        index: int,
        *,
        eager: bool,
    ) -> Tensor:
        shape = (*hidden_BSH.shape[:-1], -1, self._head_width)
        normed_BSH, parts = self.input_layernorm(hidden_BSH), self.self_attn
        queries, keys, values = (
            parts[name](normed_BSH).view(shape).transpose(1, 2) for name in ("q_proj", "k_proj", "v_proj")
        )
        queries, keys = turned(queries, turns), turned(keys, turns)
        if cache is not None:
            keys, values = cache.update(keys, values, index)
        told = attend(queries, keys, values, mask, causal=True, eager=eager)
        hidden_BSH = hidden_BSH + parts["o_proj"](told.flatten(2))
        normed_BSH, parts = self.post_attention_layernorm(hidden_BSH), self.mlp
        inner = F.silu(parts["gate_proj"](normed_BSH)) * parts["up_proj"](normed_BSH)
        passed: Tensor = hidden_BSH + parts["down_proj"](inner)
        return passed


class _BertLayer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self._head_width = width // config["num_attention_heads"]
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")}),
                "output": _dense(width, width, eps),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _dense(inner, width, eps)

    def forward(self, hidden_BSH: Tensor, mask: Tensor | None, *, eager: bool) -> Tensor:
        shape = (*hidden_BSH.shape[:-1], -1, self._head_width)
        parts = cast("nn.ModuleDict", self.attention["self"])
        queries, keys, values = (
            parts[name](hidden_BSH).view(shape).transpose(1, 2) for name in ("query", "key", "value")
        )
        told = attend(queries, keys, values, mask, causal=False, eager=eager)
        parts = cast("nn.ModuleDict", self.attention["output"])
        hidden_BSH = parts["LayerNorm"](parts["dense"](told.flatten(2)) + hidden_BSH)
        inner = self.output["dense"](F.gelu(self.intermediate["dense"](hidden_BSH)))
        passed: Tensor = self.output["LayerNorm"](inner + hidden_BSH)
        return passed


class _RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._eps = eps

    def forward(self, hidden_BSH: Tensor) -> Tensor:
        wide_BSH = hidden_BSH.float()
        wide_BSH = wide_BSH * torch.rsqrt(wide_BSH.pow(2).mean(-1, keepdim=True) + self._eps)
        normed: Tensor = self.weight * wide_BSH.to(hidden_BSH.dtype)
        return normed


def _table(num_rows: int, width: int) -> nn.Embedding:
    """Return a table not yet filled; drawing its numbers on the meta device would import torch's compiler."""
    return nn.Embedding(num_rows, width, _weight=torch.empty(num_rows, width))


def _dense(inner: int, width: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=eps)})
