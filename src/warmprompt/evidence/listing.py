"""The list of all pages: a line for each, and whether today's plan would still measure it that way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmprompt.evaluation.report import listed, markdown_table
from warmprompt.evidence.models import describe_model
from warmprompt.evidence.plan import EvidencePlan, Table
from warmprompt.evidence.statistics import AVERAGED_KS, MeanGain


def list_of_pages(plan: EvidencePlan, out: Path) -> str:
    """Return the page that lists the others, from the rows stored next to them.

    Args:
        plan: All tables.
        out: The folder of the pages.
    """
    body = [_line(table, out / f"{table.name}.json") for table in plan.tables]
    return (
        "# The evidence, table by table\n\nEvery page is made by `make evidence` from cells (data "
        "set, protocol, seed, model) "
        f"that are measured once and kept. The gains are {plan.product}'s mean gains in NDCG@10 over K = "
        f"{listed(AVERAGED_KS)}, as far as the table carries them, with 95 % intervals over users; not of "
        "tables that compare the product with its own parts. Where the plan has changed since, the state "
        "names the rows whose settings are now others than those measured, and the rows that came or went: "
        "`make evidence` will measure them anew.\n\n"
        + markdown_table(["table", "state", "seeds", "over the best baseline", "over the blend"], body)
    )


def mean_text(one: MeanGain) -> str:
    """Return a mean gain in percent with its interval."""
    return f"{one.percent:+.1f} % [{one.low:+.1f}, {one.high:+.1f}]"


def changed_since(table: Table, measured: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return which rows today's plan has with other settings, which are new in it, and which are gone.

    Args:
        table: As the plan has it now.
        measured: What identified each row when its cells were measured, by name.
    """
    now = {
        spec.name: describe_model(
            spec,
            dataset=table.dataset,
            seed=table.seeds_of(spec.name)[0],
            protocol=table.protocol.protocol,
        )
        for spec in table.models
    }
    return {
        "other settings": [
            name for name in now if name in measured and not _same_json(now[name], measured[name])
        ],
        "new": [name for name in now if name not in measured],
        "gone": [name for name in measured if name not in now],
    }


def _line(table: Table, file: Path) -> list[str]:
    if not file.is_file():
        return [table.name, "not measured yet", "", "", ""]
    page = json.loads(file.read_text(encoding="utf-8"))
    average = {one["role"]: MeanGain(**one) for one in page.get("mean_gains", ())}
    seeds = {seed for one in page["headline"] for seed in one["seeds"]}
    missing = sum(map(len, page["missing"].values()))
    state = [f"{len({row['model'] for row in page['rows']})} models, {missing} cells missing"]
    for what, rows in changed_since(table, page["models"]).items():
        state += [f"{what}: {listed([f'`{row}`' for row in rows])}"] if rows else []
    return [
        f"[{table.name}]({table.name}.md)",
        "; ".join(state),
        listed(sorted(seeds)),
        *(mean_text(average[role]) if role in average else "" for role in ("best", "blend")),
    ]


def _same_json(one: object, other: object) -> bool:
    """Return whether two descriptions are equal as JSON, where lists and tuples are the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
