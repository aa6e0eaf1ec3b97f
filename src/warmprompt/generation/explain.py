"""Why an item is there: exact effects, and one sentence that has been checked against them.

The sentence is written by the language model, steered by the user's own soft prompt, and can only be one of
the grammar's; it is read back and checked all the same, and a template is used where the check fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from warmprompt.adaptation.explain import (
    Attribution,
    EventEffect,
    ExpertPart,
    Neighbour,
    WordEffect,
    attribute,
)
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.generation.check import Claim, claims_of
from warmprompt.generation.context import user_context
from warmprompt.generation.facts import Facts
from warmprompt.generation.lm import LanguageModel, read_contexts, repeat_context
from warmprompt.generation.search import Scoring, beam_search
from warmprompt.generation.sentences import sentences_for, template_for
from warmprompt.generation.trie import make_trie
from warmprompt.types import ItemId, short_repr

TASK = "Say in one sentence why a title is suggested to this person."
_WIDTH = 2
# Most of a sentence is titles and set phrases without a choice: they run in few passes.
_STRIDE = 16


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an item has its rank.

    Attributes:
        item: Its id.
        title: Its title.
        score: Its score less the catalogue's mean.
        rank: Its position in the user's ranking, 1 the best.
        experts: What each expert adds to the score, largest first.
        events: What each event did for it, largest effect first; see `adaptation.explain`.
        words: What each attribute and word about the user did, likewise.
        nearest: The nearest items that the user likes.
        sentence: In words.
        how: Who wrote it: the language model, or the template.
        checks: The claims of what the language model wrote, or of the template where it was not asked;
            with `how` `template` after the model, those say why its sentence was refused.
    """

    item: ItemId
    title: str
    score: float
    rank: int
    experts: tuple[ExpertPart, ...]
    events: tuple[EventEffect, ...]
    words: tuple[WordEffect, ...]
    nearest: tuple[Neighbour, ...]
    sentence: str
    how: Literal["model", "template"]
    checks: tuple[Claim, ...]

    __repr__ = short_repr


def explain(
    model: Personaliser,
    state: UserState,
    items: Sequence[ItemId],
    facts: Facts,
    *,
    writer: LanguageModel | None = None,
) -> list[Explanation]:
    """Explain items of a user's ranking.

    All omissions run in one batch, whatever the number of items, and so do all sentences.

    Args:
        model: The model that adapted the state.
        state: The user.
        items: Items to explain; none of the user's own.
        facts: Of the catalogue.
        writer: Writes the sentences; None leaves that to the template.

    Raises:
        MismatchError, UnknownNameError, BadInputError: As `adaptation.explain.attribute`.
    """
    attributions = attribute(model, state, items)
    if writer is None:
        return [_explanation(one, facts, model, written=None) for one in attributions]
    written = write_sentences(
        writer, model, state, [sentences_for(one, facts, model.rating_scale) for one in attributions]
    )
    return [
        _explanation(one, facts, model, written=sentence)
        for one, sentence in zip(attributions, written, strict=True)
    ]


def write_sentences(
    writer: LanguageModel,
    model: Personaliser,
    state: UserState,
    choices: Sequence[Sequence[str]],
    *,
    steered: bool = True,
) -> list[str]:
    """Let the language model choose a sentence from each list, by its mean log-probability per token.

    Args:
        writer: The model with all its layers.
        model: The model that adapted the state.
        state: The user.
        choices: Per item, the sentences that may be written.
        steered: False leaves the user's soft prompt out.
    """
    tries = [make_trie([writer.ids(one) for one in own], end_id=writer.end_id) for own in choices]
    context = user_context(writer, model, state, task=TASK, steered=steered)
    tree = repeat_context(read_contexts(writer, [context]), len(tries))
    found = beam_search(writer, tree, tries, width=_WIDTH, scoring=Scoring(length_power=1.0), stride=_STRIDE)
    return [own[trie.texts[texts[0].node][0]] for own, trie, texts in zip(choices, tries, found, strict=True)]


def _explanation(
    attribution: Attribution, facts: Facts, model: Personaliser, *, written: str | None
) -> Explanation:
    scale = model.rating_scale
    template = template_for(attribution, facts, scale)
    checks = claims_of(template if written is None else written, attribution, facts, scale)
    is_true = all(claim.holds for claim in checks)
    return Explanation(
        **vars(attribution),
        sentence=written if written is not None and is_true else template,
        how="model" if written is not None and is_true else "template",
        checks=checks,
    )
