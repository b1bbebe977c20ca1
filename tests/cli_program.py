"""The terminal program, run in this process or as one of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from typer.testing import CliRunner

from sd35.cli.app import app
from tests.fakes import FakeSpace

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 30
SECRET_TOKEN = "verysecret"

QUOTA = (
    "error: You have exceeded your free GPU quota "
    "(60s requested vs. 34s left). Try again in 1:23:54"
)

CliResult = tuple[int, str, str]
"""Exit code, standard output and standard error."""


def invoke(*arguments: str, stdin: str | bytes = "") -> CliResult:
    """Run a command in this process."""
    result = CliRunner().invoke(app, arguments, input=stdin)
    return check_output(result.exit_code, result.stdout, result.stderr)


def check_output(code: int, out: str, err: str) -> CliResult:
    """Check what holds for every command: no secrets, no traceback, no control sequences."""
    assert SECRET_TOKEN not in out + err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    return code, out, err


@contextlib.contextmanager
def start_process(
    *arguments: str,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] = subprocess.PIPE,
    **options: Any,  # noqa: ANN401  # as Popen takes them
) -> Iterator[subprocess.Popen[str]]:
    """Start a command as a process, which is killed at the end of the block."""
    command = [sys.executable, "-m", "sd35", *arguments]
    # The commands are written in the tests.
    process = subprocess.Popen(command, stdout=stdout, stderr=stderr, encoding="utf-8", **options)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


# The options are passed to `Popen`.
def run_process(*arguments: str, **options: Any) -> CliResult:  # noqa: ANN401
    """Run a command as a process."""
    with start_process(*arguments, **options) as process:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    return check_output(process.returncode, out or "", err)


def read_terminal(leader: int, on_output: Callable[[bytes], None] = lambda output: None) -> bytes:
    """Return everything that a process writes to a terminal, and close it.

    Args:
        leader: the file descriptor of `pty.openpty` that stays here.
        on_output: receives all of the output so far, whenever there is more.

    """
    output = b""
    # Linux reports the end of a pseudoterminal's last writer as an error, EIO.
    with contextlib.suppress(OSError):
        while chunk := os.read(leader, 65536):
            output += chunk
            on_output(output)
    os.close(leader)
    return output


def imported_modules(*arguments: str) -> tuple[set[str], str]:
    """Return the modules that a command imports, and its standard output."""
    command = [sys.executable, "-X", "importtime", "-m", "sd35", *arguments]
    completed = subprocess.run(  # noqa: S603  # ours
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    modules = {line.rpartition("|")[2].strip() for line in completed.stderr.splitlines()}
    return modules, completed.stdout


def isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without a network, and with a token that nobody may see."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET_TOKEN}")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def generator() -> Iterator[FakeSpace]:
    """Serve a Space whose runs can be cancelled."""
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[FakeSpace]:
    """Serve a Space like the public one, whose runs can't be cancelled."""
    space = FakeSpace(is_generator=False)
    yield space
    space.close()


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """Run an event loop in a thread, for servers of our own."""
    with start_blocking_portal() as portal:
        yield portal
