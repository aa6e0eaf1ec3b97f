"""Ask a warmprompt service from Python: send what a person does, get rankings adapted to it.

    python examples/client.py http://127.0.0.1:8000 [key]

A request may be repeated after a failure: events carry an idempotency key, so they count once.
"""

from __future__ import annotations

import sys
import uuid

from warmprompt.client import Client, Event, RefusedError


def main(address: str, key: str | None = None) -> None:
    """Show a conversation with a service."""
    user = f"example-{uuid.uuid4()}"
    with Client(address, key) as client:
        liked = client.find(n=1)[0]
        print(f"liked: {liked.title}")
        client.send(user, [Event(item=liked.item)], about="I like quiet films")
        ranking = client.recommend(user, n=5, fresh=True)
        if ranking.stale:
            print("The sentence is not read yet: these follow from the events alone.")
        for row in ranking.items:
            print(f"{row.rank}. {row.title}  {row.score:.3f}")
        print(f"forgotten: {client.forget(user).entries} entries")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except RefusedError as error:
        sys.exit(f"error: {error.line()}")
