"""A real browser at the page."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    FrameLocator,
    Page,
    expect,
    sync_playwright,
)

expect.set_options(timeout=20_000)

MISSING_BROWSER_MESSAGE = (
    "No browser to test the page with. Install Chromium (Debian: apt install chromium), "
    "or: playwright install chromium"
)

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]

RECORD_PREVIEWS_JS = """() => {
  window.previews = new Set();
  new MutationObserver(() => {
    const image = document.querySelector("#picture img");
    if (image && image.src.startsWith("data:")) window.previews.add(image.src);
  }).observe(document.body, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["src"],
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Launch the system's Chromium, or else Playwright's own.

    Not for the whole session: Playwright's event loop would be in the way of asynchronous tests.
    """
    names = ["chromium", "chromium-browser", "google-chrome"]
    system = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=BROWSER_FLAGS)
        except Error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING_BROWSER_MESSAGE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Share one context in a module: with a warm cache a page loads twice as fast."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Yield the module's page without cookies and storage, and check that its scripts don't fail.

    The tests share one page, since Gradio's page loads in a third of the time in a tab that has
    loaded it before.
    """
    page = context.pages[0] if context.pages else context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.set_offline(offline=False)
    origin = page.evaluate("location.origin")
    page.goto("about:blank")
    # From outside, and after the page was left: its scripts would still write to the storage.
    devtools = context.new_cdp_session(page)
    storage = {"origin": origin, "storageTypes": "local_storage,session_storage"}
    devtools.send("Storage.clearDataForOrigin", storage)
    devtools.detach()
    context.clear_cookies()
    assert not errors, "the page's own scripts failed"


def open_page(page: Page, address: str) -> Page:
    """Open the page, and wait until it is connected to its Space."""
    page.goto(address)
    expect(page.locator("#status [data-state=waiting]")).to_have_count(0)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    page.evaluate(RECORD_PREVIEWS_JS)
    return page


def submit_prompt(page: Page, prompt: str) -> None:
    """Type a prompt and press Generate."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()


def count_previews(page: Page) -> int:
    """Return the number of different previews that were painted since the page was opened."""
    count: int = page.evaluate("window.previews.size")
    return count


def generate_picture(page: Page | FrameLocator, prompt: str = "a lighthouse by the sea") -> None:
    """Generate an image, and wait until it is painted."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    image = page.locator("#picture img")
    expect(image).to_have_attribute("src", re.compile(r"/gradio_api/file="))
    image.evaluate("image => image.decode()")
