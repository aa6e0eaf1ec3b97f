"""`warmprompt recommend`: the ranking of the model in use, titles found, mistakes in one line."""

import json

import pytest

from warmprompt import Event, Known, load
from warmprompt.adaptation.explain import attribute
from warmprompt.cli import run
from warmprompt.errors import UnknownNameError

pytestmark = pytest.mark.usefixtures("text_home")

LIKED, DISLIKED = "Star North (1960)", "kiss north"


def test_the_ranking_is_the_models_own(capfd, trained_folder):
    command = ["recommend", str(trained_folder), "--like", LIKED.lower(), "--dislike", DISLIKED]
    assert run([*command, "--about", "hm", "--attribute", "occupation=artist", "-n", "4", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    model = load(trained_folder)
    events = [Event(item=model.find(LIKED), rating=5.0), Event(item=model.find(DISLIKED), rating=1.0)]
    ranking = model.rank(model.adapt(events, about="hm", attributes={"occupation": "artist"}), 4)
    assert [row["item"] for row in printed["ranking"]] == list(ranking.items)
    assert [row["title"] for row in printed["ranking"]] == list(ranking.titles)
    assert [row["rank"] for row in printed["ranking"]] == [1, 2, 3, 4]
    assert [(event["title"], event["rating"]) for event in printed["events"]] == [
        (LIKED, 5.0),
        ("Kiss North (1960)", 1.0),
    ]
    assert printed["adapt_ms"] > 0
    assert printed["rank_ms"] > 0


@pytest.mark.parametrize("way", [[], ["--exact"]])
def test_rankings_are_the_models_own(capfd, trained_folder, way):
    command = ["recommend", str(trained_folder), "--like", LIKED, "--about", " hm ", "-n", "4", *way]
    assert run([*command, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    model = load(trained_folder)
    known = Known(events=[Event(item=model.find(LIKED), rating=5.0)], about="hm")
    (ranking,) = model.rank_many([known], 4, exact=bool(way) or None)
    assert [row["item"] for row in result["ranking"]] == list(ranking.items)
    assert result["about"] == "hm"
    assert result["adapt_ms"] > 0
    assert result["rank_ms"] > 0


@pytest.mark.parametrize("way", [[], ["--exact"]])
def test_exclusions_and_filters_are_the_models_own(capfd, trained_folder, way):
    model = load(trained_folder)
    genre = model.engine.trained.attributes.frame["genres"][model.index[model.find(LIKED)]][0]
    command = ["recommend", str(trained_folder), "--like", LIKED, "-n", "60", "--json", *way]
    assert run([*command, "--exclude", DISLIKED, "--filter", f"genres={genre.upper()}"]) == 0
    items = [row["item"] for row in json.loads(capfd.readouterr().out)["ranking"]]
    known = Known(events=[Event(item=model.find(LIKED), rating=5.0)])
    options = {"exclude": [model.find(DISLIKED)], "filter": {"genres": genre}}
    (expected,) = model.rank_many([known], 60, exact=bool(way) or None, **options)
    assert set(items) == set(expected.items)
    assert 0 < len(items) < 59


def test_a_person_reads_titles_and_times(capfd, trained_folder):
    assert run(["recommend", str(trained_folder), "--like", LIKED, "--dislike", DISLIKED, "-n", "3"]) == 0
    said = capfd.readouterr().out
    assert f"likes: {LIKED}\ndislikes: Kiss North (1960)\n" in said
    assert " 3 " in said
    assert "adapted in " in said
    assert run(["recommend", str(trained_folder)]) == 0
    assert "nothing is known about this person" in capfd.readouterr().out


def test_why_is_explained_for_every_item_by_the_model_in_use(capfd, trained_folder):
    command = ["recommend", str(trained_folder), "--like", LIKED, "--about", "robots", "-n", "3", "--explain"]
    assert run([*command, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    model = load(trained_folder)
    state = model.adapt([Event(item=model.find(LIKED), rating=5.0)], about="robots")
    expected = attribute(model, state, model.rank(state, 3).items)
    assert [one["item"] for one in printed["explanations"]] == [one.item for one in expected]
    for one, known in zip(printed["explanations"], expected, strict=True):
        assert [each["effect"] for each in one["events"]] == pytest.approx(
            [each.effect for each in known.events]
        )
        assert [each["text"] for each in one["words"]] == ["robots"]
        assert all(check["holds"] for check in one["checks"])
        assert one["sentence"].startswith(f"“{known.title}”")
    assert "generated" not in printed
    assert run(command) == 0
    said = capfd.readouterr().out
    assert all(f"{one['rank']:3}  {one['sentence']}" in said for one in printed["explanations"])


def test_without_the_data_set_sentences_do_without_genres(capfd, trained_folder, monkeypatch):
    def away(_settings):
        raise UnknownNameError(field="data set", value="planted", remedy="Import it.")

    monkeypatch.setattr("warmprompt.training.run.open_data", away)
    assert run(["recommend", str(trained_folder), "--like", LIKED, "-n", "1", "--explain"]) == 0
    assert "(genres: nowhere: data set: 'planted'. Import it.)" in capfd.readouterr().out


def test_the_language_model_names_titles_of_the_catalogue(capfd, trained_folder):
    command = ["recommend", str(trained_folder), "--like", LIKED, "-n", "4", "--generate"]
    assert run([*command, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    model = load(trained_folder)
    assert [row["rank"] for row in printed["generated"]] == [1, 2, 3, 4]
    assert all(model.title(row["item"]) == row["title"] != LIKED for row in printed["generated"])
    assert "explanations" not in printed
    assert run(command) == 0
    said = capfd.readouterr().out
    assert "named by the language model" in said
    assert all(row["title"] in said for row in printed["generated"])


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["nowhere"], 2, "error: run: 'nowhere'."),
        (
            ["RUN", "--like=Star Nrth 9"],
            2,
            "error: --like: 'Star Nrth 9'. The nearest titles are: Star North",
        ),
        (
            ["RUN", "--exclude=Star Nrth 9"],
            2,
            "error: --exclude: 'Star Nrth 9'. The nearest titles are: Star",
        ),
        (["RUN", "--filter=genres"], 2, "error: --filter: 'genres'. Write genres=Comedy"),
        (["RUN", "--filter=genre=x"], 2, "error: filter: 'genre'. Attributes of the items: genres."),
        (["RUN", "--filter=genres=x"], 2, "error: filter genres: 'x'. Its values: "),
        (["RUN", "--ordered", "--explain"], 2, "error: --ordered: '--explain'. Leave out --explain"),
        (["RUN", "--generate", "--filter=genres=x"], 2, "error: --generate: '--filter'. Leave out one"),
        (["RUN", "--like="], 2, "error: title: ''. Give a title."),
        (["RUN", "--like=star north", "--dislike=Star North (1960)"], 2, "error: --dislike: "),
        (["RUN", "--attribute=artist"], 2, "error: --attribute: 'artist'. Write it as occupation=artist."),
        (["RUN", "-n", "0"], 2, "error: -n: '0'. Ask for at least 1 item."),
        (["RUN", "-n", "x"], 2, "error: Invalid value for '-n'"),
        (["RUN", "--about=" + "very " * 300], 2, "error: text about the user: 'very very"),
        (["RUN", "--nothing"], 2, "error: No such option"),
    ],
)
def test_a_mistake_is_one_line(capfd, trained_folder, arguments, code, line):
    assert run(["recommend", *(one.replace("RUN", str(trained_folder)) for one in arguments)]) == code
    said = capfd.readouterr()
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1
    assert said.out == ""
