"""Processes that are measured. Each ends with its block, and its files are deleted."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import fake_space
from bench.visitor import HOST
from sd35.server.launch import free_port

__all__ = [
    "ROOT",
    "ServerProcess",
    "raise_file_limit",
    "start_app",
    "start_fake_space",
    "start_server",
]

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
END_SECONDS = 15
MAX_FILES = 8192


def raise_file_limit() -> None:
    """Allow as many open connections as hundreds of concurrent generations need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, target), hard))


@contextmanager
def start_fake_space(preview_quality: int = 83) -> Iterator[tuple[str, str]]:
    """Run the fake Space; yield its address and the SHA-256 of its final image."""
    raise_file_limit()  # the child inherits it
    # Spawned, not forked: a fork would begin with this process's memory.
    spawn = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = spawn.Pipe()
    arguments = (child_pipe, preview_quality)
    process = spawn.Process(target=fake_space.serve, args=arguments, daemon=True)
    process.start()
    try:
        if not parent_pipe.poll(START_SECONDS):
            raise TimeoutError("the fake Space didn't start")
        yield parent_pipe.recv()
    finally:
        process.terminate()
        process.join(END_SECONDS)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A Gradio server in a process of its own."""

    name: str
    pid: int
    port: int

    def suspend(self) -> None:
        """Suspend the process: an idle Gradio takes a tenth of a core to poll its queue."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the suspended process."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def start_server(name: str, *arguments: str) -> Iterator[ServerProcess]:
    """Run Python with these arguments, in which `{port}` is replaced, until it serves."""
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        log_path = Path(folder) / "log.txt"
        with log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                cwd=ROOT,
                env=_environment(folder),
                stdout=log,
                stderr=log,
                start_new_session=True,  # or Ctrl+C would end it before its measurement does
            )
        try:
            _wait_until_serving(name, process, log_path)
            yield ServerProcess(name, process.pid, port)
        finally:
            _terminate(process)
            _print_failures(name, log_path)


@contextmanager
def start_app(space_address: str) -> Iterator[ServerProcess]:
    """Run app.py for this Space, without usage limits."""
    arguments = ["app.py", "--space", space_address, "--port", "{port}", "--known-hosts", HOST]
    for name in ("visitor-hourly", "all-hourly", "visitor-waiting", "all-waiting", "at-once"):
        arguments += [f"--{name}", "0"]  # which means no limit
    with start_server("the app", *arguments) as app:
        yield app


def _environment(folder: str) -> dict[str, str]:
    """Return the environment without settings of the measured programs, and with this folder."""
    prefixes = ("SD35_", "GRADIO_", "HF_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}
    overrides = {"TMPDIR": folder, "SD35_LIBRARY": f"{folder}/library", "NO_PROXY": "127.0.0.1"}
    return inherited | overrides | {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}


def _wait_until_serving(name: str, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    started_at = time.monotonic()
    while time.monotonic() - started_at < START_SECONDS and process.poll() is None:
        if b"http://" in log_path.read_bytes():  # every server prints its address at last
            return
        time.sleep(0.1)
    raise RuntimeError(f"{name} didn't start: {log_path.read_text(errors='replace')[-2000:]}")


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a suspended process doesn't get the other signal
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)


def _print_failures(name: str, log_path: Path) -> None:
    """Print how often a server failed inside, because its figures mean little then."""
    _, *failures = log_path.read_text(errors="replace").split("Traceback (most recent call last)")
    if failures:
        print(f"{name} failed {len(failures)} times; last: {failures[-1][-2000:]}", file=sys.stderr)
