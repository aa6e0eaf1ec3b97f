"""What `review_prompts.py` computes: cells on disk, each made once, of gradients and of losses per user."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from warmprompt.files import write_atomic
from warmprompt.meta.learner import LearnerState
from warmprompt.meta.text_likelihood import TextModel, pack_texts, token_losses, user_losses

CHUNK = 8
Reviews = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Cells:
    """A folder of arrays; what is there is read, what is missing is made and written in one piece."""

    folder: Path

    def check(self, settings: dict[str, Any]) -> None:
        """Note the settings that all cells are made with, or stop where others are noted."""
        file, text = self.folder / "settings.json", json.dumps(settings)
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(file, text.encode())
        if file.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{file} notes other settings than {text}; name another folder by --cells.")

    def array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of this name."""
        file = self.folder / f"{name}.npy"
        if not file.is_file():
            buffer = io.BytesIO()
            np.save(buffer, make())
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, buffer.getvalue())
            print("made", name, flush=True)
        found: np.ndarray = np.load(file)
        return found

    def save_state(self, name: str, state: LearnerState) -> None:
        """Write a learner's state."""
        parts = {"params": state.params, "first": state.first, "second": state.second}
        tensors = {
            f"{part}/{key}": value.contiguous() for part, held in parts.items() for key, value in held.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors["step"] = torch.tensor(state.step)
        write_atomic(self.folder / f"{name}.safetensors", save_tensors(tensors))

    def state(self, name: str) -> LearnerState | None:
        """Return a learner's state; None where there is none yet."""
        file = self.folder / f"{name}.safetensors"
        if not file.is_file():
            return None
        tensors = load_tensors(file.read_bytes())
        parts: dict[str, dict[str, Tensor]] = {"params": {}, "first": {}, "second": {}}
        for key, value in tensors.items():
            part, _, name_of = key.partition("/")
            if name_of:
                parts[part][name_of] = value
        return LearnerState(**parts, step=int(tensors["step"]))


def review_gradients(lm: TextModel, prompt_PH: Tensor, users: Sequence[Reviews]) -> np.ndarray:
    """Return the gradient of every review's loss per token at one prompt, (users, reviews, P H).

    All users have as many reviews.
    """
    rows = [review for reviews in users for review in reviews]
    found = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        prompts = prompt_PH.expand(len(part), -1, -1).clone().requires_grad_()
        losses = user_losses(lm, pack_texts([[row] for row in part]), prompts)
        (gradient,) = torch.autograd.grad(losses.sum(), prompts)
        found.append(gradient.flatten(1).numpy())
    return np.concatenate(found).reshape(len(users), -1, prompt_PH.numel()).astype(np.float32)


@torch.no_grad()
def query_losses(lm: TextModel, prompts_BPH: Tensor, queries: Reviews) -> np.ndarray:
    """Return each user's loss per token on the query, (B,)."""
    found: np.ndarray = user_losses(lm, pack_texts([[one] for one in queries]), prompts_BPH).double().numpy()
    return found


@torch.no_grad()
def pasted_losses(
    lm: TextModel, supports: Sequence[Reviews], queries: Reviews, prompt_PH: Tensor | None = None
) -> np.ndarray:
    """Return each user's loss on the query behind the texts of a support and, where given, a prompt, (B,).

    The texts are set apart by blank lines. One user at a time: contexts differ in length.
    """
    gap_GH = lm.embed(lm.ids("\n\n"))
    losses = []
    for support, query in zip(supports, queries, strict=True):
        parts = [gap_GH, *(part for review in support for part in (lm.embed(review), gap_GH))]
        context_1SH = torch.cat([*parts, *([] if prompt_PH is None else [prompt_PH])])[None]
        losses.append(token_losses(lm, context_1SH, torch.tensor([list(query)])).mean().item())
    return np.array(losses)
