"""A real browser at the page."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, FrameLocator, Page, expect, sync_playwright

expect.set_options(timeout=20_000)

MISSING_BROWSER_MESSAGE = "No browser to test the page with. Install Chromium (Debian: apt install chromium), or: playwright install chromium"

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
  }).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or else Playwright's own."""
    system = next(
        filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
    )
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=BROWSER_FLAGS)
        except Error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING_BROWSER_MESSAGE)
        yield browser
        browser.close()


def open_page(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator("#status [data-state=waiting]")).to_have_count(0)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    page.evaluate(RECORD_PREVIEWS_JS)
    return page


def submit_prompt(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()


def count_previews(page: Page) -> int:
    """How many different previews were painted since the page was opened."""
    count: int = page.evaluate("window.previews.size")
    return count


def generate_picture(page: Page | FrameLocator, prompt: str = "a lighthouse by the sea") -> None:
    """Ask for a picture, and wait until it is there to be seen."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    image = page.locator("#picture img")
    expect(image).to_have_attribute("src", re.compile(r"/gradio_api/file="))
    image.evaluate("image => image.decode()")
