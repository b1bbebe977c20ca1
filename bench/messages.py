"""What the lean Space says of a run, made beforehand, in Gradio's words and order."""

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
    "http_chunk",
    "http_response",
    "json_response",
    "message",
    "queue_stream_parts",
]

STEPS = 20
SEED = 7
RUN_ID_PLACEHOLDER = b"-" * 32
"""Where a run's number belongs."""


def queue_stream_parts(files: list[dict[str, Any]]) -> list[bytes]:
    """What a stream says of a run: its begin, each step with its preview, its end."""
    run = {"event_id": RUN_ID_PLACEHOLDER.decode()}
    *previews, last = files
    output = _output([last, SEED], is_generating=False)
    parts: list[list[dict[str, Any]]] = [
        [
            {"msg": "estimation", **run, "rank": 0, "queue_size": 1, "rank_eta": None},
            {"msg": "process_starts", **run, "eta": None},
        ],
        *(_step(run, index, file) for index, file in enumerate(previews)),
        [{"msg": "process_completed", **run, "output": output, "success": True, "title": None}],
    ]
    return [b"".join(http_chunk(message(item)) for item in part) for part in parts]


def _step(run: dict[str, Any], index: int, file: dict[str, Any]) -> list[dict[str, Any]]:
    """One step's progress and preview; all but the first preview as a difference."""
    unit = {"index": index + 1, "length": STEPS, "unit": "steps", "progress": None, "desc": "Step"}
    data = (
        [file, SEED]
        if index == 0
        else [[["replace", [key], file[key]] for key in ("path", "url")], []]
    )
    return [
        {"msg": "progress", **run, "progress_data": [unit]},
        {
            "msg": "process_generating",
            **run,
            "output": _output(data, is_generating=True),
            "success": True,
        },
    ]


def call_stream(files: list[dict[str, Any]]) -> bytes:
    """The whole stream of a run by the simple way."""
    kinds = ["generating"] * (len(files) - 1) + ["complete"]
    return b"".join(_call_events(files, kinds)) + http_chunk(b"")


def _call_events(files: list[dict[str, Any]], kinds: list[str]) -> Iterator[bytes]:
    for file, kind in zip(files, kinds, strict=True):
        yield http_chunk(f"event: {kind}\ndata: {json.dumps([file, SEED])}\n\n".encode())


def _output(data: list[Any], *, is_generating: bool) -> dict[str, Any]:
    times = {"duration": 0.1506, "average_duration": 0.1511}
    return {
        "data": data,
        "is_generating": is_generating,
        **times,
        "render_config": None,
        "changed_state_ids": [],
    }


def file(address: str, kind: str, name: str, data: bytes) -> dict[str, Any]:
    """Gradio's FileData of a picture."""
    path = f"/tmp/gradio/{hashlib.sha256(data).hexdigest()}/{name}"  # noqa: S108  # a name: nothing is written there
    url = f"{address}gradio_api/file={path}"
    fixed = {"size": None, "orig_name": name, "mime_type": kind, "is_stream": False}
    return {"path": path, "url": url, **fixed, "meta": {"_type": "gradio.FileData"}}


def message(payload: dict[str, Any]) -> bytes:
    """One event of a queue's stream."""
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def http_chunk(data: bytes) -> bytes:
    """A chunk of HTTP/1.1; an empty one is the last."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def json_response(value: object) -> bytes:
    """A whole answer in JSON."""
    return http_response("application/json", json.dumps(value).encode())


def http_response(kind: str, body: bytes) -> bytes:
    """A whole answer."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
CLOSE = http_chunk(message({"msg": "close_stream", "event_id": None})) + http_chunk(b"")
