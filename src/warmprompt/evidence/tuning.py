"""Search the settings of baselines on validation users, as the protocol asks; a stopped search goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.registry import SEARCH_SPACES, at_budget, baseline
from warmprompt.baselines.tuning import Search, Trial, best_of, search_settings
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.report import markdown_table
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.evidence.describing import fields_text
from warmprompt.evidence.plan import slug
from warmprompt.types import Ranker

TUNED_KS = (1, 3, 5, 10)
# What is read in time is tuned in time; what reads attributes alone, without history.
_IN_TIME = ("markov", "sasrec")
_BY_ATTRIBUTES = ("toppop-demographic",)
_AFTER_A_DATE = ("toppop-recent",)


def tune_baseline(
    dataset: str,
    name: str,
    folder: Path,
    *,
    num_trials: int = 20,
    halving: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Return the best trial for a baseline: mean NDCG@10 over K on the validation users of split seed 0.

    K is 1, 3, 5 and 10, as far as the data set carries them, under protocol `random`. Models of sequences
    are tuned under `next10`, `toppop-demographic` at K = 0 with attributes, `toppop-recent` under `temporal`.

    Args:
        dataset: Name of the data set.
        name: Name of the baseline.
        folder: Keeps the trials of every search.
        num_trials: At least 20, unless the whole grid is smaller.
        halving: Try a quarter of the epochs first, and only the best third in full.
        progress: Called with a line per trial.

    Raises:
        UnknownNameError: No such data set or baseline.
        BadInputError: The baseline has nothing to tune.
        MismatchError, IntegrityError: The folder holds another search.
    """
    check_tunable([name])
    whole = open_dataset(ensure_dataset(dataset))
    task = build_task(whole, _protocol(name), seed=0)
    vectors = {"vectors_VX": embed_texts(item_texts(whole))} if name == "content-vectors" else {}

    def factory(settings: Mapping[str, float], share: float) -> Callable[[], Ranker]:
        return at_budget(name, share, **settings, **vectors)

    def report(trial: Trial) -> None:
        progress(f"{dataset} {name} {trial.number}: {trial.settings} {trial.values} {trial.seconds:.1f} s")

    trials = search_settings(
        SEARCH_SPACES[name],
        factory,
        partial(mean_ndcg_on, task=task),
        Search(num_trials=num_trials, rungs=(0.25, 1.0) if halving else (1.0,)),
        rows=folder / slug(dataset) / f"{name}.jsonl",
        progress=report,
    )
    return best_of(trials)


def check_tunable(names: Sequence[str]) -> None:
    """Refuse names of baselines that cannot be searched.

    Raises:
        UnknownNameError: No such baseline.
        BadInputError: It has nothing to tune.
    """
    for name in names:
        if not SEARCH_SPACES.get(name):
            baseline(name)
            remedy = "It has nothing to tune; name one with a search space."
            raise BadInputError(field="baseline", value=name, remedy=remedy)


def tuning_page(folder: Path) -> str:
    """Return a page of all searches whose trials lie in a folder, "" where there are none."""
    body = []
    for file in sorted(folder.glob("*/*.jsonl")):
        trials = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        whole = [entry for entry in trials if not entry["stopped"]]
        if whole and file.stem in SEARCH_SPACES:
            body.append(_row(file, trials, max(whole, key=lambda entry: entry["values"][-1])))
    if not body:
        return ""
    head = [
        "data set",
        "baseline",
        "trials",
        "of",
        "best settings",
        "at an edge",
        "NDCG@10",
        "median",
        "seconds",
    ]
    return (
        "# Settings searched\n\nOptuna's TPE on the grids of `SEARCH_SPACES`, mean NDCG@10 over K = "
        "1, 3, 5, 10 (as far as "
        "the data set carries them) on the validation users of split seed 0, protocol `random`; "
        "models of sequences under "
        "`next10`, `toppop-demographic` at K = 0 with attributes, `toppop-recent` under `temporal`. "
        "Of: settings in the grid. Median: "
        "of the trials run in full. "
        "Rows of fewer than 20 trials, the grid being larger, are searches that were stopped, or "
        "settings tried by hand. "
        "Made by `warmprompt evidence tune` and `warmprompt evidence report`.\n\n"
        + markdown_table(head, body)
    )


def _row(file: Path, trials: list[dict[str, Any]], best: dict[str, Any]) -> list[str]:
    space = SEARCH_SPACES[file.stem]
    edges = [
        name
        for name, value in best["settings"].items()
        if len(space.get(name, ())) > 2 and value in (space[name][0], space[name][-1])
    ]
    values = [entry["values"][-1] for entry in trials if not entry["stopped"]]
    return [
        file.parent.name,
        file.stem,
        str(len(trials)),
        str(int(np.prod([len(own) for own in space.values()]))),
        fields_text(best["settings"]),
        ", ".join(edges) or "none",
        f"{best['values'][-1]:.4f}",
        f"{float(np.median(values)):.4f}",
        f"{sum(entry['seconds'] for entry in trials):.0f}",
    ]


def _protocol(name: str) -> ProtocolSettings:
    if name in _BY_ATTRIBUTES:
        return ProtocolSettings(users="validation", ks=(0,), attributes=True)
    if name in _AFTER_A_DATE:
        return ProtocolSettings(users="validation", protocol="temporal", ks=(0, *TUNED_KS))
    protocol = "next10" if name in _IN_TIME else "random"
    return ProtocolSettings(users="validation", protocol=protocol, ks=TUNED_KS)
