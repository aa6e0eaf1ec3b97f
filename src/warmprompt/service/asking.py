"""Items to ask a user about, as JSON; chosen by the user's events, without adaptation or reading of texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from warmprompt.adaptation.personaliser import Known
from warmprompt.service.user_history import model_inputs
from warmprompt.service.users import Users
from warmprompt.types import ItemId


async def questions_json(users: Users, user: str, n: int, *, shown: Sequence[ItemId]) -> bytes:
    """Return at most `n` items to ask a user about.

    Args:
        users: In service.
        user: The user's id; an unknown one has no events.
        n: Items at most.
        shown: Items that the user was asked about before.

    Raises:
        DatabaseAwayError: The database cannot be reached.
    """
    cached = await users.get(user)
    model = users.model
    known = Known() if cached is None else model_inputs(cached.history, model.personaliser)[0]
    state = replace(model.start, events=tuple(known.events))
    # In a thread: the first questions after a change of the catalogue take a table of training users.
    questions = await users.ask(model.personaliser.ask, state, n, shown=shown)
    body = {
        "items": [
            {"item": item, "title": title}
            for item, title in zip(questions.items, questions.titles, strict=True)
        ],
        "seq": 0 if cached is None else cached.history.seq,
        "model": model.version,
    }
    return json.dumps(body).encode()
