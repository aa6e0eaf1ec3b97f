"""Measure a run on users it has never seen, beside baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from warmprompt.assembly.ranker import PromptRanker
from warmprompt.assembly.training import open_data, settings_of
from warmprompt.assembly.tuning import FAIR, choose_settings, default_budget_s, fair_baselines
from warmprompt.assembly.watching import Watch, ignore
from warmprompt.backbone.threads import use_threads
from warmprompt.baselines.registry import baseline
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.evaluation.plot import plot_metrics
from warmprompt.evaluation.protocols import ProtocolSettings
from warmprompt.evaluation.report import render_markdown
from warmprompt.evaluation.results import Results, Tuning, save_results
from warmprompt.evaluation.runner import Plan, Progress, evaluate
from warmprompt.files import write_atomic
from warmprompt.meta.checkpoint import load_trained
from warmprompt.settings import EvaluateSettings
from warmprompt.types import Ranker


def evaluate_run(
    folder: Path | str,
    options: EvaluateSettings | None = None,
    *,
    out: Path | str | None = None,
    dataset: Dataset | None = None,
    watch: Watch = ignore,
) -> Results:
    """Rank for cold users with a run, adapted and not, and with baselines.

    Seeds other than the run's own, and protocols that train on other users or events, need models of
    their own: they are trained into folders inside the run, once.

    Args:
        folder: A finished run.
        options: Protocol, K, seeds, baselines; the run's own settings by default.
        out: Where the rows go as JSON; `report.md` and `metrics.png` are written beside it.
        dataset: Instead of the one that the run's settings name.
        watch: Told what begins, and how far it is.

    Raises:
        UnknownNameError: No such run, protocol or baseline.
        MismatchError: The data set is not the one that the run was trained on.
        WarmpromptError: Anything else that does not fit, or a fault.
    """
    folder = Path(folder)
    trained = load_trained(folder)
    settings = settings_of(trained)
    options = options or settings.evaluate
    protocol = ProtocolSettings(
        protocol=options.protocol,
        ks=options.k,
        candidates=options.candidates,
        reading=options.reading,
        min_rating=options.min_rating,
        attributes=options.attributes,
    )
    plan = Plan(seeds=options.seeds or (settings.train.seed,))
    for name in options.baselines or ():
        baseline(name)  # refuses an unknown one before anything else
    out = None if out is None else _writable(Path(out))
    dataset = dataset or open_data(settings, watch=watch)
    _check_data(dataset, trained.manifest["data"])
    use_threads(settings.train.threads)
    names = options.baselines
    if names is None:
        names = fair_baselines(dataset.num_items)
        if left_out := [name for name in FAIR if name not in names]:
            watch(f"left out, as the fit would not fit in memory: {', '.join(left_out)}")
    budget_s = options.tune_budget
    chosen = choose_settings(
        names,
        dataset,
        protocol,
        Tuning(
            budget_s=default_budget_s(dataset, trained.manifest) if budget_s is None else budget_s,
            seed=settings.train.seed,
            ks=protocol.ks,
            num_users=0,
        ),
        folder=folder / "tuning",
        watch=watch,
    )
    factories = {name: baseline(name, **chosen.settings[name]) for name in names}
    train_s: dict[int, float] = {}
    ranker = PromptRanker(
        folder=folder, settings=settings, dataset=dataset, watch=watch, on_fit=train_s.__setitem__
    )
    own = [
        ranker,
        *([replace(ranker, linear=True)] if options.linear else []),
        replace(ranker, adapted=False),
    ]
    rankers: dict[str, Callable[[], Ranker]] = {
        **{one.name: partial(_same, one) for one in own},
        **factories,
    }
    plan = replace(plan, product=ranker.name, variants=tuple(one.name for one in own[1:]))
    results = evaluate(
        rankers,
        dataset,
        protocol,
        plan,
        progress=lambda progress: watch(_line(progress)),
    )
    # What was loaded took training all the same.
    ours = {one.name for one in own}
    costs = [
        replace(cost, fit_s=train_s[cost.seed]) if cost.model in ours else cost for cost in results.costs
    ]
    results = replace(
        results,
        costs=tuple(costs),
        commit=f"warmprompt {version('warmprompt')}",
        baselines=chosen.rows,
        tuning=chosen.tuning,
    )
    if out is not None:
        save_results(results, out)
        write_atomic(out.with_name("report.md"), render_markdown(results).encode())
        plot_metrics(results, out.with_name("metrics.png"))
    return results


def _same(ranker: Ranker) -> Ranker:
    return ranker


def _line(progress: Progress) -> str:
    return f"[{progress.done}/{progress.total}] {progress.what}"


def _writable(out: Path) -> Path:
    """Refuse a place that cannot be written to before hours are spent."""
    if out.is_dir():
        raise BadInputError(
            field="--out", value=out, remedy="It is a folder; name a file in it, ending in .json."
        )
    write_atomic(out.with_name(f".{out.name}.probe"), b"")
    out.with_name(f".{out.name}.probe").unlink()
    return out


def _check_data(dataset: Dataset, told: dict[str, object]) -> None:
    if dataset.content_hash != told["content_hash"]:
        raise MismatchError(
            field="data set",
            value=f"{dataset.name} {dataset.content_hash[:12]}",
            remedy=f"The run was trained on {told['name']} {str(told['content_hash'])[:12]}; train again.",
        )
