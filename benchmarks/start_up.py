"""What starting costs: processor seconds of `--help` and of `recommend`, and which imports take longest.

    python benchmarks/start_up.py runs/demo
    python benchmarks/start_up.py runs/demo --against OTHER/src

Each command runs in a process of its own on one thread, in turns with the others, so that a busy machine
slows all alike. `import torch` runs along as the reference: its share is lost whatever this package does.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

TITLE = "Toy Story"
ABOUT = "I like science fiction and thrillers"


def commands(run: Path) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    recommend = ["-m", "warmprompt", "recommend", str(run), "-n", "3"]
    return {
        "import torch": ["-c", "import torch"],
        "--help": ["-m", "warmprompt", "--help"],
        "recommend --like": [*recommend, "--like", TITLE],
        "recommend --like --about": [*recommend, "--like", TITLE, "--about", ABOUT],
        "recommend --like --exact": [*recommend, "--like", TITLE, "--exact"],
    }


def processor_s(arguments: list[str], source: Path) -> float:
    """Return the processor seconds of one run of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=_environment(source), capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def top_imports(arguments: list[str], source: Path, *, num: int) -> list[tuple[float, str]]:
    """Return the modules that cost most with what they import themselves, in milliseconds of the clock."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=_environment(source),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    costs = [(int(row[1]) / 1000, row[2].strip()) for row in rows if row[1].strip().isdigit()]
    return sorted(costs, reverse=True)[:num]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("--against", type=Path, help="src folder of another checkout, measured in turns")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--top", type=int, default=12, help="imports to list")
    chosen = parser.parse_args()
    here = Path(__file__).resolve().parents[1] / "src"
    sources = {"here": here} | ({"against": chosen.against.resolve()} if chosen.against else {})
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(chosen.repeats):
        for name, arguments in commands(chosen.run.resolve()).items():
            for label, source in sources.items():
                spent.setdefault((name, label), []).append(processor_s(arguments, source))
    reference = statistics.median(spent["import torch", "here"])
    print(f"processor seconds, one thread, median of {chosen.repeats} (in units of import torch)")
    for name in commands(chosen.run):
        shown = [(label, statistics.median(spent[name, label])) for label in sources]
        print(f"  {name:28}", *(f"{label} {one:.2f} ({one / reference:.2f})" for label, one in shown))
    for name in ("--help", "recommend --like"):
        print(f"imports of {name}, ms of the clock")
        for cost, module in top_imports(commands(chosen.run.resolve())[name], here, num=chosen.top):
            print(f"  {cost:8.1f} {module}")


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}


if __name__ == "__main__":
    main()
