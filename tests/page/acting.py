"""What a person does on the page, and what the model says when asked directly."""

import json


def settle(page, *, steps):
    """Wait until the ranking and the way behind it show so many steps after the start."""
    page.wait_for_selector(f"#steps li:nth-child({steps + 1})", state="attached")
    page.wait_for_selector("#ranking[aria-busy=false]")


def ranked(page):
    return page.locator("#ranking > li .title").all_inner_texts()


def user_of(page):
    return page.evaluate("localStorage.getItem('warmprompt.user')")


def log_of(site, user):
    return [(entry.kind, json.loads(entry.body)) for entry in site[1].store.entries(user)]


def expected(model, events=(), about=None):
    """Return the first ten titles as the model gives them when asked directly."""
    personaliser = model.personaliser
    return list(personaliser.rank(personaliser.adapt(list(events), about=about), 10).titles)


def say_about(page, sentence, *, ends="Enter"):
    """Write a sentence and press Enter, or else wait for the pause that saves it."""
    field = page.get_by_label("A sentence about what you like")
    field.fill(sentence)
    if ends:
        field.press(ends)


def rate_first(page, words, stars):
    """Search for words and rate what is found first; returns its title."""
    page.get_by_role("combobox").fill(words)
    title = page.locator("#found li span").first.inner_text()
    page.locator("#found li").first.click()
    page.locator("#chosen button").nth(stars - 1).click()
    return title
