"""Authentication: an API key with the required scope, or open access on loopback while no key exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from warmprompt.service.keys import KeyRing, allows
from warmprompt.service.limits import RateLimit
from warmprompt.service.problems import ProblemError, too_often
from warmprompt.store.contract import ApiKey

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(kw_only=True, eq=False)
class Authenticator:
    """Checks the keys, scopes and rates of requests.

    Attributes:
        ring: The keys.
        rate: Per key, and per address for requests without a valid key.
        is_open: Every request is allowed: no key is in force, and the service listens on loopback only.
        find: Looks a key up in the store, off the event loop.
    """

    ring: KeyRing
    rate: RateLimit
    is_open: bool
    find: Callable[[str], Awaitable[ApiKey | None]]

    async def admit(self, request: Request, scope: str) -> None:
        """Return if a request is allowed; raise its problem otherwise.

        Raises:
            ProblemError: 401 without a valid key, 403 with the wrong scope, 429 over the rate limit. 421 for
                another host's name under open access: a web page elsewhere made a browser send the request.
                403 also for a change that a page of another origin sent, be it on this machine.
        """
        address = request.client.host if request.client else "-"
        if self.is_open:
            self._count(request, f"address {address}")
            _check_host(request)
            return
        sent = _sent_key(request)
        key = self.ring.cached(sent) if sent else None
        if key is None:
            self._count(request, f"address {address}")
            key = await self.find(sent) if sent else None
        else:
            self._count(request, f"key {key.name}")
        if key is None:
            raise ProblemError(
                401,
                field="API key",
                value=None,
                remedy="Send a key in force as 'Authorization: Bearer wp_...'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not allows(key, scope):
            raise ProblemError(
                403, field="API key", value=key.name, remedy=f"Use a key with the scope '{scope}'."
            )

    def charge(self, request: Request, tokens: float) -> None:
        """Count an admitted request for more than one, by what its body asks for.

        Raises:
            ProblemError: 429 over the rate limit.
        """
        self._count(request, request.state.client, tokens)

    def _count(self, request: Request, client: str, tokens: float = 1.0) -> None:
        request.state.client = client
        wait_s = self.rate.wait_s(client, tokens)
        if wait_s > 0:
            raise too_often(wait_s)


def _sent_key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key")


def _check_host(request: Request) -> None:
    """Refuse requests that a web page elsewhere makes a browser send, by host or origin."""
    for header in ("Host", "Origin"):
        value = request.headers.get(header)
        if value is None:
            continue
        host = value.rpartition("//")[2]
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in LOCAL_HOSTS:
            raise ProblemError(
                421, field=header, value=value, remedy="Ask as localhost, or make a key and send it."
            )
    origin = request.headers.get("Origin", "").rpartition("//")[2].lower()
    if origin and request.method != "GET" and origin != request.headers.get("Host", "").lower():
        remedy = "Ask from the service's own page, or make a key and send it."
        raise ProblemError(403, field="Origin", value=origin, remedy=remedy)
