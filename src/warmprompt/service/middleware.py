"""Middleware for every request: ids in paths, body limit, security headers, metrics and log.

- An id of a user, item or entity is one path segment, percent-encoded; slashes in it may be encoded or plain.
- A body over the limit is refused, before or while it is read.
- Every response has headers against sniffing, framing and caching.
- Every response is counted and logged by its route's pattern; an uncaught error becomes a plain 500.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmprompt.service.logs import log_line, note_error
from warmprompt.service.metrics import Metrics
from warmprompt.service.problems import ProblemError, problem_response

# By the beginning of a path: whose id follows it, and what may follow the id.
_OWNERS = {
    b"/v1/users/": ("user id", (b"/events", b"/recommendations", b"/questions", b"/sentence")),
    b"/v1/items/": ("item id", (b"/hidden", b"/similar")),
    b"/v1/entities/": ("entity id", (b"/events", b"/risk")),
}
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        (
            b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; "
            b"base-uri 'none'; object-src 'none'"
        ),
    ),
)


class RequestMiddleware:
    """Wraps the application.

    Args:
        app: Answers the requests.
        metrics: Counts the responses.
        body_bytes: Longest body.
        log: Called with (message, **values) per response.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, body_bytes: int, log: Callable[..., None] = log_line
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes = body_bytes
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.perf_counter()
        status: list[int] = []
        public = scope["path"] in {"/", "/openapi.json"} or scope["path"].startswith("/static/")

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
                # The page's files are asked for again each time, so that old and new ones never mix.
                message["headers"].append((b"cache-control", b"no-cache" if public else b"no-store"))
            await send(message)

        try:
            problem = _quote_id(scope) or self._too_long(scope)
            if problem is not None:
                await problem_response(problem)(scope, receive, send_on)
            else:
                await self._app(scope, _counted(receive, self._body_bytes), send_on)
        except Exception as error:  # noqa: BLE001 - nothing else would answer the client
            await self._fail(error, status, scope, receive, send_on)
        self._report(scope, status, time.perf_counter() - begun_s)

    async def _fail(
        self, error: Exception, status: list[int], scope: Scope, receive: Receive, send: Send
    ) -> None:
        note_error("internal error", error)
        if not status:
            await problem_response(_INTERNAL)(scope, receive, send)

    def _too_long(self, scope: Scope) -> ProblemError | None:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._body_bytes:
                return _body_problem(self._body_bytes)
        return None

    def _report(self, scope: Scope, status: list[int], spent_s: float) -> None:
        route = getattr(scope.get("route"), "path", "-")
        code = str(status[0]) if status else "none"
        self._metrics.requests.labels(route, code).observe(spent_s)
        self._log("answered", method=scope["method"], route=route, status=code, ms=round(1000 * spent_s, 1))


_INTERNAL = ProblemError(
    500, field="service", value=None, remedy="Report it to the operator; the log has the location."
)


def _body_problem(limit: int) -> ProblemError:
    return ProblemError(
        413, field="body", value=None, remedy=f"Send at most {limit} bytes, in several requests."
    )


def _counted(receive: Receive, limit: int) -> Receive:
    length = 0

    async def receive_on() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > limit:
            # The only kind of exception that the framework passes on unchanged while it reads a body.
            raise HTTPException(413, _body_problem(limit).remedy)
        return message

    return receive_on


def _quote_id(scope: Scope) -> ProblemError | None:
    """Quote the id in the path, so that it is one segment; `routes.common` unquotes it.

    Servers pass on a decoded path, in which a slash of an id looks like one between segments.
    """
    raw: bytes = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0]
    start = next((one for one in _OWNERS if raw.startswith(one)), None)
    if start is None:
        return None
    field, all_below = _OWNERS[start]
    rest = raw[len(start) :]
    below = next((one for one in all_below if rest.endswith(one)), b"")
    decoded = unquote_to_bytes(rest[: len(rest) - len(below)])
    try:
        owner = decoded.decode()
    except UnicodeDecodeError:
        return ProblemError(422, field=field, value=None, remedy="Write it as UTF-8, percent-encoded.")
    scope["path"] = start.decode() + quote(owner, safe="") + below.decode()
    scope["raw_path"] = scope["path"].encode()
    return None
