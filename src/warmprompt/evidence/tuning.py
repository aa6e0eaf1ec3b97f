"""Search the settings of baselines on validation users, as the protocol asks; a stopped search goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.budget import spent_on
from warmprompt.baselines.registry import SEARCH_SPACES, at_budget, baseline
from warmprompt.baselines.tuning import Search, Trial, best_of, search_settings
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.protocols import IN_TIME, ProtocolSettings, build_task
from warmprompt.evaluation.report import markdown_table
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.evidence.describing import fields_text
from warmprompt.evidence.plan import slug
from warmprompt.types import Ranker

TUNED_KS = (1, 3, 5, 10)
# Without a protocol: what is read in time is tuned in time; what reads attributes alone, without history.
_SEQUENTIAL = ("markov", "sasrec")
_BY_ATTRIBUTES = ("toppop-demographic",)
_AFTER_A_DATE = ("toppop-recent",)
_SHORT_PATH = 2  # data set and baseline: a search without a protocol


def tune_baseline(  # noqa: PLR0913 - what makes a search, by keyword
    dataset: str,
    name: str,
    folder: Path,
    *,
    protocol: str = "",
    num_trials: int = 20,
    halving: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Return the best trial for a baseline: mean NDCG@10 over K on the validation users of split seed 0.

    K is 1, 3, 5 and 10, as far as the data set carries them. Episodes are those of the protocol that is
    given. Without one they are of `random`; models of sequences are then tuned under `next10`,
    `toppop-demographic` at K = 0 with attributes, `toppop-recent` under `temporal`. The last line of progress
    is the budget that the search has used, earlier calls counted in.

    Args:
        dataset: Name of the data set.
        name: Name of the baseline.
        folder: Keeps the trials of every search.
        protocol: One of `IN_TIME`, or "".
        num_trials: At least 20, unless the whole grid is smaller.
        halving: Try a quarter of the epochs first, and only the best third in full.
        progress: Called with a line per trial.

    Raises:
        UnknownNameError: No such data set, baseline or protocol.
        BadInputError: The baseline has nothing to tune, or the data set has no times for `temporal`.
        MismatchError, IntegrityError: The folder holds another search.
    """
    check_tunable([name], protocol)
    whole = open_dataset(ensure_dataset(dataset))
    task = build_task(whole, _protocol(name, protocol), seed=0)
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
        rows=folder / slug(dataset) / protocol / f"{name}.jsonl",
        progress=report,
    )
    users = max(map(len, task.cases.values()), default=0)
    progress(
        f"{dataset} {name}: {len(trials)} trials on {users} validation users under "
        f"`{task.settings.protocol}`, {spent_on(trials):.1f} s of processor time in all"
    )
    return best_of(trials)


def check_tunable(names: Sequence[str], protocol: str = "") -> None:
    """Refuse names of baselines that cannot be searched, and protocols that none is searched on.

    Raises:
        UnknownNameError: No such baseline or protocol.
        BadInputError: It has nothing to tune.
    """
    if protocol not in ("", *IN_TIME):
        remedy = f"Choose one of {', '.join(IN_TIME)}, or leave it out."
        raise UnknownNameError(field="protocol", value=protocol, remedy=remedy)
    for name in names:
        if not SEARCH_SPACES.get(name):
            baseline(name)
            remedy = "It has nothing to tune; name one with a search space."
            raise BadInputError(field="baseline", value=name, remedy=remedy)


def tuning_page(folder: Path) -> str:
    """Return a page of all searches whose trials lie in a folder, "" where there are none."""
    body = []
    for file in sorted([*folder.glob("*/*.jsonl"), *folder.glob("*/*/*.jsonl")]):
        trials = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        whole = [entry for entry in trials if not entry["stopped"]]
        if whole and file.stem in SEARCH_SPACES:
            best = max(whole, key=lambda entry: entry["values"][-1])
            body.append(_row(file.relative_to(folder), trials, best))
    if not body:
        return ""
    head = [
        "data set",
        "baseline",
        "protocol",
        "trials",
        "of",
        "best settings",
        "at an edge",
        "NDCG@10",
        "median",
        "CPU s",
    ]
    return (
        "# Settings searched\n\nOptuna's TPE on the grids of `SEARCH_SPACES`, mean NDCG@10 over K = "
        "1, 3, 5, 10 (as far as "
        "the data set carries them) on the validation users of split seed 0, episodes of the "
        "protocol; `toppop-demographic` at K = 0 with attributes. CPU s: processor time of all trials, wall "
        "time where it was not measured. "
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
        file.parts[0],
        file.stem,
        _protocol(file.stem, file.parts[1] if len(file.parts) > _SHORT_PATH else "").protocol,
        str(len(trials)),
        str(int(np.prod([len(own) for own in space.values()]))),
        fields_text(best["settings"]),
        ", ".join(edges) or "none",
        f"{best['values'][-1]:.4f}",
        f"{float(np.median(values)):.4f}",
        f"{sum(entry.get('cpu_s') or entry['seconds'] for entry in trials):.0f}",
    ]


def _protocol(name: str, protocol: str) -> ProtocolSettings:
    if name in _BY_ATTRIBUTES:
        return ProtocolSettings(users="validation", ks=(0,), attributes=True)
    if not protocol:
        protocol = "temporal" if name in _AFTER_A_DATE else "next10" if name in _SEQUENTIAL else "random"
    ks = (0, *TUNED_KS) if name in _AFTER_A_DATE else TUNED_KS
    return ProtocolSettings(users="validation", protocol=protocol, ks=ks)
