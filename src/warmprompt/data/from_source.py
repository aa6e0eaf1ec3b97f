"""A source as a data set in memory, without a folder in between."""

from __future__ import annotations

import time
from collections.abc import Callable

from warmprompt.data.dataset import Dataset
from warmprompt.data.importing import read_source
from warmprompt.data.readers.source import Source
from warmprompt.data.tables import content_hash, dataset_from_tables
from warmprompt.data.understood import facts


def dataset_of_source(
    source: Source,
    *,
    name: str,
    max_rejects: float = 0.0,
    progress: Callable[[str], None] | None = None,
) -> Dataset:
    """Return a source's data set; equal to the one that an import would write and open again.

    Args:
        source: What a reader returned.
        name: How the data set is called.
        max_rejects: Highest share of malformed rows in each table, 0 to 1.
        progress: Receives how the source was understood, and what was left out.

    Raises:
        BadInputError, RejectsError: As `importing.read_source`.
    """
    tables, manifest = read_source(source, name=name, now_s=int(time.time()), max_rejects=max_rejects)
    if progress is not None and manifest.understood is not None:
        lines = facts(
            manifest.understood,
            source_format=manifest.source_format,
            scale=manifest.rating_scale,
            weight_unit=manifest.weight_unit,
        )
        for label, text in lines:
            progress(f"{label}: {text}")
        for each in manifest.rejects:
            rows = ", ".join(map(str, each.first_lines))
            progress(f"left out: {each.count:,} x {each.reason} ({each.table}, row {rows})")
    return dataset_from_tables(
        tables,
        name=name,
        hashed=content_hash(tables),
        rating_scale=manifest.rating_scale,
        weight_unit=manifest.weight_unit,
    )
