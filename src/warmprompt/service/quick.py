"""Rankings made before, answered without the framework's parsing and checking.

Most requests of an application ask for a ranking that nothing has changed since it was last asked for. Where
the plain form of that question finds its answer in memory, it is answered here; every other request goes on
to the framework untouched. What admits, counts and protects requests is the same for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from warmprompt.errors import WarmpromptError
from warmprompt.service.names import is_entity
from warmprompt.service.problems import ProblemError, respond
from warmprompt.service.service import Service

_PATH = re.compile(r"/v1/users/([^/]+)/recommendations")
# Each name once, in the plain spelling; whatever else may be right as well is the framework's to say.
_PART = re.compile(rb"(n)=([1-9][0-9]{0,2})|(explain)=(true|false)|(budget_ms)=([0-9]{1,4})")


@dataclass(frozen=True)
class _Route:
    """What metrics and log call the route."""

    path: str = "/v1/users/{user_id}/recommendations"


class Quick:
    """Wraps the application; stands behind `Edge`, which quotes the id in the path.

    Args:
        app: Answers the rest.
        service: That knows the users.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request from memory, or hand it on."""
        question = _question(scope)
        if question is None or not await self._answered(question, scope, receive, send):
            await self._app(scope, receive, send)

    async def _answered(
        self, question: tuple[str, int, bool], scope: Scope, receive: Receive, send: Send
    ) -> bool:
        users, gate = self._service.users, self._service.gate
        if not users.has_page(*question):
            return False
        try:
            await gate.admit(Request(scope), "read")
            page = await users.page(*question)
        except ProblemError as problem:
            scope["route"] = _Route()
            await respond(problem)(scope, receive, send)
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


def _question(scope: Scope) -> tuple[str, int, bool] | None:
    """Return (user, n, explain) where a request asks for a ranking in the plainest way."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path = _PATH.fullmatch(scope["path"])
    if path is None:
        return None
    told: dict[bytes, bytes] = {}
    for part in scope["query_string"].split(b"&") if scope["query_string"] else ():
        match = _PART.fullmatch(part)
        if match is None:
            return None
        name, value = (group for group in match.groups() if group is not None)
        if name in told:
            return None
        told[name] = value
    user = unquote(path[1])
    if is_entity(user):
        return None
    return user, int(told.get(b"n", b"10")), told.get(b"explain") == b"true"
