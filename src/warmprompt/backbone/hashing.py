"""SHA-256 over the names, types, shapes and bytes of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from warmprompt.errors import BadInputError


def hash_weights(model: nn.Module) -> str:
    """Hash every parameter and buffer of a model as it is in memory, on any device.

    Equal before and after training if and only if training left the model alone.
    """
    state = model.state_dict()
    return hash_tensors((name, state[name]) for name in sorted(state))


def hash_folder(folder: Path) -> str:
    """Hash the tensors of a folder's safetensors files by name, however they are sharded.

    Raises:
        BadInputError: No safetensors file, or a broken one.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadInputError(
            field="backbone", value=str(folder), remedy="Name a folder whose weights are *.safetensors files."
        )
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
            where = {name: reader for reader in opened for name in reader.keys()}  # noqa: SIM118
            return hash_tensors((name, where[name].get_tensor(name)) for name in sorted(where))
    except SafetensorError as error:
        raise BadInputError(
            field="backbone", value=f"{folder}: {error}", remedy="Fetch the model again: a file is damaged."
        ) from error


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hash named tensors in the order given."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
        # A tensor of one element is contiguous with any stride; bytes are seen with stride 1 alone.
        flat = tensor.detach().cpu().contiguous().as_strided((tensor.numel(),), (1,))
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
