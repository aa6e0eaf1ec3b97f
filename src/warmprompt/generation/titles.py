"""Titles that the language model itself names for a user; it can write none but those of the catalogue.

Titles are written as people say them, without the year where it is not needed to tell two apart. A title that
is likely anyway tells little about the user, so what it gains from the user counts: its log-likelihood
behind the user's context less the one behind nobody's, which is computed once per model and catalogue and
kept on the disk.

V is items, X nodes of the trie, B users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.backbone.cache import content_key, read_vectors, write_vectors
from warmprompt.backbone.fetch import cache_home
from warmprompt.errors import BadInputError
from warmprompt.generation.context import spoken, user_context
from warmprompt.generation.likelihood import node_log_p
from warmprompt.generation.lm import LanguageModel, Tree, read_contexts
from warmprompt.generation.search import Scoring, beam_search
from warmprompt.generation.trie import TokenTrie, make_trie
from warmprompt.types import ItemId, short_repr

Doubles = NDArray[np.float64]

TASK = "Name one more title that this person would like. Answer with the title only."
WIDTH = 20
_RECIPE = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class TitleWriter:
    """A language model that can write a catalogue's titles and nothing else; make it with `title_writer`.

    Attributes:
        lm: The model.
        trie: Titles as spoken.
        items: Per text of the trie, the indexes of its items; several where titles are the very same.
        base_X: Log-probability of each node behind nobody's context.
    """

    lm: LanguageModel
    trie: TokenTrie
    items: tuple[tuple[int, ...], ...]
    base_X: Doubles

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Titles that the model has named for one user, best first.

    Attributes:
        items: Item ids, none of the user's own or hidden; they also serve as `candidates` of
            `Personaliser.rank`.
        titles: As the catalogue spells them.
        scores: By `search.Scoring`; comparable within one user.
    """

    items: tuple[ItemId, ...]
    titles: tuple[str, ...]
    scores: tuple[float, ...]


def title_writer(model: Personaliser, lm: LanguageModel, *, home: Path | None = None) -> TitleWriter:
    """Build the trie of a catalogue's titles, and read what the model expects of nobody in particular.

    The first call for a model and catalogue reads every title once; later ones find that on the disk.

    Args:
        model: Gives titles and the reference prompt.
        lm: From `open_language_model`.
        home: Cache folder; see `fetch.cache_home`.

    Raises:
        BadInputError: No item has a title.
        IntegrityError, StorageError: The cache is damaged or cannot be written.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for item, name in enumerate(spoken_titles(model.engine.trained.titles)):
        if name:
            groups.setdefault(tuple(lm.ids(name)), []).append(item)
    if not groups:
        raise BadInputError(
            field="catalogue", value="no titles", remedy="Give items titles, and train again."
        )
    trie = make_trie(list(groups), end_id=lm.end_id)
    context = user_context(lm, model, None, task=TASK)
    key = content_key(
        _RECIPE, lm.weights_hash, _digest(context), _digest(trie.token_X), _digest(trie.depth_X)
    )
    file = cache_home(home) / "titles" / f"{key[:32]}.sqlite"
    found = read_vectors(file, [key])
    if not found:
        base_X = node_log_p(lm, read_contexts(lm, [context]), trie)[0]
        found = {key: base_X.astype(np.float32)}
        write_vectors(file, found)
    return TitleWriter(
        lm=lm, trie=trie, items=tuple(map(tuple, groups.values())), base_X=found[key].astype(np.float64)
    )


def spoken_titles(titles: Sequence[str]) -> list[str]:
    """Return titles as spoken; where several items would sound the same, as the catalogue spells them."""
    plain = [spoken(title) for title in titles]
    times = Counter(plain)
    return [name if times[name] == 1 else title.strip() for name, title in zip(plain, titles, strict=True)]


def generate_titles(  # noqa: PLR0913 - who and how many, and by keyword how
    writer: TitleWriter,
    model: Personaliser,
    states: Sequence[UserState],
    n: int = 10,
    *,
    scoring: Scoring | None = None,
    width: int = WIDTH,
    steered: bool = True,
) -> list[Generated]:
    """Let the model name titles for users, by beam search over the catalogue's titles.

    Args:
        writer: From `title_writer`.
        model: The model that adapted the states.
        states: Users; they run as one batch.
        n: Titles per user at most; fewer come where the search ends with fewer.
        scoring: By default the gain over nobody's context, per token.
        width: Beams per user.
        steered: False leaves the user's soft prompt out.

    Raises:
        BadInputError: `n` or `width` below 1.
    """
    if n < 1:
        raise BadInputError(field="n", value=n, remedy="Ask for at least 1 title.")
    found = beam_search(
        writer.lm,
        _contexts(writer, model, states, steered=steered),
        [writer.trie] * len(states),
        width=width,
        scoring=scoring or Scoring(correction=1.0),
        base=[writer.base_X] * len(states),
    )
    generated = []
    for state, texts in zip(states, found, strict=True):
        scored = [
            (item, one.score)
            for one in texts
            for text in writer.trie.texts[one.node]
            for item in writer.items[text]
        ]
        own = model.hidden.union(event.item for event in state.events)
        generated.append(_best(model, scored, n, own=own))
    return generated


def score_titles(
    writer: TitleWriter,
    model: Personaliser,
    states: Sequence[UserState],
    *,
    scoring: Scoring | None = None,
    steered: bool = True,
) -> Doubles:
    """Return every item's score by exact likelihood, (B, V); items without a title get the least of all.

    The trie is read whole for each user: some hundred times the work of a search.

    Args:
        writer: From `title_writer`.
        model: The model that adapted the states.
        states: Users; they run as one batch.
        scoring: As in `generate_titles`.
        steered: False leaves the user's soft prompt out.
    """
    scoring = scoring or Scoring(correction=1.0)
    trie = writer.trie
    log_p_BX = node_log_p(writer.lm, _contexts(writer, model, states, steered=steered), trie)
    scores_BV = np.full((len(states), len(model.items)), np.nan)
    for node in range(1, len(trie)):
        for text in trie.texts[node]:
            value_B = scoring(log_p_BX[:, node], writer.base_X[node], trie.depth_X[node])
            scores_BV[:, list(writer.items[text])] = value_B[:, None]
    least_B1 = np.nanmin(scores_BV, axis=1, keepdims=True)
    return np.where(np.isnan(scores_BV), least_B1 - 1, scores_BV)


def _contexts(
    writer: TitleWriter, model: Personaliser, states: Sequence[UserState], *, steered: bool
) -> Tree:
    return read_contexts(
        writer.lm, [user_context(writer.lm, model, state, task=TASK, steered=steered) for state in states]
    )


def _best(
    model: Personaliser, scored: Sequence[tuple[int, float]], n: int, *, own: Collection[ItemId]
) -> Generated:
    items = model.items
    kept = [(item, score) for item, score in scored if items[item] not in own][:n]
    return Generated(
        items=tuple(items[item] for item, _ in kept),
        titles=tuple(model.title(items[item]) for item, _ in kept),
        scores=tuple(score for _, score in kept),
    )


def _digest(values: torch.Tensor | NDArray[np.int64]) -> str:
    array = values.float().cpu().numpy() if isinstance(values, torch.Tensor) else values
    return content_key(str(array.shape), np.ascontiguousarray(array).tobytes().hex())
