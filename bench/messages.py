"""Messages of the fake Space, made beforehand, in the format and order of Gradio 6.31."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

__all__ = [
    "CLOSE",
    "NOT_FOUND",
    "RUN_ID_PLACEHOLDER",
    "STEPS",
    "STREAM",
    "call_stream",
    "file",
    "http_response",
    "json_response",
    "queue_stream_parts",
]

STEPS = 20
SEED = 7
RUN_ID_PLACEHOLDER = b"-" * 32


def queue_stream_parts(files: list[dict[str, Any]], *, is_silent: bool = False) -> list[bytes]:
    """Return the stream of a run in parts: its begin, each step with its preview, its end.

    A silent run sends only a heartbeat at each step.
    """
    run = {"event_id": RUN_ID_PLACEHOLDER.decode()}
    *previews, final = files
    output = _output([final, SEED], is_generating=False)
    parts: list[list[dict[str, Any]]] = [
        [
            {"msg": "estimation", **run, "rank": 0, "queue_size": 1, "rank_eta": None},
            {"msg": "process_starts", **run, "eta": None},
        ]
    ]
    for index, preview in enumerate(previews):
        step = [_progress(run, index), _preview(run, index, preview)]
        parts.append([{"msg": "heartbeat"}] if is_silent else step)
    parts.append([{"msg": "process_completed", **run, "output": output, "success": True}])
    return [b"".join(_http_chunk(_message(item)) for item in part) for part in parts]


def _progress(run: dict[str, Any], index: int) -> dict[str, Any]:
    unit = {"index": index + 1, "length": STEPS, "unit": "steps", "progress": None, "desc": "Step"}
    return {"msg": "progress", **run, "progress_data": [unit]}


def _preview(run: dict[str, Any], index: int, file: dict[str, Any]) -> dict[str, Any]:
    data: list[Any] = [file, SEED]
    if index > 0:  # Gradio sends only what differs from the output before
        data = [[["replace", [key], file[key]] for key in ("path", "url")], []]
    output = _output(data, is_generating=True)
    return {"msg": "process_generating", **run, "output": output, "success": True}


def _output(data: list[Any], *, is_generating: bool) -> dict[str, Any]:
    return {
        "data": data,
        "is_generating": is_generating,
        "duration": 0.1506,
        "average_duration": 0.1511,
        "render_config": None,
        "changed_state_ids": [],
    }


def call_stream(files: list[dict[str, Any]]) -> bytes:
    """Return the whole stream of a run by `/call`."""
    kinds = ["generating"] * (len(files) - 1) + ["complete"]
    return b"".join(_call_events(files, kinds)) + _http_chunk(b"")


def _call_events(files: list[dict[str, Any]], kinds: list[str]) -> Iterator[bytes]:
    for file, kind in zip(files, kinds, strict=True):
        yield _http_chunk(f"event: {kind}\ndata: {json.dumps([file, SEED])}\n\n".encode())


def file(address: str, kind: str, name: str, data: bytes) -> dict[str, Any]:
    """Return Gradio's FileData of an image."""
    digest = hashlib.sha256(data).hexdigest()
    path = f"/tmp/gradio/{digest}/{name}"  # noqa: S108  # part of a URL; nothing is written there
    return {
        "path": path,
        "url": f"{address}gradio_api/file={path}",
        "size": None,
        "orig_name": name,
        "mime_type": kind,
        "is_stream": False,
        "meta": {"_type": "gradio.FileData"},
    }


def _message(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _http_chunk(data: bytes) -> bytes:
    # In HTTP/1.1's chunked encoding, an empty chunk is the last.
    return b"%x\r\n%s\r\n" % (len(data), data)


def json_response(value: object) -> bytes:
    """Return an HTTP response with JSON."""
    return http_response("application/json", json.dumps(value).encode())


def http_response(kind: str, body: bytes) -> bytes:
    """Return an HTTP response with a body of this media type."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
CLOSE = _http_chunk(_message({"msg": "close_stream", "event_id": None})) + _http_chunk(b"")
