"""Ask a warmprompt service from Python: tell what a person does, get rankings adapted to it.

    python examples/client.py http://127.0.0.1:8000 [key]

Needs httpx alone. A request may be repeated after a failure: events carry an idempotency key, so they
count once.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

TRIES = 4


class Client:
    """A service and, where it needs one, the key to it.

    Args:
        address: Such as http://127.0.0.1:8000.
        key: Made by `warmprompt keys create`; None on the service's own machine.
    """

    def __init__(self, address: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=10)

    def tell(
        self, user: str, events: Sequence[Mapping[str, Any]] = (), *, about: str | None = None
    ) -> dict[str, Any]:
        """Write events, and what the user says of themselves, to the user's log."""
        body: dict[str, Any] = {"events": list(events)} | ({} if about is None else {"about": about})
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._ask("POST", f"{_path(user)}/events", json=body, headers=headers)

    def recommend(self, user: str, n: int = 10) -> dict[str, Any]:
        """Rank the catalogue for a user; where `stale` is true, without a text that was not read in time."""
        return self._ask("GET", f"{_path(user)}/recommendations", params={"n": n})

    def find(self, words: str) -> list[dict[str, Any]]:
        """Find items by title."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/items", params={"q": words, "n": 5})["items"]
        return found

    def forget(self, user: str) -> dict[str, Any]:
        """Delete everything held about a user."""
        return self._ask("DELETE", _path(user))

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Ask, and ask again when the service says that it is too busy now."""
        for left in reversed(range(TRIES)):
            answer = self._http.request(method, path, **more)
            if answer.status_code not in {429, 503} or not left:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.is_error:
            problem = answer.json()
            raise SystemExit(f"error: {problem['field']}: {problem['value']!r}. {problem['remedy']}")
        answered: dict[str, Any] = answer.json()
        return answered


def _path(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}"


def main(address: str, key: str | None = None) -> None:
    """Show a conversation with a service."""
    client = Client(address, key)
    user = f"example-{uuid.uuid4()}"
    liked = client.find("")[0]
    print(f"liked: {liked['title']}")
    client.tell(user, [{"item": liked["item"]}], about="I like quiet films")
    ranking = client.recommend(user, n=5)
    if ranking["stale"]:
        print("the sentence is not read yet: these follow from the events alone")
    for row in ranking["items"]:
        print(f"{row['rank']}. {row['title']}  {row['score']:.3f}")
    print(f"forgotten: {client.forget(user)['entries']} entries")


if __name__ == "__main__":
    main(*sys.argv[1:3])
