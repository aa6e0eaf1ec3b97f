"""The ruler for the service's speed: EASE fold-in behind the two routes that matter, in some 40 lines.

    python benchmarks/ease_service.py ml-100k log.db

Every event is durable in SQLite before it is acknowledged. No keys, no deletion, no batches, no texts: what
somebody would write in an afternoon, to be measured in the same minutes as the product.
V is items, K events of a user.
"""

import asyncio
import socket
import sqlite3
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from warmprompt.data.home import find_dataset
from warmprompt.data.tables import open_dataset

L2 = 300.0
data = open_dataset(find_dataset(sys.argv[1]))
position = {item: index for index, item in enumerate(data.item_ids)}
x_UV = np.zeros((data.num_users, len(position)), dtype=np.float32)
lengths_U = np.diff(data.interactions.offsets)
x_UV[np.repeat(np.arange(data.num_users), lengths_U), data.interactions.items] = 1
# Steck 2019, eq. 8.
inverse_VV = np.linalg.inv(x_UV.T @ x_UV + L2 * np.eye(len(position), dtype=np.float32))
weights_VV = -inverse_VV / np.diag(inverse_VV)
np.fill_diagonal(weights_VV, 0)
popularity_V = x_UV.sum(0) / x_UV.sum()

database = sqlite3.connect(sys.argv[2], check_same_thread=False)
database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE log (user, item)")
writer, app, logs = ThreadPoolExecutor(1), FastAPI(), defaultdict(list)


class Event(BaseModel):
    """One thing a user did."""

    item: int | str


class Events(BaseModel):
    """The body of a request."""

    events: list[Event]


def write(user: str, items: list[int | str]) -> None:
    """Append to a user's log, durably."""
    with database:
        database.executemany("INSERT INTO log VALUES (?, ?)", [(user, item) for item in items])


@app.post("/v1/users/{user}/events", status_code=201)
async def add_events(user: str, sent: Events) -> dict[str, int]:
    """Append a user's events to the log."""
    items = [event.item for event in sent.events]
    await asyncio.get_running_loop().run_in_executor(writer, write, user, items)
    logs[user] += items
    return {"last_seq": len(logs[user])}


@app.get("/v1/users/{user}/recommendations")
async def recommend(user: str, n: int = 10) -> dict[str, object]:
    """Rank the catalogue for a user."""
    known_K = [position[item] for item in set(logs[user])]
    scores_V = weights_VV[known_K].sum(0) + 1e-3 * popularity_V
    scores_V[known_K] = -np.inf
    best = np.argpartition(-scores_V, n)[:n]
    best = best[np.argsort(-scores_V[best])].tolist()
    rows = [{"item": data.item_ids[index], "score": float(scores_V[index])} for index in best]
    return {"items": rows, "stale": False, "seq": len(logs[user])}


listener = socket.create_server(("127.0.0.1", 0))
print(f"serving at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
