"""Stand-in for the scheduler of ZeroGPU, which the package `spaces` asks for GPUs over HTTP."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Answer", "Scheduler", "serve_scheduler"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request for a GPU: a text is an event stream, anything else is JSON."""

    status: int
    body: object = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Scheduler:
    """One GPU, and what it was asked for.

    Attributes:
        address: URL of the API.
        answers: answers to the next requests for a GPU, instead of the GPU.
        calls: path and parameters of each request.
        is_gpu_usable: whether a process gets the GPU that it asks for.
        worker_ids: the processes that had the GPU.
        releases: a value for each run that has given the GPU back: whether it had failed.
        step_permits: a run of the gated painter takes one before each step.
        step_count: number of those steps.
    """

    def __init__(self) -> None:
        self.address = ""
        self.answers: list[Answer] = []
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.is_gpu_usable = True
        self.worker_ids: list[int] = []
        self.releases: SimpleQueue[bool] = SimpleQueue()
        self.step_permits = threading.Semaphore(0)
        self.step_count = 0
        self._is_idle = False

    def count(self, path: str) -> int:
        """Return the number of requests for a path."""
        return sum(call_path == path for call_path, _ in self.calls)

    def grant(self) -> dict[str, Any]:
        """Return the answer that gives the GPU to a run."""
        return {
            "idle": self._is_idle,
            "nvidiaIndex": 0,
            "nvidiaUUID": "GPU-0",
            "allowToken": f"run {self.count('/schedule')}",
        }

    def answer(self, path: str, parameters: dict[str, str]) -> Answer:
        """Return the answer to a request."""
        self.calls.append((path, parameters))
        match path:
            case "/schedule":
                return self.answers.pop(0) if self.answers else Answer(200, self.grant())
            case "/allow":
                self.worker_ids.append(int(parameters["pid"]))
                return Answer(200 if self.is_gpu_usable else 403, {})
            case "/release":
                self._is_idle = parameters["fail"] == "false"
                self.releases.put(not self._is_idle)
            case "/step":
                self.step_permits.acquire()
                self.step_count += 1
        return Answer(200, {})

    def kill_workers(self) -> None:
        """Kill all processes that had the GPU and still run."""
        for process_id in self.worker_ids:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)


@contextmanager
def serve_scheduler() -> Iterator[Scheduler]:
    """Serve the API on a free port; at the end, no process that had the GPU is left."""
    scheduler = Scheduler()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            target = urlsplit(self.path)
            answer = scheduler.answer(target.path, dict(parse_qsl(target.query)))
            content_type, text = "application/json", json.dumps(answer.body)
            if isinstance(answer.body, str):
                content_type, text = "text/event-stream", answer.body
            self.send_response(answer.status)
            headers = {"Content-Type": content_type, "Content-Length": str(len(text))}
            for name, value in {**headers, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        scheduler.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield scheduler
        finally:
            scheduler.kill_workers()
            server.shutdown()
