"""Ids beyond what a double can hold, on the page: found, rated, kept and exported to the last digit."""

import json
import re
from dataclasses import replace

import pytest
from tests.page.acting import expected, log_of, ranked, rate_first, settle, user_of

from warmprompt import Event
from warmprompt.service.explaining import explainer_factory
from warmprompt.service.model.served_model import make_model

FIRST = 2**53


@pytest.fixture(scope="module")
def page_model(trained_folder):
    """Return the tiny run with ids of which a double holds every second one, in service."""
    from warmprompt import load

    run = load(trained_folder)
    ids = tuple(range(FIRST, FIRST + len(run.items)))
    trained = replace(run.engine.trained, item_ids=ids)
    index = {item: position for position, item in enumerate(ids)}
    run = replace(run, engine=replace(run.engine, trained=trained), index=index)
    return make_model(run, room=4, largest_batch=4, make_explainer=explainer_factory())


def test_an_id_that_a_double_rounds_is_rated_kept_and_exported_exactly(visit, site, page_model):
    page = visit()
    assert ranked(page) == expected(page_model)
    personaliser = page_model.personaliser
    rated = []
    # An odd id and its even neighbour, which a double takes for the same.
    for step, position in enumerate((31, 32), start=1):
        title = personaliser.title(FIRST + position)
        page.get_by_role("combobox").fill(title)
        page.locator("#found li", has_text=title).first.click()
        page.locator("#chosen button").nth(4).click()
        settle(page, steps=step)
        rated.append(title)
    bodies = [{"item": FIRST + position, "rating": 5.0, "time_s": None} for position in (31, 32)]
    assert log_of(site, user_of(page)) == [("event", body) for body in bodies]
    events = [Event(item=FIRST + position, rating=5.0) for position in (31, 32)]
    assert ranked(page) == expected(page_model, events)
    assert page.locator("#rated .title").all_inner_texts() == rated[::-1]
    page.reload()
    page.wait_for_selector("#ranking[aria-busy=false]")
    assert page.locator("#rated .title").all_inner_texts() == rated[::-1]
    assert ranked(page) == expected(page_model, events)
    page.locator("#ranking .why").first.click()
    page.locator("#ranking .because .sentence").first.wait_for()
    with page.expect_download() as downloaded:
        page.locator("#export").click()
    export = json.loads(downloaded.value.path().read_text())
    assert [entry["body"]["item"] for entry in export["log"]] == [FIRST + 31, FIRST + 32]


def test_a_hidden_item_leaves_the_page_and_keeps_its_title_among_what_was_rated(visit, site, page_model):
    page = visit()
    title = ranked(page)[0]
    rate_first(page, title, 5)
    settle(page, steps=1)
    item = page_model.personaliser.find(title)
    other = ranked(page)[0]
    for one in (item, page_model.personaliser.find(other)):
        answer = page.evaluate(
            f"fetch('v1/items/{one}/hidden', {{method: 'PUT'}}).then((answer) => answer.status)"
        )
        assert answer == 200
    page.reload()
    page.wait_for_selector("#ranking[aria-busy=false]")
    assert page.locator("#rated .title").all_inner_texts() == [title]
    assert other not in ranked(page)
    for one in (item, page_model.personaliser.find(other)):
        page.evaluate(f"fetch('v1/items/{one}/hidden', {{method: 'DELETE'}})")


@pytest.mark.parametrize(
    "text",
    [
        '{"item":9007199254740993,"x":[-9007199254740993, 5, 0.25, 1e3, 123456789012345]}',
        r'{"say \" 9007199254740993, ":"9007199254740993","empty":"","back\\":1234567890123456789}',
        '[1234567890.1234567890123456, 12345678901234567e20, "\\ud83d 12345678901234567", true, null]',
        '"' + "a\\\\" * 100_000 + '"',
    ],
)
def test_parsing_changes_whole_numbers_of_sixteen_digits_and_nothing_else(visit, text):
    page = visit()
    found = page.evaluate(
        "async (text) => JSON.stringify((await import('/static/api.js')).parsed(text))", text
    )
    digits = re.compile(r"-?\d{16,}")

    def exactly(number):
        return number if digits.fullmatch(number) else int(number)

    assert json.loads(found) == json.loads(text, parse_int=exactly)
