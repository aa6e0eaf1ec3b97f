"""Measure a run on users it has never seen, next to baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from warmprompt.adaptation.opening import open_run
from warmprompt.assembly.ranker import PromptRanker
from warmprompt.assembly.tuning import FAIR, Chosen, choose_settings, default_budget_s, fair_baselines
from warmprompt.backbone.threads import use_threads
from warmprompt.baselines.registry import baseline
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.lists import FurtherMetrics, metric_names
from warmprompt.evaluation.plot import plot_metrics
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings
from warmprompt.evaluation.report import render_markdown
from warmprompt.evaluation.results import Results, Tuning, save_results
from warmprompt.evaluation.runner import EvaluationPlan, EvaluationProgress, OnScores, evaluate
from warmprompt.evaluation.trec import TrecFiles
from warmprompt.files import new_folder, write_atomic
from warmprompt.runs.format import Trained, load_trained
from warmprompt.runs.models import settings_of
from warmprompt.settings import EvaluateSettings
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import open_data
from warmprompt.types import Floats, Ranker


def evaluate_run(
    folder: Path | str,
    options: EvaluateSettings | None = None,
    *,
    out: Path | str | None = None,
    trec: Path | str | None = None,
    dataset: Dataset | None = None,
    progress: ProgressCallback = no_progress,
) -> Results:
    """Rank for cold users with a run, adapted and not, and with baselines.

    Seeds other than the run's own, and protocols that train on other users or events, need models of
    their own: they are trained into folders inside the run, once.

    Args:
        folder: A finished run.
        options: Protocol, K, seeds, baselines; the run's own settings by default.
        out: Where the rows go as JSON; `report.md` and `metrics.png` are written next to it.
        trec: New folder for TREC run and qrels files.
        dataset: Instead of the one that the run's settings name.
        progress: Receives what begins, and how far it is.

    Raises:
        UnknownNameError: No such run, protocol or baseline.
        MismatchError: The data set is not the one that the run was trained on.
        WarmpromptError: Anything else that does not fit, or a fault.
    """
    folder = Path(folder)
    trained = load_trained(folder)
    settings = settings_of(trained)
    options = options or settings.evaluate
    protocol = _protocol_of(options)
    plan = EvaluationPlan(seeds=options.seeds or (settings.train.seed,))
    for name in options.baselines or ():
        baseline(name)  # refuses an unknown one before anything else
    further = FurtherMetrics(metric_names(options.metrics), candidates=options.candidates)
    out = None if out is None else _writable(Path(out))
    train_s: dict[int, float] = {}
    with _trec_files(trec, options.candidates) as ranked:
        dataset = dataset or open_data(settings, progress=progress)
        _check_data(dataset, trained.manifest["data"])
        use_threads(settings.train.threads)
        selected = _baselines_of(trained, options, dataset, folder / "tuning", progress)
        own = _own_rows(
            PromptRanker(
                folder=folder,
                settings=settings,
                dataset=dataset,
                progress=progress,
                on_fit=train_s.__setitem__,
            ),
            exact=options.exact,
        )
        product, *variants = own
        results = evaluate(
            own | {name: baseline(name, **given) for name, given in selected.settings.items()},
            dataset,
            protocol,
            replace(plan, product=product, variants=tuple(variants)),
            on_scores=_each(further, *ranked),
            progress=lambda done: progress(_line(done)),
        )
    # What was loaded took training all the same.
    costs = [replace(cost, fit_s=train_s[cost.seed]) if cost.model in own else cost for cost in results.costs]
    results = replace(
        results,
        costs=tuple(costs),
        rows=(*results.rows, *further.rows(protocol.label, own=own)),
        commit=f"warmprompt {version('warmprompt')}",
        baselines=selected.rows,
        tuning=selected.tuning,
    )
    if out is not None:
        save_results(results, out)
        experts = f"\n## Experts\n\n```text\n{open_run(folder).describe()}\n```\n"
        write_atomic(out.with_name("report.md"), (render_markdown(results) + experts).encode())
        plot_metrics(results, out.with_name("metrics.png"))
    return results


def _protocol_of(options: EvaluateSettings) -> ProtocolSettings:
    return ProtocolSettings(
        protocol=options.protocol,
        ks=options.k,
        candidates=options.candidates,
        reading=options.reading,
        min_rating=options.min_rating,
        attributes=options.attributes,
    )


def _baselines_of(
    trained: Trained, options: EvaluateSettings, dataset: Dataset, folder: Path, progress: ProgressCallback
) -> Chosen:
    """Return what the run is compared with, its settings searched where there is a budget for that."""
    names = options.baselines
    if names is None:
        names = fair_baselines(dataset.num_items)
        if left_out := [name for name in FAIR if name not in names]:
            progress(f"left out, as the fit would take too much memory: {', '.join(left_out)}")
    budget_s = options.tune_budget
    if budget_s is None:
        budget_s = default_budget_s(dataset, trained.manifest, options.protocol)
    seed = settings_of(trained).train.seed
    tuning = Tuning(budget_s=budget_s, seed=seed, ks=options.k, num_users=0)
    return choose_settings(names, dataset, _protocol_of(options), tuning, folder=folder, progress=progress)


def _own_rows(ranker: PromptRanker, *, exact: bool) -> dict[str, Callable[[], Ranker]]:
    """Return the product's rows by label: as it is, by its prompts where asked for, not adapted."""
    variants = [replace(ranker, exact=True)] if exact else []
    every = [ranker, *variants, replace(ranker, adapted=False)]
    return {one.name: partial(_same, one) for one in every}


@contextmanager
def _trec_files(folder: Path | str | None, candidates: str) -> Iterator[tuple[TrecFiles, ...]]:
    """Yield what writes TREC files into a folder that is there whole, or not at all; nothing without one."""
    if folder is None:
        yield ()
        return
    with new_folder(Path(folder)) as temp:
        yield (TrecFiles(temp, candidates=candidates),)


def _each(*observers: OnScores) -> OnScores:
    def tell(label: str, task: EvaluationTask, cases: Sequence[Case], scores_BV: Floats) -> None:
        for observer in observers:
            observer(label, task, cases, scores_BV)

    return tell


def _same(ranker: Ranker) -> Ranker:
    return ranker


def _line(progress: EvaluationProgress) -> str:
    return f"[{progress.done}/{progress.total}] {progress.what}"


def _writable(out: Path) -> Path:
    """Refuse a folder that cannot be written to before hours are spent."""
    if out.is_dir():
        raise BadInputError(
            field="--out", value=out, remedy="It is a folder; name a file in it, ending in .json."
        )
    write_atomic(out.with_name(f".{out.name}.probe"), b"")
    out.with_name(f".{out.name}.probe").unlink()
    return out


def _check_data(dataset: Dataset, recorded: dict[str, object]) -> None:
    if dataset.content_hash != recorded["content_hash"]:
        raise MismatchError(
            field="data set",
            value=f"{dataset.name} {dataset.content_hash[:12]}",
            remedy=f"The run was trained on {recorded['name']} {str(recorded['content_hash'])[:12]}; "
            "train again.",
        )
