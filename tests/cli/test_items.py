"""`warmprompt similar` and `warmprompt items`: the model's own lists, and what a service then leaves out."""

import json

import pytest

from warmprompt import load
from warmprompt.cli import run
from warmprompt.service.items import stored_item
from warmprompt.service.model.catalogue import NewItem
from warmprompt.store.opening import open_store

pytestmark = pytest.mark.usefixtures("text_home")

TITLE, OTHER = "Star North (1960)", "kiss north"


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"


def hidden_in(store):
    with open_store(store) as opened:
        return [json.loads(key) for key in opened.items().hidden]


def test_similar_items_are_the_models_own(capfd, trained_folder):
    model = load(trained_folder)
    genre = model.engine.trained.attributes.frame["genres"][0][0]
    command = ["similar", str(trained_folder), TITLE.lower(), "-n", "4"]
    assert run([*command, "--json", "--exclude", OTHER, "--filter", f"genres={genre}"]) == 0
    printed = json.loads(capfd.readouterr().out)
    expected = model.similar(model.find(TITLE), 4, exclude=[model.find(OTHER)], filter={"genres": genre})
    assert (printed["item"], printed["title"]) == (model.find(TITLE), TITLE)
    assert [row["item"] for row in printed["similar"]] == list(expected.items)
    assert [row["score"] for row in printed["similar"]] == pytest.approx(expected.scores)
    assert run(command) == 0
    said = capfd.readouterr().out
    assert said.startswith(f"like {TITLE}:")
    assert all(title in said for title in model.similar(model.find(TITLE), 4).titles)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["Star Nrth 9"], "error: title: 'Star Nrth 9'. The nearest titles are: Star North"),
        ([TITLE, "-n", "0"], "error: -n: '0'. Ask for at least 1 item."),
        ([TITLE, "--filter=genre=x"], "error: filter: 'genre'. Attributes of the items: genres."),
    ],
)
def test_what_cannot_be_is_one_line(capfd, trained_folder, arguments, line):
    assert run(["similar", str(trained_folder), *arguments]) == 2
    assert capfd.readouterr().err.startswith(line)


def test_items_are_hidden_listed_and_shown_in_a_services_store(capfd, trained_folder, store):
    model = load(trained_folder)
    with open_store(store) as opened:
        opened.put_items(
            [
                stored_item(NewItem(id="new-1", title="The Lighthouse")),
                stored_item(NewItem(id="n2", title="")),
            ]
        )
    at = [str(trained_folder), "--store", store]
    assert run(["items", "hide", *at, TITLE, "lighthouse", "n2"]) == 0
    assert capfd.readouterr().out == f"{TITLE} is hidden\nThe Lighthouse is hidden\nn2 is hidden\n"
    assert hidden_in(store) == [model.find(TITLE), "n2", "new-1"]
    assert run(["items", "hidden", *at]) == 0
    said = capfd.readouterr().out
    assert TITLE in said
    assert "The Lighthouse" in said
    assert run(["items", "show", *at, TITLE.upper()]) == 0
    assert hidden_in(store) == ["n2", "new-1"]


def test_an_unknown_title_hides_nothing(capfd, trained_folder, store):
    assert run(["items", "hide", str(trained_folder), "--store", store, TITLE, "Star Nrth 9"]) == 2
    assert capfd.readouterr().err.startswith(
        "error: title: 'Star Nrth 9'. The nearest titles are: Star North"
    )
    assert hidden_in(store) == []
