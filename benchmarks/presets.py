"""Presets compared on validation users: NDCG@10 at K = 0, 1, 3, 5, data set by data set.

    python benchmarks/presets.py --out runs/presets ml-100k amazon-gift-cards-2018 own-sparse own-dense

Each data set is trained once per preset on split 0 and ranked for its validation users in the linear
response. The language model is read after one layer: what is trained and ranked here does not read it, and
measuring how prompts move it is then a sixth of the work. Nothing looks at tested users. Adds to
`presets.json` under --out, and writes `presets.md` beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.assembly.ranker import PromptRanker
from warmprompt.baselines import baseline
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.settings import PRESETS, load_settings, preset_for
from warmprompt.training.presets import density_of, settled
from warmprompt.training.run import train_run
from warmprompt.types import Ranker

KS = (0, 1, 3, 5)


def main() -> None:
    """Read the options; measure what is not there yet, one training after another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", default=",".join(PRESETS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "presets.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    for data in options.data:
        for preset in ("toppop", *options.presets.split(",")):
            if any((row["data"], row["preset"]) == (data, preset) for row in rows):
                continue
            rows.append(measure(data, preset, options.out))
            file.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    (options.out / "presets.md").write_text(table(rows))


def measure(data: str, preset: str, out: Path) -> dict[str, Any]:
    """Train with one preset, or count popularity, and return a row."""
    dataset = open_dataset(ensure_dataset(data))
    density = density_of(dataset)
    task = build_task(dataset, ProtocolSettings(ks=KS, users="validation"), seed=0)
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    weights: dict[str, float] = {}
    if preset == "toppop":
        ranker: Ranker = baseline("toppop")().fit(task.training, task.validation, seed=0)
    else:
        flags = {"data.name": data, "train.preset": preset, "train.threads": 1, "backbone.num_layers": 1}
        settings = settled(load_settings(flags=flags), dataset)
        folder = out / f"{data}-{preset}"
        trained = train_run(settings, folder, dataset=dataset)
        weights = dict(trained.experts.weights)
        fitted = PromptRanker(folder=folder, settings=settings, dataset=dataset, exact=False)
        ranker = fitted.fit(task.training, task.validation, seed=0)
    row: dict[str, Any] = {
        "data": data,
        "preset": preset,
        "by_rule": preset_for(density, learner="learned-target"),
        **asdict(density),
        "weights": weights,
        "seconds": round(time.monotonic() - begun_s, 1),
        "cpu_seconds": round(time.process_time() - begun_cpu_s, 1),
    }
    return row | {"ndcg": _ndcg(ranker, task), "users": {k: len(cases) for k, cases in task.cases.items()}}


def _ndcg(ranker: Ranker, task: EvaluationTask) -> dict[int, float]:
    """Return NDCG@10 per K, mean over validation users."""
    found = {}
    for k, cases in task.cases.items():
        values = score_cases(ranker, task, cases, label=ranker.name)
        found[k] = round(float(np.mean([one[1] for one in values.values()])), 5)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table; what the rule takes is bold."""
    lines = [
        "| data set | users | median per user | per item | judged on | preset | K = 0 | 1 | 3 | 5 | cpu s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        per_item = row["num_events"] / row["num_items"]
        name = f"**{row['preset']}**" if row["preset"] == row["by_rule"] else row["preset"]
        found = {str(k): value for k, value in row["ndcg"].items()}
        cells = [f"{found[str(k)]:.4f}".removeprefix("0") if str(k) in found else "" for k in KS]
        about = f"{row['data']} | {row['num_users']:,} | {row['median_per_user']:g} | {per_item:.0f}"
        about += f" | {row['users'].get('1', row['users'].get(1))}"
        lines.append(f"| {about} | {name} | {' | '.join(cells)} | {row['cpu_seconds']:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
