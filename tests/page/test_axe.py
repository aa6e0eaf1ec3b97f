"""What axe-core finds on the page in each of its states: nothing."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.page.acting import ranked, rate_first, say_about, settle

ABOUT = "I like it slow and quiet"


@pytest.fixture(scope="module")
def axe():
    """Return axe-core as a script."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python, which holds axe-core, is not installed")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_axe_finds_nothing_on_the_first_visit_nor_later(visit, axe, width, scheme):
    options = {
        "viewport": {"width": width, "height": 900},
        "color_scheme": scheme,
        "reduced_motion": "reduce",
    }
    page = visit(**options)
    page.locator("#questions li").first.wait_for()
    assert violations(page, axe) == []
    say_about(page, ABOUT)
    settle(page, steps=1)
    page.locator("#questions button").first.click()
    settle(page, steps=2)
    rate_first(page, ranked(page)[0], 5)
    settle(page, steps=3)
    page.locator("#ranking .why").first.click()
    page.locator("#ranking .sentence").wait_for()
    page.locator("#ranking .why").nth(1).focus()
    page.keyboard.press("Shift+Tab")
    assert violations(page, axe) == []
    page.get_by_role("combobox").fill(ranked(page)[0][:4])
    page.locator("#found li").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert violations(page, axe) == []
    page.locator("#identity summary").click()
    assert violations(page, axe) == []
    page.locator("#forget").click()
    page.locator("#forget-dialog[open]").wait_for()
    assert violations(page, axe) == []


def test_axe_finds_nothing_while_something_is_wrong(visit, axe):
    page = visit(allow=["422", "net::ERR_FAILED"], reduced_motion="reduce")
    page.locator("#questions li").first.wait_for()
    say_about(page, "a b c d e f g h i j k l m n o p " * 9)
    page.locator("#about-error").get_by_text("Shorten it").wait_for()
    assert violations(page, axe) == []
    page.locator("#identity summary").click()
    page.get_by_label("User id").fill("..")
    page.get_by_role("button", name="Use this id").click()
    page.locator("#user-id-error").get_by_text("choose another").wait_for()
    assert page.locator("#alert").is_hidden()
    assert violations(page, axe) == []
    page.locator("#identity summary").click()
    page.route("**/events", lambda route: route.abort())
    say_about(page, ABOUT)
    page.get_by_text("cannot be reached").wait_for()
    assert violations(page, axe) == []
