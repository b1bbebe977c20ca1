"""Programs on a stand-in for ZeroGPU, and calls of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from sd35.client.error_parsing import parse_run_error
from sd35.core.errors import SD35Error
from sd35.server.launch import free_port
from tests.zerogpu_scheduler import Scheduler

__all__ = ["LIMIT_SECONDS", "Call", "run", "start_space"]

LIMIT_SECONDS: Final = 60


@contextmanager
def start_space(
    home: Path, scheduler: Scheduler, program: tuple[str, ...], folder: Path, model: str = "demo"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a program in a folder, as Hugging Face does on ZeroGPU."""
    port = free_port()
    variables = {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": scheduler.address,
        "SD35_MODEL": model,
        "ZEROGPU_OFFLOAD_DIR": str(home / "tensors"),
        "GRADIO_SERVER_PORT": str(port),
        "HOME": str(home),
        "TMPDIR": str(home),
    }
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, *program],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = f"http://127.0.0.1:{port}/"
    try:
        assert f"{address}\n" in process.stdout
        yield process, address
    finally:
        process.kill()
        # Its processes outlive it, and hold its standard output.
        scheduler.kill_workers()
        process.communicate(timeout=LIMIT_SECONDS)


class Call:
    """A call of `/infer` over plain HTTP, as a visitor whom Hugging Face's proxy has identified."""

    def __init__(
        self, address: str, prompt: str = "a cat", width: int = 512, steps: int = 3
    ) -> None:
        self.http = httpx.Client(base_url=f"{address}gradio_api/", timeout=LIMIT_SECONDS)
        self.session: dict[str, str | int] = {"session_hash": os.urandom(8).hex(), "fn_index": 0}
        self.data = [prompt, "", 7, False, width, 512, 4.5, steps]

    def join(self, headers: Mapping[str, str]) -> str:
        """Join the queue, and return the id of the event."""
        response = self.http.post(
            "queue/join", json=self.session | {"data": self.data}, headers=headers
        )
        event_id: str = response.json()["event_id"]
        return event_id

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield the messages of the session, up to the last one."""
        with self.http.stream("GET", "queue/data", params=self.session) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    message = json.loads(line.removeprefix("data: "))
                    yield message
                    if message["msg"] == "process_completed":
                        return

    def error(self, headers: Mapping[str, str] | None = None) -> SD35Error:
        """Return the error of a call that fails, as our client reads it."""
        self.join(headers or {})
        *_, last_message = self.messages()
        assert not last_message["success"]
        output = last_message["output"]
        return parse_run_error(output["error"], output.get("title"))


def run(address: str) -> list[dict[str, Any]]:
    """Make an image, and return the messages."""
    call = Call(address)
    call.join({})
    return list(call.messages())
