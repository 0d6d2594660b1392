import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
torch.set_num_threads(1)  # tiny models: threads cost more than they bring
# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _loud_again():
    """A command silences transformers for its own process; this one goes on with other tests."""
    from transformers.utils import logging as transformers_logging  # once the network is said to be off, above

    level = transformers_logging.get_verbosity()
    yield
    transformers_logging.set_verbosity(level)
    transformers_logging.enable_progress_bar()


@pytest.fixture(scope="session")
def default_model():
    """The embedded model and its tokenizer."""
    import decoding

    return decoding.load()


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer for the tiny models."""
    from tests.support import tiny

    return tiny.tokenizer()


@pytest.fixture(scope="session")
def real_data():
    """The path of a file of real texts or votes, by its name; skips where DECODING_DATA names no folder that has it."""
    folder = os.environ.get("DECODING_DATA")

    def find(name: str) -> Path:
        if folder is None:
            pytest.skip(f"needs real data: name the folder that holds {name} in DECODING_DATA")
        file = Path(folder) / name
        if not file.exists():
            pytest.skip(f"no {name} in {folder}: name the folder that holds it in DECODING_DATA")
        return file

    return find


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium: the one named in CHROMIUM, or what is installed as chromium or google-chrome.

    Without one, tests in a browser skip, unless CHROMIUM is set: then there must be one.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if not found:
        pytest.skip("no Chromium: install one (Debian: apt-get install chromium), or name it in CHROMIUM")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync"]  # fmt: skip
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=options)
        yield running
        running.close()


@pytest.fixture
def visit(browser):
    """Opens a file; at the end nothing may have been said on the console, asked for, or thrown."""
    trouble, contexts = [], []

    def visit(file, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)  # machines have slow days
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (trouble.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: trouble.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(file.as_uri())
        if options.get("java_script_enabled", True) and page.locator("#plot-1").count():
            # plots are drawn once the page is laid out, which may be after it is loaded
            page.wait_for_function("document.querySelector('#plot-1 .axis, #plot-1:empty') !== null", timeout=30_000)
        return page

    visit.trouble = trouble
    yield visit
    for context in contexts:
        context.close()
    assert [line for line in trouble if line != "data:,"] == []
