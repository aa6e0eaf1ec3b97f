"""What a stored user costs, how a store with a million users reads, and rounds of SIGKILL.

    python benchmarks/store.py --size                                 bytes per stored user, both databases
    python benchmarks/store.py --appends                              latency and rate of appends
    python benchmarks/store.py --users 1000000 --work FOLDER          reads against those of 1,000 users
    python benchmarks/store.py --kill-rounds 50                       both databases, the server crashing too

Each part renews its own entry of docs/results/store.json, and with it the page store.md. States are as the
service keeps them, with the numbers drawn at random, which is what no compression can shorten.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit
from store_page import ITEMS, page
from store_users import FACTORS, MODEL, many_users, some_user, unflushed
from timing import quantiles, timed

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.scoring.ranking import top_n
from warmprompt.service.model.numbers import Numbers, pack_numbers, unpack_numbers
from warmprompt.store.contract import Entry, Store, StoredState
from warmprompt.store.opening import open_store

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Read the options, run the parts asked for, renew the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="store_true")
    parser.add_argument("--appends", action="store_true")
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--kill-rounds", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="folder in memory, for --users")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "store")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmprompt-store-", dir=chosen.work) as folder:
        work = Path(folder)
        if chosen.size:
            for found in measure_size(work):
                keep(chosen.out, "size", found)
        if chosen.appends:
            keep(chosen.out, "appends", measure_appends(work))
        if chosen.users:
            keep(chosen.out, "reads", measure_reads(work, memory=chosen.memory, num_users=chosen.users))
        if chosen.kill_rounds:
            for found in measure_kills(work, num_rounds=chosen.kill_rounds):
                keep(chosen.out, "kills", found)
    results = json.loads(chosen.out.with_suffix(".json").read_text())
    write_atomic(chosen.out.with_suffix(".md"), page(results).encode())


def keep(out: Path, part: str, found: dict[str, Any]) -> None:
    """Put one part's results into the file of results, with where and when they came about."""
    file = out.with_suffix(".json")
    results = json.loads(file.read_text()) if file.is_file() else {}
    load = os.getloadavg()[0]
    results[part] = found | {"machine": describe_machine(), "commit": commit(), "load": round(load, 1)}
    write_atomic(file, (json.dumps(results, indent=1) + "\n").encode())


# -- bytes per user


def fill(store: Store, num_users: int, *, encode: Callable[[Numbers], bytes]) -> int:
    """Write users as a service does, an entry at a time with a key each; return the bytes of their states."""
    rng = random.Random(0)
    total = 0
    for number in range(num_users):
        entries, state = some_user(rng)
        user = f"{rng.getrandbits(128):032x}"
        for entry in entries:
            done = store.append(user, [entry], idempotency_key=f"{rng.getrandbits(128):032x}")
        data = encode(state)
        total += len(data)
        put = StoredState(model_hash=MODEL, seq=done.last_seq, evidence_hash=done.evidence_hash, data=data)
        store.put_state(user, put)
        if number % 100 == 0:
            print(f"{number} users", file=sys.stderr)
    return total


def single_precision(numbers: Numbers) -> bytes:
    """Return as many bytes as if the prompt's offsets were kept whole."""
    return pack_numbers(numbers) + numbers.offsets_PH.astype("<f2").tobytes()


def without_offsets(numbers: Numbers) -> bytes:
    """Return as many bytes as without the prompt's offsets."""
    return pack_numbers(numbers)[: -2 * numbers.offsets_PH.size]


def measure_size(work: Path, *, num_users: int = 100) -> Iterator[dict[str, Any]]:
    """Yield bytes per user, of the state alone and of everything on the disk; PostgreSQL comes second."""
    found: dict[str, Any] = {"num_users": num_users, "sqlite": {}, "postgresql": {}}
    forms = {
        "half precision, as the service does": pack_numbers,
        "single precision": single_precision,
        "nothing": without_offsets,
    }
    sample = [pack_numbers(some_user(random.Random(seed))[1]) for seed in range(200)]
    found["deflated_share"] = sum(len(zlib.compress(one)) for one in sample) / sum(map(len, sample))
    for form, encode in forms.items():
        file = work / f"{form.partition(' ')[0]}.db"
        with open_store(f"sqlite:///{file}") as store:
            unflushed(store)
            total = fill(store, num_users, encode=encode)
        found["sqlite"][form] = {"state": total / num_users, "all": file.stat().st_size / num_users}
        found["sqlite"][form]["tables"] = {
            name: size / num_users for name, size in sizes(file).items() if size > 4096
        }
    yield found
    with postgresql(durable=False) as server:
        for form, encode in forms.items():
            name = form.partition(" ")[0]
            url = server.new_database(name)
            with open_store(url) as store:
                total = fill(store, num_users, encode=encode)
            server.sql("VACUUM FULL", database=name)
            ours = "FROM pg_class WHERE relname LIKE 'warmprompt_%' AND relkind = 'r'"
            full = int(server.sql(f"SELECT sum(pg_total_relation_size(oid)) {ours}", database=name))
            found["postgresql"][form] = {"state": total / num_users, "all": full / num_users}
    yield found


def sizes(file: Path) -> dict[str, int]:
    """Return the bytes that each table and index of a SQLite file takes, where this SQLite can tell."""
    held = sqlite3.connect(file)
    try:
        return dict(held.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
    except sqlite3.OperationalError:
        return {}
    finally:
        held.close()


# -- appends


def measure_appends(work: Path, *, num_appends: int = 1000, num_threads: int = 8) -> dict[str, Any]:
    """Return latency of appends one after the other, and the rate of several threads."""
    found: dict[str, Any] = {"num_appends": num_appends, "num_threads": num_threads, "flush_ms": flush(work)}
    with postgresql() as server:
        for name, url in (("sqlite", f"sqlite:///{work}/appends.db"), ("postgresql", server.url)):
            with open_store(url, busy_s=120) as store, ThreadPoolExecutor(num_threads) as pool:
                body = '{"item": "50", "rating": 4.0, "time_s": 1700000000}'

                def append(number: int, store: Store = store, body: str = body) -> float:
                    started = time.perf_counter()
                    entries = [Entry(kind="event", body=body)]
                    store.append(f"user {number % 50}", entries, idempotency_key=str(number))
                    return 1000 * (time.perf_counter() - started)

                alone = [append(number) for number in range(num_appends)]
                started = time.perf_counter()
                list(pool.map(append, range(num_appends, 2 * num_appends)))
                rate = num_appends / (time.perf_counter() - started)
                heads = timed(lambda _, store=store: store.head("user 7"), range(num_appends))
            found[name] = {"append_ms": quantiles(alone), "rate": rate, "head_ms": quantiles(heads)}
    return found


def flush(work: Path, *, num: int = 200) -> dict[str, float]:
    """Return how long the disk takes to flush 4 KiB, without which no append can be acknowledged."""
    with (work / "flush").open("wb", buffering=0) as file:

        def once(_: int) -> None:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())

        return quantiles(timed(once, range(num)))


# -- a million users


def measure_reads(work: Path, *, memory: Path, num_users: int, num_reads: int = 5000) -> dict[str, Any]:
    """Return times of reading and ranking in a store of 1,000 users and of many, measured in turns."""
    found: dict[str, Any] = {"num_reads": num_reads, "users": {}}
    sizes_ = {1000: work / "small.db", num_users: work / "large.db"}
    for number, file in sizes_.items():
        started = time.perf_counter()
        many_users(file, number)
        found["users"][str(number)] = {"bytes": file.stat().st_size, "fill_s": time.perf_counter() - started}
    stores = {number: open_store(f"sqlite:///{file}") for number, file in sizes_.items()}
    keep_reads(found, "found", read_times(stores, num_reads=num_reads))
    with tempfile.TemporaryDirectory(prefix="warmprompt-store-", dir=memory) as folder:
        # Copies in memory, since a system may take idle pages of a file out of memory at any time.
        for file in sizes_.values():
            shutil.copyfile(file, Path(folder) / file.name)
        copies = {number: open_store(f"sqlite:///{folder}/{file.name}") for number, file in sizes_.items()}
        keep_reads(found, "in memory", read_times(copies, num_reads=num_reads))
        for store in copies.values():
            store.close()
    for number, store in stores.items():
        started = time.perf_counter()
        progress = store.progress(MODEL)
        assert (progress.users, progress.current) == (number, number)
        found["users"][str(number)]["progress_s"] = time.perf_counter() - started
        deletions = timed(lambda index, store=store: store.delete(f"user {index + 1}"), range(20))
        found["users"][str(number)]["delete_ms"] = quantiles(deletions)
        started = time.perf_counter()
        found["users"][str(number)]["scrubbed"] = store.scrub()
        found["users"][str(number)]["scrub_s"] = time.perf_counter() - started
        store.close()
    return found


def keep_reads(found: dict[str, Any], where: str, times: dict[int, dict[str, list[float]]]) -> None:
    """Put quantiles of reads beside what else was found of each store."""
    for number, of in times.items():
        own = {f"{where}, {name}": quantiles(values) for name, values in of.items()}
        found["users"][str(number)] |= own


def read_times(stores: dict[int, Store], *, num_reads: int) -> dict[int, dict[str, list[float]]]:
    """Return milliseconds of reading random users and ranking for them, the stores in turns."""
    vectors_VD = np.random.default_rng(0).normal(size=(ITEMS, FACTORS)).astype(np.float32)
    rng = random.Random(1)
    found: dict[int, dict[str, list[float]]] = {
        number: {"head": [], "read": [], "read_and_rank": [], "processor": []} for number in stores
    }
    for turn in range(num_reads + 200):
        for number, store in stores.items():
            user = f"user {rng.randrange(number) + 1}"
            began = time.thread_time()
            marks = [time.perf_counter()]
            head = store.head(user)
            marks.append(time.perf_counter())
            state = store.get_state(user, MODEL)
            marks.append(time.perf_counter())
            assert head is not None
            assert state is not None
            assert state.evidence_hash == head.evidence_hash
            top_n(unpack_numbers(state.data).vector_D[None] @ vectors_VD.T, 10)
            marks.append(time.perf_counter())
            used = time.thread_time() - began
            if turn >= 200:
                of = found[number]
                of["head"].append(1000 * (marks[1] - marks[0]))
                of["read"].append(1000 * (marks[2] - marks[1]))
                of["read_and_rank"].append(1000 * (marks[3] - marks[0]))
                of["processor"].append(1000 * used)
    return found


# -- kills


def measure_kills(work: Path, *, num_rounds: int) -> Iterator[dict[str, Any]]:
    """Kill writers, and on PostgreSQL the server too; yields the counts after each round.

    Raises:
        AssertionError: A store broke its word.
    """
    killing, writer = from_tests("killing"), from_tests("writer")
    found: dict[str, Any] = {}
    acknowledged: dict[str, list[Any]] = {"sqlite": [], "postgresql": []}
    rng = random.Random(0)
    with postgresql() as server:
        urls = {"sqlite": f"sqlite:///{work}/kills.db", "postgresql": server.url}
        for number, name in product(range(num_rounds), urls):
            crashes = name == "postgresql" and number % 2 == 1
            crash = partial(server.stop, how="immediate") if crashes else None
            acknowledged[name] += killing.kill_round(urls[name], str(number), rng=rng, crash=crash)
            if crashes:
                server.start()
            with open_store(urls[name]) as store:
                counts = writer.check(store, acknowledged[name])
            found[name] = dict(zip(("acknowledged", "found", "states"), counts, strict=True))
            found[name] |= {
                "rounds": number + 1,
                "server_crashes": (number + 1) // 2 * (name == "postgresql"),
            }
            if len(found) == 2:
                yield found


# -- common


def from_tests(name: str) -> Any:
    """Return a module of the store's tests."""
    file = ROOT / "tests" / "store" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"store_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def postgresql(*, durable: bool = True) -> Iterator[Any]:
    """Yield a server of our own."""
    own = from_tests("postgresql")
    server = own.make_server(own.binaries(), durable=durable)
    try:
        yield server
    finally:
        own.remove(server)


if __name__ == "__main__":
    main()
