"""A Space of this machine as a child process of the program that uses it.

A process of its own: a crash of the GPU's libraries doesn't end the page, and all memory comes back
when the Space ends. The two speak over the child's standard input and output: the child writes its
state as lines of JSON, and ends when its input is closed, in whatever way its parent ended.
"""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import anyio
import orjson

from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ModelError,
    SD35Error,
    SpaceStoppedError,
)
from sd35.core.events import Waiting
from sd35.core.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from sd35.core.text import one_line
from sd35.server import launch

__all__ = ["LocalSpace", "child_command", "child_environment", "model_error"]

log = logging.getLogger(__name__)

END_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
MAX_LINE_BYTES: Final = 10_000

KILLED: Final = -9  # as Linux does when the memory is used up

# Before each restart after a crash; then it stays ended until it is asked for again.
RESTART_PAUSES = (1.0, 4.0, 16.0)

OnWait = Callable[[Waiting], None]
OnPlan = Callable[[str], None]
OnCrash = Callable[[SpaceStoppedError], None]

_PROGRAM_FOLDER: Final = str(Path(__file__).parents[2])


def child_command(model: str, options: ModelOptions, *arguments: str) -> list[str]:
    """Return the command of a process that another program of this project starts."""
    # With "=", as the name of a folder may begin with a hyphen.
    program = (sys.executable, "-m", "sd35.space", f"--model={model}")
    return [*program, *options.arguments, *arguments, "--child"]


def child_environment(token: str | None) -> dict[str, str]:
    """Return the environment of such a process, with the token that may download the model."""
    # This program may have been started from elsewhere by the path of its file.
    paths = filter(None, (_PROGRAM_FOLDER, os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return environment | ({"HF_TOKEN": token} if token else {})


def model_error(values: Mapping[str, Any]) -> SD35Error:
    """Return the error that such a process has written; see `EngineError.to_dict`."""
    error_type = AccessDeniedError if values["is_refusal"] else ModelError
    return error_type(str(values["happened"]), str(values["remedy"]))


class LocalSpace:
    """Space in a child process, started on demand, and again after a crash.

    Its address stays the same, so that jobs that wait for it go on by themselves.

    Args:
        model: as `python -m sd35.space --model` takes it.
        options: of the model, as `python -m sd35.space` takes them.
        token: for the download of the model; by default that of the environment.
        on_crash: called, in the event loop of the latest start, when the Space has ended after it
            could make images.
        on_plan: called with each sentence about how the model will run, in the same loop.
    """

    def __init__(
        self,
        model: str,
        options: ModelOptions = DEFAULT_MODEL_OPTIONS,
        token: str | None = None,
        on_crash: OnCrash = lambda _: None,
        on_plan: OnPlan = lambda _: None,
    ) -> None:
        self._command = child_command(model, options)
        self._port: int | None = None
        self._was_ready = False
        self._environment = child_environment(token)
        self._on_crash = on_crash
        self._on_plan = on_plan
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, Any] = {}
        self._plan: dict[str, Any] = {}
        self._reported_plan: dict[str, Any] = {}
        self._error: SD35Error | None = None
        self._crash_count = 0
        self._is_closed = threading.Event()

    def use_token(self, token: str | None) -> None:
        """Download the model with this token, from the next start of the process on."""
        self._environment = child_environment(token)

    async def start(self, on_wait: OnWait = lambda _: None) -> str:
        """Start the Space unless it runs, wait until it can make images, and return its URL.

        Raises:
            ModelError: the model can't be used on this machine.
            AccessDeniedError: the model may not be downloaded; the message says what is missing.
            ConnectionFailedError: the Space has crashed several times.
        """
        self._loop = asyncio.get_running_loop()
        await anyio.to_thread.run_sync(self._ensure_started)
        started_at = time.monotonic()
        while True:
            self._report_plan()
            if self._error is not None:
                raise self._error
            state = self._state
            if state.get("state") == "ready":
                return str(state["address"])
            waited_seconds = time.monotonic() - started_at
            reason = self._waiting_reason(state)
            on_wait(Waiting(reason, waited_seconds, fraction=state.get("fraction")))
            await anyio.sleep(POLL_SECONDS)

    def _report_plan(self) -> None:
        plan = self._plan
        if plan and plan is not self._reported_plan:
            self._reported_plan = plan
            self._on_plan(one_line(str(plan["plan"])))

    def _waiting_reason(self, state: dict[str, Any]) -> str:
        text = str(state.get("text") or "Starting the local Space")
        warning = self._plan.get("warning")
        return one_line(f"{text}. {warning}" if warning else text)

    def _ensure_started(self) -> None:
        with self._lock:
            if self._is_closed.is_set():
                raise ConnectionFailedError("The app is closing.")
            if self._process is None:
                self._crash_count = 0
                self._start_process()

    def _start_process(self) -> None:
        self._state = {}
        self._error = None
        if self._port is None:
            self._port = launch.free_port()
        process = subprocess.Popen(  # noqa: S603  # our own program
            [*self._command, f"--port={self._port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
        )
        self._process = process
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Read the states of a process until it ends, and start another one after a crash."""
        assert process.stdout is not None
        self._read_states(process.stdout)
        code = process.wait()
        state = self._state
        if self._is_closed.is_set():
            return
        if state.get("state") == "broken":
            error: SD35Error = model_error(state)
        else:
            log.error("The local Space ended unexpectedly (exit code %d).", code)
            if state.get("state") == "ready":
                self._crash_count = 0
                self._was_ready = True
                self._report_crash(code)
            elif not self._was_ready:
                self._port = None  # it may belong to another program by now
            if self._crash_count < len(RESTART_PAUSES):
                self._restart(RESTART_PAUSES[self._crash_count])
                return
            remedy = "Close other programs, or choose a smaller model."
            if code != KILLED:
                remedy = "Try again. The terminal may say more."
            error = ConnectionFailedError(_crash_text(code), remedy)
        with self._lock:
            self._error = error
            self._process = None

    def _report_crash(self, code: int) -> None:
        error = SpaceStoppedError(_crash_text(code), "It starts again. Retry makes the same image.")
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended, and with it all runs
            self._loop.call_soon_threadsafe(self._on_crash, error)

    def _restart(self, pause_seconds: float) -> None:
        self._crash_count += 1
        self._state = {"text": "Restarting the local Space"}
        if not self._is_closed.wait(pause_seconds):
            with self._lock:
                if not self._is_closed.is_set():
                    self._start_process()

    def _read_states(self, stream: IO[bytes]) -> None:
        while line := stream.readline(MAX_LINE_BYTES):
            try:
                state = orjson.loads(line)
            except ValueError:
                continue  # of a library
            if isinstance(state, dict) and "plan" in state:
                self._plan = state
            elif isinstance(state, dict):
                self._state = state

    def close(self) -> None:
        """End the Space, and wait until its memory is free."""
        self._is_closed.set()
        with self._lock:
            process = self._process
            self._process = None
        if process is None:
            return
        assert process.stdin is not None
        try:
            process.stdin.close()
            process.wait(END_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait(END_SECONDS)


def _crash_text(code: int) -> str:
    """Return what is known of the end of a process with this exit code."""
    if code == KILLED:
        return "The local Space was killed. The machine may have run out of memory."
    return f"The local Space ended unexpectedly (exit code {code})."
