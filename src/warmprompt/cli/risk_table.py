"""`warmprompt risk train --table` and `warmprompt risk score`: profiles of a table's entities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.parsing import names
from warmprompt.cli.risk_screen import JSON, print_written
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from warmprompt.risk.entities import (
        EntityProfiler,
        EntityReport,
        EntityScores,
        EntityTable,
        TableSchema,
    )

_BANKS, _QUARTERS, _SHOWN = 300, 10, 20


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What `risk train` was given for a table; None where an option was left out."""

    table: Path | None
    save_table: Path | None
    entity: str | None
    time: str | None
    label: str | None
    features: str | None
    classes: str | None
    trouble: str | None
    delay: int | None

    def asked(self, others: Sequence[str]) -> bool:
        """Return whether a table is to be trained on, and refuse options that do not belong together.

        Args:
            others: Options of payments that were given.

        Raises:
            BadInputError: Names the first.
        """
        columns = {f"--{name}": value for name, value in vars(self).items() if not name.endswith("table")}
        given = [name for name, value in columns.items() if value is not None]
        if self.table is None and given:
            remedy = "It is of a table; name one with --table."
            raise BadInputError(field=given[0], value=columns[given[0]], remedy=remedy)
        if self.table is None and self.save_table is None:
            return False
        if others:
            remedy = "It is of payments; leave it out beside a table."
            raise BadInputError(field=others[0], value="given", remedy=remedy)
        if self.save_table is not None:
            if self.table is not None:
                remedy = "Leave it out: --table lies in a file already."
                raise BadInputError(field="--save-table", value=self.save_table, remedy=remedy)
            _require_table_suffix("--save-table", self.save_table)
            return True
        for name in ("--entity", "--time", "--label"):
            if columns[name] is None:
                raise BadInputError(field=name, value="left out", remedy="Name that column of the table.")
        return True

    def read(self, seed: int) -> tuple[pl.DataFrame, TableSchema]:
        """Return the table, made up and written where --save-table asks for it, and its schema."""
        from warmprompt.risk.entities import learn_schema, read_frame

        if self.save_table is not None:
            from warmprompt.risk.entities.made_up import RATINGS, make_banks

            frame = make_banks(_BANKS, _QUARTERS, seed=seed)
            _write(frame, self.save_table)
            return frame, learn_schema(frame, entity="bank", time="quarter", label="rating", classes=RATINGS)
        entity, time, label = str(self.entity), str(self.time), str(self.label)
        frame = read_frame(Path(str(self.table)), text=(entity, time, label))
        return frame, learn_schema(
            frame,
            entity=entity,
            time=time,
            label=label,
            features=names(self.features) or (),
            classes=names(self.classes) or (),
            trouble=names(self.trouble) or (),
            delay=1 if self.delay is None else self.delay,
        )


def train_table(
    options: TableOptions,
    out: Path,
    *,
    backbone: tuple[str, int] | None,
    tangent_epochs: int,
    prompt_steps: int,
    level: float,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a profiler on a table, save it, and show how it did on calibration entities.

    Args:
        options: Of the table.
        out: Folder for the profiler.
        backbone: Name and layers of the language model; None leaves it out.
        tangent_epochs: Of the prompt.
        prompt_steps: Of the prompt.
        level: Coverage of the sets.
        seed: The only source of chance.
        overwrite: Replace a folder that is not empty.
        as_json: Print JSON.
    """
    from warmprompt.backbone.load import load_backbone
    from warmprompt.cli.progress import shown_progress
    from warmprompt.risk.entities import EntityPromptSettings, fit_entities, make_table, save_entities

    frame, schema = options.read(seed)
    table = make_table(frame, schema)
    with shown_progress() as progress:
        profiler, report = fit_entities(
            table,
            schema,
            None if backbone is None else load_backbone(backbone[0], num_layers=backbone[1]),
            seed=seed,
            settings=EntityPromptSettings(tangent_epochs=tangent_epochs, prompt_steps=prompt_steps),
            level=level,
            progress=progress,
        )
    save_entities(profiler, out, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"folder": str(out), "seed": seed}, indent=1))
        return
    source = options.table or options.save_table
    _print_report(report, str(source))
    results_console().print(f"wrote {out}\nnext: warmprompt risk score {out} {source}")


def score_command(
    profiler: Annotated[
        Path, typer.Argument(help="Folder that `risk train --table` wrote.", show_default=False)
    ],
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet with the columns it was trained on; labels where known.",
            show_default=False,
        ),
    ],
    period: Annotated[
        str | None, typer.Option("--period", help="Score rows of this period; the last one if left out.")
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option("--entity", help="Score this entity alone, its own label of the period hidden."),
    ] = None,
    everyone: Annotated[
        bool,
        typer.Option("--all", help="Score labelled rows too, their own label hidden and without peers."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV or Parquet file for the scores of all rows.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Score a period's rows without label, from features, own earlier labels and labelled peers."""
    if out is not None:
        _require_table_suffix("--out", out)
    from warmprompt.risk.entities import load_entities, make_table, read_frame

    loaded = load_entities(profiler)
    schema = loaded.schema
    given = make_table(read_frame(table, text=(schema.entity, schema.time, schema.label)), schema)
    parts = _asked_rows(given, schema.label, period, entity, everyone=everyone)
    shown = [row for rows in parts for row in _score_rows(loaded, given, loaded.score(given, rows))]
    shown.sort(key=lambda row: -row["p_trouble"])
    if out is not None:
        import polars as pl

        _write(pl.DataFrame(shown), out)
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    _print_scores(shown, loaded)
    print_written(out)


def _asked_rows(
    table: EntityTable, label: str, period: str | None, entity: str | None, *, everyone: bool
) -> list[np.ndarray]:
    """Return rows of a period to score together: those without label, those with one, or the entity's.

    Raises:
        UnknownNameError: No such period or entity.
        BadInputError: No such row, or options that do not belong together.
    """
    import numpy as np

    from warmprompt.risk.entities import UNLABELLED

    period = table.periods[-1] if period is None else period
    if period not in table.periods:
        remedy = f"The table has {table.periods[0]} to {table.periods[-1]}."
        raise UnknownNameError(field="--period", value=period, remedy=remedy)
    here_N = table.period_N == table.periods.index(period)
    if entity is not None:
        if everyone:
            raise BadInputError(field="--all", value="beside --entity", remedy="Give one of the two.")
        if entity not in table.names:
            raise UnknownNameError(field="--entity", value=entity, remedy="Name one of the table's entities.")
        rows = np.flatnonzero(here_N & (table.entity_N == table.names.index(entity)))
        if not len(rows):
            remedy = f"It has no row in {period}; name another with --period."
            raise BadInputError(field="--entity", value=entity, remedy=remedy)
        return [rows]
    parts = [np.flatnonzero(here_N & (table.label_N == UNLABELLED))]
    if everyone:
        parts.append(np.flatnonzero(here_N & (table.label_N != UNLABELLED)))
    elif not len(parts[0]):
        raise BadInputError(
            field="rows to score",
            value=f"none without {label} in {period}",
            remedy="Leave the label empty where it is unknown, or give --all, --period or --entity.",
        )
    return [rows for rows in parts if len(rows)]


def _score_rows(profiler: EntityProfiler, table: EntityTable, scores: EntityScores) -> list[dict[str, Any]]:
    """Return scores as rows, the riskiest first."""
    import numpy as np

    decisions = {(True, False): "trouble", (False, True): "sound"}
    classes = profiler.schema.classes
    found = []
    # Calibrated probabilities are steps; within one the score decides.
    for at in np.lexsort((-scores.log_odds_R, -scores.p_R)).tolist():
        row = scores.rows_R[at]
        said = bool(scores.says_trouble_R[at]), bool(scores.says_sound_R[at])
        found.append(
            {
                "entity": table.names[table.entity_N[row]],
                "period": table.periods[table.period_N[row]],
                "p_trouble": float(scores.p_R[at]),
                "p_low": float(scores.low_R[at]),
                "p_high": float(scores.high_R[at]),
                "decision": decisions.get(said, "unsure"),
                "likeliest": classes[int(scores.log_p_RC[at].argmax())],
                "known_labels": int(scores.num_known_R[at]),
                "labelled_peers": int(scores.num_peers_R[at]),
            }
            | {
                f"p_{name}": float(np.exp(one))
                for name, one in zip(classes, scores.log_p_RC[at], strict=True)
            }
        )
    return found


def _require_table_suffix(option: str, path: Path) -> None:
    if path.suffix not in (".parquet", ".csv"):
        raise BadInputError(field=option, value=path, remedy="Name a .parquet or .csv file.")


def _write(frame: pl.DataFrame, path: Path) -> None:
    buffer = BytesIO()
    frame.write_csv(buffer) if path.suffix == ".csv" else frame.write_parquet(buffer)
    write_atomic(path, buffer.getvalue())


def _print_report(report: EntityReport, source: str) -> None:
    table = Table(
        "calibration entities",
        "accuracy",
        "log loss",
        "of class shares",
        title=f"profiler of {source}",
        title_justify="left",
        show_edge=False,
    )
    for key, name in (("new", "without labels of their own"), ("known", "with labels of their own")):
        numbers = (report.accuracy[key], report.log_loss[key], report.shares_log_loss[key])
        table.add_row(name, *(f"{one:.3f}" for one in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    console = results_console()
    console.print(table)
    fitted, chosen, calibrated = report.entities
    console.print(
        f"{fitted:,} entities fit the experts, {chosen:,} choose, {calibrated:,} calibrate: {report.rows:,} "
        f"rows of {', '.join(report.periods)}, each predicted from the labels known before"
    )
    if report.prompt_gain is not None:
        gain, error = report.prompt_gain
        kept = "kept" if report.keeps_prompt else "left out, as the gain is below two standard errors"
        console.print(f"language model: log loss lower by {gain:.4f} (standard error {error:.4f}): {kept}")


def _print_scores(rows: Sequence[dict[str, Any]], profiler: EntityProfiler) -> None:
    head = (profiler.schema.entity, "p_trouble", "from", "to", "set says", "likeliest", "own labels", "peers")
    trouble = " or ".join(profiler.schema.trouble)
    title = f"{rows[0]['period']}: probability of {profiler.schema.label} {trouble}"
    table = Table(*head, title=title, title_justify="left", show_edge=False)
    for row in rows[:_SHOWN]:
        numbers = (f"{row[name]:.3f}" for name in ("p_trouble", "p_low", "p_high"))
        counts = (str(row["known_labels"]), str(row["labelled_peers"]))
        table.add_row(row["entity"], *numbers, row["decision"], row["likeliest"], *counts)
    for column in (*table.columns[1:4], *table.columns[6:]):
        column.justify = "right"
    results_console().print(table)
    if len(rows) > _SHOWN:
        results_console().print(f"the riskiest {_SHOWN} of {len(rows):,}; all with --out or --json")
