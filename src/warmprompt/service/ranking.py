"""Rankings: from a state to the JSON of an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from warmprompt.adaptation.personaliser import Known
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.selection import Selection
from warmprompt.adaptation.state import UserState
from warmprompt.service.answers import Answer
from warmprompt.service.cached_user import page_key
from warmprompt.service.model.served_model import Explainer
from warmprompt.service.problems import ProblemError
from warmprompt.service.users import Users

EVERYTHING = Selection()
_PAGES = 4


async def ranked_json(
    users: Users,
    answer: Answer,
    n: int,
    *,
    selection: Selection = EVERYTHING,
    ordered: bool = False,
    explain: bool = False,
) -> bytes:
    """Return the ranking of a state as JSON, from the cache if it was made before.

    Args:
        users: In service.
        answer: The state.
        n: Places in the ranking.
        selection: Which items are ranked.
        ordered: Whether the order of the events counts; such rankings are not cached.
        explain: Whether each rank is explained.

    Raises:
        UnknownNameError: An item, attribute or value of the selection that the model does not have.
        BadInputError: An invalid filter.
        ProblemError: Explanations are requested, and the service has none.
        QueueFullError: Too many explanations wait.
    """
    asked = page_key(answer.model, answer.seq, n, explain=explain)
    unknown = answer.cached is None and answer.state is answer.model.start
    usual = selection is EVERYTHING and not ordered
    keep = (unknown or answer.cached is not None) and not answer.stale and usual
    cached = users.unknown_pages if answer.cached is None else answer.cached.pages
    pages = cached if keep else {}
    users.metrics.answers.labels("warm" if answer.state.events else "cold").inc()
    if asked in pages:
        users.metrics.cached.inc()
        return pages[asked]
    begun_s = time.perf_counter()
    ranking = await users.adaptations.compute(answer.model, _ranked, answer, n, selection, ordered)
    users.metrics.ranking.observe(time.perf_counter() - begun_s)
    reasons = await _explained(users, answer, ranking) if explain else None
    forget_if_deleted(users, answer)
    page = encoded(answer, ranking, reasons)
    if unknown and len(pages) >= _PAGES:
        pages.clear()  # of other lengths or a former model
    if keep and len(pages) < _PAGES:
        pages[asked] = page
    return page


def forget_if_deleted(users: Users, answer: Answer) -> None:
    """Forget the texts of a user who was deleted while an answer was made, which may have read them again."""
    if answer.cached is not None and answer.cached.gone:
        users.forget_texts(answer.model.texts.texts_of(_inputs_of(answer.state)))


def _inputs_of(state: UserState) -> Known:
    return Known(events=state.events, about=state.about, attributes=state.attributes)


def _ranked(answer: Answer, n: int, selection: Selection, ordered: bool) -> Ranking:  # noqa: FBT001
    personaliser = answer.model.personaliser
    if answer.model.texts.reads_events:  # experts find what the user wrote as it was read
        for text in answer.readings:
            personaliser.engine.models.vector_of(text, answer.readings.__getitem__)
    return personaliser.rank(answer.state, n, ordered=ordered, **vars(selection))


def encoded(answer: Answer, ranking: Ranking, reasons: Sequence[Mapping[str, object]] | None) -> bytes:
    """Return a ranking as JSON."""
    rows = ranking_rows(ranking)
    for row, reason in zip(rows, reasons or (), strict=False):
        row["explanation"] = dict(reason)
    body = {
        "items": rows,
        "stale": answer.stale,
        "seq": answer.seq,
        "last_seq": answer.last_seq,
        "events": {"used": len(answer.state.events), "left_out": answer.left_out},
        "model": answer.model.version,
        "adapt_ms": answer.adapt_ms,
    }
    return json.dumps(body, allow_nan=False).encode()


def ranking_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the rows of a ranking as JSON values."""
    return [
        {"rank": rank, "item": item, "title": title, "score": round(score, 6)}
        for rank, (item, title, score) in enumerate(
            zip(ranking.items, ranking.titles, ranking.scores, strict=True), start=1
        )
    ]


async def _explained(users: Users, answer: Answer, ranking: Ranking) -> Sequence[Mapping[str, object]]:
    explainer = explainer_of(answer)
    begun_s = time.perf_counter()
    found = await users.explanations.run(explainer.explain, answer.state, ranking.items)
    users.metrics.explanation.observe(time.perf_counter() - begun_s)
    return found


def explainer_of(answer: Answer) -> Explainer:
    """Return the explainer of the model that answers.

    Raises:
        ProblemError: It has none.
    """
    if answer.model.explainer is None:
        raise ProblemError(
            501, field="explain", value="true", remedy="Ask without it: this service gives no explanations."
        )
    return answer.model.explainer
