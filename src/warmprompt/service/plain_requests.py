"""Events and rankings in their plain form, answered without the framework's resolution of dependencies.

That resolution costs more processor time than adapting and ranking together. The same functions answer, with
the same checks, authentication and rate limit. Whatever is not in the plain form goes to the framework
unchanged, and so does a body that does not validate: the framework words its errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmprompt.coalescing import QueueFullError
from warmprompt.errors import DatabaseAwayError, FaultError, WarmpromptError
from warmprompt.service.logs import note_error
from warmprompt.service.names import is_entity
from warmprompt.service.problems import ProblemError, problem_of, problem_response
from warmprompt.service.ranking import ranked_json
from warmprompt.service.routes.users import add_events
from warmprompt.service.schemas import EventsIn
from warmprompt.service.service import Service
from warmprompt.service.settings import MAX_PLACES
from warmprompt.store.contract import MAX_ID_BYTES

_PATH = re.compile(r"/v1/users/([^/]+)/(recommendations|events)")
# Each name once, in the plain spelling; the framework decides about all other forms.
_PART = re.compile(rb"(n)=([1-9][0-9]{0,2})|(explain)=(true|false)|(budget_ms)=([0-9]{1,4})")
_KEY = re.compile(r"[!-~]{1,200}")


class PlainQuery(NamedTuple):
    """A request for a ranking in the plain form."""

    user: str
    n: int
    explain: bool
    budget_s: float | None


@dataclass(frozen=True)
class Route:
    """The name of a route in metrics and log."""

    path: str


RANKING = Route("/v1/users/{user_id}/recommendations")
EVENTS = Route("/v1/users/{user_id}/events")


class PlainRequests:
    """Wraps the application, inside `RequestMiddleware`, which quotes the id in the path.

    Args:
        app: Answers all other requests.
        service: Answers these.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a plain request, or pass it on."""
        query = plain_query(scope)
        if query is not None and not query.explain and query.n <= MAX_PLACES:
            await self._answer(RANKING, "read", lambda _: self._ranking(query), scope, receive, send)
            return
        user = _plain_events(scope)
        if user is None:
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        try:
            sent = EventsIn.model_validate(json.loads(body))
        except (ValueError, ValidationError, RecursionError):
            await self._app(scope, _replayed(body, receive), send)
            return
        await self._answer(
            EVENTS, "write", lambda request: self._events(user, sent, request), scope, receive, send
        )

    async def _ranking(self, query: PlainQuery) -> Response:
        users = self._service.users
        budget_s = self._service.settings.budget_s if query.budget_s is None else query.budget_s
        page = await ranked_json(users, await users.state(query.user, budget_s=budget_s), query.n)
        return Response(page, media_type="application/json")

    async def _events(self, user: str, sent: EventsIn, request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        return await add_events(self._service, user, key, sent, request)

    async def _answer(
        self,
        route: Route,
        key_scope: str,
        answer: Callable[[Request], Awaitable[Response]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        scope["route"] = route
        request = Request(scope)
        try:
            await self._service.auth.admit(request, key_scope)
            response = await answer(request)
        except ProblemError as problem:
            response = problem_response(problem)
        except WarmpromptError as error:
            response = error_response(self._service, error)
        await response(scope, receive, send)


def error_response(service: Service, error: WarmpromptError) -> Response:
    """Return the answer to a request that an error ended, and count or log the error."""
    problem = problem_of(error)
    if problem.status == 503:
        service.metrics.refused.labels(type(error).__name__).inc()
    if isinstance(error, FaultError) and not isinstance(error, DatabaseAwayError | QueueFullError):
        note_error("a request failed", error)
    return problem_response(problem)


def plain_query(scope: Scope) -> PlainQuery | None:
    """Return a request for a ranking in the plain form, else None."""
    user = _plain_user(scope, "GET", "recommendations")
    if user is None:
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
    return PlainQuery(
        user=user,
        n=int(values.get(b"n", b"10")),
        explain=values.get(b"explain") == b"true",
        budget_s=int(values[b"budget_ms"]) / 1000 if b"budget_ms" in values else None,
    )


def _plain_events(scope: Scope) -> str | None:
    """Return the user of a request with events in the plain form: JSON of a known length; else None."""
    user = _plain_user(scope, "POST", "events")
    if user is None or scope["query_string"]:
        return None
    headers = Request(scope).headers
    is_json = headers.get("content-type", "").lower().partition(";")[0].strip() == "application/json"
    key = headers.get("idempotency-key")
    if not is_json or "content-length" not in headers or not (key is None or _KEY.fullmatch(key)):
        return None
    return user


def _plain_user(scope: Scope, method: str, what: str) -> str | None:
    if scope["type"] != "http" or scope["method"] != method:
        return None
    path = _PATH.fullmatch(scope["path"])
    if path is None or path[2] != what:
        return None
    user = unquote(path[1])
    if is_entity(user) or "\x00" in user or len(user.encode()) > MAX_ID_BYTES:
        return None
    return user


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what receives a body that was read before, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_on() -> Message:
        return messages.pop() if messages else await receive()

    return receive_on
