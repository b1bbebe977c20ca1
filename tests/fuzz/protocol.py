"""Target `protocol`: the answers of a Space, to the parsers and over a connection.

The first byte of an input decides what the rest is: see `_PARSERS` and `_ROUTES`.
"""

import asyncio
import base64
import html
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

from sd35.client import Previews, SpaceClient, Timeouts
from sd35.client.contract import check_api_prefix, read_contract
from sd35.client.error_parsing import MAX_MESSAGE_CHARACTERS, error_for_status
from sd35.client.json_parsing import parse_json
from sd35.client.protocol import RunParser
from sd35.client.redaction import remember_secrets
from sd35.client.sse import EventStreamDecoder
from sd35.core.errors import ContractError, PictureError, SD35Error
from sd35.core.events import Event, Finished, Notice, Preview, Progress, Waiting
from tests.fuzz.mutation import mutations
from tests.fuzz.target import Check, Target
from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    HEARTBEAT,
    PICTURE,
    PNG,
    PREVIEW,
    QUEUED,
    SESSION_NOT_FOUND,
    STARTED,
    make_request,
    message_bytes,
)
from tests.test_protocol import CONTRACT, CONVERSATIONS_DIR

SECRET: Final = "Fuzzed-Secret.90210_token"
LIMIT_SECONDS: Final = 30.0

_TIMEOUTS: Final = Timeouts(
    discovery=0.5,
    waking=0,
    outage=0,
    connect=1,
    join=0.5,
    silence=0.3,
    no_news=0.3,
    run=1,
    cancel=0.3,
    fetch=0.5,
    attempts=1,
)

# Every text of a Space that is shown: its longest, with a sentence of ours around it.
_MAX_TEXT_CHARACTERS: Final = MAX_MESSAGE_CHARACTERS + 300


def _check_text(text: str) -> None:
    """Check that a text doesn't hold the secret, and isn't too long."""
    letters = "".join(char for char in html.unescape(text).lower() if char.isalnum())
    assert "fuzzedsecret90210token" not in letters, text
    assert len(text) <= _MAX_TEXT_CHARACTERS, text


def _check_error(error: SD35Error) -> None:
    _check_text(str(error))
    _check_text(repr(error))
    for line in traceback.format_exception_only(error):
        _check_text(line)
    # Other causes would repeat words of the Space; that of a decoder names at most a chunk.
    cause = error.__cause__
    assert cause is None or isinstance(cause, SD35Error) or isinstance(error, PictureError), cause


def _check_event(event: Event) -> None:
    match event:
        case Notice():
            texts = [event.text, event.level, event.title]
        case Progress():
            texts = [event.unit, event.description]
        case Waiting():
            texts = [event.reason]
        case Preview() | Finished():
            texts = [event.picture.path or ""]
            assert event.picture.url or event.picture.path
            return
        case _:
            texts = []
    for text in texts:
        _check_text(text or "")


def _parse_stream(data: bytes) -> None:
    """Read an event stream in chunks of the size in its first byte."""
    chunk_bytes = (data[:1] or b"\0")[0] or 1 << 20
    decoder = EventStreamDecoder(1 << 20)
    parser = RunParser(CONTRACT, "e")
    for start in range(1, len(data), chunk_bytes):
        for payload in decoder.feed(data[start : start + chunk_bytes]):
            for event in parser.feed(payload):
                _check_event(event)
            if parser.has_ended:
                return


def _parse_description(data: bytes) -> None:
    """Read the two documents of an app, one in each line."""
    config_text, _, info_text = data.partition(b"\n")
    try:
        config, info = (parse_json(text) for text in (config_text, info_text))
    except ValueError:
        return
    if not (isinstance(config, dict) and isinstance(info, dict)):
        return
    with suppress(ContractError):
        check_api_prefix(config)
    contract = read_contract(config, info)
    _check_text(contract.title)
    _check_text(contract.version)
    for parameter in contract.parameters:
        _check_text(f"{parameter.name} {parameter.default_text}")
    contract.build_inputs(make_request())


def _parse_refusal(data: bytes) -> None:
    """Read an answer with the status in its first two bytes."""
    status = 100 + int.from_bytes(data[:2], "big") % 500
    body = data[2:].decode(errors="replace")
    headers = {"Retry-After": body[:80], "RateLimit": body[:80]}
    _check_error(error_for_status(status, body, headers))


_PARSERS: Final[dict[bytes, Callable[[bytes], None]]] = {
    b"S": _parse_stream,
    b"D": _parse_description,
    b"R": _parse_refusal,
}

# What a raw answer is sent for.
_ROUTES: Final = {
    b"c": "/config",
    b"i": "/gradio_api/info",
    b"j": "/gradio_api/queue/join",
    b"d": "/gradio_api/queue/data",
    b"f": "/gradio_api/file=a.png",
}


def _respond(body: bytes, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _stream(*messages: dict[str, Any]) -> bytes:
    return b"".join(message_bytes(message) for message in messages)


class _RawSpace:
    """A Space, of which one route answers with the bytes of an input."""

    def __init__(self) -> None:
        self.route = ""
        self.answer = b""
        self.port = 0
        self._answers = {
            "/config": _respond(json.dumps(DESCRIPTION["config"]).encode()),
            "/gradio_api/info": _respond(json.dumps(DESCRIPTION["info"]).encode()),
            "/gradio_api/queue/join": _respond(b'{"event_id": "e"}'),
            "/gradio_api/queue/data": _respond(
                _stream(QUEUED, STARTED, PREVIEW, FINISHED), "text/event-stream"
            ),
            "/gradio_api/file=a.png": _respond(PNG, "image/png"),
        }
        self._loop = asyncio.new_event_loop()
        is_listening = threading.Event()
        threading.Thread(target=self._serve, args=(is_listening,), daemon=True).start()
        assert is_listening.wait(LIMIT_SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self, is_listening: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._handle, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        is_listening.set()
        self._loop.run_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
            default_answer = self._answers.get(path, _respond(b"{}"))
            writer.write(self.answer if path == self.route else default_answer)
            await writer.drain()
        writer.close()

    async def exchange(self) -> None:
        """Connect, generate an image, and check all that is said."""
        async with SpaceClient.connect(
            f"http://127.0.0.1:{self.port}/", token=SECRET, timeouts=_TIMEOUTS
        ) as space:
            async with space.generate(make_request(), previews=Previews.ALL) as generation:
                async for event in generation:
                    _check_event(event)
                await generation.fetch()


def _check(space: _RawSpace, data: bytes) -> None:
    kind = data[:1]
    try:
        if kind in _PARSERS:
            _PARSERS[kind](data[1:])
        elif kind in _ROUTES:
            space.route = _ROUTES[kind]
            space.answer = data[1:]
            asyncio.run(asyncio.wait_for(space.exchange(), LIMIT_SECONDS))
    except SD35Error as error:
        _check_error(error)


@contextmanager
def _open_check() -> Iterator[Check]:
    remember_secrets({"Authorization": f"Bearer {SECRET}"})
    space = _RawSpace()
    try:
        yield lambda data: _check(space, data)
    finally:
        space.close()


_ECHOES: Final = (
    SECRET,
    SECRET.upper(),
    "\u200b".join(SECRET),
    html.escape("".join(f"&#{ord(char)};" for char in SECRET)),
    quote(quote(SECRET, safe=""), safe=""),
    base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
    f"<b>{SECRET[:7]}</b>{SECRET[7:]}",
)

_TOKENS: Final = (
    *(echo.encode() for echo in _ECHOES),
    *(b"\n\n", b"\r\n", b"data: ", b":", b"null", b"[]", b"{}", b"[[", b'"', b"\\u200b", b"1e999"),
    *(b'"__type__":"update"', b'"value":', b'["append",["url"],"x"]', b'["replace",[],null]'),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"5;a=b\r\n", b"0\r\n"),
    *(b"Set-Cookie: a=b\r\n", b"Location: //x\r\n", b"Content-Encoding: gzip\r\n", b"\xff\xfe"),
)


def _samples() -> list[bytes]:
    texts = " ".join(_ECHOES)
    bar = {"index": 1, "length": 2, "unit": texts, "desc": texts, "progress": 0.5}
    edited: dict[str, Any] = PREVIEW | {
        "output": {"data": [[["replace", ["url"], "/b.png"]], [["replace", [], 8]]]}
    }
    skipped: dict[str, Any] = FINISHED | {
        "output": {"data": [{"__type__": "update"}, {"value": "7", "__type__": "update"}]}
    }
    failed = {
        "msg": "process_completed",
        "success": False,
        "output": {"error": texts, "title": "a"},
    }
    notice = {"msg": "log", "log": texts, "level": "info", "title": texts}
    progress = {"msg": "progress", "progress_data": [bar]}
    streams = [
        _stream(QUEUED, STARTED, notice, progress, PREVIEW, edited, skipped),
        _stream(QUEUED, STARTED, HEARTBEAT, failed),
        _stream(SESSION_NOT_FOUND),
        *(path.read_bytes() for path in sorted(CONVERSATIONS_DIR.glob("*6.31*.sse"))),
    ]
    description: dict[str, Any] = json.loads(json.dumps(DESCRIPTION))
    config = json.dumps(description["config"] | {"title": texts}).encode()
    info = json.dumps(description["info"]).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(stream), stream) for stream in streams[:1])
    return [
        *(b"S" + size + stream for stream in streams for size in (b"\0", b"\7")),
        b"D" + config + b"\n" + info,
        b"R\0\0" + texts.encode(),
        b"R\1\x93" + json.dumps({"detail": texts}).encode(),
        b"c" + _respond(config),
        b"i" + _respond(info),
        b"j" + _respond(b'{"event_id": "e"}'),
        b"j" + f"HTTP/1.1 418 {SECRET}\r\nX-A: {SECRET}\r\n\r\n{SECRET}".encode(),
        b"d" + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        b"d" + head + b"\r\n" + streams[0],
        b"f" + _respond(PNG, "image/png"),
        b"d"
        + _respond(_stream(FINISHED | {"output": {"data": [PICTURE, 7]}}), "text/event-stream"),
    ]


TARGET = Target(
    inputs=mutations(_samples(), _TOKENS, 1 << 18) | st.binary(max_size=200),
    open_check=_open_check,
)
