"""A Space is hostile until checked: what it sends can't lead elsewhere, fill the memory, or carry off the token."""

import gzip
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sd35.client import SpaceClient, Timeouts
from sd35.client.auth import token_header
from sd35.client.generation import MAX_UNREAD
from sd35.client.hub import who_am_i
from sd35.client.sse import MAX_EVENT_BYTES
from sd35.client.transport import MAX_PICTURE_BYTES, Transport, open_session
from sd35.core.errors import (
    AccessDeniedError,
    ContractError,
    InvalidRequestError,
    PictureError,
    PictureTooLargeError,
    ProtocolError,
    RateLimitedError,
    SD35Error,
    UnreachableError,
)
from sd35.core.events import RemotePicture
from tests.impostor import (
    FINISHED,
    LIMIT,
    PNG,
    PREVIEW,
    QUEUED,
    STARTED,
    TOLD,
    Handler,
    asking,
    impostor,
    message_bytes,
    run,
    saying,
    sending,
    streaming,
    telling,
)
from tests.test_picture import bomb

pytestmark = pytest.mark.anyio

QUICK = Timeouts(attempts=1, waking=0, cancel=0.5)
SECRET = "hf_verysecret"


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
async def test_foreign_pictures_are_not_fetched(url: str) -> None:
    """A Space makes this program fetch from another host, another port, or from this machine."""
    async with impostor() as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError):
            await space.fetch(RemotePicture(url.replace("HOST", address.split("/")[2])))


@given(
    st.text(max_size=60)
    | st.from_regex(r"(https?:)?[/\\]{1,3}[^/]{0,20}(@|:|\.\.)[^/]{0,20}/.{0,20}", fullmatch=True)
)
async def test_any_address_stays_at_the_space(url: str) -> None:
    """Some spelling of an address leads elsewhere, with the token."""
    async with open_session(QUICK) as session:
        transport = Transport(
            "x", URL("http://a.test:7/"), session, headers={}, proxy=None, timeouts=QUICK
        )
        space = _space_over(transport)
        try:
            found = space.url_of(RemotePicture(url, None))
        except SD35Error:
            return
        if not found.startswith("data:"):
            assert URL(found).origin() == URL("http://a.test:7")


def _space_over(transport: Transport) -> SpaceClient:
    from sd35.client.connection import Connection  # noqa: PLC0415
    from sd35.client.contract import read_contract  # noqa: PLC0415
    from sd35.client.discovery import (  # noqa: PLC0415
        Description,
        Discovery,
    )

    contract = read_contract(TOLD["config"], TOLD["info"])
    return SpaceClient(
        Connection(transport, Description(Discovery(transport, "infer"), contract, 300.0))
    )


async def test_a_file_s_name_serves_where_its_address_does_not() -> None:
    """Behind a proxy, where the server gives an address that only it understands, no picture is ever had."""
    asked = []

    async def file(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=b"no picture")

    async with impostor(file=file) as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError, match="not a PNG"):
            await space.fetch(
                RemotePicture("http://inside:8080/file=/tmp/a.webp", "/tmp/a #1.webp")  # noqa: S108
            )
    assert asked == ["/gradio_api/file=/tmp/a #1.webp"]


def endless(content_type: str, piece: bytes, **headers: str) -> Handler:
    """Send this for ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type, **headers})
        await response.prepare(request)
        while True:
            await response.write(piece)

    return handler


BOMB = gzip.compress(bytes(MAX_PICTURE_BYTES * 2), 9)
PIECE = b"x" * (1 << 20)
GROWING: dict[str, Any] = PREVIEW | {
    "output": {"data": [[["append", ["url"], "x" * (MAX_EVENT_BYTES // 2)]], []]}
}


@pytest.mark.parametrize(
    ("handlers", "kind"),
    [
        ({"file": endless("image/png", PNG)}, PictureTooLargeError),
        (
            {"file": saying(200, "", Content_Length=str(MAX_PICTURE_BYTES + 1))},
            PictureTooLargeError,
        ),
        ({"file": endless("image/png", PIECE)}, PictureTooLargeError),
        ({"data": endless("text/event-stream", PIECE)}, ProtocolError),
        ({"data": endless("text/event-stream", b"data: " + PIECE + b"\n")}, ProtocolError),
        ({"data": endless("text/event-stream", b"data: garbage\n\n")}, ProtocolError),
        ({"data": sending(QUEUED, STARTED, PREVIEW, GROWING, GROWING, GROWING)}, ProtocolError),
        ({"config": endless("application/json", b" " * (1 << 20))}, ContractError),
        ({"join": endless("application/json", b" " * (1 << 20))}, ProtocolError),
        ({"join": saying(500, "no" * 100_000)}, ProtocolError),
        ({"config": telling(TOLD["config"] | {"dependencies": [[]] * 1000})}, ContractError),
    ],
    ids=[
        "picture without end",
        "picture that says that it is large",
        "garbage without end",
        "line without end",
        "message without end",
        "messages that are none",
        "output that grows",
        "description without end",
        "answer without end",
        "refusal that is long",
        "description that is garbage",
    ],
)
async def test_what_never_ends(handlers: dict[str, Handler], kind: type[SD35Error]) -> None:
    """A server without an end fills the memory, or makes the client wait for ever."""
    async with impostor(handlers) as address:
        with anyio.fail_after(LIMIT), pytest.raises(kind):
            async with SpaceClient.connect(address, timeouts=QUICK) as space:
                await run(space)
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_bombs() -> None:
    """A few bytes unfold to gigabytes."""

    async def packed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(
            body=BOMB, headers={"Content-Encoding": "gzip", "Content-Type": "image/png"}
        )

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bomb(60_000, 60_000))

    for file, kind in ((packed, PictureError), (large, PictureError)):
        async with impostor(file=file) as address, SpaceClient.connect(address) as space:
            with pytest.raises(kind):
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_a_slow_listener_holds_up_the_space_and_not_the_memory() -> None:
    """A Space that talks without end fills the memory of a program that doesn't listen."""
    sent = 0

    async def data(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = await streaming(request)
        line = message_bytes({"msg": "log", "log": "x" * 1000, "level": "info"})
        while True:
            await response.write(line * 100)
            sent += 100

    async with (
        impostor(data=data) as address,
        SpaceClient.connect(address, timeouts=QUICK) as space,
    ):
        async with space.generate(asking()) as generation:
            seen = 0
            with anyio.fail_after(LIMIT):
                while sent > seen or not sent:  # until it is held up
                    seen = sent
                    await anyio.sleep(0.2)
            assert generation._inbox.qsize() == MAX_UNREAD


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
def test_the_header_of_the_token(address: str, name: str) -> None:
    """Hugging Face's token is sent so that the Space's own code can read it."""
    assert token_header(URL(address), f" {SECRET}\n") == {name: f"Bearer {SECRET}"}


@pytest.mark.parametrize("token", ["hf_a\r\nX-Evil: 1", "hf_ä", "two words"])
async def test_a_token_that_can_not_be_one(token: str) -> None:
    """A token's line break becomes another header, or surfaces as a traceback with the token in it."""
    with pytest.raises(AccessDeniedError) as refusal:
        async with SpaceClient.connect("http://127.0.0.1:1/", token=token):
            pytest.fail("connected")
    assert token not in f"{refusal.value!r} {refusal.value}"


async def test_the_token_goes_to_the_space_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The token is not sent, or is to be seen in a log, an error or a repr."""
    seen = []

    async def join(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=401, text="who are you")

    with caplog.at_level(logging.DEBUG):
        async with (
            impostor(join=join) as address,
            SpaceClient.connect(address, token=SECRET) as space,
        ):
            with pytest.raises(AccessDeniedError) as refusal:
                await run(space)
            assert "verysecret" not in f"{space!r} {refusal.value!r} {refusal.value} {vars(space)}"
    assert seen == [f"Bearer {SECRET}"]
    assert "verysecret" not in caplog.text


@pytest.mark.parametrize("elsewhere", ["http://HOST", "//HOST", "/../..//HOST", "\\\\HOST"])
async def test_a_space_can_not_send_the_token_elsewhere(elsewhere: str) -> None:
    """A Space that says its API is at another address is given the token there."""
    seen = []

    async def thief(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=404)

    async with impostor(file=thief, config=thief) as foreign:
        prefix = elsewhere.replace("HOST", foreign.split("/")[2])
        async with impostor(config=telling(TOLD["config"] | {"api_prefix": prefix})) as address:
            with pytest.raises(ContractError, match="somewhere else"):
                async with SpaceClient.connect(address, token=SECRET):
                    pytest.fail("connected")
    assert not seen


async def test_redirects_are_not_followed() -> None:
    """The token, or a request for a file, follows a redirect to another server."""
    seen = []

    async def thief(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response(TOLD["config"])

    async with impostor(file=thief, config=thief, join=thief, data=thief) as foreign:
        to_thief = saying(307, Location=foreign)
        for name in ("config", "info", "join", "data", "file"):
            async with impostor({name: to_thief}) as address:
                with pytest.raises(SD35Error):
                    async with SpaceClient.connect(address, token=SECRET, timeouts=QUICK) as space:
                        await run(space)
                        await space.fetch(RemotePicture("/gradio_api/file=a.png"))
    assert not seen


async def test_the_hub_can_not_send_the_token_elsewhere() -> None:
    """Hugging Face's answer, were it forged, sends the token to any host."""
    async with open_session(QUICK) as session:
        hub = Transport(
            "x", URL("https://huggingface.co/"), session, headers={}, proxy=None, timeouts=QUICK
        )

        async def forged(url: URL, limit_seconds: float) -> dict[str, str]:
            return {"host": "https://example.org"}

        hub.get_json = forged  # type: ignore[method-assign]
        from sd35.client.hub import ask_hub  # noqa: PLC0415

        with pytest.raises(ProtocolError, match="isn't one of its own"):
            await ask_hub(hub, "owner/name", 1)
        assert (await who_am_i(hub, 1)).name == "unnamed"


async def test_nothing_of_this_machine_is_sent_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Space is sent the passwords in ~/.netrc."""
    (tmp_path / "netrc").write_text("default login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(
        "sd35.client.proxy.is_loopback", lambda _: False
    )  # as for a Space elsewhere
    told: list[str | None] = []

    async def join(request: web.Request) -> web.Response:
        told.append(request.headers.get("Authorization"))
        return web.Response(status=429)

    async with (
        impostor(join=join) as address,
        SpaceClient.connect(address, timeouts=QUICK) as space,
    ):
        with pytest.raises(RateLimitedError):
            await run(space)
    assert told == [None]


async def test_a_proxy_holds_for_every_request() -> None:
    """Some request goes past the proxy, or the proxy's password is to be seen."""
    seen: list[tuple[str, str]] = []

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.raw_path))
        assert request.headers["Proxy-Authorization"].startswith("Basic ")
        path = URL(request.raw_path).path
        if path == "/api/spaces/owner/name":
            return web.json_response(
                {"host": "http://space.test:8080", "runtime": {"stage": "RUNNING"}}
            )
        answers = {"/config": telling(TOLD["config"]), "/gradio_api/info": telling(TOLD["info"])}
        answers |= {
            "/gradio_api/queue/join": telling({"event_id": "e"}),
            "/gradio_api/cancel": telling({}),
        }
        answers["/gradio_api/queue/data"] = sending(QUEUED, STARTED, PREVIEW, FINISHED)
        return await answers.get(path, saying(404))(request)  # type: ignore[arg-type]  # as much of one as they need

    server = web.Server(proxy)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    way = f"http://me:s3cret@127.0.0.1:{port}"
    async with SpaceClient.connect(
        "owner/name", hub="http://hub.test", proxy=way, timeouts=QUICK
    ) as space:
        await run(space)
        with pytest.raises(SD35Error) as gone:
            await space.fetch(RemotePicture("/gradio_api/file=a.png"))
        assert "s3cret" not in f"{gone.value!r} {space!r}"
    await runner.cleanup()
    assert [path for _, path in seen if path.startswith("http://hub.test/")], seen
    assert all(path.startswith(("http://hub.test/", "http://space.test:8080/")) for _, path in seen)
    assert {URL(path).path for _, path in seen} >= {
        "/config",
        "/gradio_api/info",
        "/gradio_api/queue/join",
        "/gradio_api/queue/data",
        "/gradio_api/file=a.png",
    }
    with pytest.raises(UnreachableError, match="the proxy can't be reached") as down:
        async with SpaceClient.connect("http://space.test/", proxy=way, timeouts=QUICK):
            pytest.fail("connected")
    assert "s3cret" not in f"{down.value!r} {down.value.__cause__}"


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "127.0.0.1:8080", "http://", "http://[", "http://h:99999"]
)
async def test_a_proxy_that_is_none(proxy: str) -> None:
    """A mistyped proxy surfaces as a traceback, or is gone past."""
    with pytest.raises(InvalidRequestError, match="proxy's address"):
        async with SpaceClient.connect("http://127.0.0.1:1/", proxy=proxy):
            pytest.fail("connected")
