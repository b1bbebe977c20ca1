"""Seconds from the start of the process to the first page, compared with an empty Gradio app."""

import contextlib
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from bench.processes import ROOT
from bench.tables import format_number, print_table
from sd35.server.launch import free_port

__all__ = ["measure", "time_to_first_page"]

LIMIT_SECONDS = 60


def measure(rounds: int) -> None:
    """Print the median seconds of both, measured in turn, and their ratio."""
    ours = []
    empty = []
    for _ in range(rounds):
        empty.append(time_to_first_page("-m", "bench.empty_page", "{port}"))
        ours.append(time_to_first_page("app.py", "--space", "demo", "--port", "{port}"))
    our_median = statistics.median(ours)
    empty_median = statistics.median(empty)
    rows = [
        ["this program", format_number(our_median, 2), f"{our_median / empty_median:.2f}×"],
        ["an empty Gradio app", format_number(empty_median, 2), "1×"],
    ]
    print_table(["time to the first page", "median, s", "ratio to an empty app"], rows)


def time_to_first_page(*arguments: str) -> float:
    """Return the seconds until Python with these arguments serves a page; end it then.

    `{port}` in the arguments is replaced.
    """
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    started_at = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  # our own command
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - started_at < LIMIT_SECONDS:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                return time.perf_counter() - started_at
            time.sleep(0.01)
        raise TimeoutError(f"no page within {LIMIT_SECONDS} s: {command}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_SECONDS)
