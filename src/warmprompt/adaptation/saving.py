"""A model in memory: what it is in a line, and as a run on the disk."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from warmprompt.errors import BadInputError
from warmprompt.files import new_folder
from warmprompt.runs.format import MANIFEST, Trained, save_trained


def save_model(folder: Path, trained: Trained, *, overwrite: bool) -> None:
    """Write a run into a folder of its own; arguments and errors as `Personaliser.save`."""
    if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BadInputError(
            field="run folder", value=folder, remedy="It holds something else; name another place."
        )
    with new_folder(folder, overwrite=overwrite) as staging:
        save_trained(staging, trained)


def in_a_line(trained: Trained, experts: Collection[str] = ()) -> str:
    """Return what was trained on what, how much can be ranked, and the experts given."""
    record, scale = trained.manifest, trained.rating_scale
    rated = "no ratings" if scale is None else f"ratings {scale[0]:g} to {scale[1]:g}"
    data, backbone = (str(record[part]["name"])[-60:] for part in ("data", "backbone"))
    line = f"{trained.learner} on {data!r}, {len(trained.item_ids):,} items, {rated}, backbone {backbone!r}"
    return f"{line}, experts: {', '.join(experts)}" if experts else line
