"""Peak memory and time of importing a ratings.csv of MovieLens-25M's size.

    python benchmarks/import_memory.py [--rows 25000000] [--folder /tmp]

The file is generated (seeded), imported by a fresh process, and deleted.
"""

# A script, not part of a package.

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

# MovieLens-25M: 25,000,095 ratings, 162,541 users, 59,047 rated movies.
NUM_USERS, NUM_MOVIES = 162_541, 59_047
PIECE = 1_000_000
IMPORT = """
import sys, time
from pathlib import Path
from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder
from warmprompt.data.tables import open_dataset
start = time.perf_counter()
import_source(read_folder(Path(sys.argv[1])), Path(sys.argv[2]), name="big", now_s=2_000_000_000)
print(time.perf_counter() - start)
if sys.argv[3] == "open":
    start = time.perf_counter()
    open_dataset(sys.argv[2])
    print(time.perf_counter() - start)
"""


def write_ratings(folder: Path, *, num_rows: int, seed: int) -> None:
    """Write ratings.csv, ordered by user as GroupLens does, and movies.csv."""
    rng = np.random.default_rng(seed)
    titles = [f'"Movie, The {movie} ({1950 + movie % 70})"' for movie in range(NUM_MOVIES)]
    with (folder / "movies.csv").open("w") as file:
        file.write("movieId,title,genres\n")
        file.writelines(f"{movie},{title},Drama|Comedy\n" for movie, title in enumerate(titles))
    with (folder / "ratings.csv").open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        for start in range(0, num_rows, PIECE):
            rows = np.arange(start, min(start + PIECE, num_rows))
            # Squaring a uniform draw makes some movies far more popular than others.
            movies = (rng.random(len(rows)) ** 2 * NUM_MOVIES).astype(np.int64)
            pl.DataFrame(
                {
                    "user": rows * NUM_USERS // num_rows + 1,
                    "movie": movies,
                    "rating": rng.integers(1, 11, len(rows)) / 2,
                    "time": rng.integers(800_000_000, 1_580_000_000, len(rows)),
                }
            ).write_csv(file, include_header=False)


def main() -> None:
    """Generate, import in a fresh process, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=25_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--open", action="store_true", help="open the data set in the same process as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        start = time.perf_counter()
        write_ratings(folder, num_rows=options.rows, seed=0)
        written_s = time.perf_counter() - start
        mode = "open" if options.open else "import"
        command = [sys.executable, "-c", IMPORT, str(folder), str(folder / "tables"), mode]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = [round(float(line), 1) for line in done.stdout.split()]
        figures = {
            "rows": options.rows,
            "csv_mb": round((folder / "ratings.csv").stat().st_size / 1e6),
            "tables_mb": round(sum(file.stat().st_size for file in (folder / "tables").iterdir()) / 1e6),
            "generated_s": round(written_s, 1),
            "import_s": seconds[0],
            "open_s": seconds[1] if len(seconds) > 1 else None,
            "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
