"""Sentences of explanations: one item a request, in a thread that nothing else waits for."""

from __future__ import annotations

import json

from warmprompt.service.answers import Answer
from warmprompt.service.ranking import explainer_of, forget_if_deleted
from warmprompt.service.service import Service
from warmprompt.types import ItemId


async def sentence_json(service: Service, answer: Answer, item: ItemId) -> bytes:
    """Return the sentence about an item as JSON.

    Raises:
        BadInputError: The item is one of the user's own.
        ProblemError: The service has no explanations.
        QueueFullError: Too many sentences wait.
    """
    explainer = explainer_of(answer)
    found = await service.sentences.run(explainer.sentence, answer.state, item)
    forget_if_deleted(service.users, answer)
    return json.dumps({**found, "stale": answer.stale, "seq": answer.seq}, allow_nan=False).encode()
