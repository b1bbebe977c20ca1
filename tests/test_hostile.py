"""Hostile Spaces: they can't redirect requests, fill the memory, or get a foreign token."""

import base64
import gzip
import html
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sd35.client import SpaceClient, Timeouts
from sd35.client.auth import token_header
from sd35.client.connection import Connection
from sd35.client.contract import read_contract
from sd35.client.discovery import ContractCache, Discovery
from sd35.client.generation import EVENT_BUFFER_SIZE
from sd35.client.hub import get_space_info, whoami
from sd35.client.redaction import HIDDEN
from sd35.client.space_session import MAX_COOKIE_CHARACTERS
from sd35.client.transport import MAX_PICTURE_BYTES, Transport, open_session
from sd35.core.errors import (
    AccessDeniedError,
    ContractError,
    InvalidRequestError,
    PictureError,
    PictureTooLargeError,
    ProtocolError,
    SD35Error,
    StreamError,
    StreamInterruptedError,
    UnreachableError,
)
from sd35.core.events import RemotePicture
from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    HEARTBEAT,
    LIMIT_SECONDS,
    PNG,
    PREVIEW,
    QUEUED,
    STARTED,
    Handler,
    collect_events,
    make_request,
    message_bytes,
    respond_events,
    respond_json,
    respond_text,
    serve_fake_gradio,
    start_event_stream,
)
from tests.test_picture import decompression_bomb

pytestmark = pytest.mark.anyio

SHORT_TIMEOUTS = Timeouts(attempts=1, waking=0, outage=0, cancel=0.5)
SECRET_TOKEN = "hf_verysecret"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/gradio_api/file=x.png",
        "https://HOST/x.png",
        "http://example.org/x.png",
        "//example.org/x.png",
        "http://user:pw@HOST/x.png",
        "http://HOST@example.org/x.png",
        "http://HOST.example.org/x.png",
        "file:///etc/passwd",
        "ftp://HOST/x.png",
        "data:image/svg+xml;base64,AA==",
        "data:image/png;base64,!!!",
        "",
        "http://[",
    ],
)
async def test_images_at_other_hosts_or_ports_are_never_fetched(url: str) -> None:
    async with serve_fake_gradio() as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError):
            await space.fetch(RemotePicture(url.replace("HOST", address.split("/")[2])))


@given(
    st.text(max_size=60)
    | st.from_regex(r"(https?:)?[/\\]{1,3}[^/]{0,20}(@|:|\.\.)[^/]{0,20}/.{0,20}", fullmatch=True)
)
async def test_no_spelling_of_an_address_leads_away_from_the_space(url: str) -> None:
    async with open_session(SHORT_TIMEOUTS) as session:
        transport = Transport(
            "x", URL("http://a.test:7/"), session, headers={}, proxy=None, timeouts=SHORT_TIMEOUTS
        )
        space = _connect_over(transport)
        try:
            resolved_url = space.url_of(RemotePicture(url, None))
        except SD35Error:
            return
        if not resolved_url.startswith("data:"):
            assert URL(resolved_url).origin() == URL("http://a.test:7")


def _connect_over(transport: Transport) -> SpaceClient:
    contract = read_contract(DESCRIPTION["config"], DESCRIPTION["info"])
    return SpaceClient(
        Connection(transport, ContractCache(Discovery(transport, "infer"), contract, 300.0))
    )


async def test_the_path_of_a_file_serves_if_its_address_is_internal() -> None:
    """As from a Space behind a reverse proxy."""
    requested_paths = []

    async def file(request: web.Request) -> web.Response:
        requested_paths.append(request.path)
        return web.Response(body=b"no picture")

    async with serve_fake_gradio(file=file) as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError, match="other than a PNG"):
            await space.fetch(
                RemotePicture("http://inside:8080/file=/tmp/a.webp", "/tmp/a #1.webp")  # noqa: S108
            )
    assert requested_paths == ["/gradio_api/file=/tmp/a #1.webp"]


CHUNK = b"x" * (1 << 20)


def respond_endlessly(content_type: str, chunk: bytes, **headers: str) -> Handler:
    """Send this chunk forever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type, **headers})
        await response.prepare(request)
        while True:
            await response.write(chunk)

    return handler


def respond_raw(beginning: bytes, repetition: bytes, *, is_slow: bool = False) -> Handler:
    """Send these bytes, and then others without end, in place of a response."""

    async def handler(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.write(beginning)
        while not transport.is_closing():
            if is_slow:
                transport.write(repetition)
            elif transport.get_write_buffer_size() < len(CHUNK):
                transport.write(repetition * (len(CHUNK) // len(repetition)))
            await anyio.sleep(0.02 if is_slow else 0)
        return web.Response()

    return handler


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED_HEAD = STREAM_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

# What isn't data: bytes before and after a response, and around the parts of its body.
RAW_BYTES = {
    "interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "a header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
    "a status line": (b"", b"b"),
    "a chunk's extensions": (CHUNKED_HEAD + b"5;", b"a"),
    "a chunk's size": (CHUNKED_HEAD, b"0"),
    "trailers": (CHUNKED_HEAD + b"0\r\n", b"X-A: b\r\n"),
    "empty lines": (STREAM_HEAD + b"\r\n", b"\n"),
    "comments": (STREAM_HEAD + b"\r\n", b":\n"),
    "fields": (STREAM_HEAD + b"\r\n", b"id: 1\r\n"),
    "heartbeats": (STREAM_HEAD + b"\r\n", message_bytes(HEARTBEAT)),
    "messages of others": (STREAM_HEAD + b"\r\n", message_bytes(QUEUED | {"event_id": "other"})),
}


@pytest.mark.parametrize("name", RAW_BYTES)
async def test_a_flood_of_what_is_no_data_ends_by_its_size(name: str) -> None:
    timeouts = Timeouts(attempts=1, waking=0)  # of minutes
    async with serve_fake_gradio(data=respond_raw(*RAW_BYTES[name])) as address:
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises((StreamError, UnreachableError)):
            async with SpaceClient.connect(address, timeouts=timeouts) as space:
                await collect_events(space)


@pytest.mark.parametrize("route", ["config", "data", "file"])
@pytest.mark.parametrize(
    "name", ["interim responses", "a header", "a chunk's extensions", "trailers", "empty lines"]
)
async def test_slow_bytes_extend_no_wait(name: str, route: str) -> None:
    timeouts = Timeouts(
        discovery=0.3, waking=0, join=0.3, silence=0.2, no_news=0.2, fetch=0.3, attempts=1
    )
    async with serve_fake_gradio({route: respond_raw(*RAW_BYTES[name], is_slow=True)}) as address:
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises((StreamError, UnreachableError)):
            async with SpaceClient.connect(address, timeouts=timeouts) as space:
                await collect_events(space)
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_cookies_without_end_are_dropped() -> None:
    cookie_headers: list[str] = []

    async def config(_: web.Request) -> web.Response:
        response = web.json_response(DESCRIPTION["config"])
        for index in range(20):
            response.set_cookie(f"name{len(cookie_headers)}-{index}", "x" * 1000)
        return response

    async def info(request: web.Request) -> web.Response:
        cookie_headers.append(request.headers.get("Cookie", ""))
        return web.json_response(DESCRIPTION["info"])

    async with serve_fake_gradio(config=config, info=info) as address:
        async with SpaceClient.connect(address):
            pass
    assert len(cookie_headers[0]) <= MAX_COOKIE_CHARACTERS


@pytest.mark.parametrize(
    ("handlers", "kind"),
    [
        ({"file": respond_endlessly("image/png", PNG * 5000)}, PictureTooLargeError),
        (
            {"file": respond_text(200, "", Content_Length=str(MAX_PICTURE_BYTES + 1))},
            PictureTooLargeError,
        ),
        ({"file": respond_endlessly("image/png", CHUNK)}, PictureTooLargeError),
        ({"data": respond_endlessly("text/event-stream", CHUNK)}, ProtocolError),
        (
            {"data": respond_endlessly("text/event-stream", b"data: " + CHUNK + b"\n")},
            ProtocolError,
        ),
        ({"data": respond_endlessly("text/event-stream", b"data: garbage\n\n")}, ProtocolError),
        ({"config": respond_endlessly("application/json", b" " * (1 << 20))}, ContractError),
        ({"join": respond_endlessly("application/json", b" " * (1 << 20))}, ProtocolError),
        ({"join": respond_text(500, "no" * 100_000)}, ProtocolError),
        (
            {"config": respond_json(DESCRIPTION["config"] | {"dependencies": [[]] * 300_000})},
            ContractError,
        ),
        (
            {"config": respond_json(DESCRIPTION["config"] | {"dependencies": [[]] * 1000})},
            ContractError,
        ),
    ],
    ids=[
        "picture without end",
        "picture that says that it is large",
        "garbage without end",
        "line without end",
        "message without end",
        "messages that are none",
        "description without end",
        "answer without end",
        "refusal that is long",
        "description of endless values",
        "description that is garbage",
    ],
)
async def test_endless_answers_are_errors_within_the_limits(
    handlers: dict[str, Handler], kind: type[SD35Error]
) -> None:
    async with serve_fake_gradio(handlers) as address:
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises(kind):
            async with SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space:
                await collect_events(space)
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_a_decompression_bomb_is_refused() -> None:

    async def send_large(_: web.Request) -> web.Response:
        return web.Response(body=decompression_bomb(60_000, 60_000))

    def send_compressed(body: bytes, content_type: str) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            assert request.headers["Accept-Encoding"] == "identity"
            headers = {"Content-Encoding": "gzip", "Content-Type": content_type}
            return web.Response(body=body, headers=headers)

        return answer

    json, events = "application/json", "text/event-stream"
    bomb = gzip.compress(bytes(MAX_PICTURE_BYTES * 2), 9)
    empty_members = gzip.compress(b"") * 20_000
    for name, handler, kind in (
        ("file", send_large, PictureError),
        ("file", send_compressed(bomb, "image/png"), PictureError),
        ("config", send_compressed(bomb, json), ContractError),
        ("join", send_compressed(bomb, json), ProtocolError),
        ("data", send_compressed(bomb, events), ProtocolError),
        ("data", send_compressed(empty_members, events), StreamInterruptedError),
    ):
        async with serve_fake_gradio({name: handler}) as address:
            with anyio.fail_after(LIMIT_SECONDS), pytest.raises(kind):
                async with SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space:
                    await collect_events(space)
                    await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_a_slow_listener_holds_up_the_stream_and_fills_no_memory() -> None:
    sent_count = 0

    async def data(request: web.Request) -> web.StreamResponse:
        nonlocal sent_count
        response = await start_event_stream(request)
        line = message_bytes({"msg": "log", "log": "x" * 1000, "level": "info"})
        while True:
            await response.write(line * 100)
            sent_count += 100

    async with (
        serve_fake_gradio(data=data) as address,
        SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space,
    ):
        async with space.generate(make_request()) as generation:
            previous_count = 0
            with anyio.fail_after(LIMIT_SECONDS):
                while sent_count > previous_count or not sent_count:  # until it is held up
                    previous_count = sent_count
                    await anyio.sleep(0.2)
            assert generation._events.qsize() == EVENT_BUFFER_SIZE


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://owner-name.hf.space/", "X-HF-Authorization"),
        ("https://hf.space/embed/", "X-HF-Authorization"),
        ("https://evil-hf.space/", "Authorization"),
        ("https://hf.space.example.org/", "Authorization"),
        ("http://127.0.0.1:7860/", "Authorization"),
    ],
)
def test_a_space_s_code_can_not_read_the_hugging_face_token(address: str, name: str) -> None:
    assert token_header(URL(address), f" {SECRET_TOKEN}\n") == {name: f"Bearer {SECRET_TOKEN}"}


@pytest.mark.parametrize("token", ["hf_a\r\nX-Evil: 1", "hf_ä", "two words"])
async def test_an_invalid_token_is_never_sent_nor_shown(token: str) -> None:
    with pytest.raises(AccessDeniedError) as refusal:
        async with SpaceClient.connect("http://127.0.0.1:1/", token=token):
            pytest.fail("connected")
    assert token not in f"{refusal.value!r} {refusal.value}"


async def test_the_token_goes_to_the_space_and_is_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    authorizations = []

    async def join(request: web.Request) -> web.Response:
        authorizations.append(request.headers.get("Authorization"))
        return web.Response(status=401, text="who are you")

    with caplog.at_level(logging.DEBUG):
        async with (
            serve_fake_gradio(join=join) as address,
            SpaceClient.connect(address, token=SECRET_TOKEN) as space,
        ):
            with pytest.raises(AccessDeniedError) as refusal:
                await collect_events(space)
            assert "verysecret" not in f"{space!r} {refusal.value!r} {refusal.value} {vars(space)}"
    assert authorizations == [f"Bearer {SECRET_TOKEN}"]
    assert "verysecret" not in caplog.text


@pytest.mark.parametrize("elsewhere", ["http://HOST", "//HOST", "/../..//HOST", "\\\\HOST"])
async def test_a_space_s_api_prefix_never_leads_to_another_server(elsewhere: str) -> None:
    requested_paths = []

    async def steal_token(request: web.Request) -> web.Response:
        requested_paths.append(request.path)
        return web.Response(status=404)

    async with serve_fake_gradio(file=steal_token, config=steal_token) as foreign:
        prefix = elsewhere.replace("HOST", foreign.split("/")[2])
        async with serve_fake_gradio(
            config=respond_json(DESCRIPTION["config"] | {"api_prefix": prefix})
        ) as address:
            with pytest.raises(ContractError, match="isn't a path"):
                async with SpaceClient.connect(address, token=SECRET_TOKEN):
                    pytest.fail("connected")
    assert not requested_paths


async def test_redirects_are_never_followed() -> None:
    requested_paths = []

    async def steal_token(request: web.Request) -> web.Response:
        requested_paths.append(request.path)
        return web.json_response(DESCRIPTION["config"])

    async with serve_fake_gradio(
        file=steal_token, config=steal_token, join=steal_token, data=steal_token
    ) as foreign:
        to_thief = respond_text(307, Location=foreign)
        for name in ("config", "info", "join", "data", "file"):
            async with serve_fake_gradio({name: to_thief}) as address:
                with pytest.raises(SD35Error):
                    async with SpaceClient.connect(
                        address, token=SECRET_TOKEN, timeouts=SHORT_TIMEOUTS
                    ) as space:
                        await collect_events(space)
                        await space.fetch(RemotePicture("/gradio_api/file=a.png"))
    assert not requested_paths


async def test_a_forged_answer_of_the_hub_never_leads_to_another_server() -> None:
    async with open_session(SHORT_TIMEOUTS) as session:
        hub = Transport(
            "x",
            URL("https://huggingface.co/"),
            session,
            headers={},
            proxy=None,
            timeouts=SHORT_TIMEOUTS,
        )

        async def forged_metadata(url: URL) -> tuple[URL, dict[str, str]]:
            return url, {"host": "https://example.org"}

        hub.get_document = forged_metadata  # type: ignore[method-assign]
        with pytest.raises(ProtocolError, match="foreign address"):
            await get_space_info(hub, "owner/name")
        assert (await whoami(hub)).name == "unnamed"


async def test_passwords_in_netrc_are_never_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(
        "sd35.client.proxy.is_loopback", lambda _: False
    )  # as for a Space elsewhere
    authorizations: list[str | None] = []

    async def join(request: web.Request) -> web.Response:
        authorizations.append(request.headers.get("Authorization"))
        return web.Response(status=401)

    async with (
        serve_fake_gradio(join=join) as address,
        SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space,
    ):
        with pytest.raises(AccessDeniedError):
            await collect_events(space)
    assert authorizations == [None]


async def test_every_request_goes_through_the_proxy_without_showing_its_password() -> None:
    proxied_requests: list[tuple[str, str]] = []

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        proxied_requests.append((request.method, request.raw_path))
        assert request.headers["Proxy-Authorization"].startswith("Basic ")
        path = URL(request.raw_path).path
        if path == "/api/spaces/owner/name":
            return web.json_response(
                {"host": "http://space.test:8080", "runtime": {"stage": "RUNNING"}}
            )
        answers = {
            "/config": respond_json(DESCRIPTION["config"]),
            "/gradio_api/info": respond_json(DESCRIPTION["info"]),
        }
        answers |= {
            "/gradio_api/queue/join": respond_json({"event_id": "e"}),
            "/gradio_api/cancel": respond_json({}),
        }
        answers["/gradio_api/queue/data"] = respond_events(QUEUED, STARTED, PREVIEW, FINISHED)
        # The answers need only what this stand-in for a request has.
        return await answers.get(path, respond_text(404))(request)  # type: ignore[arg-type]

    server = web.Server(proxy)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    proxy_url = f"http://me:s3cret@127.0.0.1:{port}"
    async with SpaceClient.connect(
        "owner/name", hub="http://hub.test", proxy=proxy_url, timeouts=SHORT_TIMEOUTS
    ) as space:
        await collect_events(space)
        with pytest.raises(SD35Error) as error_info:
            await space.fetch(RemotePicture("/gradio_api/file=a.png"))
        assert "s3cret" not in f"{error_info.value!r} {space!r}"
    await runner.cleanup()
    assert [path for _, path in proxied_requests if path.startswith("http://hub.test/")], (
        proxied_requests
    )
    assert all(
        path.startswith(("http://hub.test/", "http://space.test:8080/"))
        for _, path in proxied_requests
    )
    assert {URL(path).path for _, path in proxied_requests} >= {
        "/config",
        "/gradio_api/info",
        "/gradio_api/queue/join",
        "/gradio_api/queue/data",
        "/gradio_api/file=a.png",
    }
    with pytest.raises(UnreachableError, match="the proxy can't be reached") as down:
        async with SpaceClient.connect(
            "http://space.test/", proxy=proxy_url, timeouts=SHORT_TIMEOUTS
        ):
            pytest.fail("connected")
    assert "s3cret" not in f"{down.value!r} {down.value.__cause__}"


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "me:s3cret@", "http://", "http://[", "http://h:99999"]
)
async def test_an_invalid_proxy_is_an_error(proxy: str) -> None:
    with pytest.raises(InvalidRequestError, match="proxy's address"):
        async with SpaceClient.connect("http://127.0.0.1:1/", proxy=proxy):
            pytest.fail("connected")


SECRET_HEADERS = {"Authorization": f"Bearer {SECRET_TOKEN}", "Cookie": "sticky=cookie-secret-1"}


class EchoSpace:
    """A Space that repeats the headers of all requests, encoded, in everything that it says."""

    def __init__(self, encode: Callable[[str], str]) -> None:
        self._encode = encode
        self._headers: dict[str, str] = {}

    def handlers(self, refusal: str) -> dict[str, Handler]:
        """Return the handlers, of which the one of this name refuses all requests."""
        handlers: dict[str, Handler] = {
            "config": self._config,
            "info": self._info,
            "join": self._join,
            "data": self._data,
            "file": self._refuse,
        }
        return handlers | {refusal: self._refuse}

    def _echo(self, request: web.Request) -> str:
        self._headers |= {
            name: value for name, value in request.headers.items() if name in SECRET_HEADERS
        }
        return " ".join(
            f"{name}: {self._encode(value)} | {self._encode(value.rpartition(' ')[2])}\n"
            for name, value in self._headers.items()
        )

    async def _config(self, request: web.Request) -> web.Response:
        echo = self._echo(request)
        response = web.json_response(DESCRIPTION["config"] | {"title": echo, "version": echo})
        response.set_cookie("sticky", "cookie-secret-1")
        return response

    async def _info(self, request: web.Request) -> web.Response:
        echo = self._echo(request)
        info: Any = orjson.loads(orjson.dumps(DESCRIPTION["info"]))
        for parameter in info["named_endpoints"]["/infer"]["parameters"]:
            if parameter["parameter_name"] == "guidance_scale":
                parameter |= {"parameter_name": echo, "parameter_default": [echo]}
        return web.json_response(info)

    async def _join(self, request: web.Request) -> web.Response:
        self._echo(request)
        return web.json_response({"event_id": "e"})

    async def _data(self, request: web.Request) -> web.StreamResponse:
        echo = self._echo(request)
        bar = {"index": None, "length": None, "unit": echo, "desc": echo}
        return await respond_events(
            QUEUED,
            STARTED,
            {"msg": "log", "log": echo, "level": echo, "title": echo},
            {"msg": "progress", "progress_data": [bar]},
            {"msg": echo, echo: echo},
            {"msg": "process_completed", "output": {"error": echo, "title": echo}},
        )(request)

    async def _refuse(self, request: web.Request) -> web.Response:
        echo = self._echo(request)
        line = " ".join(echo.encode("ascii", "replace").decode().split())
        return web.Response(
            status=418, reason=line, text=echo, headers={"Location": line, "X-Error": line}
        )


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "quoted": repr,
    "zero width": "\u200b".join,
    "control characters": "\0".join,
    "lines": "\r\n".join,
    "markup": "<b></b>".join,
    "wide letters": lambda text: "".join(
        chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text
    ),
    "HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML twice": lambda text: html.escape("".join(f"&#x{ord(char):x};" for char in text)),
    "percent": lambda text: "".join(f"%{ord(char):02X}" for char in text),
    "percent twice": lambda text: quote("".join(f"%{ord(char):02x}" for char in text)),
    "JSON": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Base64 of more": lambda text: base64.urlsafe_b64encode(f"ab{text}cd".encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "percent six times": lambda text: "".join(f"%2525252525{ord(char):02x}" for char in text),
    "octal": lambda text: "".join(f"\\{ord(char):03o}" for char in text),
    "braces": lambda text: "".join(f"\\u{{{ord(char):04x}}}" for char in text),
    "beginning": lambda text: text[:-3],
    "middle": lambda text: text[3:-3],
    "backwards": lambda text: text[::-1],
}


def forms_of_secrets(encode: Callable[[str], str]) -> set[str]:
    """Return what mustn't be read: the secrets as they are, and as they are encoded."""
    secrets = [SECRET_TOKEN, *(value.rpartition(" ")[2] for value in SECRET_HEADERS.values())]
    texts = [form for secret in secrets for form in (secret, encode(secret))]
    return {"".join(char for char in text.lower() if char.isalnum()) for text in texts}


@pytest.mark.parametrize(
    ("encoding", "refusal"),
    [
        *((encoding, "") for encoding in ENCODINGS),
        *(("plain", refusal) for refusal in ("config", "info", "join", "data", "file")),
    ],
)
async def test_what_was_sent_is_in_no_word_of_a_space(
    encoding: str, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No error, event, description or log line repeats a token or a cookie, however encoded."""
    caplog.set_level(logging.DEBUG)
    encode = ENCODINGS[encoding]
    texts: list[str] = []

    async def run(address: str) -> None:
        async with (
            SpaceClient.connect(
                address, token=SECRET_TOKEN, timeouts=SHORT_TIMEOUTS, on_wait=append_repr
            ) as space,
            space.generate(make_request()) as generation,
        ):
            texts.append(repr(space.contract.title + space.contract.version))
            texts.extend(f"{p.name} {p.default_text}" for p in space.contract.parameters)
            if refusal == "file":
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))
            async for event in generation:
                texts.append(repr(event))

    def append_repr(value: object) -> None:
        texts.append(repr(value))

    async with serve_fake_gradio(EchoSpace(encode).handlers(refusal)) as address:
        with pytest.raises(SD35Error) as error_info:
            await run(address)
    texts += [str(error_info.value), repr(error_info.value), *caplog.messages]
    texts += traceback.format_exception(error_info.value)
    shown_text = "".join(char for char in "".join(texts).lower() if char.isalnum())
    assert HIDDEN.strip("[]") in shown_text or refusal
    assert not [form for form in forms_of_secrets(encode) if form in shown_text]
