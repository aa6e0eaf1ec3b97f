"""`warmprompt recommend`: rank the catalogue for one person, or for a file of users."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmprompt.cli.console import results_console
from warmprompt.cli.selecting import Exclude, Filter, found, ranking_rows, selection_options, table_of
from warmprompt.errors import BadInputError, WarmpromptError

if TYPE_CHECKING:
    from warmprompt.adaptation.personaliser import Personaliser
    from warmprompt.adaptation.state import UserState
    from warmprompt.generation.lm import LanguageModel
    from warmprompt.types import Event, ItemId


def app(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    like: Annotated[list[str] | None, typer.Option("--like", help="A title; may be repeated.")] = None,
    dislike: Annotated[list[str] | None, typer.Option("--dislike", help="A title; may be repeated.")] = None,
    about: Annotated[str | None, typer.Option("--about", help="A sentence about the person.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", help="Such as occupation=artist; may be repeated.")
    ] = None,
    num: Annotated[int, typer.Option("-n", "--num", help="Places in the ranking.")] = 10,
    exclude: Exclude = None,
    filters: Filter = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="Leave an expert out of the score (see describe); may be repeated."),
    ] = None,
    ordered: Annotated[
        bool,
        typer.Option(
            "--ordered", help="Events are all there are of each person, in their order, oldest first."
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each item is there, in sentences that are checked.")
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let the language model name titles of the catalogue, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    users: Annotated[
        str | None,
        typer.Option(
            "--users",
            help="Rank for everybody in a file: a row per event, or one JSON object per user. With --shard "
            "or --engine: Parquet files, as a folder, a pattern or a URL.",
        ),
    ] = None,
    users_map: Annotated[
        str | None,
        typer.Option(
            "--users-map", help="With --users: which column is what, as user=COLUMN,item=COLUMN,..."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="With --users: where rankings go, .parquet, .csv or .jsonl; with --shard or --engine a "
            "folder or URL of Parquet files.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            help="With --users: rank for part i of n of the users, as i/n; 1/1 is everybody.",
        ),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With --shard or --engine: write users' vectors, too.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="With --users: ray shares the users among actors of a Ray cluster."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="With --engine: how many actors; one per processor core.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="With --engine: the cluster's address; without it, this machine."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Move the prompt through the language model; slower, nearly the same ranks."
        ),
    ] = False,
    max_rejects: Annotated[
        float | None, typer.Option("--max-rejects", help="With --users: highest share of malformed rows; 0.")
    ] = None,
) -> None:
    """Rank the catalogue for one new person, or for a file of users."""
    if num < 1:
        raise BadInputError(field="-n", value=num, remedy="Ask for at least 1 item.")
    from warmprompt.cli.recommend_many import Sharing, recommend_many, refuse_together

    refuse_together(
        users,
        out,
        alone={
            "--like": like, "--dislike": dislike, "--about": about, "--attribute": attribute,
            "--explain": explain, "--generate": generate, "--json": as_json,
        },
        many={
            "--users-map": users_map, "--max-rejects": max_rejects, "--shard": shard, "--engine": engine,
            "--vectors": vectors, "--workers": workers, "--address": address,
        },
    )  # fmt: skip
    if users is not None and out is not None:
        how: dict[str, Any] = {
            "users_map": users_map, "exact": exact or None, "max_rejects": max_rejects or 0.0,
            "exclude": exclude, "filters": filters, "drop": tuple(drop or ()), "ordered": ordered,
        }  # fmt: skip
        sharing = Sharing(shard=shard, vectors=vectors, engine=engine, workers=workers, address=address)
        recommend_many(run, users, out, num, sharing=sharing, **how)
        return
    attributes = _attributes(attribute or [])
    if ordered and (explain or generate):
        option = "--explain" if explain else "--generate"
        remedy = f"Leave out {option}: it speaks of the ranking of a set of events."
        raise BadInputError(field="--ordered", value=option, remedy=remedy)
    if generate and (exclude or filters):
        option = "--exclude" if exclude else "--filter"
        remedy = "Leave out one: the language model names titles of the whole catalogue."
        raise BadInputError(field="--generate", value=option, remedy=remedy)
    from warmprompt.adaptation.events import checked_about
    from warmprompt.adaptation.opening import open_run

    begun_s = time.perf_counter()
    model = open_run(run)
    load_s = time.perf_counter() - begun_s
    events = liked_events(model, like or [], dislike or [])
    selection = selection_options(model, exclude, filters)
    about = checked_about(about)
    begun_s = time.perf_counter()
    state = model.adapt(events, about=about, attributes=attributes, exact=exact or None)
    adapted_s = time.perf_counter()
    ranking = model.rank(state, num, drop=tuple(drop or ()), ordered=ordered, **selection)
    ranked_s = time.perf_counter()
    result = {
        "events": [{"item": e.item, "title": model.title(e.item), "rating": e.rating} for e in events],
        "about": about,
        "attributes": attributes,
        "ranking": ranking_rows(ranking),
        "load_s": round(load_s, 3),
        "adapt_ms": round(1000 * (adapted_s - begun_s), 2),
        "rank_ms": round(1000 * (ranked_s - adapted_s), 2),
    }
    if explain or generate:
        result |= _in_words(model, state, ranking.items, num, explain=explain, generate=generate)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=1))
    else:
        _show(result, dislikes=len(dislike or []))


def liked_events(model: Personaliser, like: Sequence[str], dislike: Sequence[str]) -> list[Event]:
    """Return likes and dislikes as events with the highest and the lowest rating of the scale.

    Raises:
        UnknownNameError: A title that means no item, or several.
        BadInputError: A title that is liked twice or both ways, or a dislike where there are no ratings.
    """
    from warmprompt.types import Event

    scale = model.rating_scale
    if dislike and scale is None:
        raise BadInputError(
            field="--dislike", value=dislike[0], remedy="Leave it out: the model was trained without ratings."
        )
    low, high = scale or (None, None)
    events: dict[Any, Event] = {}
    for option, titles, rating in (("--like", like, high), ("--dislike", dislike, low)):
        for title in titles:
            item = found(model, title, option)
            if item in events:
                raise BadInputError(field=option, value=title, remedy="Name each title once.")
            events[item] = Event(item=item, rating=rating)
    return list(events.values())


def _in_words(
    model: Personaliser, state: UserState, items: Sequence[ItemId], num: int, *, explain: bool, generate: bool
) -> dict[str, Any]:
    """Return what the language model has to say, with all its layers."""
    from warmprompt.generation.lm import open_language_model

    writer = open_language_model(model.engine)
    result = _explanations(model, state, items, writer) if explain else {}
    return result | (_generated(model, state, num, writer) if generate else {})


def _explanations(
    model: Personaliser, state: UserState, items: Sequence[ItemId], writer: LanguageModel
) -> dict[str, Any]:
    """Return the explanations of ranked items; genres come from the run's data set, where it is at hand."""
    from warmprompt.generation.explain import explain
    from warmprompt.generation.facts import catalogue_facts
    from warmprompt.runs.models import settings_of
    from warmprompt.training.run import open_data

    settings = settings_of(model.engine.trained)
    try:
        facts, genres_from = catalogue_facts(model, open_data(settings)), settings.data.name
    except WarmpromptError as error:
        facts, genres_from = catalogue_facts(model), f"nowhere: {error.line()}"
    begun_s = time.perf_counter()
    reasons = explain(model, state, items, facts, writer=writer)
    return {
        "explanations": [asdict(one) for one in reasons],
        "genres_from": genres_from,
        "explain_ms": round(1000 * (time.perf_counter() - begun_s), 2),
    }


def _generated(model: Personaliser, state: UserState, num: int, writer: LanguageModel) -> dict[str, Any]:
    """Return what the language model names by itself."""
    from warmprompt.generation.titles import generate_titles, title_writer

    titles = title_writer(model, writer)
    begun_s = time.perf_counter()
    (named,) = generate_titles(titles, model, [state], num)
    return {
        "generated": ranking_rows(named),
        "generate_ms": round(1000 * (time.perf_counter() - begun_s), 2),
    }


def _attributes(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not (separator and key.strip() and value.strip()):
            raise BadInputError(field="--attribute", value=text, remedy="Write it as occupation=artist.")
        pairs[key.strip()] = value.strip()
    return pairs


def _show(result: dict[str, Any], *, dislikes: int) -> None:
    console = results_console()
    titles = [event["title"] or str(event["item"]) for event in result["events"]]
    likes = len(titles) - dislikes
    for word, shown in (
        ("likes", "; ".join(titles[:likes])),
        ("dislikes", "; ".join(titles[likes:])),
        ("about", result["about"] or ""),
        ("attributes", ", ".join(f"{key} {value}" for key, value in result["attributes"].items())),
    ):
        if shown:
            console.print(f"{word}: {shown}")
    if not (titles or result["about"] or result["attributes"]):
        console.print("nothing is known about this person: everybody would get this ranking")
    console.print(table_of("title", result["ranking"]))
    done = f"adapted in {result['adapt_ms']:.1f} ms, ranked in {result['rank_ms']:.1f} ms"
    console.print(f"{done} (opened in {result['load_s']:.1f} s)")
    if "explanations" in result:
        console.print("why:")
        for one in result["explanations"]:
            parts = ", ".join(f"{each['name']} {each['part']:+.2f}" for each in one["experts"])
            console.print(f"{one['rank']:3}  {one['sentence']}\n     score {one['score']:+.2f}: {parts}")
        by_template = sum(one["how"] == "template" for one in result["explanations"])
        console.print(
            f"explained in {result['explain_ms']:.0f} ms, {by_template} by template "
            f"(genres: {result['genres_from']})"
        )
    if "generated" in result:
        console.print(table_of("named by the language model", result["generated"]))
        console.print(f"named in {result['generate_ms']:.0f} ms")
