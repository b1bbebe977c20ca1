"""A lean Space for measuring clients: Gradio's queue and the simple way, every answer made beforehand.

A run takes no time: its twenty steps, twenty previews and its last word are sent at once, as soon as the stream is
asked for. All that is left to do for an answer is to put the run's number into it.
"""

import asyncio
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, cast

from bench import pictures
from bench.limits import raise_file_limit

__all__ = ["serve"]

DESCRIPTION = Path(__file__).parent.parent / "tests" / "conversations" / "gradio-6.31.0-description.json"
STEPS = 20
BACKLOG = 1024
SHARED_STREAM_SECONDS = 1.0
"""How long the stream of a session that has a heartbeat outlasts its last run.

gradio_client has one stream for all of its runs, and loses a run that it joins while that stream is being closed. Where
runs take time, that doesn't happen; here it would, had each stream been closed at once.
"""

_SEED = 7
_ID = b"-" * 32  # where a run's number belongs in what was made beforehand
_SESSION = re.compile(rb'"session_hash": ?"([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def serve(pipe: Pipe) -> None:
    """Serve at a free port of the loopback interface, until killed; sends its address and the final's SHA-256."""
    raise_file_limit()
    asyncio.run(_serve(pipe))


async def _serve(pipe: Pipe) -> None:
    space: _Space
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(space), "127.0.0.1", 0, backlog=BACKLOG)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    last = pictures.final()
    space = _Space(address, [pictures.preview(number) for number in range(STEPS)], last)
    pipe.send((address, hashlib.sha256(last).hexdigest()))
    await server.serve_forever()


class _Space:
    """What is answered to what."""

    def __init__(self, address: str, previews: list[bytes], last: bytes) -> None:
        told = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
        self._fixed = {
            b"/": _answer("text/html", b"<!doctype html><title>A lean Space</title>"),
            b"/config": _json(told["config"] | {"protocol": "sse_v3"}),
            b"/gradio_api/info": _json(told["info"]),
            b"/gradio_api/cancel": _json({"success": True}),
            b"/gradio_api/reset": _json({"success": True}),
        }
        files = [_file(address, "image/jpeg", "image.jpg", data) for data in previews]
        files.append(_file(address, "image/png", "image.png", last))
        for file, data in zip(files, (*previews, last), strict=True):
            self._fixed[b"/gradio_api/file=" + file["path"].encode()] = _answer(file["mime_type"], data)
        self._run = b"".join(_chunk(_message(message)) for message in _queue_messages(files))
        self._simple_run = b"".join(map(_chunk, _simple_messages(files))) + _chunk(b"")
        self._numbers = itertools.count(1)
        self._joined: dict[bytes, list[bytes]] = {}  # by session, until its stream is asked for
        self._shared: dict[bytes, _Shared] = {}
        self._lasting: set[bytes] = set()

    def answer(self, target: bytes, body: bytes, write: Callable[[bytes], None]) -> None:
        """Write the whole answer to a request; a stream that stays open is written to later, too."""
        path, _, query = target.partition(b"?")
        if path in self._fixed:
            write(self._fixed[path])
            return
        match path.split(b"/")[2:]:
            case [b"queue", b"join"] if session := _SESSION.search(body):
                write(self._join(session[1]))
            case [b"queue", b"data"]:
                self._stream(query.removeprefix(b"session_hash="), write)
            case [b"call", b"infer"]:
                write(_json({"event_id": self._next_run().decode()}))
            case [b"call", b"infer", _]:
                write(_STREAM + self._simple_run)
            case [b"heartbeat", session]:
                self._lasting.add(session)
                write(_STREAM)
            case _:
                write(_NOT_FOUND)

    def _next_run(self) -> bytes:
        return b"%032x" % next(self._numbers)

    def _join(self, session: bytes) -> bytes:
        run = self._next_run()
        if session in self._shared:
            self._shared[session].send(self._run.replace(_ID, run))
        else:
            self._joined.setdefault(session, []).append(run)
        return _json({"event_id": run.decode()})

    def _stream(self, session: bytes, write: Callable[[bytes], None]) -> None:
        start = _STREAM + b"".join(self._run.replace(_ID, run) for run in self._joined.pop(session, []))
        if session in self._lasting:
            self._shared[session] = _Shared(write, lambda: self._shared.pop(session))
            self._shared[session].send(start)
        else:
            write(start + _CLOSE)


class _Shared:
    """The one stream of all of a client's runs; it stays open for a moment after the last."""

    def __init__(self, write: Callable[[bytes], None], on_close: Callable[[], object]) -> None:
        self._write = write
        self._on_close = on_close
        self._closing: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> None:
        """Send a run's messages."""
        self._write(data)
        if self._closing is not None:
            self._closing.cancel()
        self._closing = asyncio.get_running_loop().call_later(SHARED_STREAM_SECONDS, self._close)

    def _close(self) -> None:
        self._write(_CLOSE)
        self._on_close()


class _Connection(asyncio.Protocol):
    """One connection of a client: HTTP/1.1, kept open, as much of it as clients send here."""

    def __init__(self, space: _Space) -> None:
        self._space = space
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._unread, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                return
            target, body = self._unread.split(b" ", 2)[1], self._unread[end + 4 : whole]
            self._unread = self._unread[whole:]
            self._space.answer(target, body, self._transport.write)


def _queue_messages(files: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the queue says of a run, in Gradio's order; all but the first preview as differences."""
    run = {"event_id": _ID.decode()}
    yield {"msg": "estimation", **run, "rank": 0, "queue_size": 1, "rank_eta": None}
    yield {"msg": "process_starts", **run, "eta": None}
    *previews, last = files
    for number, file in enumerate(previews):
        unit = {"index": number + 1, "length": STEPS, "unit": "steps", "progress": None, "desc": "Step"}
        yield {"msg": "progress", **run, "progress_data": [unit]}
        data = [file, _SEED] if number == 0 else [[["replace", [key], file[key]] for key in ("path", "url")], []]
        yield {"msg": "process_generating", **run, "output": _output(data, going_on=True), "success": True}
    output = _output([last, _SEED], going_on=False)
    yield {"msg": "process_completed", **run, "output": output, "success": True, "title": None}


def _simple_messages(files: list[dict[str, Any]]) -> Iterator[bytes]:
    for file in files:
        kind = "complete" if file is files[-1] else "generating"
        yield f"event: {kind}\ndata: {json.dumps([file, _SEED])}\n\n".encode()


def _output(data: list[Any], *, going_on: bool) -> dict[str, Any]:
    times = {"duration": 0.1506, "average_duration": 0.1511}
    return {"data": data, "is_generating": going_on, **times, "render_config": None, "changed_state_ids": []}


def _file(address: str, kind: str, name: str, data: bytes) -> dict[str, Any]:
    """Gradio's FileData of a picture."""
    path = f"/tmp/gradio/{hashlib.sha256(data).hexdigest()}/{name}"  # noqa: S108  # a name: nothing is written there
    url = f"{address}gradio_api/file={path}"
    fixed = {"size": None, "orig_name": name, "mime_type": kind, "is_stream": False}
    return {"path": path, "url": url, **fixed, "meta": {"_type": "gradio.FileData"}}


def _message(message: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(message, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _json(value: object) -> bytes:
    return _answer("application/json", json.dumps(value).encode())


def _answer(kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_CLOSE = _chunk(_message({"msg": "close_stream", "event_id": None})) + _chunk(b"")
