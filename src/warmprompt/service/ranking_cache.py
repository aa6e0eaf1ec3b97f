"""Cached rankings, answered without the framework's parsing and validation.

Most requests ask for a ranking that has not changed since the last request. If such a request has the plain
form and its ranking is cached, it is answered here. Every other request goes to the framework unchanged.
Authentication, metrics and rate limits are the same for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from warmprompt.errors import WarmpromptError
from warmprompt.service.names import is_entity
from warmprompt.service.problems import ProblemError, problem_response
from warmprompt.service.service import Service

_PATH = re.compile(r"/v1/users/([^/]+)/recommendations")
# Each name once, in the plain spelling; the framework decides about all other forms.
_PART = re.compile(rb"(n)=([1-9][0-9]{0,2})|(explain)=(true|false)|(budget_ms)=([0-9]{1,4})")


@dataclass(frozen=True)
class _Route:
    """The name of the route in metrics and log."""

    path: str = "/v1/users/{user_id}/recommendations"


class RankingCache:
    """Wraps the application, inside `RequestMiddleware`, which quotes the id in the path.

    Args:
        app: Answers all other requests.
        service: Has the cached users.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request from the cache, or pass it on."""
        query = _plain_query(scope)
        if query is None or not await self._answered(query, scope, receive, send):
            await self._app(scope, receive, send)

    async def _answered(
        self, query: tuple[str, int, bool], scope: Scope, receive: Receive, send: Send
    ) -> bool:
        users, auth = self._service.users, self._service.auth
        if not users.has_page(*query):
            return False
        try:
            await auth.admit(Request(scope), "read")
            page = await users.page(*query)
        except ProblemError as problem:
            scope["route"] = _Route()
            await problem_response(problem)(scope, receive, send)
            return True
        except WarmpromptError:
            return False
        if page is None:
            return False
        scope["route"] = _Route()
        headers = [(b"content-length", b"%d" % len(page)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})
        return True


def _plain_query(scope: Scope) -> tuple[str, int, bool] | None:
    """Return (user, n, explain) of a request for a ranking in the plain form, else None."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path = _PATH.fullmatch(scope["path"])
    if path is None:
        return None
    values: dict[bytes, bytes] = {}
    for part in scope["query_string"].split(b"&") if scope["query_string"] else ():
        match = _PART.fullmatch(part)
        if match is None:
            return None
        name, value = (group for group in match.groups() if group is not None)
        if name in values:
            return None
        values[name] = value
    user = unquote(path[1])
    if is_entity(user):
        return None
    return user, int(values.get(b"n", b"10")), values.get(b"explain") == b"true"
