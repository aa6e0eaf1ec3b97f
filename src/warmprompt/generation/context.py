"""What the language model reads before it writes: a chat whose words are the user's and whose prompt is too.

P is prompt vectors, T positions, H hidden width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.adaptation.events import user_text
from warmprompt.adaptation.explain import likes
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.backbone.readout import prompts_at
from warmprompt.errors import MismatchError
from warmprompt.generation.lm import LanguageModel
from warmprompt.types import Event

MOST_TITLES = 20
"""Titles of each kind that a context names, the latest ones."""
DISLIKED_SHARE = 0.25
"""Below this share of the rating scale an event counts as disliked."""

_SYSTEM = "You know a catalogue well and recommend titles from it."
_CONTENT = "\ue000"
_ARTICLES = "The|A|An|Le|La|Les|L'|Il|Lo|Gli|Der|Die|Das|El|Los|Las|Un|Une"
_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")


@dataclass(frozen=True, kw_only=True)
class Tastes:
    """What a user's events say, by title as spoken.

    Attributes:
        liked, disliked: Rated in the highest or the lowest quarter of the scale; events without a rating
            are liked.
    """

    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()


def spoken(title: str) -> str:
    """Return a title as people say it: "Usual Suspects, The (1995)" is "The Usual Suspects"."""
    bare = " ".join(_YEAR.sub("", title).split())
    moved = re.fullmatch(rf"(.+), ({_ARTICLES})", bare)
    if moved is None:
        return bare or title
    return f"{moved[2]}{'' if moved[2].endswith(chr(39)) else ' '}{moved[1]}"


def opinion(event: Event, scale: tuple[float, float] | None) -> str:
    """Return `liked`, `disliked` or `met` for the opinion that an event implies of its item."""
    if likes(event, scale):
        return "liked"
    assert event.rating is not None
    assert scale is not None
    share = (event.rating - scale[0]) / (scale[1] - scale[0])
    return "disliked" if share < DISLIKED_SHARE else "met"


def tastes_of(model: Personaliser, state: UserState) -> Tastes:
    """Return the titles that a user's latest events speak for and against."""
    named: dict[str, list[str]] = {"liked": [], "disliked": [], "met": []}
    for event in state.events:
        named[opinion(event, model.rating_scale)].append(spoken(model.title(event.item)))
    return Tastes(
        liked=tuple(named["liked"][-MOST_TITLES:]), disliked=tuple(named["disliked"][-MOST_TITLES:])
    )


def user_context(
    lm: LanguageModel, model: Personaliser, state: UserState | None, *, task: str, steered: bool = True
) -> Tensor:
    """Return the input embeddings of a chat that asks for `task` for one user, (T, H).

    The order is that of ranking: who the person is, the person's soft prompt, what they like. Words of
    users and of the catalogue are read as plain text, so none of them can end the message.

    Args:
        lm: The model.
        model: The trained model that adapted the state.
        state: The user; None means nobody in particular, with the reference prompt.
        task: What is asked for.
        steered: False puts the reference prompt instead of the user's own.

    Raises:
        MismatchError: Another model made the state.
    """
    if state is not None and state.model_hash != model.model_hash:
        raise MismatchError(
            field="model of the user state",
            value=state.model_hash[:12],
            remedy=f"This model is {model.model_hash[:12]}: adapt the user again from state.events.",
        )
    tastes = Tastes() if state is None else tastes_of(model, state)
    text = "" if state is None else user_text(state.about, state.attributes)
    read = model.engine.trained.readout
    if state is None or not steered:
        prompt_PH = read.reference_PH
    else:
        offsets_PH = model.with_prompt(state).offsets_PH
        prompt_PH = prompts_at(read, torch.tensor(offsets_PH)[None])[0]
    likes = f" likes {'; '.join(tastes.liked)}." if tastes.liked else ""
    dislikes = f" dislikes {'; '.join(tastes.disliked)}." if tastes.disliked else ""
    return _embed(lm, [f"About this person: {text}", prompt_PH, f"{likes}{dislikes}\n{task}"])


def _embed(lm: LanguageModel, content: Sequence[str | Tensor]) -> Tensor:
    head, tail = _chat(lm)
    first = lm.tokenizer(head, add_special_tokens=False)["input_ids"]
    last = lm.tokenizer(tail, add_special_tokens=False)["input_ids"]
    parts = [lm.embed(lm.ids(part)) if isinstance(part, str) else part for part in content]
    dtype = lm.model.dtype
    joined = [lm.embed(first), *parts, lm.embed(last)]
    return torch.cat([part.to(device=lm.device, dtype=dtype) for part in joined if len(part)])


def _chat(lm: LanguageModel) -> tuple[str, str]:
    """Return what the model's chat puts before and behind a message; a plain line where it has no chat."""
    if not lm.tokenizer.chat_template:
        return "", "\n"
    chat = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _CONTENT}]
    rendered = lm.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    head, _, tail = str(rendered).partition(_CONTENT)
    return head, tail
