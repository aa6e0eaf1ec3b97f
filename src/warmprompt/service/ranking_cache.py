"""Cached rankings, answered without the framework's parsing and validation.

Most requests ask for a ranking that has not changed since the last request. If such a request has the plain
form and its ranking is cached, it is answered here. Every other request goes to the framework unchanged.
Authentication, metrics and rate limits are the same for both.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from warmprompt.errors import WarmpromptError
from warmprompt.service.plain_requests import RANKING, PlainQuery, plain_query
from warmprompt.service.problems import ProblemError, problem_response
from warmprompt.service.service import Service


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
        query = plain_query(scope)
        if query is None or not await self._answered(query, scope, receive, send):
            await self._app(scope, receive, send)

    async def _answered(self, query: PlainQuery, scope: Scope, receive: Receive, send: Send) -> bool:
        users, auth = self._service.users, self._service.auth
        if not users.has_page(*query[:3]):
            return False
        try:
            await auth.admit(Request(scope), "read")
            page = await users.page(*query[:3])
        except ProblemError as problem:
            scope["route"] = RANKING
            await problem_response(problem)(scope, receive, send)
            return True
        except WarmpromptError:
            return False
        if page is None:
            return False
        scope["route"] = RANKING
        headers = [(b"content-length", b"%d" % len(page)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})
        return True
