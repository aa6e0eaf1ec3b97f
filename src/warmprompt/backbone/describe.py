"""What is known of a backbone before its weights are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from warmprompt.backbone.catalogue import KNOWN
from warmprompt.backbone.families import check_depth
from warmprompt.backbone.fast_tokenizer import FastTokenizer
from warmprompt.backbone.fetch import read_manifest
from warmprompt.backbone.load import load_backbone, native_source
from warmprompt.types import short_repr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class BackboneInfo:
    """What is known of a backbone without its weights in memory.

    Attributes:
        name: As given to `describe_backbone`.
        num_layers: Layers that would be kept.
        hidden_size: Width H.
        weights_hash: As `Backbone`.
        tokenizer: As `Backbone`.
    """

    name: str
    num_layers: int
    hidden_size: int
    weights_hash: str
    tokenizer: PreTrainedTokenizerBase

    __repr__ = short_repr


def describe_backbone(name: str, *, num_layers: int | None = None, home: Path | None = None) -> BackboneInfo:
    """Return what `load_backbone` would say of a backbone, without reading its weights where that can be.

    A backbone that `native` reads is described from its configuration and its manifest; of any other
    only its weights tell the width, so it is loaded, and left again.

    Args:
        name: As `load_backbone`.
        num_layers: As `load_backbone`.
        home: As `load_backbone`.

    Raises:
        UnknownNameError, BadInputError, FetchError, IntegrityError, StorageError: As `load_backbone`.
    """
    native = native_source(name, home=home)
    if native is None:
        backbone = load_backbone(name, num_layers=num_layers, home=home)
        return BackboneInfo(
            name=name,
            num_layers=backbone.num_layers,
            hidden_size=backbone.hidden_size,
            weights_hash=backbone.weights_hash,
            tokenizer=backbone.tokenizer,
        )
    folder, _ = native
    return BackboneInfo(
        name=name,
        num_layers=check_depth(num_layers, KNOWN[name].num_layers, name),
        hidden_size=KNOWN[name].hidden_size,
        weights_hash=str(read_manifest(folder)["weights_hash"]),
        tokenizer=cast("PreTrainedTokenizerBase", FastTokenizer(folder)),
    )
