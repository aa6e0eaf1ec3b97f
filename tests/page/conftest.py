"""The page in a real Chromium, served by a real uvicorn over the tiny trained run."""

import os
import shutil

import pytest
from tests.service.talking import listening

from warmprompt.service.explaining import explainer_factory
from warmprompt.service.model.served_model import make_model
from warmprompt.service.service import ModelSource, Service
from warmprompt.service.serving import PAGE
from warmprompt.service.settings import BatchLimits, RequestLimits, ServiceSettings
from warmprompt.store.opening import open_store

PATIENT_MS = 60_000
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """Return a browser; closed with its module, as its event loop would be in the way of other tests."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not os.access(path, os.X_OK):
        pytest.skip("no chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def page_model(trained_folder):
    """Return the tiny run in service, with its explanations."""
    from warmprompt import load

    return make_model(load(trained_folder), room=4, largest_batch=4, make_explainer=explainer_factory())


@pytest.fixture(scope="module")
def site(page_model, tmp_path_factory):
    """Yield (address, service): one service for all tests, as each has a user of its own."""
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('page') / 'users.db'}", busy_s=120) as store:
        settings = ServiceSettings(
            budget_s=30.0,
            batch=BatchLimits(largest=4, window_s=0.003, queue=64),
            limits=RequestLimits(per_s=0),
            backfill=False,
        )
        source = ModelSource(name="tiny", open=lambda: page_model.personaliser)
        service = Service(store, source, page_model, settings=settings, keys_needed=False)
        with listening(service, page=PAGE) as address:
            yield address, service


@pytest.fixture
def visit(chromium, site):
    """Return a function that opens the page in a fresh profile; nothing it does may go amiss unseen.

    Args of the function: `allow`, parts of console messages that a test brings about itself; the others go
    to the browser's context. What is wrong is reported at the end of the test.
    """
    address, _ = site
    contexts, wrong = [], []

    def open_page(*, allow=(), **options):
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_default_timeout(PATIENT_MS)
        contexts.append(context)
        page = context.new_page()

        def note(kind, text):
            if not any(part in text for part in allow):
                wrong.append(f"{kind}: {text}")

        page.on("console", lambda message: note("console", message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: note("error", str(error)))
        context.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((f"{address}/", f"blob:{address}/"))
                else note("request", asked.url)
            ),
        )
        page.goto(f"{address}/")
        page.wait_for_selector("#ranking[aria-busy=false]" if not allow else "main")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def tools(chromium, site):
    """Return a page whose modules can be called."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site[0])
    yield page
    context.close()
