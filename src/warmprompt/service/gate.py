"""Who comes in: a key with the right scope, or, on this machine alone and before any key, everybody."""

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
class Gate:
    """Admits requests.

    Attributes:
        ring: The keys.
        rate: Per key, and per address for requests without a good key.
        is_open: No key is in force and the service listens on loopback alone: all may do all.
        find: Looks a key up in the store, off the event loop.
    """

    ring: KeyRing
    rate: RateLimit
    is_open: bool
    find: Callable[[str], Awaitable[ApiKey | None]]

    async def admit(self, request: Request, scope: str) -> None:
        """Let a request pass or raise what it gets instead.

        Raises:
            ProblemError: 401 without a good key, 403 with the wrong scope, 421 for another host's name in
                open service (a page elsewhere that makes a browser ask here), 429 too often.
        """
        address = request.client.host if request.client else "-"
        if self.is_open:
            self._count(f"address {address}")
            _check_host(request)
            return
        told = _told_key(request)
        key = self.ring.remembered(told) if told else None
        if key is None:
            self._count(f"address {address}")
            key = await self.find(told) if told else None
        else:
            self._count(f"key {key.name}")
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

    def _count(self, client: str) -> None:
        wait_s = self.rate.wait_s(client)
        if wait_s > 0:
            raise too_often(wait_s)


def _told_key(request: Request) -> str | None:
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and told.strip():
        return told.strip()
    return request.headers.get("x-api-key")


def _check_host(request: Request) -> None:
    """Refuse what a page elsewhere makes a browser ask here: under its own name, or across origins."""
    for header in ("Host", "Origin"):
        told = request.headers.get(header)
        if told is None:
            continue
        host = told.rpartition("//")[2]
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in LOCAL_HOSTS:
            raise ProblemError(
                421, field=header, value=told, remedy="Ask as localhost, or make a key and send it."
            )
