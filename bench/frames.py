"""CPU time of one step with a preview of 512², from the Space's message to the page's stream.

A page follows runs at a fake Space that sends nine previews a second. What as many silent runs cost
is subtracted.
"""

import asyncio

from bench import pictures, usage
from bench.endpoints import PageClient
from bench.page_session import PageTimings, request_picture
from bench.processes import start_app, start_fake_space
from bench.tables import format_number, print_table
from bench.visitor import Visitor

__all__ = ["measure"]

RUNS = 4  # of 20 previews each
RUN_SECONDS = 2.2
LIMIT_SECONDS = 60


def measure(rounds: int) -> None:
    """Print the milliseconds of CPU per preview."""
    expected = pictures.final()
    with (
        start_fake_space() as (address, _),
        start_app(address) as app,
    ):
        page = PageClient.of(app)
        asyncio.run(_run(page, "", expected))  # a warm-up
        costs = sorted(_cost_ms(app.pid, page, expected) for _ in range(rounds))
    rows = [
        [f"median of {rounds}", format_number(costs[len(costs) // 2], 2)],
        ["best, worst", f"{costs[0]:.2f}, {costs[-1]:.2f}"],
    ]
    print_table(["CPU per preview of 512²", "ms"], rows)


def _cost_ms(pid: int, page: PageClient, expected: bytes) -> float:
    started_at = usage.cpu_seconds(pid)
    silent_previews = asyncio.run(_run(page, f", silent, in {RUN_SECONDS} s", expected))
    silent_ended_at = usage.cpu_seconds(pid)
    previews = asyncio.run(_run(page, f", in {RUN_SECONDS} s", expected))
    ended_at = usage.cpu_seconds(pid)
    assert previews > silent_previews, "no previews came"
    silent_seconds = silent_ended_at - started_at
    return 1000 * (ended_at - silent_ended_at - silent_seconds) / (previews - silent_previews)


async def _run(page: PageClient, prompt_suffix: str, expected: bytes) -> int:
    """Generate as the page does, and return the number of previews that arrived."""
    visitor = await Visitor(page.port).load_page()
    previews = 0
    for _ in range(RUNS):
        timings = PageTimings()
        async with asyncio.timeout(LIMIT_SECONDS):
            await request_picture(page.generate, visitor, prompt_suffix, expected, timings)
        previews += timings.previews
    visitor.close()
    return previews
