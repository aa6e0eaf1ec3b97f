"""Learned prompts as folders that Hugging Face PEFT reads, and such folders read back.

    adapter_config.json         PEFT's PromptTuningConfig
    adapter_model.safetensors   "prompt_embeddings", (P, H)

P is prompt vectors, H the model's hidden width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from warmprompt.errors import BadInputError, IntegrityError, UnknownNameError
from warmprompt.files import new_folder

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_EMBEDDINGS = "prompt_embeddings"


def export_peft(folder: Path, prompt_PH: Tensor, *, base_model: str, overwrite: bool = False) -> None:
    """Write a prompt as a PEFT prompt-tuning adapter, whole or not at all.

    PEFT feeds the whole model `[prompt][text]`, whereas warmprompt reads `[text][prompt][read-out]` after the
    first layers: the vectors are the same, what they stand before is not. An exported prompt is for use
    with PEFT, and for moving prompts between programs; it does not reproduce rankings there.

    Args:
        folder: Made; a folder with something in it only with `overwrite`.
        prompt_PH: As it enters the model beside token embeddings, not as an offset from the reference.
        base_model: Hub id or folder of the causal language model it was learned for.
        overwrite: Replace what is there.

    Raises:
        BadInputError: The prompt is no finite matrix, or the folder is taken.
        StorageError: The disk is full or the place may not be written.
    """
    _check_prompt(prompt_PH)
    config = {
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": prompt_PH.shape[0],
        "peft_type": "PROMPT_TUNING",
        "prompt_tuning_init": "RANDOM",
        "task_type": "CAUSAL_LM",
        "token_dim": prompt_PH.shape[1],
    }
    plain_PH = prompt_PH.detach().cpu().float().contiguous().clone()
    with new_folder(folder, overwrite=overwrite) as part:
        (part / WEIGHTS).write_bytes(save({_EMBEDDINGS: plain_PH}, metadata={"format": "pt"}))
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def import_peft(folder: Path) -> Tensor:
    """Return the prompt of a PEFT prompt-tuning folder, (P, H) float32.

    PEFT puts it before the text; see `export_peft`. Weights in pickled files are not read.

    Raises:
        UnknownNameError: No such folder, or no adapter in it.
        BadInputError: An adapter of another kind, or a prompt that is no finite matrix.
        IntegrityError: A file is cut short, or its shape is not the one in the configuration.
    """
    if not (folder / CONFIG).is_file():
        raise UnknownNameError(
            field="PEFT folder", value=folder, remedy=f"Name a folder with {CONFIG} and {WEIGHTS}."
        )
    config = _read_config(folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise UnknownNameError(
            field="PEFT folder", value=folder, remedy=f"It has no {WEIGHTS}; save it as safetensors again."
        )
    try:
        tensors = load((folder / WEIGHTS).read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(folder / WEIGHTS, str(error)) from error
    if set(tensors) != {_EMBEDDINGS}:
        names = ", ".join(sorted(tensors))
        raise BadInputError(
            field=WEIGHTS,
            value=names,
            remedy=f"Give a prompt-tuning adapter, which holds {_EMBEDDINGS} alone.",
        )
    prompt_PH = tensors[_EMBEDDINGS].float()
    stated = (config["num_virtual_tokens"], config["token_dim"])
    if tuple(prompt_PH.shape) != stated:
        raise _damaged(folder / WEIGHTS, f"shape {tuple(prompt_PH.shape)}, {CONFIG} says {stated}")
    _check_prompt(prompt_PH)
    return prompt_PH


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "PROMPT_TUNING":
        raise BadInputError(
            field="peft_type", value=kind, remedy="Give a prompt-tuning adapter (peft_type PROMPT_TUNING)."
        )
    if config.get("num_transformer_submodules") not in (1, None):
        raise BadInputError(
            field="num_transformer_submodules",
            value=config["num_transformer_submodules"],
            remedy="Give the adapter of a causal language model or an encoder.",
        )
    if not all(isinstance(config.get(key), int) for key in ("num_virtual_tokens", "token_dim")):
        raise _damaged(path, "num_virtual_tokens or token_dim is missing")
    return dict(config)


def _check_prompt(prompt_PH: Tensor) -> None:
    if prompt_PH.ndim != 2 or not prompt_PH.numel():
        raise BadInputError(
            field="prompt", value=tuple(prompt_PH.shape), remedy="Give one vector per prompt token, (P, H)."
        )
    if not torch.isfinite(prompt_PH).all():
        raise BadInputError(field="prompt", value="NaN or infinite", remedy="Give finite vectors.")


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        field=f"damaged {path.name}", value=what, remedy=f"Save the adapter in {path.parent} again."
    )
