"""Results as a Markdown page: metrics over K, differences, cost, counts, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from warmprompt.evaluation.lists import ACCURACY, COVERAGE, MEANINGS
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.results import BaselineSettings, Cost, Results, Row, SeedCounts


def render_markdown(results: Results) -> str:
    """Return the report; values are means over users with 95 % intervals in brackets, seeds averaged."""
    label = results.settings["label"]
    sections = [f"# {results.dataset}: {label}\n"]
    seeds = results.settings["seeds"]
    sections.append(
        f"Users that no model has trained on, seeds {listed(seeds)}. Mean over users (seeds averaged within "
        "the user) with its 95 % bootstrap interval. Bold: the highest of a column.\n"
    )
    if caption := baselines_caption(results):
        sections.append(f"{caption}\n")
    if "sampled100" in label or "query-only" in label:
        sections.append(
            "**These candidates exist to compare with papers only; they change the order of models.**\n"
        )
    present = {row.metric for row in results.rows}
    sections.extend(_metric_table(results, metric) for metric in (*METRICS, *MEANINGS) if metric in present)
    if results.differences:
        sections.append(_difference_table(results))
    if results.baselines:
        sections.append(_baseline_table(results))
    sections += [_cost_table(results), count_table(results.counts), _settings_table(results)]
    return "\n".join(sections)


def overall(results: Results) -> tuple[Row, ...]:
    """Return the rows over all seeds."""
    return tuple(row for row in results.rows if row.seed is None)


def baselines_caption(results: Results) -> str:
    """Return in a sentence or two how the baselines of the table were tuned, "" where nothing is to tune."""
    tuning = results.tuning
    sources = {row.source for row in results.baselines}
    parts = []
    if tuning is not None and "searched" in sources:
        trials = sum(row.num_trials for row in results.baselines)
        spent_s = sum(row.cpu_s for row in results.baselines)
        parts.append(
            f"Baselines tuned on the {tuning.num_users} validation users of split {tuning.seed}, protocol "
            f"{results.settings['label']}: {trials} trials, {spent_s:.0f} s of a budget of "
            f"{tuning.budget_s:.0f} s of processor time."
        )
    if "recorded" in sources:
        named = _named(results, "recorded", among=sources)
        parts.append(f"{named} recorded settings, found on this data set's validation users earlier.")
    if "defaults" in sources:
        named = _named(results, "defaults", among=sources)
        parts.append(f"{named} untuned defaults, which were selected on MovieLens-100K.")
    return " ".join(parts)


def compared_text(results: Results) -> str:
    """Return in two sentences who is compared, and on what."""
    rows = overall(results)
    users = max((row.num_users for row in rows), default=0)
    own = list(dict.fromkeys(row.model for row in rows if row.is_product))
    others = list(dict.fromkeys(row.model for row in rows if not row.is_product))
    against = f" against {listed(others)}" if others else ""
    return (
        f"Protocol {results.settings['label']}: {users} users whom no model has trained on show K of their "
        f"events, and the items are ranked for them. {'; '.join(own)}{against}."
    )


def against_best_lines(results: Results, metric: str = "NDCG@10") -> list[str]:
    """Return a line per K: the product minus the best baseline, which validation users chose."""
    return [
        f"K = {row.k}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] {metric} over {row.baseline}, the "
        f"best baseline on validation users (Holm p {p_text(row.p_holm)})"
        for row in results.differences
        if row.best and row.metric == metric
    ]


def settings_lines(results: Results) -> list[str]:
    """Return a line of text per tuned baseline: its settings, its trials and what they brought."""
    return [
        f"{row.baseline}: {_settings_text(row)} ({row.source}"
        + (f", {row.num_trials} trials, NDCG@10 {_value(row.value)}" if row.num_trials else "")
        + (f" against {_value(row.default_value)} of the defaults" if row.default_value is not None else "")
        + ")"
        for row in results.baselines
    ]


def _named(results: Results, source: str, *, among: set[str]) -> str:
    """Return who has settings from a source: everybody, or by name."""
    names = [row.baseline for row in results.baselines if row.source == source]
    if among == {source}:
        return "Baselines have"
    return f"{listed(names)} {'has' if len(names) == 1 else 'have'}"


def _settings_text(row: BaselineSettings) -> str:
    return listed(f"{name} {value:g}" for name, value in row.settings.items())


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _baseline_table(results: Results) -> str:
    tuning = results.tuning
    over = "" if tuning is None or not tuning.ks else f", over K = {listed(tuning.ks)}"
    body = [
        [
            row.baseline,
            _settings_text(row),
            row.source,
            str(row.num_trials),
            f"{row.cpu_s:.1f}",
            _value(row.value),
            _value(row.default_value),
        ]
        for row in results.baselines
    ]
    head = ["baseline", "settings", "source", "trials", "processor s", "NDCG@10", "NDCG@10, defaults"]
    return (
        f"## Settings of the baselines\n\n{baselines_caption(results)} NDCG@10 is the mean over validation "
        f"users{over}. Members of a blend are listed one by one.\n\n" + markdown_table(head, body)
    )


def _metric_table(results: Results, metric: str) -> str:
    rows = {(row.model, row.k): row for row in overall(results) if row.metric == metric}
    ks = sorted({k for _, k in rows})
    models = list(dict.fromkeys(model for model, _ in rows))
    best = {k: max(rows[model, k].value for model in models) for k in ks}

    def cell(model: str, k: int) -> str:
        row = rows[model, k]
        is_best = metric in ACCURACY and row.value == best[k]
        value = f"**{row.value:.4f}**" if is_best else f"{row.value:.4f}"
        return value if metric == COVERAGE else f"{value} [{row.low:.4f}, {row.high:.4f}]"

    num_users = ["users", *(str(rows[models[0], k].num_users) for k in ks)] if models else []
    body = [[model, *(cell(model, k) for k in ks)] for model in models]
    meaning = f"{MEANINGS[metric]}\n\n" if metric in MEANINGS else ""
    return f"## {metric}\n\n{meaning}" + markdown_table(["", *(f"K = {k}" for k in ks)], [*body, num_users])


def _difference_table(results: Results) -> str:
    product = results.differences[0].product
    body = [
        [
            row.baseline + (" (best)" if row.best else " (own)" if row.is_product else ""),
            str(row.k),
            row.metric,
            f"{row.value:+.4f}",
            f"[{row.low:+.4f}, {row.high:+.4f}]",
            p_text(row.p),
            p_text(row.p_holm),
        ]
        for row in results.differences
    ]
    return (
        f"## {product} minus each other row\n\nPaired by user; p by permutation of signs, corrected by Holm "
        "over all rows of this table. (best): the best baseline of its cell on the first seed's validation "
        f"users. (own): {product} itself in another form, and no baseline.\n\n"
        + markdown_table(["row", "K", "metric", "difference", "95 % interval", "p", "Holm p"], body)
    )


def _cost_table(results: Results) -> str:
    by_model: dict[str, list[Cost]] = {}
    for row in results.costs:
        by_model.setdefault(row.model, []).append(row)

    def mean(rows: Sequence[Cost], value: Callable[[Cost], float]) -> float:
        return sum(map(value, rows)) / len(rows)

    body = [
        [
            model,
            f"{round(mean(rows, lambda row: row.num_parameters)):,}",
            f"{mean(rows, lambda row: row.fit_s):.2f}",
            f"{mean(rows, lambda row: row.p50_ms):.2f}",
            f"{mean(rows, lambda row: row.p99_ms):.2f}",
            f"{mean(rows, lambda row: row.users_per_s):,.0f}",
        ]
        for model, rows in by_model.items()
    ]
    head = ["", "trained parameters", "fit, s", "one user p50, ms", "one user p99, ms", "users per s"]
    first = results.costs[0]
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return (
        "## Cost\n\n"
        + markdown_table(head, body)
        + f"\nMeans over seeds. One user: adaptation and scores of the whole catalogue at K = {first.k}, "
        f"{first.num_timed} users timed; users per second in batches of {first.batch}. Machine: {machine}.\n"
    )


def count_table(counts: Sequence[SeedCounts]) -> str:
    """Return who trained and was tested under each seed, and what was left out."""
    ks = sorted({k for row in counts for k in row.users_left_out})
    body: list[list[str]] = []

    def per_seed(name: str, value: Callable[[SeedCounts], object]) -> None:
        body.append([name, *(str(value(row)) for row in counts)])

    per_seed("training users", lambda row: row.num_training_users)
    per_seed("validation users", lambda row: row.num_validation_users)
    per_seed("tested users", lambda row: row.num_tested_users)
    per_seed("catalogue, items", lambda row: row.catalogue_size)
    if any(row.num_new_items for row in counts):
        per_seed("new items", lambda row: row.num_new_items)
    if any(row.ks_left_out for row in counts):
        per_seed("K left out, too few users", lambda row: listed(row.ks_left_out) or "none")
    over_k = ", ".join(f"K = {k}" if index == 0 else str(k) for index, k in enumerate(ks))
    counted = {
        "users left out, history too short": [row.users_left_out for row in counts],
        "users left out, no positive": [row.users_without_positive for row in counts],
        "query items": [row.query_items for row in counts],
        "query items that cannot be found": [row.query_misses for row in counts],
        "users with under 100 negatives": [row.short_negatives for row in counts],
    }
    if any(row.without_sentence for row in counts):
        counted["users without a sentence"] = [row.without_sentence for row in counts]
    for name, of_seeds in counted.items():
        cells = [listed(of_seed.get(k, "-") for k in ks) for of_seed in of_seeds]
        body.append([f"{name}, {over_k}", *cells])
    return "## Counts\n\n" + markdown_table(["", *(f"seed {row.seed}" for row in counts)], body)


def _settings_table(results: Results) -> str:
    body = [
        [name, listed(value) if isinstance(value, list | tuple) else str(value)]
        for name, value in results.settings.items()
    ]
    body += [["data set hash", results.content_hash], ["commit", results.commit or "not given"]]
    return "## Settings\n\n" + markdown_table(["setting", "value"], body)


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; empty rows are left out."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body if row]
    return "\n".join(lines) + "\n"


def listed(values: Iterable[object]) -> str:
    """Return the values with commas."""
    return ", ".join(map(str, values))


def p_text(value: float) -> str:
    """Return a p-value with four digits, small ones in powers of ten."""
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"
