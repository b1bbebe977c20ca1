"""A fake Space for measuring clients: Gradio's queue and `/call`, with all answers made beforehand.

A run takes no time: 20 steps, 20 previews and the result are sent as soon as the stream is
requested. If the prompt ends like `…, in 2 s`, they are spread evenly over that time, and like
`…, silent, in 2 s`, steps and previews are left out. An answer only needs the run's id put into it,
so the Space takes as little as possible of the CPU that it shares with the clients.
"""

import asyncio
import hashlib
import itertools
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import cast

from bench import messages, pictures
from bench.messages import (
    CLOSE,
    NOT_FOUND,
    RUN_ID_PLACEHOLDER,
    STEPS,
    STREAM,
    http_response,
    json_response,
)

__all__ = ["serve"]

DESCRIPTION = (
    Path(__file__).parent.parent / "tests" / "conversations" / "gradio-6.31.0-description.json"
)
BACKLOG = 1024

# gradio_client has one stream for all runs of a session, and loses a run that it joins while that
# stream is being closed. With real runs this doesn't happen; here it would without this delay.
SHARED_STREAM_LINGER_SECONDS = 1.0

_SESSION = re.compile(rb'"session_hash": ?"([^"]+)"')
_PACE = re.compile(rb'(, silent)?, in (\d+(?:\.\d+)?) s"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Write = Callable[[bytes], None]


def serve(pipe: Pipe, preview_quality: int = 83) -> None:
    """Serve at a free port until killed; send the address and the final image's SHA-256."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    asyncio.run(_serve(pipe, preview_quality))


async def _serve(pipe: Pipe, preview_quality: int) -> None:
    space: _Space
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(space), "127.0.0.1", 0, backlog=BACKLOG)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    previews = [pictures.preview(index, preview_quality) for index in range(STEPS)]
    final = pictures.final()
    space = _Space(address, previews, final)
    pipe.send((address, hashlib.sha256(final).hexdigest()))
    loop.add_reader(pipe.fileno(), sys.exit)  # the pipe closes when the parent process ends
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class _Run:
    event_id: bytes
    seconds: float = 0.0
    is_silent: bool = False


class _Space:
    """The answers to requests."""

    def __init__(self, address: str, previews: list[bytes], final: bytes) -> None:
        description = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
        self._fixed_responses = {
            b"/": http_response("text/html", b"<!doctype html><title>A fake Space</title>"),
            b"/config": json_response(description["config"] | {"protocol": "sse_v3"}),
            b"/gradio_api/info": json_response(description["info"]),
            b"/gradio_api/cancel": json_response({"success": True}),
            b"/gradio_api/reset": json_response({"success": True}),
        }
        files = [messages.file(address, "image/jpeg", "image.jpg", data) for data in previews]
        files.append(messages.file(address, "image/png", "image.png", final))
        for file, data in zip(files, (*previews, final), strict=True):
            path = b"/gradio_api/file=" + file["path"].encode()
            self._fixed_responses[path] = http_response(file["mime_type"], data)
        self._parts = messages.queue_stream_parts(files)
        self._silent_parts = messages.queue_stream_parts(files, is_silent=True)
        self._whole = b"".join(self._parts)
        self._simple_run = messages.call_stream(files)
        self._sequence = itertools.count(1)
        self._pending_runs: dict[bytes, list[_Run]] = {}  # by session, until it asks for its stream
        self._shared_streams: dict[bytes, _SharedStream] = {}
        self._heartbeat_sessions: set[bytes] = set()

    def answer(self, target: bytes, body: bytes, write: Write) -> None:
        """Write the answer to a request; what belongs to a stream may be written later."""
        path, _, query = target.partition(b"?")
        if path in self._fixed_responses:
            write(self._fixed_responses[path])
            return
        match path.split(b"/")[2:]:
            case [b"queue", b"join"] if session := _SESSION.search(body):
                write(self._join(session[1], body))
            case [b"queue", b"data"]:
                self._stream(query.removeprefix(b"session_hash="), write)
            case [b"call", b"infer"]:
                write(json_response({"event_id": self._next_event_id().decode()}))
            case [b"call", b"infer", _]:
                write(STREAM + self._simple_run)
            case [b"heartbeat", session]:
                self._heartbeat_sessions.add(session)
                write(STREAM)
            case _:
                write(NOT_FOUND)

    def _next_event_id(self) -> bytes:
        return b"%032x" % next(self._sequence)

    def _join(self, session: bytes, body: bytes) -> bytes:
        run = _Run(self._next_event_id())
        if pace := _PACE.search(body):
            run = _Run(run.event_id, float(pace[2]), is_silent=pace[1] is not None)
        if shared := self._shared_streams.get(session):
            self._send_run(run, shared.write, shared.begin_run())
        else:
            self._pending_runs.setdefault(session, []).append(run)
        return json_response({"event_id": run.event_id.decode()})

    def _stream(self, session: bytes, write: Write) -> None:
        runs = self._pending_runs.pop(session, [])
        if session in self._heartbeat_sessions:
            shared = _SharedStream(write, lambda: self._shared_streams.pop(session))
            self._shared_streams[session] = shared
            write(STREAM)
            for run in runs:
                self._send_run(run, shared.write, shared.begin_run())
        elif any(run.seconds for run in runs):
            # Clients that set a pace have one run per stream.
            write(STREAM)
            self._send_run(runs[0], write, lambda: write(CLOSE))
        else:
            answers = (self._whole.replace(RUN_ID_PLACEHOLDER, run.event_id) for run in runs)
            write(STREAM + b"".join(answers) + CLOSE)

    def _send_run(self, run: _Run, write: Write, on_end: Callable[[], None]) -> None:
        """Send all messages of a run, at its pace."""
        if not run.seconds:
            write(self._whole.replace(RUN_ID_PLACEHOLDER, run.event_id))
            on_end()
            return
        parts = self._silent_parts if run.is_silent else self._parts
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        gap = run.seconds / (len(parts) - 1)

        def send(index: int) -> None:
            write(parts[index].replace(RUN_ID_PLACEHOLDER, run.event_id))
            if index + 1 == len(parts):
                on_end()
            else:
                loop.call_at(started_at + (index + 1) * gap, send, index + 1)

        send(0)


class _SharedStream:
    """The one stream of all runs of a session; it stays open for a moment after the last one."""

    def __init__(self, write: Write, on_close: Callable[[], object]) -> None:
        self.write = write
        self._on_close = on_close
        self._active_runs = 0
        self._close_timer: asyncio.TimerHandle | None = None

    def begin_run(self) -> Callable[[], None]:
        """Keep the stream open until the returned function is called."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._active_runs += 1
        return self._end_run

    def _end_run(self) -> None:
        self._active_runs -= 1
        if not self._active_runs:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(SHARED_STREAM_LINGER_SECONDS, self._close)

    def _close(self) -> None:
        self.write(CLOSE)
        self._on_close()


class _Connection(asyncio.Protocol):
    """Connection of a client: as much of HTTP/1.1 with keep-alive as clients use here."""

    def __init__(self, space: _Space) -> None:
        self._space = space
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            message_end = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < message_end:
                return
            target = self._buffer.split(b" ", 2)[1]
            body = self._buffer[end + 4 : message_end]
            self._buffer = self._buffer[message_end:]
            self._space.answer(target, body, self._write)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # a run goes on after its client has left
            self._transport.write(data)
