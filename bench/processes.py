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

__all__ = ["ROOT", "Program", "lean_space", "program"]

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
END_SECONDS = 15


@contextmanager
def lean_space(preview_quality: int = 83) -> Iterator[tuple[str, str]]:
    """The lean Space's address, and the final picture's SHA-256, while the block lasts."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=lean.serve, args=(theirs, preview_quality), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise TimeoutError("the lean Space didn't start")
        yield ours.recv()
    finally:
        process.terminate()
        process.join(END_SECONDS)


@dataclass(frozen=True, slots=True)
class Program:
    """A Gradio server in a process of its own."""

    name: str
    pid: int
    port: int

    def rest(self) -> None:
        """Do nothing at all until `wake`: Gradio takes a tenth of a core only to look whether there is work."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Go on."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def program(name: str, *arguments: str) -> Iterator[Program]:
    """Run Python with these arguments, of which `{port}` is the port to serve at, while the block lasts."""
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "said.txt"
        with said.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=ROOT,
                env=_surroundings(folder),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            _wait(name, process, said)
            yield Program(name, process.pid, port)
        finally:
            _end(process)
            _show_errors(name, said)


def _surroundings(folder: str) -> dict[str, str]:
    """The environment, less what would change the program, and with a temporary folder that is thrown away."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SD35_", "GRADIO_", "HF_"))
    }
    here = {"TMPDIR": folder, "SD35_LIBRARY": f"{folder}/library", "NO_PROXY": "127.0.0.1"}
    return kept | here | {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}


def _wait(name: str, process: "subprocess.Popen[bytes]", said: Path) -> None:
    """Wait until it says where it is."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS and process.poll() is None:
        if b"http://" in said.read_bytes():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{name} didn't start: {said.read_text(errors='replace')[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # it may rest
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)


def _show_errors(name: str, said: Path) -> None:
    """Say so if there was a failure inside: its figures are worth little then."""
    text = said.read_text(errors="replace")
    count = text.count("Traceback (most recent call last)")
    if count:
        last = text[text.rindex("Traceback (most recent call last)") :]
        print(
            f"{name} failed {count} times inside; the last time:\n{last[-2000:]}", file=sys.stderr
        )
