"""Error responses: RFC 9457 problems with field, value and remedy.

400 bad request    401 no key     403 wrong scope      404 not found          409 conflict    413 too long
421 wrong host     422 invalid    429 too many requests    501 not served here    503 not now, Retry-After
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from warmprompt.coalescing import QueueFullError
from warmprompt.errors import (
    DatabaseAwayError,
    IntegrityError,
    MismatchError,
    StorageError,
    UnknownNameError,
    UserError,
    WarmpromptError,
)

MEDIA_TYPE = "application/problem+json"
_SHOWN = 120
_SOON = {"Retry-After": "1"}


class ProblemError(Exception):
    """A request that ends with a problem.

    Args:
        status: HTTP status.
        field: What was wrong, in the client's words.
        value: The offending value; shown shortened.
        remedy: One imperative sentence.
        headers: Sent along.
    """

    def __init__(
        self,
        status: int,
        *,
        field: str,
        value: object,
        remedy: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.field = field
        self.value = value
        self.remedy = remedy
        self.headers = headers or {}
        super().__init__(f"{status} {field}")


def problem_of(error: WarmpromptError) -> ProblemError:
    """Return the problem that a client gets for one of the package's errors."""
    status, headers = 500, {}
    if isinstance(error, StorageError | IntegrityError):
        remedy = "Try again later; the service's log has the reason."  # its own names files
        return ProblemError(503, field=error.field, value=None, remedy=remedy, headers=_SOON)
    if isinstance(error, DatabaseAwayError | QueueFullError):
        status, headers = 503, _SOON
    elif isinstance(error, MismatchError):
        status = 409
    elif isinstance(error, UnknownNameError | UserError):
        status = 422
    value = error.value if isinstance(error, UserError) else None  # faults name files and addresses
    return ProblemError(status, field=error.field, value=value, remedy=error.remedy, headers=headers)


def too_often(wait_s: float) -> ProblemError:
    """Return the problem of a client that sends too many requests."""
    return ProblemError(
        429,
        field="request rate",
        value=None,
        remedy="Wait, then ask again.",
        headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
    )


def problem_response(problem: ProblemError) -> Response:
    """Return a problem as a response."""
    title = HTTPStatus(problem.status).phrase
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": problem.status,
        "detail": f"{problem.field}: {problem.remedy}",
        "field": problem.field,
        "value": None if problem.value is None else short_text(problem.value),
        "remedy": problem.remedy,
    }
    return Response(json.dumps(body).encode(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def short_text(value: object) -> str:
    """Return a value as one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
