"""Train every learner on several splits and table what adaptation is worth to each.

    python benchmarks/learners.py --runs runs/learners --out docs/results/learners

Resumable: finished models and evaluations are kept in the runs folder. The baselines are fitted once,
with the first row. Writes learners.md, learners.json and learners.png.

`default` is what `warmprompt train` makes. The other rows are learners without memory of training users, so
that what adapting gains is kept apart from what the other experts add for the same events.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from commits import commit

from warmprompt.assembly.evaluating import evaluate_run
from warmprompt.evaluation.plot import plot_metrics
from warmprompt.evaluation.report import overall
from warmprompt.evaluation.results import Results, load_results
from warmprompt.files import write_atomic
from warmprompt.runs.format import MANIFEST
from warmprompt.settings import EvaluateSettings, load_settings
from warmprompt.training.run import train_run

KS = (0, 1, 3, 5, 10, 20)
DEFAULT = "default"
LEARNERS = (DEFAULT, "learned-target", "fomaml", "closed-form", "reptile", "multitask", "meta-sgd", "maml")
NO_EXPERTS = {"experts.use": ()}
BASELINES = ("toppop", "itemknn", "userknn", "ease", "ials")


def main() -> None:
    """Read the options, train and evaluate what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/learners"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/learners"))
    parser.add_argument("--learners", default=",".join(LEARNERS))
    parser.add_argument("--seeds", default="0,1,2", help="of the first learner and the baselines")
    parser.add_argument("--other-seeds", default="0", help="of the other learners")
    parser.add_argument("--data", default="ml-100k")
    chosen = parser.parse_args()
    first, others = (
        tuple(int(seed) for seed in text.split(",")) for text in (chosen.seeds, chosen.other_seeds)
    )
    learners = chosen.learners.split(",")
    found = {}
    for index, name in enumerate(learners):
        seeds = others if index else first
        found[name] = evaluated(chosen.runs / name, name, chosen.data, seeds, with_baselines=index == 0)
        write_atomic(chosen.out.with_suffix(".md"), report(found, chosen.runs).encode())
        write_atomic(chosen.out.with_suffix(".json"), rows_of(found).encode())
        plot_metrics(found[learners[0]], chosen.out.with_suffix(".png"))


def evaluated(
    folder: Path, learner: str, data: str, seeds: tuple[int, ...], *, with_baselines: bool
) -> Results:
    """Return a learner's results, from the folder where they lie there already."""
    file = folder / "results.json"
    if file.is_file():
        return load_results(file)
    # One thread each: several of these then share a machine without waiting for one another.
    flags = {"data.name": data, "train.seed": seeds[0], "train.threads": 1}
    if learner != DEFAULT:
        flags |= {"learner.name": learner, **NO_EXPERTS}
    train_run(load_settings(flags=flags), folder, progress=tell)
    options = EvaluateSettings(k=KS, seeds=seeds, baselines=BASELINES if with_baselines else ("toppop",))
    return evaluate_run(folder, options, out=file, progress=tell)


def report(found: dict[str, Results], runs: Path) -> str:
    """Return the page: NDCG@10 per learner, adapted and not, and the gain with its interval."""
    first = next(iter(found.values()))
    scope = f"{first.dataset}, protocol `{first.settings['label']}`, NDCG@10, full catalogue, no user text."
    lines = [
        "# What adaptation is worth to each learner",
        "",
        "How much does adapting the prompt raise NDCG@10 for each learner? Every learner gains at every K",
        "from 1 on, more with more events, and less where memory is used too.",
        "",
        scope,
        "Intervals: 95 %, bootstrap over users. Other split seeds, other test users: compare within a set.",
        "",
        '`default` is what `warmprompt train` makes: the learned target and memory of training users; "not',
        'adapted" leaves its prompt at the start and still uses memory. All other rows are without memory.',
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in first.machine.items())}. Commit {commit()}.",
        "Made by `python benchmarks/learners.py`.",
        "",
        "| model | split seeds | " + " | ".join(f"K={k}" for k in KS) + " | training, s per seed |",
        "|---" * (len(KS) + 3) + "|",
    ]
    for name, results in found.items():
        manifest = json.loads((runs / name / MANIFEST).read_text())
        for model in ("warmprompt", "warmprompt, not adapted"):
            label = f"{name}, {'adapted' if model == 'warmprompt' else 'not adapted'}"
            train_s = f"{manifest['train_s']:.0f}"
            lines.append(f"| {label} | {seeds_of(results)} | {cells(results, model)} | {train_s} |")
    lines += [f"| {model} | {seeds_of(first)} | {cells(first, model)} | |" for model in BASELINES]
    lines += ["", "Gain of adapting, paired by user (NDCG@10; p by permutation, Holm-corrected):", ""]
    lines += ["| learner | " + " | ".join(f"K={k}" for k in KS[1:]) + " |", "|---" * len(KS) + "|"]
    for name, results in found.items():
        gains = {
            row.k: f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] p={row.p_holm:.4f}"
            for row in results.differences
            if row.baseline == "warmprompt, not adapted" and row.metric == "NDCG@10"
        }
        lines.append(f"| {name} | " + " | ".join(gains.get(k, "") for k in KS[1:]) + " |")
    lines += ["", f"Difference of {next(iter(found))}, adapted, to each baseline:", ""]
    lines += ["| baseline | " + " | ".join(f"K={k}" for k in KS) + " |", "|---" * (len(KS) + 1) + "|"]
    for model in BASELINES:
        gains = {
            row.k: f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] p={row.p_holm:.4f}"
            for row in first.differences
            if row.baseline == model and row.metric == "NDCG@10"
        }
        lines.append(f"| {model} | " + " | ".join(gains.get(k, "") for k in KS) + " |")
    return "\n".join([*lines, ""])


def cells(results: Results, model: str) -> str:
    """Return a model's NDCG@10 per K over all seeds."""
    rows = {row.k: row for row in overall(results) if row.model == model and row.metric == "NDCG@10"}
    return " | ".join(
        f"{rows[k].value:.4f} [{rows[k].low:.4f}, {rows[k].high:.4f}]" if k in rows else "" for k in KS
    )


def seeds_of(results: Results) -> str:
    """Return the split seeds of a result, "0, 1, 2"."""
    return ", ".join(str(seed) for seed in sorted({row.seed for row in results.rows if row.seed is not None}))


def rows_of(found: dict[str, Results]) -> str:
    """Return every row with its learner, as JSON."""
    rows = [{"learner": name, **vars(row)} for name, results in found.items() for row in results.rows]
    return json.dumps(rows, indent=0)


def tell(what: object) -> None:
    """Print what begins; steps are not."""
    if isinstance(what, str) and not what.startswith("["):
        print(what, flush=True)


if __name__ == "__main__":
    main()
