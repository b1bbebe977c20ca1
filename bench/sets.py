"""A page on which a set of eight runs: CPU of browser and server, and what moves on the page.

The runs follow each other at a fake Space that sends nine previews a second. The same set without
previews says what those cost.
"""

import os
import shutil
import statistics
import time
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

from bench import usage
from bench.messages import STEPS
from bench.page import FLAGS, LIMIT_MS, VIEWPORT
from bench.process_tree import command_line, descendants
from bench.processes import ServerProcess, start_app, start_fake_space
from bench.tables import format_number, print_table

__all__ = ["measure"]

SET_SIZE: Final = 8
RUN_SECONDS: Final = 2.2
PREVIEWS: Final = SET_SIZE * STEPS
IDLE_SECONDS: Final = 5
SETTLING_MS: Final = 3000  # until Gradio's first animations have ended
POLL_MS: Final = 1000

# Counts previews that are painted, and adds up what moves without a press; see web.dev/cls.
OBSERVE_JS = """
window.previews = 0;
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
const seen = new WeakMap();
const count = () => document.querySelectorAll("img").forEach((image) => {
  if (image.src.startsWith("data:image/jpeg") && seen.get(image) !== image.src) previews += 1;
  seen.set(image, image.src);
});
addEventListener("DOMContentLoaded", () => new MutationObserver(count).observe(document, {
  subtree: true, childList: true, attributes: true, attributeFilter: ["src"],
}));
"""


@dataclass(frozen=True, slots=True)
class _Set:
    """What a set took.

    Attributes:
        browser_percent: of one core, while it ran.
        server_seconds: CPU of the app.
        previews: number that the page painted.
        shift: sum of the layout shifts from the press to the end of the set.
    """

    browser_percent: float
    server_seconds: float
    previews: int
    shift: float


def measure(rounds: int) -> None:
    """Print the medians."""
    with (
        start_fake_space() as (space_address, _),
        start_app(space_address) as app,
        sync_playwright() as playwright,
    ):
        system = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=system, args=FLAGS)
        _run_set(browser, app, "")  # a warm-up
        silent_sets = [_run_set(browser, app, ", silent") for _ in range(rounds)]
        sets = [_run_set(browser, app, "") for _ in range(rounds)]
        idle = _idle_percent(browser, app)
        browser.close()
    silent_seconds = statistics.median(run.server_seconds for run in silent_sets)
    costs = [1000 * (run.server_seconds - silent_seconds) / PREVIEWS for run in sets]
    rows = [
        ["browser, % of a core", _median([run.browser_percent for run in sets], 1)],
        ["without previews", _median([run.browser_percent for run in silent_sets], 1)],
        ["idle page", format_number(idle, 1)],
        [f"previews on the page, of {PREVIEWS}", _median([run.previews for run in sets], 0)],
        ["server, ms of CPU per preview of the Space", _median(costs, 2)],
        [
            "layout shift, at most",
            format_number(max(run.shift for run in [*sets, *silent_sets]), 3),
        ],
    ]
    print_table([f"a set of {SET_SIZE}", f"median of {rounds}"], rows)


def _median(values: list[float] | list[int], decimals: int) -> str:
    return format_number(statistics.median(values), decimals)


def _run_set(browser: Browser, app: ServerProcess, manner: str) -> _Set:
    page = _open(browser, app)
    page.get_by_label("Prompt", exact=True).fill(f"a lighthouse{manner}, in {RUN_SECONDS} s")
    page.evaluate(f"sd35.setBatchOptions({{ count: {SET_SIZE} }})")
    server_started_at = usage.cpu_seconds(app.pid)
    page.evaluate("window.shift = 0")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#queue .queue')?.dataset.remaining > 0")
    browser_started_at = _browser_cpu_seconds()
    started_at = time.monotonic()
    # Polled rarely: by default, Playwright asks for each frame of the screen.
    page.wait_for_function(
        "document.querySelector('#queue .queue').dataset.remaining === '0'",
        timeout=LIMIT_MS,
        polling=POLL_MS,
    )
    browser_seconds = _browser_cpu_seconds() - browser_started_at
    duration = time.monotonic() - started_at
    page.wait_for_timeout(SETTLING_MS)
    result = _Set(
        100 * browser_seconds / duration,
        usage.cpu_seconds(app.pid) - server_started_at,
        page.evaluate("previews"),
        page.evaluate("shift"),
    )
    page.context.close()
    return result


def _idle_percent(browser: Browser, app: ServerProcess) -> float:
    page = _open(browser, app)
    started_at = _browser_cpu_seconds()
    page.wait_for_timeout(1000 * IDLE_SECONDS)
    percent = 100 * (_browser_cpu_seconds() - started_at) / IDLE_SECONDS
    page.context.close()
    return percent


def _open(browser: Browser, app: ServerProcess) -> Page:
    page = browser.new_context(viewport=VIEWPORT).new_page()
    page.add_init_script(OBSERVE_JS)
    page.goto(f"http://127.0.0.1:{app.port}/")
    page.get_by_label("Prompt", exact=True).wait_for()
    page.wait_for_timeout(SETTLING_MS)
    return page


def _browser_cpu_seconds() -> float:
    """Return the CPU time of all processes of the browser, which draws without a GPU here."""
    pids = [pid for pid in descendants(os.getpid()) if "--type=" in command_line(pid)]
    return sum(map(usage.cpu_seconds, pids))
