"""`warmprompt recommend`: the ranking of the model in use, titles found, mistakes in one line."""

import json

import pytest

from warmprompt import Event, load
from warmprompt.cli import run

pytestmark = pytest.mark.usefixtures("text_home")

LIKED, DISLIKED = "Star North (1960)", "kiss north"


def test_the_ranking_is_the_models_own(capfd, trained_folder):
    command = ["recommend", str(trained_folder), "--like", LIKED.lower(), "--dislike", DISLIKED]
    assert run([*command, "--about", "hm", "--attribute", "occupation=artist", "-n", "4", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    model = load(trained_folder)
    events = [Event(item=model.find(LIKED), rating=5.0), Event(item=model.find(DISLIKED), rating=1.0)]
    ranking = model.rank(model.adapt(events, about="hm", attributes={"occupation": "artist"}), 4)
    assert [row["item"] for row in told["ranking"]] == list(ranking.items)
    assert [row["title"] for row in told["ranking"]] == list(ranking.titles)
    assert [row["place"] for row in told["ranking"]] == [1, 2, 3, 4]
    assert [(event["title"], event["rating"]) for event in told["events"]] == [
        (LIKED, 5.0),
        ("Kiss North (1960)", 1.0),
    ]
    assert told["adapt_ms"] > 0
    assert told["rank_ms"] > 0


def test_a_person_reads_titles_and_times(capfd, trained_folder):
    assert run(["recommend", str(trained_folder), "--like", LIKED, "--dislike", DISLIKED, "-n", "3"]) == 0
    said = capfd.readouterr().out
    assert f"likes: {LIKED}\ndislikes: Kiss North (1960)\n" in said
    assert " 3 " in said
    assert "adapted in " in said
    assert run(["recommend", str(trained_folder)]) == 0
    assert "nothing is known about this person" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["nowhere"], 2, "error: run: 'nowhere'."),
        (
            ["RUN", "--like=Star Nrth 9"],
            2,
            "error: --like: 'Star Nrth 9'. The nearest titles are: Star North",
        ),
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
