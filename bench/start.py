"""From the start of the process to the first page: this program against an empty Gradio app, interleaved."""

import contextlib
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from sd35.server.launch import free_port

__all__ = ["measure", "time_to_first_page"]

ROOT = Path(__file__).parent.parent

EMPTY_APP_SCRIPT = "import gradio as gr\nwith gr.Blocks() as demo: gr.Textbox()\ndemo.launch(server_port={port}, quiet=True)"

LIMIT_SECONDS = 60


def measure(rounds: int) -> None:
    """Print the median seconds of each, and their ratio."""
    ours, empty = [], []
    for _ in range(rounds):
        port = free_port()
        empty.append(
            time_to_first_page([sys.executable, "-c", EMPTY_APP_SCRIPT.format(port=port)], port)
        )
        port = free_port()
        ours.append(
            time_to_first_page(
                [sys.executable, "app.py", "--space", "demo", "--port", str(port)], port
            )
        )
    our_median, empty_median = statistics.median(ours), statistics.median(empty)
    print("| to the first page | median s | of an empty app |\n|---|---|---|")
    print(
        f"| this program | {our_median:.2f} | {our_median / empty_median:.2f}× |\n| an empty Gradio app | {empty_median:.2f} | 1× |"
    )


def time_to_first_page(command: list[str], port: int) -> float:
    """Return how many seconds this command takes to serve a page at this port, and end it."""
    started_at = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
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
