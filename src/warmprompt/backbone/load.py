"""A frozen language model in memory, cut to the layers that are read.

The model's input may be token ids or, for soft prompts, embeddings; its output
is the hidden state after the last layer kept. B is texts, T tokens, H width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from warmprompt.backbone.catalogue import KNOWN, Kind
from warmprompt.backbone.families import Attention, check_depth, cut_layers, prove, shape_of, shorten_config
from warmprompt.backbone.fetch import config_folder, read_backbone_manifest, resolve_folder
from warmprompt.backbone.hashed_files import MANIFEST
from warmprompt.backbone.hashing import hash_folder, hash_weights
from warmprompt.backbone.quiet import quiet
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.types import short_repr

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda"]

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Backbones that pickles were opened with: a worker that is sent a model per task opens its weights once.
_IN_USE: WeakValueDictionary[tuple[tuple[str, Any], ...], Backbone] = WeakValueDictionary()


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen language model and what belongs to it.

    Attributes:
        name: As given to `load_backbone`.
        kind: `decoder` attends to the left only, `encoder` to both sides.
        model: Base model without a language-model head, in evaluation mode, no parameter requiring a
            gradient. Its `last_hidden_state` is the hidden state after `num_layers` layers; the final
            norm is applied only when all layers are kept.
        tokenizer: With the special tokens the model was trained with (`tokenizer(text)` adds them).
        hidden_size: Width H of the hidden states; a family may have embeddings of another width.
        num_layers: Layers kept.
        total_layers: Layers the model has on disk.
        max_tokens: Tokens that the model can tell apart in one input; None without such a limit.
        dtype: Of the weights in memory.
        device: Where they lie.
        attention: `eager` can be differentiated twice everywhere, `sdpa` is faster; some families have
            `eager` alone.
        weights_hash: SHA-256 over names and bytes of all weights at rest, whatever was cut or cast.
        trained: False for the random models that only tests should use.
    """

    name: str
    kind: Kind
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    hidden_size: int
    num_layers: int
    total_layers: int
    max_tokens: int | None
    dtype: torch.dtype
    device: torch.device
    attention: Attention
    weights_hash: str
    trained: bool

    __repr__ = short_repr

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: frozen weights are opened again where the pickle is read, and checked."""
        arguments = {
            "name": self.name,
            "num_layers": self.num_layers,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "attention": self.attention,
        }
        return _reopened, (tuple(arguments.items()), self.weights_hash)

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Return the input embeddings of token ids, (B, T, E), with the scaling that the model expects.

        Encoders add positions and segments inside the model, also to embeddings passed in.
        """
        embeddings: Tensor = self.model.get_input_embeddings()(ids_BT)
        return embeddings


def load_backbone(
    name: str,
    *,
    num_layers: int | None = None,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attention: Attention = "sdpa",
    home: Path | None = None,
) -> Backbone:
    """Load a frozen backbone, fetching a known one on first use.

    Args:
        name: A known name, a model folder, or a Hugging Face id.
        num_layers: Keep the first n layers, at least 1; None keeps all. Only their weights are read.
        dtype: Type of the weights in memory.
        device: `cpu` or `cuda`.
        attention: `eager` for exact second derivatives; what the family has where it has no `sdpa`.
        home: Cache folder; see `fetch.cache_home`.

    Raises:
        UnknownNameError: The name is none of the three.
        BadInputError: A setting is out of range, or the model's family cannot be used; see `families`.
        FetchError, IntegrityError, StorageError: See `fetch.get_backbone`.
    """
    _check_settings(dtype=dtype, device=device, attention=attention)
    if _is_random(name):
        from warmprompt.backbone.tiny import build_tiny

        whole, tokenizer = build_tiny(KNOWN[name].kind, attention=attention)
        model, weights_hash = cast("PreTrainedModel", whole.base_model), hash_weights(whole)
        shape = replace(shape_of(model.config, name), attention=attention)
        kept = check_depth(num_layers, shape.num_layers, name)
        if kept < shape.num_layers:
            cut_layers(model, kept)
    else:
        from transformers import AutoModel

        check_backbone(name, num_layers=num_layers)
        folder = resolve_folder(name, home=home)
        with quiet():
            config = _config_of(folder)
            shape = shape_of(config, name, attention=attention)
            kept = check_depth(num_layers, shape.num_layers, name)
            weights_hash = weights_hash_of(name, home=home)
            tokenizer = _tokenizer_of(folder)
            shorten_config(config, kept)
            model = _from_folder(AutoModel, folder, config=config, dtype=dtype, attention=shape.attention)
        if kept < shape.num_layers:
            cut_layers(model, kept)
    _freeze(model, dtype=dtype, device=device)
    if name in KNOWN:
        kind, width = KNOWN[name].kind, KNOWN[name].hidden_size
    else:
        kind, width = shape.kind, prove(model, kind=shape.kind, name=name, cut=kept < shape.num_layers)
    return Backbone(
        name=name,
        kind=kind,
        model=model,
        tokenizer=tokenizer,
        hidden_size=width,
        num_layers=kept,
        total_layers=shape.num_layers,
        max_tokens=shape.max_tokens,
        dtype=_DTYPES[dtype],
        device=torch.device(device),
        attention=shape.attention,
        weights_hash=weights_hash,
        trained=name not in KNOWN or KNOWN[name].trained,
    )


def _reopened(arguments: tuple[tuple[str, Any], ...], weights_hash: str) -> Backbone:
    """Return the backbone that was pickled; pickles of the same one share it as long as any is in use.

    Raises:
        MismatchError: Other weights lie under that name here.
    """
    shared = _IN_USE.get(arguments)
    backbone = shared if shared is not None else load_backbone(**dict(arguments))
    if backbone.weights_hash != weights_hash:
        raise MismatchError(
            field=f"weights of backbone {backbone.name}",
            value=backbone.weights_hash[:12],
            remedy=f"The pickled model was made with {weights_hash[:12]}; put the same weights there.",
        )
    _IN_USE[arguments] = backbone
    return backbone


def check_backbone(name: str, *, num_layers: int | None = None, field: str = "backbone") -> int | None:
    """Refuse a backbone that cannot work, or a depth that it does not have, from its configuration alone.

    Args:
        name: As in `load_backbone`. A known name is not fetched.
        num_layers: As in `load_backbone`.
        field: The setting that names it, for the error.

    Returns:
        How many tokens the model can tell apart in one input; None without such a limit.

    Raises:
        UnknownNameError, BadInputError, FetchError: As `load_backbone`.
    """
    if name in KNOWN:
        check_depth(num_layers, KNOWN[name].num_layers, name)
        return None
    try:
        with quiet():
            shape = shape_of(_config_of(config_folder(name)), name)
    except BadInputError as error:
        raise BadInputError(field=field, value=error.value, remedy=error.remedy) from error
    check_depth(num_layers, shape.num_layers, name)
    return shape.max_tokens


def load_causal(
    name: str,
    *,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attention: Attention = "sdpa",
    home: Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a whole causal language model with its head, frozen, and its tokenizer.

    Raises:
        BadInputError: The model is an encoder, or a setting is out of range.
        UnknownNameError, FetchError, IntegrityError, StorageError: As `load_backbone`.
    """
    _check_settings(dtype=dtype, device=device, attention=attention)
    if name in KNOWN and KNOWN[name].kind != "decoder":
        raise _not_causal(name)
    if _is_random(name):
        from warmprompt.backbone.tiny import build_tiny

        model, tokenizer = build_tiny("decoder", attention=attention)
    else:
        from transformers import AutoModelForCausalLM

        folder = resolve_folder(name, home=home)
        with quiet():
            config = _config_of(folder)
            shape = shape_of(config, name, attention=attention)
            if shape.kind != "decoder":
                raise _not_causal(name)
            model = _from_folder(
                AutoModelForCausalLM,
                folder,
                config=config,
                dtype=dtype,
                attention=shape.attention,
            )
            tokenizer = _tokenizer_of(folder)
    _freeze(model, dtype=dtype, device=device)
    return model, tokenizer


def weights_hash_of(name: str, *, home: Path | None = None) -> str:
    """Return the hash of a backbone's weights at rest without loading the model."""
    if _is_random(name):
        from warmprompt.backbone.tiny import build_tiny

        return hash_weights(build_tiny(KNOWN[name].kind)[0])
    folder = resolve_folder(name, home=home)
    if (folder / MANIFEST).is_file() and name in KNOWN:
        return str(read_backbone_manifest(folder)["weights_hash"])
    return hash_folder(folder)


def _config_of(folder: Path) -> PreTrainedConfig:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            field="backbone",
            value=f"{folder}: {error}",
            remedy="Name a folder whose config.json the transformers library knows.",
        ) from error
    return cast("PreTrainedConfig", config)


def _from_folder(
    auto: type[Any], folder: Path, *, config: PreTrainedConfig, dtype: Dtype, attention: Attention
) -> PreTrainedModel:
    """Return a model with the weights of a folder: tensor by tensor where the names fit as they are.

    The library's own way asks a thousand regular expressions how names may have changed, which takes six
    times as long as reading. It is taken where a tensor is missing under its name.
    """
    try:
        model = _directly(auto, folder, config=config, attention=attention)
        if model is not None:
            return model
        model, found = auto.from_pretrained(
            folder,
            config=config,
            dtype=_DTYPES[dtype],
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadInputError(
            field="backbone",
            value=f"{folder}: {error}",
            remedy="Name a folder with config.json and whole *.safetensors files.",
        ) from error
    # The library fills absent weights with random numbers; only the pooler, which is never used, may be.
    missing = sorted(key for key in found["missing_keys"] if "pooler." not in key)
    if missing:
        raise BadInputError(
            field="backbone",
            value=f"{folder}: no weights for {', '.join(missing)}",
            remedy="Name a folder that holds every tensor of the model.",
        )
    return cast("PreTrainedModel", model)


def _directly(
    auto: type[Any], folder: Path, *, config: PreTrainedConfig, attention: Attention
) -> PreTrainedModel | None:
    """Return the model with each tensor read under its own name; None where one is missing."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model: PreTrainedModel = auto.from_config(config, attn_implementation=attention)
    wanted = model.state_dict()
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as reader:
            for key in reader.keys():  # noqa: SIM118 - a reader is no mapping
                name = key if key in wanted else key.removeprefix(f"{model.base_model_prefix}.")
                if name in wanted:
                    found[name] = reader.get_tensor(key)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    if any(name not in found and name not in tied and "pooler." not in name for name in wanted):
        return None
    if any(found[name].shape != wanted[name].shape for name in found):
        return None
    model.load_state_dict(found, strict=False, assign=True)
    model.tie_weights()
    return model


def _tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_tokenizer(folder, error) from error
    tokenizer = cast("PreTrainedTokenizerBase", made)
    # Where the files are missing, the library makes up one that knows special tokens alone.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise _no_tokenizer(folder, "no tokenizer")
    return tokenizer


def _no_tokenizer(folder: Path, what: object) -> BadInputError:
    return BadInputError(
        field="backbone", value=f"{folder}: {what}", remedy="Name a folder with the model's tokenizer, too."
    )


def _freeze(model: PreTrainedModel, *, dtype: Dtype, device: Device) -> None:
    if getattr(model, "pooler", None) is not None:
        model.register_module("pooler", None)
    nn.Module.to(model, device=torch.device(device), dtype=_DTYPES[dtype])
    model.train(mode=False)
    model.requires_grad_(requires_grad=False)


def _is_random(name: str) -> bool:
    return name in KNOWN and not KNOWN[name].trained


def _check_settings(*, dtype: str, device: str, attention: str) -> None:
    if dtype not in _DTYPES:
        raise BadInputError(field="dtype", value=dtype, remedy="Choose float32 or bfloat16.")
    if attention not in ("sdpa", "eager"):
        raise BadInputError(field="attention", value=attention, remedy="Choose sdpa or eager.")
    if device not in ("cpu", "cuda"):
        raise BadInputError(field="device", value=device, remedy="Choose cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInputError(field="device", value=device, remedy="No CUDA device is visible; choose cpu.")


def _not_causal(name: str) -> BadInputError:
    return BadInputError(
        field="backbone", value=name, remedy="Choose a causal language model; this one is an encoder."
    )
