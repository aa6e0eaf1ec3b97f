"""Files and functions of this package that one recommendation passes, and the packages that it imports.

    python benchmarks/one_recommendation.py RUN

Counted by `sys.setprofile` from the events of one user to the ranking, after a first user who fills caches.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import warmprompt
from warmprompt import Event

SOURCE = Path(warmprompt.__file__).parent


def main() -> None:
    """Rank twice, the second time with an eye on what runs."""
    model = warmprompt.load(sys.argv[1])
    events = [Event(item=item) for item in model.items[:10]]
    model.rank(model.adapt(events), 10)
    passed: Counter[tuple[str, str]] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(SOURCE):
            name = frame.f_code.co_qualname
            # Comprehensions and generator expressions belong to the function around them.
            passed[str(file.relative_to(SOURCE)), name.split(".<locals>")[0]] += 1

    sys.setprofile(count)
    model.rank(model.adapt(events), 10)
    sys.setprofile(None)
    files = sorted({file for file, _ in passed})
    for file in files:
        own = [f"{name} x {times}" for (where, name), times in sorted(passed.items()) if where == file]
        print(f"{file}: {', '.join(own)}")
    print(f"{len(files)} files, {len(passed)} functions, {sum(passed.values())} calls")
    loaded = {name.split(".")[1] for name in sys.modules if name.startswith("warmprompt.")}
    print(f"packages in memory: {', '.join(sorted(loaded))}")


if __name__ == "__main__":
    main()
