"""Made-up users for the benchmark of the store: one at a time, and a million at once."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
from store_page import ITEMS

from warmprompt.service.model.numbers import Numbers, pack_numbers, quantised
from warmprompt.store.contract import Entry
from warmprompt.store.opening import open_store

MODEL = "5f" * 32
FACTORS, PROMPTS, HIDDEN = 32, 4, 576
ABOUT = "A nurse who likes quiet science fiction, old musicals and anything with a heist in it."


def some_user(rng: random.Random) -> tuple[list[Entry], Numbers]:
    """Return a user's log, a sentence and 10 to 20 events, and the numbers of a state."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    entries = [Entry(kind="profile", body=json.dumps({"about": ABOUT, "attributes": {"age": "34"}}))]
    for index in range(rng.randint(10, 20)):
        body = {
            "item": str(rng.randrange(ITEMS)),
            "rating": float(rng.randrange(1, 6)),
            "time_s": 1_700_000_000 + index,
        }
        entries.append(Entry(kind="event", body=json.dumps(body)))
    vector_D = numbers.normal(size=FACTORS).astype(np.float32)
    return entries, quantised(vector_D, numbers.normal(size=(PROMPTS, HIDDEN)).astype(np.float32))


def unflushed(store: Any) -> None:
    """Let a store that is only filled not wait for the disk."""
    from sqlalchemy import event

    event.listen(store.database.engine, "checkout", lambda held, *_: held.execute("PRAGMA synchronous = OFF"))


def many_users(file: Path, num_users: int) -> None:
    """Fill a SQLite file: the logs and states of a hundred users, over and over under other names."""
    with open_store(f"sqlite:///{file}", scrub_up_to_bytes=0) as store:
        unflushed(store)
        rng = random.Random(0)
        held = sqlite3.connect(file, isolation_level=None)
        held.execute("PRAGMA synchronous = OFF")
        held.execute("PRAGMA temp_store = MEMORY")
        held.execute("CREATE TEMP TABLE log (pattern INTEGER, seq, kind, body, evidence, time_s)")
        held.execute("CREATE TEMP TABLE one (pattern INTEGER PRIMARY KEY, seq, evidence, data)")
        for pattern in range(100):
            entries, state = some_user(rng)
            store.append("pattern", entries)
            log = store.entries("pattern")
            store.delete("pattern")
            hashes = [bytes.fromhex(entry.evidence_hash) for entry in log]
            rows = [
                (pattern, entry.seq, entry.kind, entry.body, own, entry.time_s)
                for entry, own in zip(log, hashes, strict=True)
            ]
            held.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
            held.execute(
                "INSERT INTO one VALUES (?, ?, ?, ?)", (pattern, len(log), hashes[-1], pack_numbers(state))
            )
        held.execute("CREATE INDEX log_of ON log (pattern, seq)")
        step = 20_000
        for first in range(1, num_users + 1, step):
            held.execute("BEGIN IMMEDIATE")
            held.execute(
                "WITH RECURSIVE n(no) AS (SELECT ? UNION ALL SELECT no + 1 FROM n WHERE no < ?) "
                "INSERT INTO warmprompt_users SELECT no, 'user ' || no, seq, evidence, 1700000000 "
                "FROM n JOIN one ON pattern = no % 100",
                (first, min(first + step - 1, num_users)),
            )
            held.execute(
                "INSERT INTO warmprompt_entries SELECT no, seq, kind, body, log.evidence, time_s "
                "FROM warmprompt_users CROSS JOIN log ON pattern = no % 100 WHERE no >= ? ORDER BY no, seq",
                (first,),
            )
            held.execute(
                "INSERT INTO warmprompt_states SELECT no, ?, seq, one.evidence, data "
                "FROM warmprompt_users CROSS JOIN one ON pattern = no % 100 WHERE no >= ? ORDER BY no",
                (MODEL, first),
            )
            held.execute("COMMIT")
            print(f"{first + step - 1} users", file=sys.stderr)
        held.execute("PRAGMA user_version = 0")
        held.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        held.close()
