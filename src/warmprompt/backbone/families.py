"""Which transformers models can be used: judged by their configuration, then proven by a few short passes.

Everything but `prove` reads a configuration alone, so a model that cannot work is refused before its weights
or any text are read. B is texts, S tokens, E width of the embeddings, H width of the hidden states.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from warmprompt.backbone.catalogue import Kind
from warmprompt.errors import BadInputError, NotFiniteError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Attention = Literal["sdpa", "eager"]

_LAYER_LISTS = (
    "layers",
    "encoder.layer",
    "encoder.albert_layer_groups",
    "transformer.layer",
    "decoder.layers",
    "h",
    "block",
    "blocks",
)
# What families apply behind the last layer; a model that is cut does without.
_AFTER_LAYERS = ("norm", "final_norm", "ln_f", "final_layernorm", "final_layer_norm", "project_out")
# Families that number positions from one behind the padding token's id.
_POSITIONS_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
_NAME_ANOTHER = "Name a causal language model with attention in every layer, or an encoder of the BERT kind."
_PROBE_TOKENS = 6
# Sums in another order, relative to the states' length; bfloat16 keeps eight bits of each product.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a configuration says of a model.

    Attributes:
        kind: `decoder` or `encoder`.
        num_layers: Layers that the whole model has.
        max_tokens: Tokens that it can tell apart by position in one input, a decoder's sliding window
            included; None without such a limit.
        attention: The attention that its family has, `sdpa` where it was asked for and exists.
    """

    kind: Kind
    num_layers: int
    max_tokens: int | None
    attention: Attention


def shape_of(config: PreTrainedConfig, name: str, *, attention: Attention = "sdpa") -> Shape:
    """Return what a model is like, from its configuration alone.

    Raises:
        BadInputError: It is neither a causal language model nor an encoder of the BERT kind, or it keeps
            no keys and values, or takes no embeddings; the remedy says which.
    """
    from transformers import MODEL_MAPPING

    kind = kind_of(config, name)
    num_layers = getattr(config, "num_hidden_layers", None)
    family = cast("type[PreTrainedModel] | None", MODEL_MAPPING.get(type(config), None))
    if family is None or not isinstance(num_layers, int):
        raise _refused(config, name, "It is not a model of text alone.")
    if kind == "decoder" and _is_recurrent(config, family):
        raise _refused(
            config,
            name,
            "Some of its layers carry a running state instead of keys and values, so a text that was read "
            "once cannot stand before each prompt.",
        )
    if "inputs_embeds" not in inspect.signature(family.forward).parameters:
        raise _refused(config, name, "It takes token ids alone, and a prompt has none.")
    return Shape(
        kind=kind,
        num_layers=num_layers,
        max_tokens=_max_tokens(config, kind),
        attention=attention if family._supports_sdpa else "eager",  # noqa: SLF001 - the library has no other way
    )


def kind_of(config: PreTrainedConfig, name: str) -> Kind:
    """Tell a causal language model from an encoder by its configuration.

    Raises:
        BadInputError: Neither, such as a model of the T5 family, its encoder alone included.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    if config.is_encoder_decoder or config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise _refused(
            config, name, "Its family has an encoder and a decoder, and neither half is read by itself."
        )
    architectures = config.architectures or []
    if any(one.endswith(("ForCausalLM", "LMHeadModel")) for one in architectures):
        return "decoder"
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    raise _refused(config, name, "The transformers library knows it as neither.")


def check_depth(num_layers: int | None, total: int, name: str) -> int:
    """Return how many layers are kept: all, or as many as asked for.

    Raises:
        BadInputError: More than there are, or fewer than one.
    """
    if num_layers is None:
        return total
    if not 1 <= num_layers <= total:
        remedy = f"Choose 1 to {total} for {name} (--layers)."
        raise BadInputError(field="backbone.num_layers", value=num_layers, remedy=remedy)
    return num_layers


def shorten_config(config: PreTrainedConfig, num_layers: int) -> None:
    """Change a configuration, in place, to that of the model's first layers."""
    config.num_hidden_layers = num_layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:num_layers]


def cut_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Keep the first layers of a base model, in place, and drop what follows the last one.

    Raises:
        BadInputError: The model's list of layers is not where models of its kind have it.
    """
    path = _layers_path(model)
    if path is None:
        raise _uncuttable(model)
    owner, _, attribute = path.rpartition(".")
    parent = model.get_submodule(owner)
    setattr(parent, attribute, getattr(parent, attribute)[:num_layers])
    shorten_config(model.config, num_layers)
    for holder in {parent, model}:
        for after in _AFTER_LAYERS:
            if isinstance(getattr(holder, after, None), nn.Module):
                setattr(holder, after, nn.Identity())


@torch.no_grad()
def prove(model: PreTrainedModel, *, kind: Kind, name: str, cut: bool) -> int:
    """Run a few tokens through a loaded model in the ways that the package does; return the width H.

    Padding must change nothing, nor may reusing a text's keys and values; a cut model must return what its
    last layer says. So a family that is unlike the tested ones works or is refused, but is never wrong.

    Args:
        model: Frozen, in evaluation mode.
        kind: What its configuration says it is.
        name: For the error.
        cut: Whether layers were left out.

    Raises:
        BadInputError: The model cannot run so, or the ways differ.
        NotFiniteError: Its states are NaN or infinite.
    """
    table = cast("nn.Embedding", model.get_input_embeddings())
    ids_1S = torch.linspace(0, table.num_embeddings - 1, _PROBE_TOKENS).long()[None].to(model.device)
    rows_1SE = table(ids_1S)
    try:
        whole_1SH = model(inputs_embeds=rows_1SE, attention_mask=torch.ones_like(ids_1S)).last_hidden_state
        again_TH = (_reused if kind == "decoder" else _padded)(model, rows_1SE)
        last_1SH = _last_layer(model, rows_1SE) if cut else whole_1SH
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise _refused(
            model.config, name, f"It cannot carry a prompt ({' '.join(str(error).split())[:120]})."
        ) from error
    if not torch.isfinite(whole_1SH).all():
        raise NotFiniteError(field="backbone", value=name, remedy="Choose float32, or another model.")
    allowed = _TOLERANCE.get(whole_1SH.dtype, 1e-3) * whole_1SH.norm()
    if (again_TH - whole_1SH[0, -len(again_TH) :]).norm() > allowed:
        what = "reusing a text's keys and values" if kind == "decoder" else "padding"
        raise _refused(model.config, name, f"Its states depend on {what}.")
    if (last_1SH - whole_1SH).norm() > allowed:
        raise _uncuttable(model)
    return int(whole_1SH.shape[-1])


def _reused(model: PreTrainedModel, rows_1SE: Tensor) -> Tensor:
    """Return the states of the second half behind the first, read before, with padding between, (T, H)."""
    half = _PROBE_TOKENS // 2
    text, tail = rows_1SE[:, :half], rows_1SE[:, half:]
    padded = torch.cat([text, rows_1SE[:, :2]], dim=1)
    mask = torch.tensor([[1] * half + [0, 0]], device=rows_1SE.device)
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model(inputs_embeds=padded, attention_mask=mask, past_key_values=cache, use_cache=True)
    states: Tensor = model(
        inputs_embeds=tail,
        attention_mask=torch.cat([mask, torch.ones_like(mask[:, :half])], dim=1),
        position_ids=torch.arange(half, 2 * half, device=rows_1SE.device)[None],
        past_key_values=cache,
        use_cache=False,
    ).last_hidden_state[0]
    return states


def _padded(model: PreTrainedModel, rows_1SE: Tensor) -> Tensor:
    """Return the states of an input in one batch with a longer one, (S, H)."""
    longer = torch.cat([rows_1SE, rows_1SE[:, :2]], dim=1)
    mask = torch.ones((2, longer.shape[1]), dtype=torch.long, device=rows_1SE.device)
    mask[0, _PROBE_TOKENS:] = 0
    states: Tensor = model(inputs_embeds=longer.expand(2, -1, -1), attention_mask=mask).last_hidden_state
    return states[0, :_PROBE_TOKENS]


def _last_layer(model: PreTrainedModel, rows_1SE: Tensor) -> Tensor:
    """Return what the last layer kept says, (1, S, H), whatever the model does behind it."""
    path = _layers_path(model)
    if path is None:
        raise _uncuttable(model)
    said: list[Tensor] = []

    def note(_module: object, _args: object, output: Any) -> None:
        said.append(output[0] if isinstance(output, tuple) else output)

    last = list(model.get_submodule(path).children())[-1]
    handle = last.register_forward_hook(note)
    try:
        model(inputs_embeds=rows_1SE, attention_mask=torch.ones_like(rows_1SE[..., 0], dtype=torch.long))
    finally:
        handle.remove()
    return said[-1]


def _layers_path(model: PreTrainedModel) -> str | None:
    modules = dict(model.named_modules())
    return next((path for path in _LAYER_LISTS if isinstance(modules.get(path), nn.ModuleList)), None)


def _is_recurrent(config: PreTrainedConfig, family: type[PreTrainedModel]) -> bool:
    types = set(getattr(config, "layer_types", None) or ())
    attending = {"full_attention", "sliding_attention", "chunked_attention"}
    return bool(getattr(family, "_is_stateful", False)) or not types <= attending


def _max_tokens(config: PreTrainedConfig, kind: Kind) -> int | None:
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and config.model_type in _POSITIONS_BEHIND_PADDING:
        # MPNet takes 1 for the padding token's id, whatever the configuration says.
        positions -= max(getattr(config, "pad_token_id", None) or 0, 1) + 1
    windows: list[Any] = []
    if kind == "decoder":
        windows = [getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)]
        if "local" in (getattr(config, "attention_layers", None) or ()):
            windows.append(getattr(config, "window_size", None))
    limits = [one for one in (positions, *windows) if isinstance(one, int) and one > 0]
    return min(limits, default=None)


def _refused(config: PreTrainedConfig, name: str, reason: str) -> BadInputError:
    return BadInputError(
        field="backbone", value=f"{name} ({config.model_type})", remedy=f"{reason} {_NAME_ANOTHER}"
    )


def _uncuttable(model: PreTrainedModel) -> BadInputError:
    return BadInputError(
        field="backbone.num_layers",
        value=type(model).__name__,
        remedy="Use all layers (--set backbone.num_layers=): where this family's layers end is not known.",
    )
