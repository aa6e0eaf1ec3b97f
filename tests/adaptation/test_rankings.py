"""A ranking as rows, DataFrames and HTML, and what every public object says of itself in a line."""

import builtins
import dataclasses
import html.parser

import polars as pl
import pytest

import warmprompt
from warmprompt import BadInputError, Event, Known, Ranking
from warmprompt.assembly.evaluating import evaluate_run
from warmprompt.data.tables import open_dataset
from warmprompt.runs.format import load_trained
from warmprompt.settings import EvaluateSettings

ROWS = [
    {"item_id": 7, "title": "Alien <3>", "score": 2.5, "rank": 1},
    {"item_id": 3, "title": "", "score": -1.0, "rank": 2},
]


@pytest.fixture
def ranking():
    return Ranking(items=(7, 3), titles=("Alien <3>", ""), scores=(2.5, -1.0))


def test_iterating_yields_items_with_titles_and_scores(ranking):
    assert list(ranking) == [(7, "Alien <3>", 2.5), (3, "", -1.0)]
    assert [one.title for one in ranking] == ["Alien <3>", ""]


def test_rows_and_frames_say_the_same(ranking):
    assert ranking.to_dicts() == ROWS
    assert ranking.to_polars().to_dicts() == ROWS
    pandas = pytest.importorskip("pandas")
    frame = ranking.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == ROWS


def test_an_empty_ranking_keeps_its_columns():
    empty = Ranking(items=(), titles=(), scores=())
    assert empty.to_dicts() == []
    assert empty.to_polars().schema.names() == ["item_id", "title", "score", "rank"]
    assert repr(empty) == "Ranking(no items)"


def test_text_ids_stay_text():
    frame = Ranking(items=("007",), titles=("Bond",), scores=(1.0,)).to_polars()
    assert frame.schema["item_id"] == pl.String
    assert frame["item_id"].to_list() == ["007"]


def test_without_pandas_the_error_names_the_remedy(ranking, monkeypatch):
    monkeypatch.setattr("warmprompt.adaptation.rankings.find_spec", lambda _: None)
    with pytest.raises(BadInputError, match=r"pip install pandas.*to_polars"):
        ranking.to_pandas()


def test_html_escapes_titles_and_names_untitled_items_by_id(ranking):
    cells = []

    class Cells(html.parser.HTMLParser):
        def handle_data(self, data):
            cells.append(data)

    Cells().feed(ranking._repr_html_())
    assert cells == ["title", "score", "1", "Alien <3>", "2.500", "2", "3", "-1.000"]


def test_the_line_of_a_ranking_names_its_first_titles():
    many = Ranking(items=tuple(range(1000)), titles=("x" * 900,) * 1000, scores=(0.0,) * 1000)
    assert repr(many).startswith("Ranking(1000 items: xxx")
    assert len(repr(many)) < 300


def reached(value, seen):
    """Yield every object of this package that an object holds, itself included."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value[:50]:
            yield from reached(one, seen)
    elif type(value).__module__.startswith("warmprompt"):
        yield value
        if dataclasses.is_dataclass(value):
            for one in dataclasses.fields(value):
                yield from reached(getattr(value, one.name), seen)


def test_every_public_object_and_what_it_holds_is_a_short_line(model, trained_folder, planted_folder):
    dataset = open_dataset(planted_folder[0])
    events = [Event(item=item, rating=4.0) for item in model.items[:40]]
    state = model.adapt(events, about="hm", attributes={"occupation": "farmer"})
    assert len(builtins.repr(model.engine.backbone)) < 500
    results = evaluate_run(trained_folder, EvaluateSettings(k=(0, 1), baselines=("toppop",)), dataset=dataset)
    found = [
        model, state, dataset, results, model.rank(state), Known(events=events * 9, about="x " * 500),
        load_trained(trained_folder), warmprompt.load_settings(), EvaluateSettings(),
        *(getattr(warmprompt, name) for name in warmprompt.__all__),
    ]  # fmt: skip
    kinds = set()
    for one in reached(found, {}):
        kinds.add(type(one).__name__)
        assert len(builtins.repr(one)) < 500, type(one)
    assert {"Personaliser", "UserState", "Dataset", "Ranking", "Settings", "Trained", "Results", "Engine",
            "Mixture", "TitleIndex", "Interactions"} <= kinds  # fmt: skip
    assert repr(dataset) == "Dataset('planted', 120 users, 60 items, 2,199 events, ratings 1 to 5)"
    assert repr(model).startswith(
        "Personaliser(learned-target on 'planted', 60 items, ratings 1 to 5, backbone "
    )
    listed = repr(model).rpartition(", experts: ")[2].removesuffix(")").split(", ")
    assert listed == [row.name for row in model.describe().experts]
