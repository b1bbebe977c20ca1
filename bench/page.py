"""The page in a browser: time until it can be used, requests and nodes, and an empty Gradio app's.

Each measurement loads the page in a new browser context, whose cache is empty. The page can be used
as soon as a press reaches the server; the script presses until one does.
"""

import shutil
import statistics
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from bench.processes import ServerProcess, start_app, start_fake_space, start_server
from bench.tables import format_number, print_table

__all__ = ["measure"]

SETTLING_MS = 2000
LIMIT_MS = 60_000
VIEWPORT: Final[ViewportSize] = {"width": 1366, "height": 900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

# The studio's page has a button Generate. The empty app has a text field that is sent with Enter.
PRESS_JS = """(() => {
  const { fetch } = window;
  window.fetch = (resource, init) => {
    const isCall = /run|join/.test(resource);
    const isPress = isCall && (!window.isStudio || init.body.includes("submissions"));
    if (isPress) window.usableAfter ??= performance.now();
    return fetch(resource, init);
  };
  const press = () => {
    if (window.usableAfter !== undefined) return clearInterval(timer);
    const button = document.querySelector("#generate");
    const field = document.querySelector("textarea");
    window.isStudio = button !== null;
    if (button) button.click();
    else if (field?.getAttribute("data-testid") === "textbox") {
      field.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true }));
    }
  };
  const timer = setInterval(press, 5);
})()"""


@dataclass(frozen=True, slots=True)
class PageLoad:
    """One page as it was loaded.

    Attributes:
        usable_ms: until a press reaches the server.
        requests: without those that the press causes.
        nodes: of the DOM, with those that wait for the garbage collector.
        live_nodes: without them.
    """

    usable_ms: float
    requests: float
    nodes: float
    live_nodes: float


def measure(rounds: int) -> None:
    """Print the medians of both, loaded in turn."""
    with (
        start_fake_space() as (space_address, _),
        start_app(space_address) as studio,
        start_server("an empty Gradio app", "-m", "bench.empty_page", "{port}") as empty,
        sync_playwright() as playwright,
    ):
        system = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=system, args=FLAGS)
        programs = [studio, empty]
        for program in programs:
            _load(browser, program)  # the first page warms the server up
        loads = [[_load(browser, program) for program in programs] for _ in range(rounds)]
        browser.close()
    medians = [_median(list(column)) for column in zip(*loads, strict=True)]
    titles = ["", "usable after, ms", "ratio", "requests", "DOM nodes", "after garbage collection"]
    baseline = medians[-1].usable_ms
    rows = [
        [
            program.name,
            format_number(load.usable_ms, 0),
            f"{format_number(load.usable_ms / baseline, 2)}×",
            format_number(load.requests, 0),
            format_number(load.nodes, 0),
            format_number(load.live_nodes, 0),
        ]
        for program, load in zip(programs, medians, strict=True)
    ]
    print_table(titles, rows)


def _median(loads: list[PageLoad]) -> PageLoad:
    names = ("usable_ms", "requests", "nodes", "live_nodes")
    return PageLoad(*(statistics.median(getattr(load, name) for load in loads) for name in names))


def _load(browser: Browser, program: ServerProcess) -> PageLoad:
    address = f"http://127.0.0.1:{program.port}/"
    context = browser.new_context(viewport=VIEWPORT)
    # Without a press, for what the page itself loads and builds.
    page = context.new_page()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.goto(address)
    page.wait_for_timeout(SETTLING_MS)
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    nodes = next(metric["value"] for metric in metrics if metric["name"] == "Nodes")
    devtools.send("HeapProfiler.collectGarbage")
    live_nodes = devtools.send("Memory.getDOMCounters")["nodes"]
    context.close()
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.add_init_script(PRESS_JS)
    page.goto(address)
    page.wait_for_function("window.usableAfter !== undefined", timeout=LIMIT_MS)
    usable_ms = page.evaluate("window.usableAfter")
    context.close()
    return PageLoad(usable_ms, sum(url.startswith("http") for url in urls), nodes, live_nodes)
