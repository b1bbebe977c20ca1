"""A lean Space for measuring clients: Gradio's queue and the simple way, every answer made beforehand.

A run takes no time, unless its prompt ends in a time such as `…, in 2 s`: its twenty steps, twenty
previews and its last word are sent at once, as soon as the stream is asked for; or else they are
spread evenly over that time. All that is left to do for an answer is to put the run's number into
it.
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
from bench.limits import raise_file_limit
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
SHARED_STREAM_LINGER_SECONDS = 1.0
"""How long the stream of a session that has a heartbeat outlasts its last run.

gradio_client has one stream for all of its runs, and loses a run that it joins while that stream is
being closed. Where runs take time, that doesn't happen; here it would, had each stream been closed
at once.
"""

_SESSION = re.compile(rb'"session_hash": ?"([^"]+)"')
_PACE = re.compile(rb', in (\d+(?:\.\d+)?) s"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Write = Callable[[bytes], None]


def serve(pipe: Pipe, preview_quality: int = 83) -> None:
    """Serve at a free port of the loopback interface, until killed; sends its address and the final's SHA-256."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has started it ends it
    raise_file_limit()
    asyncio.run(_serve(pipe, preview_quality))


async def _serve(pipe: Pipe, preview_quality: int) -> None:
    space: _Space
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(space), "127.0.0.1", 0, backlog=BACKLOG
    )
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    last = pictures.final()
    space = _Space(
        address, [pictures.preview(index, preview_quality) for index in range(STEPS)], last
    )
    pipe.send((address, hashlib.sha256(last).hexdigest()))
    asyncio.get_running_loop().add_reader(
        pipe.fileno(), sys.exit
    )  # at the end of who has started this
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class _Run:
    event_id: bytes
    seconds: float = 0.0


class _Space:
    """What is answered to what."""

    def __init__(self, address: str, previews: list[bytes], last: bytes) -> None:
        description = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
        self._fixed_responses = {
            b"/": http_response("text/html", b"<!doctype html><title>A lean Space</title>"),
            b"/config": json_response(description["config"] | {"protocol": "sse_v3"}),
            b"/gradio_api/info": json_response(description["info"]),
            b"/gradio_api/cancel": json_response({"success": True}),
            b"/gradio_api/reset": json_response({"success": True}),
        }
        files = [messages.file(address, "image/jpeg", "image.jpg", data) for data in previews]
        files.append(messages.file(address, "image/png", "image.png", last))
        for file, data in zip(files, (*previews, last), strict=True):
            self._fixed_responses[b"/gradio_api/file=" + file["path"].encode()] = http_response(
                file["mime_type"], data
            )
        self._parts = messages.queue_stream_parts(files)
        self._whole = b"".join(self._parts)
        self._simple_run = messages.call_stream(files)
        self._sequence = itertools.count(1)
        self._pending_runs: dict[
            bytes, list[_Run]
        ] = {}  # by session, until its stream is asked for
        self._shared_streams: dict[bytes, _SharedStream] = {}
        self._heartbeat_sessions: set[bytes] = set()

    def answer(self, target: bytes, body: bytes, write: Write) -> None:
        """Write the whole answer to a request; a stream that stays open is written to later, too."""
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
        pace = _PACE.search(body)
        run = _Run(self._next_event_id(), float(pace[1]) if pace else 0.0)
        if session in self._shared_streams:
            self._send_run(
                run, self._shared_streams[session].write, self._shared_streams[session].begin_run()
            )
        else:
            self._pending_runs.setdefault(session, []).append(run)
        return json_response({"event_id": run.event_id.decode()})

    def _stream(self, session: bytes, write: Write) -> None:
        runs = self._pending_runs.pop(session, [])
        if session in self._heartbeat_sessions:
            shared = self._shared_streams[session] = _SharedStream(
                write, lambda: self._shared_streams.pop(session)
            )
            write(STREAM)
            for run in runs:
                self._send_run(run, shared.write, shared.begin_run())
        elif any(run.seconds for run in runs):
            write(STREAM)
            self._send_run(
                runs[0], write, lambda: write(CLOSE)
            )  # who asks for a pace has one run for a stream
        else:
            write(
                STREAM
                + b"".join(self._whole.replace(RUN_ID_PLACEHOLDER, run.event_id) for run in runs)
                + CLOSE
            )

    def _send_run(self, run: _Run, write: Write, at_end: Callable[[], None]) -> None:
        """Send all that is said of a run, in its time."""
        if not run.seconds:
            write(self._whole.replace(RUN_ID_PLACEHOLDER, run.event_id))
            at_end()
            return
        loop = asyncio.get_running_loop()
        started_at, gap = loop.time(), run.seconds / (len(self._parts) - 1)

        def send(index: int) -> None:
            write(self._parts[index].replace(RUN_ID_PLACEHOLDER, run.event_id))
            if index + 1 == len(self._parts):
                at_end()
            else:
                loop.call_at(started_at + (index + 1) * gap, send, index + 1)

        send(0)


class _SharedStream:
    """The one stream of all of a client's runs; it stays open for a moment after the last."""

    def __init__(self, write: Write, on_close: Callable[[], object]) -> None:
        self.write = write
        self._on_close = on_close
        self._active_runs = 0
        self._closing: asyncio.TimerHandle | None = None

    def begin_run(self) -> Callable[[], None]:
        """Keep the stream open until what is returned is called, and for a moment after."""
        if self._closing is not None:
            self._closing.cancel()
        self._active_runs += 1
        return self._end_run

    def _end_run(self) -> None:
        self._active_runs -= 1
        if not self._active_runs:
            self._closing = asyncio.get_running_loop().call_later(
                SHARED_STREAM_LINGER_SECONDS, self._close
            )

    def _close(self) -> None:
        self.write(CLOSE)
        self._on_close()


class _Connection(asyncio.Protocol):
    """One connection of a client: HTTP/1.1, kept open, as much of it as clients send here."""

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
            target, body = self._buffer.split(b" ", 2)[1], self._buffer[end + 4 : message_end]
            self._buffer = self._buffer[message_end:]
            self._space.answer(target, body, self._write)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # a run goes on when nobody listens any more
            self._transport.write(data)
