"""The page that `benchmarks/store.py` writes from what it measured."""

from __future__ import annotations

from typing import Any

ITEMS = 10_000


def page(results: dict[str, Any]) -> str:
    """Return the page of results, of the parts that were run."""
    parts = {"size": size_part, "appends": appends_part, "reads": reads_part, "kills": kills_part}
    lines = [
        "# The store: bytes, times and kills",
        "",
        "What does the store cost per user, and does it lose anything when its writers are killed? It",
        "takes about ten kilobytes and a few milliseconds an append, and nothing acknowledged was lost.",
        "",
        "Made by `benchmarks/store.py`; what the store promises is in [Operations](../operations/store.md).",
        "States have 4 x 576 prompt offsets and a vector of 32, the numbers drawn at random.",
    ]
    for name, render in parts.items():
        if name in results:
            found = results[name]
            machine = found["machine"]
            where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}"
            lines += ["", *render(found), "", f"{where}; load {found['load']}; commit `{found['commit']}`."]
    missing = {
        "size": "--size",
        "appends": "--appends",
        "reads": "--users 1000000",
        "kills": "--kill-rounds 50",
    }
    lines += [
        f"\nNot measured here: `benchmarks/store.py {missing[name]}`."
        for name in parts
        if name not in results
    ]
    return "\n".join([*lines, ""])


def size_part(found: dict[str, Any]) -> list[str]:
    """Return the table of bytes per user."""
    lines = [
        "## Bytes per stored user",
        "",
        f"{found['num_users']} users with a sentence and 10 to 20 events, each appended with its own key.",
        f"Deflate shortens a state to {found['deflated_share']:.0%} only.",
        "",
        "| prompt offsets kept as | state | all in, SQLite | all in, PostgreSQL |",
        "|---|---|---|---|",
    ]
    for form, own in found["sqlite"].items():
        other = found["postgresql"].get(form)
        results = f"{other['all']:,.0f}" if other else "not measured"
        lines.append(f"| {form} | {own['state']:,.0f} | {own['all']:,.0f} | {results} |")
    return lines


def appends_part(found: dict[str, Any]) -> list[str]:
    """Return the table of appends."""
    lines = [
        "## Appends",
        "",
        f"One event each, with an idempotency key, to 50 users; {found['num_appends']} one after the other,",
        f"then as many from {found['num_threads']} threads. A flush of 4 KiB to this disk takes",
        f"{_ms(found['flush_ms'])} ms (p50 / p99).",
        "",
        "| database | append p50 / p99 ms | appends per second, threads | head p50 / p99 ms |",
        "|---|---|---|---|",
    ]
    for name in ("sqlite", "postgresql"):
        own = found[name]
        lines.append(f"| {name} | {_ms(own['append_ms'])} | {own['rate']:.0f} | {_ms(own['head_ms'])} |")
    return lines


def reads_part(found: dict[str, Any]) -> list[str]:
    """Return the table of reads and their ratios."""
    rows = [
        (f"{label}{note}", f"{temper}, {name}")
        for temper, note in (("in memory", ""), ("found", ", on the disk"))
        for label, name in (
            ("head ms", "head"),
            ("read state ms", "read"),
            ("head, state and rank ms", "read_and_rank"),
            ("the same, processor time ms", "processor"),
        )
    ]
    small, large = found["users"].values()
    names = [f"{int(number):,} users" for number in found["users"]]
    lines = [
        "## Reads in SQLite as users grow",
        "",
        f"{found['num_reads']} random users of each store in turns; to rank is to score {ITEMS:,} items",
        "and take the top 10. Processor time does not count waiting, for the disk or for other programs.",
        "The first rows are of copies in memory (tmpfs), the later ones of files on the disk as filled. The",
        "machine of these figures takes pages of files that lay idle for 30 s out of memory.",
        "",
        f"| p50 / p99 | {names[0]} | {names[1]} | ratio of p99 |",
        "|---|---|---|---|",
    ]
    for label, name in rows:
        ratio = large[name]["p99"] / small[name]["p99"]
        lines.append(f"| {label} | {_ms(small[name])} | {_ms(large[name])} | {ratio:.2f} |")
    for label, name in (("delete ms", "delete_ms"),):
        lines.append(f"| {label} | {_ms(small[name])} | {_ms(large[name])} | |")
    for label, name in (("count progress s", "progress_s"), ("scrub s", "scrub_s")):
        lines.append(f"| {label} | {small[name]:.2f} | {large[name]:.2f} | |")
    lines.append(f"| file MB | {small['bytes'] / 1e6:,.0f} | {large['bytes'] / 1e6:,.0f} | |")
    return lines


def kills_part(found: dict[str, Any]) -> list[str]:
    """Return the table of kills."""
    lines = [
        "## Kills",
        "",
        "In each round two processes append to the same three users and put states, and are killed with",
        "SIGKILL at a random moment; in every second round PostgreSQL itself crashes first. After each round",
        "every acknowledged append is there once and in its place, no log has a gap, and every state equals",
        "its rebuild from the log bit for bit.",
        "",
        "| database | rounds | server crashes | acknowledged | found | lost or doubled | wrong states |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("sqlite", "postgresql"):
        own = found[name]
        counts = [own[key] for key in ("rounds", "server_crashes", "acknowledged", "found")]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | 0 | 0 |")
    return [
        *lines,
        "",
        "Found beyond acknowledged are appends that were on the disk when their writer was killed.",
    ]


def _ms(values: dict[str, float]) -> str:
    return f"{values['p50']:.2f} / {values['p99']:.2f}"
