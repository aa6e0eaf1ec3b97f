"""The tokenizer of a fetched backbone, without the transformers library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer


class FastTokenizer:
    """A tokenizer of the `tokenizers` library behind the few calls that the package makes.

    Args:
        folder: With `tokenizer.json` and `tokenizer_config.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._inner = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._inner.no_truncation()
        self._inner.no_padding()
        told = json.loads((folder / "tokenizer_config.json").read_text())
        named = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
        ids = {name: self._inner.token_to_id(told.get(f"{name}_token") or "") for name in named}
        self._ids: dict[str, int] = {name: one for name, one in ids.items() if one is not None}

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        truncation: Literal[False] = False,  # noqa: ARG002 - nothing is ever cut
        verbose: bool = False,  # noqa: ARG002 - long texts are no matter of this one
    ) -> dict[str, Any]:
        """Return token ids as `input_ids`: a list for one text, a list of lists for several."""
        if isinstance(texts, str):
            return {"input_ids": self._inner.encode(texts, add_special_tokens=add_special_tokens).ids}
        encoded = self._inner.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in encoded]}

    def __len__(self) -> int:
        """Tokens of the vocabulary, added ones included."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the special tokens that the configuration names."""
        return list(dict.fromkeys(self._ids.values()))

    @property
    def cls_token_id(self) -> int | None:
        """Id of what stands before a text, where the model has it."""
        return self._ids.get("cls")

    @property
    def sep_token_id(self) -> int | None:
        """Id of what stands behind a text, where the model has it."""
        return self._ids.get("sep")
