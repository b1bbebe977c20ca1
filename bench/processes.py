"""The processes that are measured. Each ends with its block, on Ctrl-C too, and so do the files that it left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import lean
from sd35.server.launch import free_port

__all__ = ["ROOT", "ServerProcess", "lean_space", "start_server"]

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
END_SECONDS = 15


@contextmanager
def lean_space(preview_quality: int = 83) -> Iterator[tuple[str, str]]:
    """The lean Space's address, and the final picture's SHA-256, while the block lasts."""
    spawn = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = spawn.Pipe()
    process = spawn.Process(target=lean.serve, args=(child_pipe, preview_quality), daemon=True)
    process.start()
    try:
        if not parent_pipe.poll(START_SECONDS):
            raise TimeoutError("the lean Space didn't start")
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
        """Do nothing at all until `wake`: Gradio takes a tenth of a core only to look whether there is work."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def start_server(name: str, *arguments: str) -> Iterator[ServerProcess]:
    """Run Python with these arguments, of which `{port}` is the port to serve at, while the block lasts."""
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        log_path = Path(folder) / "said.txt"
        with log_path.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=ROOT,
                env=_environment(folder),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            _wait_until_listening(name, process, log_path)
            yield ServerProcess(name, process.pid, port)
        finally:
            _terminate(process)
            _show_errors(name, log_path)


def _environment(folder: str) -> dict[str, str]:
    """The environment, less what would change the program, and with a temporary folder that is thrown away."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SD35_", "GRADIO_", "HF_"))
    }
    overrides = {"TMPDIR": folder, "SD35_LIBRARY": f"{folder}/library", "NO_PROXY": "127.0.0.1"}
    return inherited | overrides | {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}


def _wait_until_listening(name: str, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    """Wait until it says where it is."""
    started_at = time.monotonic()
    while time.monotonic() - started_at < START_SECONDS and process.poll() is None:
        if b"http://" in log_path.read_bytes():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{name} didn't start: {log_path.read_text(errors='replace')[-2000:]}")


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # it may rest
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)


def _show_errors(name: str, log_path: Path) -> None:
    """Say so if there was a failure inside: its figures are worth little then."""
    text = log_path.read_text(errors="replace")
    count = text.count("Traceback (most recent call last)")
    if count:
        last = text[text.rindex("Traceback (most recent call last)") :]
        print(
            f"{name} failed {count} times inside; the last time:\n{last[-2000:]}", file=sys.stderr
        )
