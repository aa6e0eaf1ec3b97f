"""The comparison of risk profiles as a page, a table for machines, and one picture.

A run holds one seed's arrays: `test/K/score/MODEL`, `test/K/fraud`, the same for `calibration`, `time` and
`entity` of the test rows, `calibration/time`, and `about` (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.profile.calibration import Verdicts, calibrated_anew
from warmprompt.risk.profile.metrics import (
    METRICS,
    coverage_interval,
    judge,
    paired_intervals,
    reliability_by,
    weighted_average_precision,
)
from warmprompt.risk.profile.payments import LABEL_DELAY_S, Bools, Doubles, Longs

Run = Mapping[str, np.ndarray]

# Okabe & Ito 2008, as in the project's other pictures.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
_NUM_FOLDS = 10
_MARKERS = "os^DvPX*<>"
_SHOWN = (
    "prompt",
    "population model",
    "forest and boosting",
    "random forest",
    "gradient boosting",
    "logistic regression",
    "rules",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileSummary:
    """Everything in the report.

    Attributes:
        product: The model the others are compared with.
        values: (model, K) to metrics, each the mean over seeds.
        differences: K to model to (product minus model, low, high) in average precision.
        coverage: (what, K) to (share, low, high) for the product's sets, by customers drawn again.
        reliability: K to rows (mean p, share of fraud, payments), pooled over seeds, for the product.
        about: What each seed was made with.
        timing: Milliseconds by name, where they were measured.
    """

    product: str
    values: dict[tuple[str, int], dict[str, float]]
    differences: dict[int, dict[str, tuple[float, float, float]]]
    coverage: dict[tuple[str, int], tuple[float, float, float]]
    reliability: dict[int, list[tuple[float, float, int]]]
    about: list[dict[str, Any]]
    timing: Mapping[str, float] | None = None


def summarise_models(
    runs: Sequence[Run],
    *,
    ks: Sequence[int],
    product: str,
    rng: np.random.Generator,
    label_delay_s: int = LABEL_DELAY_S,
) -> ProfileSummary:
    """Judge every model of every seed, calibrated weekly on labels of other entities that are due."""
    values: dict[tuple[str, int], dict[str, float]] = {}
    differences: dict[int, dict[str, tuple[float, float, float]]] = {}
    coverage: dict[tuple[str, int], tuple[float, float, float]] = {}
    reliability: dict[int, list[tuple[float, float, int]]] = {}
    entities = np.unique(np.concatenate([run["entity"] for run in runs]))
    for k in ks:
        functions, found, verdict_rows = [], [], []
        for run in runs:
            fraud = run[f"test/{k}/fraud"]
            entity = np.searchsorted(entities, run["entity"])
            of_seed, judged = {}, {}
            for model in _models(run, k):
                scores = run[f"test/{k}/score/{model}"]
                verdicts = _verdicts(run, k, model, label_delay_s)
                judged[model] = judge(scores, fraud, run["time"], run["entity"], verdicts)
                of_seed[model] = weighted_average_precision(scores, fraud, entity)
                if model == product and verdicts is not None:
                    verdict_rows.append((verdicts, fraud, entity))
            functions.append(of_seed)
            found.append(judged)
        for model in found[0]:
            values[model, k] = {name: float(np.mean([one[model][name] for one in found])) for name in METRICS}
        differences[k] = paired_intervals(functions, len(entities), product, rng=rng)
        coverage |= {
            (what, k): coverage_interval(rows, len(entities), rng=rng)
            for what, rows in _covered(verdict_rows).items()
        }
        reliability[k] = _reliability(
            np.concatenate([one.p_R for one, _, _ in verdict_rows]),
            np.concatenate([fraud for _, fraud, _ in verdict_rows]),
        )
    return ProfileSummary(
        product=product,
        values=values,
        differences=differences,
        coverage=coverage,
        reliability=reliability,
        about=[json.loads(str(run["about"])) for run in runs],
    )


def _verdicts(run: Run, k: int, model: str, label_delay_s: int) -> Verdicts | None:
    """Return None where a model gives everybody the same score.

    Test customers are judged in folds: a fold by the calibration customers and the labels, once they are due,
    of the other folds, so that nobody is judged by a label of their own.
    """
    scores, fraud, time = run[f"test/{k}/score/{model}"], run[f"test/{k}/fraud"], run["time"]
    if np.ptp(scores) == 0:
        return None
    before = run[f"calibration/{k}/score/{model}"], run[f"calibration/{k}/fraud"], run["calibration/time"]
    fold = np.unique(run["entity"], return_inverse=True)[1] % _NUM_FOLDS
    p_R, says_fraud_R, says_genuine_R = np.empty(len(fold)), *np.empty((2, len(fold)), dtype=np.bool_)
    for one in range(_NUM_FOLDS):
        here, others = fold == one, fold != one
        later = scores[others], fraud[others], time[others]
        past = (
            np.concatenate([before[0], later[0]]),
            np.concatenate([before[1], later[1]]),
            np.concatenate([before[2], later[2]]),
        )
        found = calibrated_anew(
            scores[here], time[here], past, label_delay_s=label_delay_s, begin_s=int(time.min())
        )
        p_R[here] = found.p_R
        says_fraud_R[here], says_genuine_R[here] = found.says_fraud_R, found.says_genuine_R
    return Verdicts(p_R=p_R, says_fraud_R=says_fraud_R, says_genuine_R=says_genuine_R)


def _covered(verdict_rows: Sequence[tuple[Verdicts, Bools, Longs]]) -> dict[str, list[tuple[Bools, Longs]]]:
    """Return per seed which payments' sets hold their label, and whose they are."""
    found: dict[str, list[tuple[Bools, Longs]]] = {"all payments": [], "frauds": [], "genuine payments": []}
    for verdicts, fraud, entity in verdict_rows:
        covered = np.where(fraud, verdicts.says_fraud_R, verdicts.says_genuine_R)
        for what, rows in zip(found, (fraud | ~fraud, fraud, ~fraud), strict=True):
            found[what].append((covered[rows], entity[rows]))
    return found


def write_report(found: ProfileSummary, out: Path) -> None:
    """Write OUT.md, OUT.json and OUT.png."""
    write_atomic(out.with_suffix(".md"), render_page(found, picture=out.with_suffix(".png").name).encode())
    table = {
        "product": found.product,
        "values": [{"model": model, "k": k, **row} for (model, k), row in found.values.items()],
        "differences": [
            {"k": k, "model": model, "difference": value, "low": low, "high": high}
            for k, rows in found.differences.items()
            for model, (value, low, high) in rows.items()
        ],
        "coverage": [
            {"of": what, "k": k, "share": share, "low": low, "high": high}
            for (what, k), (share, low, high) in found.coverage.items()
        ],
        "reliability": {str(k): rows for k, rows in found.reliability.items()},
        "about": found.about,
        "timing_ms": found.timing,
        "machine": describe_machine(),
    }
    text = json.dumps(table, indent=1, default=float).replace("NaN", "null")
    write_atomic(out.with_suffix(".json"), text.encode())
    image = BytesIO()
    draw(found).savefig(image, format="png")
    write_atomic(out.with_suffix(".png"), image.getvalue())


def render_page(found: ProfileSummary, *, picture: str) -> str:
    """Return the page."""
    ks = sorted(found.differences)
    models = list(dict.fromkeys(model for model, _ in found.values))
    first = found.about[0]
    lines = [
        "# Few-shot risk profiles",
        "",
        "Do a few known payments of an unseen customer improve its risk scores? Average precision rises",
        "with K, but the prompt adds nothing measurable to the population model.",
        "",
        "Unseen customers of the Fraud Detection Handbook's simulated payments; values are means over",
        f"seeds {_listed(one['seed'] for one in found.about)}. Customers for training, validation,",
        f"calibration and test: {_listed(first['customers'])}. Frauds among the test payments, per seed:",
        f"{_listed(one['frauds'][3] for one in found.about)}",
        f"of {_listed(one['rows'][3] for one in found.about)}.",
        "Protocol and terms: [risk profiles](../risk/profile.md). Made by",
        "`python benchmarks/risk_profiles.py --data transactions.parquet`.",
        "",
        f"![Average precision over K, and how true the probabilities are]({picture})",
        "",
    ]
    for metric in METRICS:
        lines += [f"## {_TITLES[metric]}", ""]
        body = [
            [model, *(_cell(found.values[model, k][metric]) for k in ks)]
            for model in models
            if not np.isnan(found.values[model, ks[0]][metric])
        ]
        lines += _table(["", *(f"K = {k}" for k in ks)], body)
    lines += [
        f"## Average precision: {found.product} minus each other model",
        "",
        "95 % intervals: customers drawn with replacement, the same for both models.",
        "",
    ]
    rows = [
        [model, *(_difference(found.differences[k][model]) for k in ks)]
        for model in models
        if model != found.product
    ]
    lines += _table(["", *(f"K = {k}" for k in ks)], rows)
    lines += [
        f"## Coverage of the 90 % sets of {found.product}",
        "",
        "Calibrated anew each week on other customers' labels of the last 35 days that are due.",
        "95 % intervals: test customers drawn with replacement.",
        "",
    ]
    parts = list(dict.fromkeys(what for what, _ in found.coverage))
    rows = [[what, *(_share(found.coverage[what, k]) for k in ks)] for what in parts]
    lines += _table(["", *(f"K = {k}" for k in ks)], rows)
    if found.timing:
        lines += ["## Time of one entity", "", "Milliseconds, one thread, K = 20.", ""]
        lines += _table(["", "ms"], [[name, f"{value:.1f}"] for name, value in found.timing.items()])
    lines += ["## Settings that validation chose", ""]
    lines += _table(
        ["", *(f"seed {one['seed']}" for one in found.about)],
        [[name, *(_setting(one["tuned"][name][0]) for one in found.about)] for name in first["tuned"]],
    )
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    commits = _listed(sorted({one["commit"] for one in found.about}))
    return "\n".join([*lines, f"Machine of the report: {machine}. Commit of the seeds: {commits}.", ""])


def draw(found: ProfileSummary) -> Figure:
    """Return average precision over K next to the product's reliability diagram."""
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_precision(left, found)
    _draw_reliability(right, found)
    return figure


def _draw_precision(axes: Axes, found: ProfileSummary) -> None:
    ks = sorted(found.differences)
    for index, model in enumerate(one for one in _SHOWN if (one, ks[0]) in found.values):
        axes.plot(
            range(len(ks)),
            [found.values[model, k]["AP"] for k in ks],
            color=_COLOURS[index],
            marker=_MARKERS[index],
            linewidth=2.4 if model == found.product else 1.3,
            label=model,
        )
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("known payments K")
    axes.set_ylabel("average precision")
    axes.set_title("Unseen customers, the 21 days after the cut", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_reliability(axes: Axes, found: ProfileSummary) -> None:
    axes.plot([1e-4, 1], [1e-4, 1], color="#999999", linewidth=1, linestyle=":")
    for index, (k, rows) in enumerate(sorted(found.reliability.items())):
        p, share, _ = (np.array(column) for column in zip(*rows, strict=True))
        shown = share > 0
        axes.plot(
            p[shown],
            share[shown],
            color=_COLOURS[index],
            marker=_MARKERS[index],
            linewidth=1.2,
            markersize=4,
            label=f"K = {k}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("calibrated p_risk, mean of a bin")
    axes.set_ylabel("share of fraud in the bin")
    axes.set_title(f"Reliability of {found.product}, pooled over seeds", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _reliability(p_R: Doubles, fraud_R: Bools, *, num_bins: int = 20) -> list[tuple[float, float, int]]:
    """Return bins whose edges grow geometrically; over five seeds there are frauds at the bottom too."""
    return reliability_by(np.geomspace(max(1e-4, float(p_R.min())), 1.0, num_bins), p_R, fraud_R)


_TITLES = {
    "AP": "Average precision",
    "AUC": "Area under the ROC curve",
    "CP@100": "Card precision at 100",
    "Brier": "Brier score",
    "ECE": "Expected calibration error",
    "cover": "Share of payments whose 90 % set holds their label",
    "cover fraud": "Share of frauds whose 90 % set holds fraud",
    "cover genuine": "Share of genuine payments whose 90 % set holds genuine",
    "unsure": "Share of payments where the profiler abstains",
}


def _models(run: Run, k: int) -> list[str]:
    start = f"test/{k}/score/"
    return [name.removeprefix(start) for name in run if name.startswith(start)]


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _setting(selected: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in selected.items()) or "none"


def _cell(value: float) -> str:
    return f"{value:.4f}"


def _difference(row: tuple[float, float, float]) -> str:
    value, low, high = row
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _share(row: tuple[float, float, float]) -> str:
    value, low, high = row
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in body), ""]
