"""Small files of known content, and one way to import them."""

from pathlib import Path

import pytest

from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder
from warmprompt.data.tables import open_dataset

NOW_S = 1_700_000_000


@pytest.fixture
def write(tmp_path):
    """Write files under a folder: write("a", {"x.csv": "text or bytes"}) -> its path."""

    def write_files(folder: str, files: dict[str, str | bytes]) -> Path:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_files


@pytest.fixture
def bring_in(tmp_path):
    """Import a folder or a source and open it: bring_in(path) -> (dataset, manifest)."""
    count = iter(range(1000))

    def run(source, *, max_rejects=0.001, name="small"):
        if isinstance(source, Path):
            source = read_folder(source)
        folder = tmp_path / f"tables-{next(count)}"
        manifest = import_source(source, folder, name=name, now_s=NOW_S, max_rejects=max_rejects)
        return open_dataset(folder), manifest

    return run


@pytest.fixture
def events_of():
    """Return a data set's events as (user id, item id, rating or None, time or None), in order."""

    def rows(dataset):
        events = dataset.interactions
        found = []
        for user, user_id in enumerate(dataset.user_ids):
            for row in range(events.offsets[user], events.offsets[user + 1]):
                rating = None if events.ratings is None else float(events.ratings[row])
                rating = None if rating is not None and rating != rating else rating
                time = None if events.times_s is None else int(events.times_s[row])
                found.append((user_id, dataset.item_ids[events.items[row]], rating, time))
        return found

    return rows
