"""Seconds from the start of the program to somebody's first image, by the keyboard alone.

The page is opened as soon as it is served. The prompt is typed where the cursor is, at five
characters a second, and sent with Ctrl+Enter.
"""

import shutil
import statistics
import time
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from bench.page import FLAGS, LIMIT_MS, VIEWPORT
from bench.processes import start_server
from bench.tables import format_number, print_table

__all__ = ["measure"]

PROMPT: Final = "a lighthouse at dusk"
KEY_MS: Final = 200


def measure(rounds: int) -> None:
    """Print the medians."""
    with sync_playwright() as playwright:
        system = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=system, args=FLAGS)
        times = [_first_image(browser) for _ in range(rounds)]
        browser.close()
    names = (
        "the page is served",
        "the cursor is in the prompt",
        "it is typed",
        "its image is shown",
    )
    columns = zip(*times, strict=True)
    rows = [
        [name, format_number(statistics.median(column), 1)]
        for name, column in zip(names, columns, strict=True)
    ]
    print_table(["from the start of `app.py` until …", f"median of {rounds}, s"], rows)


def _first_image(browser: Browser) -> tuple[float, float, float, float]:
    started_at = time.perf_counter()
    page = browser.new_context(viewport=VIEWPORT).new_page()
    with start_server("the app", "app.py", "--space", "demo", "--port", "{port}") as app:
        served_at = time.perf_counter()
        page.goto(f"http://127.0.0.1:{app.port}/")
        page.wait_for_function("document.activeElement?.matches('#prompt-area textarea')")
        focused_at = time.perf_counter()
        page.keyboard.type(PROMPT, delay=KEY_MS)
        typed_at = time.perf_counter()
        page.keyboard.press("Control+Enter")
        page.locator("#panel [data-status=completed]").wait_for(timeout=LIMIT_MS)
        shown_at = time.perf_counter()
        page.context.close()
    served, focused, typed, finished = (
        moment - started_at for moment in (served_at, focused_at, typed_at, shown_at)
    )
    return served, focused, typed, finished
