"""Compare metrics and baselines with RecTools, which needs an environment of its own.

    python3.11 -m venv /tmp/rectools
    /tmp/rectools/bin/pip install torch==2.13.0 "rectools[torch,lightfm]==0.19.0" numpy==1.26.4 \
        pandas==2.3.3 scipy==1.17.1 pm-implicit==0.7.3 pytorch-lightning==2.5.2 \
        rectools-lightfm==1.17.3 attrs==23.2.0 pyarrow==25.0.1
    python benchmarks/agreement.py --other /tmp/rectools/bin/python --out docs/results/agreement

MovieLens-100K, test users of split seed 0 (SASRec: of five splits). Both sides get the same training events,
supports and queries; each fits its own models, and RecTools also judges our rankings by its metrics. Writes
agreement.md and agreement.json, has `agreement_sasrec.py` add its row, and ends with exit code 1 where a
difference exceeds its tolerance. B is users, V items.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit
from numpy.typing import NDArray

from warmprompt.baselines import baseline
from warmprompt.baselines.tuned import TUNED
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.metrics import METRICS, user_metrics
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.report import markdown_table
from warmprompt.evaluation.significance import bootstrap_intervals
from warmprompt.files import write_atomic
from warmprompt.rng import derive
from warmprompt.scoring.ranking import ranks
from warmprompt.scoring.validation import draw_validation_episodes
from warmprompt.types import Floats

K = 10
L2 = 500.0
SASREC = TUNED["ml-100k"]["sasrec"]
"""Ours as in the tables, with early stopping; theirs gets the same shape and dropout."""
THEIR_RATES = (5e-4, 1e-3, 2e-3)
THEIR_STOPS = (10, 20, 40, 60, 100)
"""Theirs never stops early: of these the best on validation episodes is taken, split by split."""
SASREC_TOLERANCE = 0.015
"""Of NDCG@10, mean over all users of all splits: about what so many users can tell. Fixed before the run."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        what: What is compared.
        ours, theirs: Means over users, or None where scores are compared.
        difference: The largest one.
        tolerance: What it may be.
        why: Where the tolerance comes from.
    """

    what: str
    ours: float | None
    theirs: float | None
    difference: float
    tolerance: float
    why: str


def main() -> int:
    """Read the options, let both sides work, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, required=True, help="python of an environment with RecTools")
    parser.add_argument("--out", type=Path, default=Path("docs/results/agreement"))
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sasrec-seeds", default="0,1,2,3,4", help="splits that SASRec is trained on")
    chosen = parser.parse_args()
    dataset = open_dataset(ensure_dataset(chosen.data))
    task = build_task(dataset, ProtocolSettings(ks=(K,)), seed=chosen.seed)
    scores = {name: fit_and_score(name, settings, task) for name, settings in MODELS.items()}
    scores["ease, map transposed"] = transposed_ease(task)
    in_time = [
        build_task(dataset, ProtocolSettings(protocol="next", ks=(K,)), seed=int(seed))
        for seed in chosen.sasrec_seeds.split(",")
    ]
    sasrec = [judge(one, fit_and_score("sasrec", SASREC, one))[:, 1] for one in in_time]
    result, there = ask_rectools(chosen.other, "fits", given(task, in_time, scores["ease"]))
    rows = [
        *metric_rows(task, scores["ease"], result),
        *score_rows(task, scores, result),
        sasrec_row(sasrec, [result[f"ndcg sasrec {index}"] for index in range(len(in_time))]),
    ]
    run = {"commit": commit("src", "benchmarks"), "here": versions_here(), "there": there}
    scope = f"split seed {chosen.seed}, {len(task.cases[K])} test users with {K} support events"
    kept = {"scope": f"{chosen.data}, {scope}", **run, "remarks": remarks(task, scores, result)}
    write_page(chosen.out, kept | {"rows": [asdict(row) for row in rows]})
    script = Path(__file__).with_name("agreement_sasrec.py")
    split = ["--data", chosen.data, "--seed", chosen.sasrec_seeds.split(",")[0]]
    added = subprocess.run(
        [sys.executable, script, "--other", chosen.other, "--out", chosen.out, *split], check=False
    )
    return int(added.returncode != 0 or any(row.difference > row.tolerance for row in rows))


MODELS = {
    "toppop": {},
    "ease": {"l2": L2},
    "itemknn": {"num_neighbours": 10**6, "shrinkage": 0},
}
"""Baseline to its settings; these are compared score by score."""


def fit_and_score(name: str, settings: dict[str, float], task: EvaluationTask) -> Floats:
    """Return our scores of the test users, (B, V)."""
    ranker = baseline(name, **settings)().fit(task.training, task.validation, seed=task.seed)
    return ranker.score([case.support for case in task.cases[K]])


def transposed_ease(task: EvaluationTask) -> Floats:
    """Return the scores of the test users by the transposed map, as RecTools applies it, (B, V)."""
    fitted = baseline("ease", l2=L2)().fit(task.training, task.validation, seed=task.seed)
    map_VV = np.zeros((len(task.candidates_V), len(task.candidates_V)), dtype=np.float32)
    map_VV[np.ix_(fitted.known_W, fitted.known_W)] = fitted.map_UW[:-1]
    return np.stack([map_VV[:, case.support.items_K].sum(axis=1) for case in task.cases[K]])


def ask_rectools(
    python: Path, part: str, given: dict[str, NDArray[np.generic]]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """Run a part of `agreement_rectools.py` in its own environment; return what it found and its versions."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "given.npz", **given)
        script = Path(__file__).with_name("agreement_rectools.py")
        subprocess.run([python, script, folder, part], check=True)
        found = dict(np.load(Path(folder) / "found.npz"))
        return found, json.loads((Path(folder) / "versions.json").read_text())


def given(
    task: EvaluationTask, in_time: Sequence[EvaluationTask], scores_BV: Floats
) -> dict[str, NDArray[np.generic]]:
    """Return what the other side needs: events as (user, item) in time order, and one of our rankings.

    Test users are numbered by place, training users behind the longer of them and the validation episodes,
    which are numbered by place as well.
    """
    found: dict[str, NDArray[np.generic]] = {
        "l2": np.array(L2),
        "rates": np.array(THEIR_RATES),
        "stops": np.array(THEIR_STOPS),
    }
    found |= {name: np.array(value) for name, value in SASREC.items()}
    found["num_items"] = np.array(len(task.candidates_V))
    found["num_splits"] = np.array(len(in_time))
    for name, one in {"random": task, **{f"next_{n}": one for n, one in enumerate(in_time)}}.items():
        events, cases = one.training.interactions, one.cases[K]
        episodes = draw_validation_episodes(one.training, one.validation, seed=one.seed, order="time")
        supports = [support.items_K for own in episodes.supports.values() for support in own]
        queries = [query for own in episodes.queries.values() for query in own]
        first = max(len(cases), len(supports))
        users = np.repeat(np.arange(one.training.num_users), np.diff(events.offsets)) + first
        found[f"{name}_training"] = np.column_stack([users, events.items])
        found[f"{name}_support"] = pairs([case.support.items_K for case in cases])
        found[f"{name}_query"] = pairs([case.query for case in cases])
        found[f"{name}_validation_support"], found[f"{name}_validation_query"] = (
            pairs(supports),
            pairs(queries),
        )
    found["ranking"] = pairs(
        [
            order_of(row, case.support.items_K, task)
            for row, case in zip(scores_BV, task.cases[K], strict=True)
        ]
    )
    return found


def pairs(items: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """Return rows (user's place, item)."""
    places = np.repeat(np.arange(len(items)), [len(own) for own in items])
    return np.column_stack([places, np.concatenate(items)]).astype(np.int64)


def order_of(scores_V: Floats, support: NDArray[np.int32], task: EvaluationTask) -> NDArray[np.int64]:
    """Return one user's candidates, best first."""
    open_V = task.candidates_V.copy()
    open_V[support] = False
    candidates = np.flatnonzero(open_V)
    return candidates[np.argsort(-scores_V[candidates], kind="stable")]


def metric_rows(task: EvaluationTask, scores_BV: Floats, result: dict[str, NDArray[np.float64]]) -> list[Row]:
    """Compare each user's metrics of one ranking: ours by counting ranks, theirs from a sorted list."""
    values_BM = judge(task, scores_BV)
    rows = []
    for index, metric in enumerate(METRICS):
        theirs_B = result[f"metric {metric}"]
        rows.append(
            Row(
                what=f"{metric} of one ranking (EASE)",
                ours=float(values_BM[:, index].mean()),
                theirs=float(theirs_B.mean()),
                difference=float(np.abs(values_BM[:, index] - theirs_B).max()),
                tolerance=1e-12,
                why="doubles, sums of ten terms in another order",
            )
        )
    return rows


def score_rows(
    task: EvaluationTask, scores: dict[str, Floats], result: dict[str, NDArray[np.float64]]
) -> list[Row]:
    """Compare scores of all candidates, and what each side says of its own ranking."""
    reasons = {
        "toppop": ("counts of users", 0.0, "whole numbers"),
        "ease, map transposed": ("largest score", 1e-4, "theirs inverts in float32, ours in float64"),
        "itemknn": ("largest score", 1e-5, "float32, and our tie-break of a millionth"),
    }
    rows = []
    for name, (unit, tolerance, why) in reasons.items():
        ours_BV = scores[name].astype(np.float64)
        theirs_BV = result[f"scores {name.partition(',')[0]}"]
        known_BV = np.isfinite(theirs_BV)
        if name == "toppop":
            # Our share of the most popular item's events, as counts.
            ours_BV = np.round(ours_BV * np.bincount(task.training.interactions.items).max())
        scale = 1.0 if name == "toppop" else float(np.abs(theirs_BV[known_BV]).max())
        rows.append(
            Row(
                what=f"{name}: scores of {int(known_BV.sum()):,} candidates, in units of the {unit}",
                ours=None,
                theirs=None,
                difference=float(np.abs(ours_BV - theirs_BV)[known_BV].max()) / scale,
                tolerance=tolerance,
                why=why,
            )
        )
        ours, theirs = (
            float(judge(task, scores[name])[:, 1].mean()),
            float(result[f"ndcg {name.partition(',')[0]}"].mean()),
        )
        rows.append(
            Row(
                what=f"{name}: NDCG@10, each side by its own metric",
                ours=ours,
                theirs=theirs,
                difference=abs(ours - theirs),
                tolerance=2e-3,
                why="equal scores are ordered by popularity here, by place there",
            )
        )
    return rows


def sasrec_row(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]) -> Row:
    """Compare two trainings of SASRec over all users of all splits: other draws, other schedules."""
    ours_B, theirs_B = np.concatenate(ours), np.concatenate(theirs)
    low, high = (
        float(end[0]) for end in bootstrap_intervals((ours_B - theirs_B)[:, None], derive(0, "agreement"))
    )
    by_split = ", ".join(f"{a.mean():.3f}/{b.mean():.3f}" for a, b in zip(ours, theirs, strict=True))
    return Row(
        what=f"sasrec: NDCG@10 of the next item, {len(ours)} splits, {len(ours_B)} users, two trainings",
        ours=float(ours_B.mean()),
        theirs=float(theirs_B.mean()),
        difference=abs(float((ours_B - theirs_B).mean())),
        tolerance=SASREC_TOLERANCE,
        why=f"fixed before the run; paired difference within [{low:+.4f}, {high:+.4f}]; by split {by_split}",
    )


def judge(task: EvaluationTask, scores_BV: Floats) -> NDArray[np.float64]:
    """Return our metrics per user, (B, 3)."""
    cases = task.cases[K]
    found = ranks(
        scores_BV,
        [case.query for case in cases],
        excluded=[case.support.items_K for case in cases],
        candidates=task.candidates_V,
    )
    return user_metrics(found)


def versions_here() -> dict[str, str]:
    """Return the versions on this side."""
    return {name: version(name) for name in ("warmprompt", "implicit", "numpy", "scipy", "torch")}


def remarks(
    task: EvaluationTask, scores: dict[str, Floats], result: dict[str, NDArray[np.float64]]
) -> dict[str, str | float]:
    """Return what the remarks name: settings, NDCG by RecTools' default, what turning EASE's map changes."""
    own, other = scores["ease"], scores["ease, map transposed"]
    open_V = task.candidates_V
    turned = np.abs(own - other)[:, open_V].max() / np.abs(other[:, open_V]).max()
    num_splits = sum(name.startswith("chosen sasrec") for name in result)
    return {
        "default": f"{float(result['default ndcg']):.4f}",
        "l2": f"{L2:g}",
        "length": 50,
        "their_rates": ", ".join(f"{rate:g}" for rate in THEIR_RATES),
        "their_stops": ", ".join(map(str, THEIR_STOPS)),
        "chosen": "; ".join("{:g}, {:.0f}".format(*result[f"chosen sasrec {n}"]) for n in range(num_splits)),
        **SASREC,
        "turned": f"{turned:.1%}",
        "own": f"{judge(task, own)[:, 1].mean():.4f}",
        "other": f"{judge(task, other)[:, 1].mean():.4f}",
    }


def write_page(out: Path, kept: dict[str, Any]) -> None:
    """Write what was found as a page and as JSON.

    Args:
        out: The path of both, without a suffix.
        kept: The scope, rows, remarks, commit and versions of a run, and under "same weights", where
            `agreement_sasrec.py` has been, its row and remark with a commit and versions of their own.
    """
    added = kept.get("same weights")
    head = ["what", "here", "RecTools", "largest difference", "tolerance", "within", "why"]
    body = [
        [
            row["what"],
            *("" if value is None else f"{value:.4f}" for value in (row["ours"], row["theirs"])),
            f"{row['difference']:.1e}",
            f"{row['tolerance']:.1e}",
            "yes" if row["difference"] <= row["tolerance"] else "**no**",
            row["why"],
        ]
        for row in [*kept["rows"], *([added["row"]] if added else [])]
    ]
    made = made_by(kept)
    if added and made_by(added) != made:
        made += f"\n\nThe last row was measured on its own. {made_by(added)}"
    result = _REMARKS.format(**kept["remarks"]) + (added["remark"] if added else "")
    page = f"{_TITLE}\n{kept['scope']}. {_HEAD}\n{markdown_table(head, body)}\n{result}\n{made}\n{_FOOT}"
    write_atomic(out.with_suffix(".md"), page.encode())
    write_atomic(out.with_suffix(".json"), (json.dumps(kept, indent=1) + "\n").encode())


def made_by(run: dict[str, Any]) -> str:
    """Return the commit and the versions of a run in one line."""
    here, there = (", ".join(map(" ".join, run[side].items())) for side in ("here", "there"))
    return f"Here: {here}; commit {run['commit']}. There: {there}."


_TITLE = """# Agreement with RecTools

Do metrics and baselines have the same numbers here and in RecTools? Yes, within tolerances
fixed before the run, except that two separate trainings of SASRec differ by more.
"""
_HEAD = """Both sides get the same training events, supports and queries, fit their own
models and rank the whole catalogue. RecTools runs in an environment of its own, because its pins exclude this
project's.
"""
_FOOT = """
Made by `python benchmarks/agreement.py --other PYTHON`; the environment is described at its top. The last row
alone is made again by `python benchmarks/agreement_sasrec.py --other PYTHON`.
"""
_REMARKS = """\
- Metrics are compared user by user. NDCG@10 here divides by the best that min(10, |query|) hits can reach;
  RecTools does so with `divide_by_achievable=True`. By its default, which divides by ten hits for everybody,
  this ranking has {default}: the same, since all queries here hold ten items. Where they are shorter, as on
  the Amazon sets, the default is lower, and the two may not be compared. MRR has no cut-off here, so its `k`
  is the size of the catalogue there.
- Equal scores count against the model here; RecTools lists them in an order of its own. The ranking that the
  metrics were compared on has none.
- EASE with l2 {l2}. RecTools solves for the same map B, then multiplies the history by its transpose: its
  ranker takes rows of B as item vectors. So a score there is the sum of -P_ij / P_ii; Steck's equation 8
  and this project have -P_ij / P_jj; with our map transposed the scores agree, and untransposed ours are
  compared with ridge regressions by scikit-learn in `tests/evaluation/test_agreement.py`. Untransposed and
  transposed differ by up to {turned} of the largest score here, and NDCG@10 is {own} and {other}.
- ItemKNN by cosine with all neighbours and no shrinkage, which implicit's
  `CosineRecommender`, the model there, does not have.
- SASRec: protocol `next`; width {width}, {num_blocks} block, 2 heads, dropout {dropout}, the last {length}
  events. Here the softmax is over {num_negatives} items drawn evenly, windows end at a random event, the
  rate falls along a cosine from {rate}, weights are averaged, the best on validation users are kept; there
  the softmax is over the catalogue, the window is a training user's last 51 events (earlier ones, and items
  that are met only there, are not learned), the rate stays, and of the rates {their_rates}
  after {their_stops} epochs the best model on the same validation episodes is taken:
  {chosen}, by split. So two trainings are compared, not two computations; that the
  network computes what its paper defines is a test of its own
  (`tests/evaluation/test_agreement.py`).
"""


if __name__ == "__main__":
    sys.exit(main())
