"""Adaptation to variants of one user, as explanations need them: all inputs but one.

Each distinct text is read once. How the model answers behind a text (`InverseResponse`) is measured for the
whole text alone; it serves as it is where the text is the same, and finds the answer of texts with a word
less where it is not (`backbone.response_cg`). So a variant's state is that of a user without that input.

R is the whole user and its variants, D factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from warmprompt.adaptation.engine import Engine, encode
from warmprompt.adaptation.events import Known
from warmprompt.adaptation.many_users import for_each_user
from warmprompt.adaptation.state import UserState, states_of
from warmprompt.backbone.forward import TextPrefix, text_rows
from warmprompt.backbone.readout import InverseResponse
from warmprompt.backbone.response_cg import apply_inverse_response
from warmprompt.data.episodes import batch_supports
from warmprompt.meta.objectives import LearnedTarget
from warmprompt.meta.predict import Adapted, EncodedTexts, adapt_users
from warmprompt.types import Support

if TYPE_CHECKING:
    from warmprompt.adaptation.personaliser import Personaliser

_CHUNK = 64


def states_of_variants(model: Personaliser, users: Sequence[Known]) -> list[UserState]:
    """Return the states of one user, the first, and of variants of that user's inputs, 64 in each pass.

    States are those of `Personaliser.adapt_many`, texts that differ from the first one's to a thousandth of
    their move; how the model answers behind a text is measured for the first alone.

    Raises:
        UnknownNameError, BadInputError: As `Personaliser.adapt_many`.
    """
    engine = model.engine
    if engine.linear:
        return model.adapt_many(users)
    checked = for_each_user(users, model.checked)
    text = checked[0].text
    whole = (model.texts.peek(text) if text else engine.no_text) or encode(engine, [text])
    states: list[UserState] = []
    for part in (checked[start : start + _CHUNK] for start in range(0, len(checked), _CHUNK)):
        texts = [known.text for known in part]
        supports = [model.support_of(known) for known in part]
        adapted = adapt_variants(engine, texts, supports, whole=text, response=whole.responses[0])
        states += states_of(part, adapted.users_BD, adapted.offsets_BPH, model_hash=model.model_hash)
    return states


def adapt_variants(
    engine: Engine,
    texts: Sequence[str],
    supports: Sequence[Support],
    *,
    whole: str,
    response: InverseResponse,
) -> Adapted:
    """Adapt every row from the learned start, in one batch.

    Args:
        engine: The model.
        texts: The users' texts.
        supports: The users' events.
        whole: The text that the others are variants of.
        response: Of the whole text.
    """
    distinct = list(dict.fromkeys(texts))
    once = encode(engine, distinct)
    at_R = torch.tensor([distinct.index(text) for text in texts], device=once.reference_BH.device)
    return adapt_users(
        engine.catalogue,
        engine.learner,
        engine.backbone,
        engine.trained.readout,
        texts=_rows(once, at_R),
        events=batch_supports(supports),
        apply_inverse=_turn(
            engine, once.prefix, distinct, at_R, {whole: response, "": engine.no_text.responses[0]}
        ),
    )


def _turn(
    engine: Engine, prefix: TextPrefix, texts: Sequence[str], at_R: Tensor, known: dict[str, InverseResponse]
) -> Callable[[Tensor], Tensor] | None:
    """Return what turns gaps, (R, D), as each row's own text does; None where learners have no targets.

    Args:
        engine: The model.
        prefix: The distinct texts, read.
        texts: The same, as words.
        at_R: Which of them each row has.
        known: Metrics that need no search; the first is of the text that the others are like.
    """
    if engine.learner.objective is not LearnedTarget:
        return None
    nearby = next(iter(known.values()))
    searched = [row for row, position in enumerate(at_R.tolist()) if texts[position] not in known]

    def turn(gap_RD: Tensor) -> Tensor:
        turned_RD = gap_RD @ nearby.get()
        for text, response in known.items():
            if text in texts:
                rows_R = at_R == texts.index(text)
                turned_RD[rows_R] = gap_RD[rows_R] @ response.get()
        if searched:
            own = text_rows(prefix, at_R[searched])
            turned_RD[searched] = apply_inverse_response(
                engine.backbone, engine.trained.readout, own, gap_RD[searched], metric_DD=nearby.get()
            )
        return turned_RD

    return turn


def _rows(texts: EncodedTexts, at_R: Tensor) -> EncodedTexts:
    return EncodedTexts(
        prefix=text_rows(texts.prefix, at_R),
        reference_BH=texts.reference_BH[at_R],
        features_BT=texts.features_BT[at_R],
        responses=tuple(texts.responses[position] for position in at_R.tolist()),
    )
