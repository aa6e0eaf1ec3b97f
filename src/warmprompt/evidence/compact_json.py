"""JSON with one row per line: the rows that are stored next to a page."""

from __future__ import annotations

import json
from collections.abc import Mapping


def compact_json(kept: Mapping[str, object]) -> str:
    """Return JSON with one row per line."""
    lines = []
    for name, value in kept.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = ",\n".join("  " + json.dumps(row, ensure_ascii=False, allow_nan=False) for row in value)
            lines.append(f" {json.dumps(name)}: [\n{inner}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
