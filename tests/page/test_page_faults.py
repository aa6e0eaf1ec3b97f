"""What the page says of a late, refused or missing answer, and what it is made of."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.page.acting import expected, log_of, ranked, say_about, settle, user_of

from warmprompt.service.serving import PAGE

TIME = re.compile(r"adapted in \d+(\.\d)? m?s\s+on screen after \d+(\.\d)? m?s")
ABOUT = "I like it slow and quiet"
PAGE_BYTES = 100_000


def test_a_stale_ranking_is_reported_until_the_fresh_one_is_there(visit):
    page = visit()
    before, waiting = ranked(page), []

    def make_stale(route):
        if "budget_ms" in route.request.url:
            waiting.append(route)  # until the test has looked
        else:
            answer = route.fetch()
            route.fulfill(response=answer, json=answer.json() | {"stale": True})

    page.route("**/recommendations**", make_stale)
    say_about(page, ABOUT)
    page.get_by_text("still adapting").wait_for()
    assert "from before" in page.inner_text("#status")
    assert ranked(page) == before
    for _ in range(500):
        if waiting:
            break
        page.wait_for_timeout(20)
    waiting[0].continue_()
    settle(page, steps=1)
    assert TIME.search(page.inner_text("#time"))
    assert ranked(page) != before


def test_the_top_tens_lines_say_every_place_and_are_walked_by_arrow_keys(visit, page_model):
    page = visit()
    first = expected(page_model)
    say_about(page, ABOUT)
    settle(page, steps=1)
    now = ranked(page)
    personaliser = page_model.personaliser
    everybody = list(personaliser.rank(personaliser.adapt([]), 50).titles)
    assert everybody[:10] == first
    lines = page.locator("#bump .line")
    lines.first.wait_for()
    said = {lines.nth(index).get_attribute("aria-label") for index in range(10)}
    assert said == {
        f"{index}. {title}. Place by step, start: {everybody.index(title) + 1}, 1: {index}."
        for index, title in enumerate(now, start=1)
    }
    page.locator("#bump .of-1").focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('class')") == "line of-3"


def test_a_sentence_that_the_model_cannot_read_is_refused_in_words_and_the_page_goes_on(visit, site):
    page = visit(allow=["422"])
    page.wait_for_selector("#ranking[aria-busy=false] > li")
    say_about(page, "a b c d e f g h i j k l m n o p " * 9)
    page.locator("#about-error").get_by_text("Shorten it").wait_for()
    assert page.get_attribute("#about", "aria-invalid") == "true"
    assert "about-error" in page.get_attribute("#about", "aria-describedby")
    assert page.locator("#alert").is_hidden()
    say_about(page, ABOUT)
    settle(page, steps=1)
    assert page.locator("#about-error").is_hidden()
    assert page.get_attribute("#about", "aria-invalid") == "false"
    assert len(log_of(site, user_of(page))) == 1


def test_the_plane_is_that_of_a_singular_value_decomposition(visit):
    page = visit()
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(7, 40)) @ np.diag(np.linspace(3, 0.1, 40))
    rows = [[None if (t, c) == (4, 11) else float(scores[t, c]) for c in range(40)] for t in range(7)]
    plane = page.evaluate(
        """async (rows) => {
            const { planeOf } = await import('/static/journey.js');
            return planeOf(rows.map((scores) => ({ scores })));
        }""",
        rows,
    )
    usable = np.delete(scores, 11, axis=1)
    way = usable - usable.mean(axis=1, keepdims=True)
    way -= way[0]
    left, values, right = np.linalg.svd(way, full_matrices=False)
    # A direction has no sign of its own.
    for axis in range(2):
        points = np.array(plane["points"])[:, axis]
        assert abs(points @ left[:, axis]) == pytest.approx(values[axis], rel=1e-9)
        assert np.abs(plane["loadings"][axis]) == pytest.approx(np.abs(right[axis]), abs=1e-9)
    assert plane["points"][0] == pytest.approx([0, 0], abs=1e-9)
    assert plane["share"] == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        ([1, 5], [1, 2, 3, 4, 5]),
        ([0.5, 5], [1, 2, 3, 4, 5]),
        ([0, 5], [1, 2, 3, 4, 5]),
        ([1, 10], [1, 3.25, 5.5, 7.75, 10]),
        ([-10, 10], [-10, -5, 0, 5, 10]),
        ([1, 4], [1, 2, 3, 4]),
        ([0, 1], [0, 1]),
        (None, [None]),
    ],
)
def test_what_may_be_chosen_lies_on_the_rating_scale(tools, scale, values):
    choices = tools.evaluate("async (scale) => (await import('/static/rating.js')).choicesOf(scale)", scale)
    assert [one["value"] for one in choices] == values


def test_less_movement_is_respected(visit):
    moving, still = visit(), visit(reduced_motion="reduce")
    for page in (moving, still):
        page.evaluate(
            """() => {
                window.glides = 0;
                const animate = Element.prototype.animate;
                Element.prototype.animate = function (...args) {
                    window.glides += 1;
                    return animate.apply(this, args);
                };
            }"""
        )
        say_about(page, ABOUT)
        settle(page, steps=1)
    assert moving.evaluate("window.glides") > 0
    assert still.evaluate("window.glides") == 0


def test_the_page_is_light_names_no_other_host_and_runs_nothing_inline(site, visit):
    files = [file for file in Path(PAGE).iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < PAGE_BYTES
    for file in files:
        hosts = set(re.findall(r"https?://[\w.]+", file.read_text())) - {"http://www.w3.org"}
        assert not hosts, file.name
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    page = visit()
    policy = page.request.get(site[0]).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.request.get(f"{site[0]}/v1/nothing").status == 404
