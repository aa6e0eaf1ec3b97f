"""The first minute on the page: examples, a screen of titles, a strip on phones; and what Enter may take."""

import re

import pytest
from tests.page.acting import expected, log_of, ranked, say_about, settle, user_of

from warmprompt import Event
from warmprompt.service.serving import PAGE

ABOUT = "I like it slow and quiet"


def questions(page):
    page.locator("#questions li").first.wait_for()
    return page.locator("#questions button").all_inner_texts()


def test_the_first_visit_asks_what_the_model_asks_and_one_mark_moves_the_ranking(visit, site, page_model):
    personaliser = page_model.personaliser
    page = visit()
    first = personaliser.ask(personaliser.adapt(), 12)
    assert questions(page) == list(first.titles)
    page.get_by_role("button", name=first.titles[2], exact=True).click()
    settle(page, steps=1)
    marked = Event(item=first.items[2])
    assert ranked(page) == expected(page_model, [marked]) != expected(page_model)
    assert [body["item"] for _, body in log_of(site, user_of(page))] == [first.items[2]]
    pressed = page.locator("#questions [aria-pressed=true]")
    assert pressed.all_inner_texts() == [first.titles[2]]
    pressed.click(force=True)  # once is enough
    page.get_by_role("button", name="Show others").click()
    second = personaliser.ask(personaliser.adapt([marked]), 12, shown=first.items)
    page.locator(f"#questions button[data-item='{second.items[0]}']").wait_for()
    assert questions(page) == list(second.titles)
    assert len(log_of(site, user_of(page))) == 1


def test_whoever_has_a_history_is_asked_on_demand(visit, page_model):
    page = visit()
    say_about(page, ABOUT)
    settle(page, steps=1)
    page.reload()
    page.wait_for_selector("#ranking[aria-busy=false]")
    assert page.locator("#ask").get_attribute("open") is None
    assert not page.locator("#questions li").count()
    page.locator("#ask summary").click()
    personaliser = page_model.personaliser
    assert questions(page) == list(personaliser.ask(personaliser.adapt(about=ABOUT), 12).titles)


def test_an_example_is_a_sentence_of_ones_own(visit, site, page_model):
    page = visit()
    assert page.locator("#examples button").count() == 3
    # The tiny model reads 48 letters, with those that lead to the sentence.
    script = (PAGE / "asking.js").read_text(encoding="utf-8")
    short, replaced = re.subn(r"const FILMS = .*", 'const FILMS = ["Loud", "Slow and quiet", "Old"];', script)
    assert replaced == 1
    page.route("**/asking.js", lambda route: route.fulfill(body=short, content_type="text/javascript"))
    page.reload()
    page.get_by_role("button", name="Slow and quiet").click()
    settle(page, steps=1)
    assert page.input_value("#about") == "Slow and quiet"
    assert ranked(page) == expected(page_model, about="Slow and quiet")
    assert log_of(site, user_of(page)) == [("profile", {"about": "Slow and quiet", "attributes": None})]


def test_examples_are_about_films_only_where_genres_are(tools):
    made = tools.evaluate(
        """async () => {
            const { examplesOf } = await import('/static/asking.js');
            const top = ['Rose water', 'x'.repeat(80), 'Soap', 'Balm'].map((title) => ({ title }));
            return [examplesOf(['brand'], top), examplesOf(['genres'], top)];
        }"""
    )
    assert made[0] == ["More like Rose water", f"More like {'x' * 41}…", "More like Soap"]
    assert len(made[1]) == 3
    assert all("film" in one or "fiction" in one or "evening" in one for one in made[1])


def test_an_action_adapts_once(visit, site):
    page = visit()
    asked = []
    page.on("request", lambda request: asked.append((request.method, request.url.partition("/v1/")[2])))
    say_about(page, ABOUT)
    settle(page, steps=1)
    ways = [(method, url.partition("?")[0].rpartition("/")[2]) for method, url in asked if url]
    assert ways == [("POST", "events"), ("GET", "recommendations"), ("GET", "recommendations")]
    # The second ranking scores the state of the first.
    steps = page.evaluate("JSON.parse(sessionStorage.getItem('warmprompt.journey')).steps")
    assert [len(step["scores"]) for step in steps] == [60, 60]


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_the_first_three_stay_in_view_beside_the_input(visit, width):
    page = visit(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    strip = page.locator("#strip li")
    for selector in ("#about", "#questions li:last-child button", "#search"):
        page.locator(selector).scroll_into_view_if_needed()
        assert strip.all_inner_texts() == [f"{at}. {title}" for at, title in enumerate(ranked(page)[:3], 1)]
        seen = page.evaluate(
            """(selector) => {
                const box = document.getElementById('strip').getBoundingClientRect();
                const input = document.querySelector(selector).getBoundingClientRect();
                const inside = ({ top, bottom }) => top >= 0 && bottom <= innerHeight;
                return [inside(box), inside(input), input.top >= box.bottom];
            }""",
            selector,
        )
        assert seen == [True, True, True], selector
    page.locator("#questions button").first.tap()
    settle(page, steps=1)
    assert strip.all_inner_texts() == [f"{at}. {title}" for at, title in enumerate(ranked(page)[:3], 1)]
    wide = visit()
    assert wide.locator(".strip").is_hidden()


def shown(row):
    return row.locator(".rates").evaluate("(one) => getComputedStyle(one).opacity") == "1"


def test_stars_come_with_the_pointer_the_focus_or_a_tap(visit):
    page = visit(reduced_motion="reduce")
    row, other = page.locator("#ranking > li").first, page.locator("#ranking > li").nth(1)
    assert not shown(row)
    row.hover()
    assert shown(row)
    assert not shown(other)
    page.mouse.move(0, 0)
    row.locator(".why").focus()
    page.keyboard.press("Shift+Tab")
    assert shown(row)
    phone = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    row, other = phone.locator("#ranking > li").first, phone.locator("#ranking > li").nth(1)
    assert not shown(row)
    row.locator(".title").tap()
    assert shown(row)
    other.locator(".title").tap()
    assert (shown(row), shown(other)) == (False, True)
    # The tap itself rated nothing; a star does.
    assert phone.locator("#rated li").count() == 0
    title = other.locator(".title").inner_text()
    other.get_by_role("button", name="4 of 5 stars").tap()
    settle(phone, steps=1)
    assert phone.locator("#rated .title").all_inner_texts() == [title]


def test_enter_takes_no_title_that_is_merely_similar(visit, page_model):
    page = visit()
    title = ranked(page)[0]
    misspelled = title[1:] if len(title) > 6 else f"{title}q"
    field = page.get_by_role("combobox")
    page.route(
        "**/v1/items?**",
        lambda route: route.fulfill(
            json={"items": [{"item": page_model.personaliser.find(title), "title": title}], "total": 1}
        ),
    )
    field.fill(f"{misspelled}zz")
    page.locator("#found li").first.wait_for()
    assert page.locator("#found li small").all_inner_texts() == ["similar"]
    assert page.locator("#found [aria-selected=true]").count() == 0
    field.press("Enter")
    assert page.locator("#chosen").is_hidden()
    assert "arrow keys" in page.inner_text("#found-note")
    field.press("ArrowDown")
    field.press("Enter")
    assert page.locator("#chosen .title").inner_text() == title


@pytest.mark.parametrize(
    ("titles", "words", "meant"),
    [
        (["The Matrix (1999)", "The Matrix Reloaded (2003)"], "the matrix", "The Matrix (1999)"),
        (["The Matrix (1999)", "The Matrix Reloaded (2003)"], "matrix rel", "The Matrix Reloaded (2003)"),
        (["The Matrix (1999)", "The Matrix Reloaded (2003)"], "matrix", None),
        (["Sabrina (1954)", "Sabrina (1995)"], "Sabrina", None),
        (["Sabrina (1954)", "Sabrina (1995)"], "sabrina (1995)", "Sabrina (1995)"),
        (["Heat (1995)"], "heta", None),
        ([], "heat", None),
    ],
)
def test_words_mean_a_title_beyond_doubt_or_none(tools, titles, words, meant):
    found = tools.evaluate(
        """async ([titles, words]) => {
            const { meant } = await import('/static/titles.js');
            return meant(titles.map((title) => ({ title })), words)?.title ?? null;
        }""",
        [titles, words],
    )
    assert found == meant


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("Postino, Il (Postman, The) (1994)", "Il Postino (The Postman) (1994)"),
        ("American President, The", "The American President"),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Sex, Lies, and Videotape (1989)", "Sex, Lies, and Videotape (1989)"),
        ("I, The Jury (1953)", "I, The Jury (1953)"),
        ("20,000 Leagues Under the Sea (1954)", "20,000 Leagues Under the Sea (1954)"),
        ("Toy Story (1995)", "Toy Story (1995)"),
        ("", ""),
    ],
)
def test_titles_are_written_as_people_write_them(tools, stored, written):
    made = tools.evaluate("async (title) => (await import('/static/titles.js')).asWritten(title)", stored)
    assert made == written


def test_experts_parts_are_bars_that_sum_to_the_score(visit):
    page = visit()
    say_about(page, ABOUT)
    settle(page, steps=1)
    with page.expect_response(lambda answer: "explain=true" in answer.url) as answered:
        page.locator("#ranking .why").first.click()
    (explanation,) = (row["explanation"] for row in answered.value.json()["items"])
    parts = page.get_by_role("list", name="Parts of its score")
    parts.wait_for()
    shares = parts.locator(".bar").evaluate_all(
        "(all) => all.map((one) => +one.style.getPropertyValue('--share'))"
    )
    values = [one["part"] for one in explanation["experts"] if abs(one["part"]) > 1e-3]
    assert shares == pytest.approx([abs(value) / max(map(abs, values)) for value in values])
    texts = parts.locator(".effect").all_inner_texts()
    written = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]
    assert sum(written) == pytest.approx(explanation["score"], abs=0.01 * len(values))
