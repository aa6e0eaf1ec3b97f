"""What a person does on the page, and what then stands in the service's log and on the screen."""

import re
import time
from contextlib import contextmanager

import numpy as np
import pytest
from tests.page.acting import expected, log_of, ranked, rate_first, say_about, settle, user_of

from warmprompt import Event
from warmprompt.service.keys import new_key

TIME = re.compile(r"adapted in \d+(\.\d)? m?s\s+on screen after \d+(\.\d)? m?s")
ABOUT = "I like it slow and quiet"
PAGE_BYTES = 100_000


def test_typing_a_sentence_ranks_anew_and_tells_the_time(visit, site, page_model):
    page = visit()
    assert ranked(page) == expected(page_model)
    say_about(page, ABOUT, ends=None)
    settle(page, steps=1)
    assert ranked(page) == expected(page_model, about=ABOUT) != expected(page_model)
    assert TIME.search(page.inner_text("#time"))
    assert re.match(r"Adapted in .* First for you: ", page.inner_text("#status"))
    assert log_of(site, user_of(page)) == [("profile", {"about": ABOUT, "attributes": None})]


def test_a_title_is_found_rated_and_moves_the_ranking_while_rows_that_stay_keep_their_element(
    visit, site, page_model
):
    personaliser = page_model.personaliser
    page = visit()
    wanted = ranked(page)[3]
    stays = set(ranked(page))
    page.evaluate("document.querySelectorAll('#ranking > li').forEach((row) => { row.marked = true; })")
    assert rate_first(page, wanted.lower()[:-1], 1) == wanted
    settle(page, steps=1)
    item = personaliser.find(wanted)
    assert ranked(page) == expected(page_model, [Event(item=item, rating=1.0)])
    assert wanted not in ranked(page)
    assert log_of(site, user_of(page)) == [("event", {"item": item, "rating": 1.0, "time_s": None})]
    kept = page.evaluate("[...document.querySelectorAll('#ranking > li')].filter((row) => row.marked).length")
    assert kept == len(stays & set(ranked(page)))
    assert page.locator("#rated .title").all_inner_texts() == [wanted]
    assert TIME.search(page.inner_text("#time"))
    # Another rating of the same title replaces the first.
    page.locator("#rated button").nth(4).click()
    settle(page, steps=2)
    assert ranked(page) == expected(page_model, [Event(item=item, rating=5.0)])
    assert page.locator("#rated li").count() == 1


def test_a_row_of_the_ranking_is_rated_in_place_and_the_popular_list_stays(visit, site, page_model):
    page = visit()
    popular = page.locator("#popular .title").all_inner_texts()
    order = np.argsort(-page_model.personaliser.engine.popularity_V.cpu().numpy(), kind="stable")
    titles = [page_model.personaliser.engine.trained.titles[item] for item in order[:10]]
    assert popular == titles
    first = ranked(page)[0]
    page.locator("#ranking > li").first.hover()
    page.locator("#ranking > li").first.get_by_role("button", name="5 of 5 stars").click()
    settle(page, steps=1)
    assert ranked(page) == expected(page_model, [Event(item=page_model.personaliser.find(first), rating=5.0)])
    assert page.locator("#popular .title").all_inner_texts() == popular


def test_why_shows_the_services_sentence_and_the_strongest_effect_first(visit, site):
    page = visit()
    say_about(page, ABOUT)
    settle(page, steps=1)
    rate_first(page, ranked(page)[0], 5)
    settle(page, steps=2)
    with (
        page.expect_response(lambda answer: "explain=true" in answer.url) as answered,
        page.expect_response(lambda answer: "/sentence?" in answer.url) as written,
    ):
        page.locator("#ranking .why").nth(1).click()
    (explanation,) = (row["explanation"] for row in answered.value.json()["items"])
    assert explanation["rank"] == 2
    panel = page.locator("#ranking > li").nth(1).locator(".because")
    panel.locator(".sentence").wait_for()
    assert panel.locator(".sentence").inner_text() == written.value.json()["sentence"]
    largest = max((one["effect"] for one in explanation["events"] + explanation["words"]), key=abs)
    shown = panel.locator(".effect").first.inner_text().replace("\N{MINUS SIGN}", "-")
    assert float(shown) == pytest.approx(largest, abs=0.005)


def test_forget_me_deletes_at_the_service_and_on_the_page(visit, site):
    page = visit()
    say_about(page, ABOUT)
    settle(page, steps=1)
    former = user_of(page)
    page.get_by_role("button", name="Forget me").click()
    page.get_by_role("button", name="Keep it").click()
    assert site[1].store.head(former) is not None
    page.locator("#forget").click()
    page.locator("#forget-dialog button[value=yes]").click()
    page.get_by_text("the service knows nothing under your id").wait_for()
    address, service = site
    assert service.store.head(former) is None
    assert page.request.get(f"{address}/v1/users/{former}").status == 404
    assert user_of(page) != former
    assert page.input_value("#about") == ""
    assert page.locator("#journey").is_hidden()
    assert former not in page.content()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert ABOUT not in stored
    assert former not in stored


def tab_to(page, selector):
    """Press Tab until an element has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(selector)


def test_everything_can_be_done_without_a_pointer(visit, site):
    page = visit()
    keys = page.keyboard
    keys.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(2):
        keys.press("Tab")
    assert page.evaluate("document.activeElement.id") == "about"
    keys.type(ABOUT)
    keys.press("Enter")
    settle(page, steps=1)
    tab_to(page, "#search")
    keys.type(ranked(page)[0][:4])
    page.locator("#found li").first.wait_for()
    keys.press("ArrowDown")
    title = page.locator("#found [aria-selected=true] span").inner_text()
    keys.press("Enter")
    assert page.evaluate("document.activeElement.ariaLabel") == "1 of 5 stars"
    for _ in range(3):
        keys.press("ArrowRight")
    keys.press("Enter")
    settle(page, steps=2)
    assert page.evaluate("document.activeElement.id") == "search"
    assert page.locator("#rated .title").all_inner_texts() == [title]
    assert log_of(site, user_of(page))[-1][1]["rating"] == 4.0
    # On: the rating just given, then stars and reason of the first row.
    for _ in range(3):
        keys.press("Tab")
    keys.press("Space")
    page.locator("#ranking .sentence").wait_for()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # Rating a row takes it away; the focus stays in the list.
    keys.press("Shift+Tab")
    keys.press("Enter")
    settle(page, steps=3)
    assert page.evaluate("document.activeElement.closest('#ranking') !== null")


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_in_one_direction_and_its_targets_are_large(visit, width):
    page = visit(viewport={"width": width, "height": 844}, has_touch=True, is_mobile=True)
    say_about(page, ABOUT)
    settle(page, steps=1)
    rate_first(page, ranked(page)[0], 5)
    settle(page, steps=2)
    page.locator("#ranking .why").first.click()
    page.locator("#ranking .sentence").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    small = page.evaluate(
        """[...document.querySelectorAll('button, input, textarea, summary')]
        .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
        .filter(([, box]) => box.width && (box.height < 44 || box.width < 44)).map(([name]) => name)"""
    )
    assert small == []


def test_a_reload_finds_everything_and_another_browser_finds_what_the_service_holds(visit, page_model):
    page = visit()
    say_about(page, ABOUT)
    settle(page, steps=1)
    title = rate_first(page, ranked(page)[0], 5)
    settle(page, steps=2)
    before = ranked(page)
    page.reload()
    settle(page, steps=2)
    assert ranked(page) == before
    other = visit()
    other.locator("#identity summary").click()
    other.get_by_label("User id").fill(user_of(page))
    other.get_by_role("button", name="Use this id").click()
    settle(other, steps=1)
    assert ranked(other) == before
    assert other.input_value("#about") == ABOUT
    assert other.locator("#rated .title").all_inner_texts() == [title]
    assert "Everything you entered before" in other.inner_text("#steps")


@contextmanager
def keys_in_force(service):
    key, kept = new_key(f"page-{time.monotonic_ns()}", ["read", "write"], now_s=1)
    service.store.add_api_key(kept)
    service.auth.is_open = False
    try:
        yield key
    finally:
        service.store.revoke_api_key(kept.name)
        service.auth.is_open = True


def test_where_a_key_is_needed_the_page_asks_for_it_and_keeps_it_in_the_tab(visit, site):
    with keys_in_force(site[1]) as key:
        page = visit(allow=["401"])
        page.get_by_label("API key").fill("wp_wrong")
        page.get_by_role("button", name="Use key").click()
        page.get_by_text("the one you gave is no longer in force").wait_for()
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#ranking[aria-busy=false] > li")
        say_about(page, ABOUT)
        settle(page, steps=1)
        assert page.evaluate("sessionStorage.getItem('warmprompt.key')") == key
        assert key not in page.evaluate("JSON.stringify({...localStorage})") + page.content()


def test_what_could_not_be_sent_is_reported_and_sent_once_later(visit, site):
    page = visit(allow=["net::ERR_FAILED", "503"])
    failures = ["503", "lost", "answer lost"]

    def fail_first(route):
        failure = failures.pop(0) if failures else None
        if failure == "503":
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"status": 503})
        elif failure == "lost":
            route.abort()
        elif failure == "answer lost":
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.wait_for_selector("#ranking[aria-busy=false] > li")
    page.route("**/events", fail_first)
    say_about(page, ABOUT)
    page.get_by_text("cannot be reached").wait_for()
    assert "not saved yet" in page.inner_text("#alert")
    assert log_of(site, user_of(page)) == []
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#ranking[aria-busy=false]")
    page.get_by_text("cannot be reached").wait_for()
    assert not failures
    page.get_by_role("button", name="Try again").click()
    settle(page, steps=1)
    assert page.locator("#alert").is_hidden()
    assert len(log_of(site, user_of(page))) == 1
