"""Networks as they are: proxies, certificates, addresses and login pages on the way to a Space."""

import asyncio
import contextlib
import gzip
import os
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import orjson
import pytest
import trustme
from aiohttp import web
from yarl import URL

from sd35.client import (
    SpaceClient,
    Timeouts,
    decompression,
    is_outage,
    limited_connector,
    retry,
)
from sd35.client.auth import basic_header
from sd35.client.certificates import tls_context
from sd35.client.decompression import content_decoder
from sd35.client.interception import redirect_error, redirect_target
from sd35.client.limited_connector import LimitedConnector
from sd35.client.proxy import find_proxy, proxy_login_header
from sd35.core.errors import (
    ContractError,
    InvalidRequestError,
    LoginPageError,
    LoginRequiredError,
    ProtocolError,
    RedirectedError,
    SD35Error,
    UnreachableError,
)
from sd35.core.events import Finished, RemotePicture
from sd35.core.proxy_address import parse_proxy
from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    LIMIT_SECONDS,
    PNG,
    QUEUED,
    STARTED,
    Handler,
    HandlerSequence,
    collect_events,
    make_request,
    message_bytes,
    respond_events,
    respond_json,
    respond_picture,
    respond_text,
    serve_fake_gradio,
)

pytestmark = pytest.mark.anyio

HUB = URL("https://huggingface.co/")


@pytest.fixture(autouse=True)
def _no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy:8080", "http://proxy:8080"),
        ("proxy", "http://proxy"),
        ("http://proxy:8080/proxy.pac", "http://proxy:8080"),
        (" 'HTTP://Proxy:8080/' ", "http://proxy:8080"),
        ('"Https://proxy.example"', "https://proxy.example"),
        ("\u201chttp:// proxy: 8080\u201d\u00a0", "http://proxy:8080"),
        ("//10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("[::1]:3128", "http://[::1]:3128"),
        ("me:p@ss/w#rd?:x@proxy:8080", "http://proxy:8080"),
    ],
)
def test_an_address_of_a_proxy_is_read_as_people_write_it(text: str, url: str) -> None:
    proxy = parse_proxy(text)
    assert proxy.url == URL(url)
    assert "p@ss" not in repr(proxy)
    if "@" in text:
        assert (proxy.user, proxy.password) == ("me", "p@ss/w#rd?:x")
    assert bool(proxy_login_header(proxy)) == ("@" in text)


@pytest.mark.parametrize(
    ("variables", "address", "description"),
    [
        ({}, HUB, "none"),
        ({"HTTPS_PROXY": "proxy:8080", "HTTP_PROXY": "x:1"}, HUB, "http://proxy:8080"),
        ({"https_proxy": " 'HTTP://low:1' ", "HTTPS_PROXY": "up:1"}, HUB, "http://low:1"),
        ({"Https_Proxy": "http://me:s3cret@mixed:1"}, HUB, "http://mixed:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "up:1"}, HUB, "http://up:1"),
        ({"ALL_PROXY": "all:1"}, HUB, "http://all:1"),
        ({"all_proxy": "all:1", "HTTP_PROXY": "plain:1"}, HUB, "http://all:1"),
        ({"ALL_PROXY": "socks5h://s:1", "HTTPS_PROXY": "proxy:1"}, HUB, "http://proxy:1"),
        (
            {"ALL_PROXY": "SOCKS5://me:s3cret@s:1"},
            HUB,
            "none: the SOCKS proxy of ALL_PROXY isn't supported and isn't used",
        ),
        (
            {"https_proxy": "socks4a://s:1", "ALL_PROXY": "all:1"},
            HUB,
            "http://all:1: the SOCKS proxy of https_proxy isn't supported and isn't used",
        ),
        (
            {"HTTPS_PROXY": "pac+http://s:1"},
            HUB,
            "none: the pac+http proxy of HTTPS_PROXY isn't supported and isn't used",
        ),
        (
            {"SOCKS_PROXY": "s:1"},
            HUB,
            "none: the SOCKS proxy of SOCKS_PROXY isn't supported and isn't used",
        ),
        ({"http_proxy": "plain:1"}, HUB, "none: http_proxy is for http addresses alone"),
        (
            {"ALL_PROXY": "all:1"},
            URL("http://127.0.0.2:7860/"),
            "none: 127.0.0.2 is this computer",
        ),
        ({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": "GET"}, URL("http://space.test/"), "none"),
    ],
)
def test_a_proxy_of_the_environment_is_used_or_named(
    variables: dict[str, str], address: URL, description: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(address, None).description == description


@pytest.mark.parametrize(
    ("exemptions", "is_exempt"),
    [
        ("*", True),
        ("a.test, *.Space.test", True),
        ("'.space.test'", True),
        ("https://space.test/", True),
        ("a.test space.test:8080", True),
        ("x.space.test;space.test:8081", False),
        ("pace.test", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_exempts_hosts(
    exemptions: str, monkeypatch: pytest.MonkeyPatch, *, is_exempt: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:1")
    monkeypatch.setenv("NO_PROXY", exemptions)
    route = find_proxy(URL("http://my.space.test:8080/"), None)
    assert (route.proxy is None) is is_exempt
    assert route.description.startswith("none: NO_PROXY") is is_exempt
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, [fd00::1]:80")
    for host in ("10.1.2.3", "[fd00::1]"):
        assert find_proxy(URL(f"http://{host}/"), None).proxy is None


def test_the_proxy_of_the_system_counts_beside_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo Space sets NO_PROXY, which makes urllib overlook the settings of macOS."""
    monkeypatch.setenv("NO_PROXY", "localhost")
    proxies = {"https": "http://mac:1"}
    monkeypatch.setattr(urllib.request, "getproxies_macosx_sysconf", lambda: proxies, raising=False)
    monkeypatch.setattr(
        urllib.request, "proxy_bypass_macosx_sysconf", lambda host: host == "hf.co", raising=False
    )
    assert find_proxy(HUB, None).description == "http://mac:1"
    assert find_proxy(URL("https://hf.co/"), None).description == "none"


def test_a_wrong_proxy_of_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret@:0")
    with pytest.raises(InvalidRequestError, match="HTTPS_PROXY") as error_info:
        find_proxy(HUB, None)
    assert "s3cret" not in f"{error_info.value!r}"


@contextlib.contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Let connections to `::1` hang: the queue of a server that accepts none is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET6))
        server.bind(("::1", port))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_INET6))
            client.settimeout(0)
            client.connect_ex(("::1", port))
        yield


async def test_an_ipv6_that_leads_nowhere_delays_the_first_connection_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each image would wait until the connection times out, and then be fetched in another way."""
    monkeypatch.setattr(limited_connector, "ATTEMPT_DELAY_SECONDS", 0.02)
    families = {"::1": socket.AF_INET6, "127.0.0.1": socket.AF_INET}

    def resolve(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        return [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)[:size])
            for (address, family), size in zip(families.items(), (4, 2), strict=True)
        ]

    timeouts = Timeouts(connect=10 * LIMIT_SECONDS, fetch=LIMIT_SECONDS / 2)
    async with serve_fake_gradio() as address:
        port = URL(address).port or 0
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with black_hole(port):
            async with SpaceClient.connect(
                f"http://space.test:{port}/", timeouts=timeouts
            ) as space:
                transport: Any = space._connection._transport
                picture = await space.fetch(RemotePicture("/gradio_api/file=a.png"))
                assert picture.data == PNG
                assert len(transport._raw_pool._idle_connections) == 1
                connector: LimitedConnector = transport._http.connector
                addresses = await connector._resolve_host("space.test", port)
    assert [item["family"] for item in addresses] == [socket.AF_INET, socket.AF_INET6]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return the authority of a company, which no computer outside of it knows."""
    return trustme.CA()


def server_tls(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(tls)
    return tls


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_a_company_s_authority_is_trusted_if_it_is_named(
    variable: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every connection: the images have one of their own."""
    data = authority.cert_pem.bytes()
    file = tmp_path / "authority"
    # Windows exports certificates as DER.
    is_binary = variable == "CURL_CA_BUNDLE"
    file.write_bytes(ssl.PEM_cert_to_DER_cert(data.decode()) if is_binary else data)
    async with serve_fake_gradio(tls=server_tls(authority)) as address:
        with pytest.raises(UnreachableError, match=r"invalid certificate.*SSL_CERT_FILE"):
            async with SpaceClient.connect(address):
                pytest.fail("connected")
        monkeypatch.setenv(variable, f'"{file}"')
        assert not tls_context().verify_flags & ssl.VERIFY_X509_STRICT
        async with SpaceClient.connect(address) as space:
            transport: Any = space._connection._transport
            await space.fetch(RemotePicture("/gradio_api/file=a.png"))
            assert len(transport._raw_pool._idle_connections) == 1


async def test_a_certificate_of_another_server_may_be_that_of_a_login_page(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", f"/etc/of/another/system{os.pathsep}{tmp_path}")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    async with serve_fake_gradio(tls=server_tls(authority, "login.test")) as address:
        with pytest.raises(UnreachableError, match=r"invalid certificate.*Wi-Fi"):
            async with SpaceClient.connect(address):
                pytest.fail("connected")
    async with serve_fake_gradio() as address:
        with pytest.raises(UnreachableError, match="no secure connection"):
            async with SpaceClient.connect(address.replace("http:", "https:")):
                pytest.fail("connected")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
async def test_certificates_that_can_not_be_read_are_an_error(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL would ignore them."""
    file = tmp_path / "authority.pem"
    for reason in ("No such file", "no certificates in it"):
        monkeypatch.setenv(variable, f"{file}")
        with pytest.raises(InvalidRequestError, match=rf"{reason}.*{variable}"):
            async with SpaceClient.connect("https://127.0.0.1:1/"):
                pytest.fail("connected")
        file = tmp_path / "other.pem"
        file.write_bytes(b"no certificate")


def compress(data: bytes, coding: str) -> bytes:
    """Return the data as a proxy compresses it, in two members for gzip."""
    match coding:
        case "gzip":
            return gzip.compress(data[:9]) + gzip.compress(data[9:])
        case "deflate":
            return zlib.compress(data)
        case "raw deflate":
            return zlib.compress(data, wbits=-zlib.MAX_WBITS)
        case _:
            return bytes(brotli.compress(data))


def header(coding: str) -> str:
    """Return the name of a coding in a header, which is the same for both kinds of deflate."""
    return coding.removeprefix("raw ")


CODINGS = pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "br"])


@CODINGS
def test_compressed_data_is_unpacked_in_any_pieces(coding: str) -> None:
    for body in (b"", b"a", PNG, bytes(200_000), bytes(65536), os.urandom(70_000)):
        packed = compress(body, coding)
        for size in (1 + len(packed) // 500, 1009, len(packed)):
            decoder = content_decoder(header(coding).upper())
            parts = (packed[start : start + size] for start in range(0, len(packed), size))
            pieces = [piece for part in parts for piece in decoder.feed(part)]
            decoder.finish()
            assert b"".join(pieces) == body
            assert all(len(piece) <= 2 * decompression.PIECE_BYTES for piece in pieces)


@CODINGS
def test_damaged_compressed_data_is_an_error(coding: str) -> None:
    packed = compress(PNG * 3, coding)
    for broken in (packed[:-9], b"\xff" * 100, b""):
        decoder = content_decoder(header(coding))
        with pytest.raises(ValueError, match=r"damaged|incomplete"):
            list(decoder.feed(broken))
            decoder.finish()


def stream_compressor(coding: str) -> Callable[[bytes], bytes]:
    """Return a function that compresses the next part of a stream, up to its last byte."""
    if coding == "br":
        brotli_compressor = brotli.Compressor()
        return lambda data: bytes(brotli_compressor.process(data) + brotli_compressor.flush())
    window_bits = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
    compressor = zlib.compressobj(wbits=window_bits.get(coding, -zlib.MAX_WBITS))
    return lambda data: compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


@CODINGS
async def test_a_proxy_may_compress_every_answer(coding: str) -> None:
    """Although nobody asked for it; an event stream arrives while it is written."""
    has_arrived = asyncio.Event()

    def compressed(body: bytes, content_type: str) -> Handler:
        headers = {"Content-Encoding": header(coding), "Content-Type": content_type}

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=compress(body, coding), headers=headers)

        return answer

    async def stream(request: web.Request) -> web.StreamResponse:
        compress_part = stream_compressor(coding)
        response = web.StreamResponse(
            headers={"Content-Encoding": header(coding), "Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        await response.write(compress_part(message_bytes(QUEUED)))
        await has_arrived.wait()
        await response.write(compress_part(message_bytes(STARTED) + message_bytes(FINISHED)))
        return response

    json = "application/json"
    async with (
        serve_fake_gradio(
            config=compressed(orjson.dumps(DESCRIPTION["config"]), json),
            info=compressed(orjson.dumps(DESCRIPTION["info"]), json),
            join=compressed(b'{"event_id": "e"}', json),
            data=stream,
            file=compressed(PNG, "image/png"),
        ) as address,
        SpaceClient.connect(address) as space,
        space.generate(make_request()) as generation,
    ):
        async for _ in generation:
            has_arrived.set()
        assert (await generation.fetch()).data == PNG


async def test_another_compression_is_named() -> None:
    zstd = respond_text(200, "x", Content_Encoding="zstd")
    async with serve_fake_gradio(file=zstd) as address, SpaceClient.connect(address) as space:
        with pytest.raises(ProtocolError, match="compressed in an unsupported format"):
            await space.fetch(RemotePicture("/gradio_api/file=a.png"))


@pytest.mark.parametrize("location", ["/api/spaces/new/name", "HUB/api/spaces/new/name?x=1"])
async def test_a_renamed_space_is_found_and_its_new_name_is_said(location: str) -> None:
    async with serve_fake_gradio() as address:

        async def answer(request: web.Request) -> web.Response:
            if request.path == "/api/spaces/old/name":
                target = location.replace("HUB", str(request.url.origin()))
                return web.Response(status=307, headers={"Location": target})
            assert request.path == "/api/spaces/new/name"
            assert request.headers["Authorization"] == "Bearer hf_mine"
            return web.json_response({"host": address.rstrip("/"), "runtime": None})

        async with (
            serve_fake_gradio(file=answer) as hub,
            SpaceClient.connect("old/name", hub=hub, token="hf_mine") as space,
        ):
            assert (space.name, space.model) == ("new/name", "name")
            assert space.warnings == ("old/name was renamed: it is new/name now.",)


async def test_a_redirect_of_the_hub_to_another_server_is_refused() -> None:
    redirect = respond_text(307, Location="http://127.0.0.1:1/api/spaces/owner/name")
    async with serve_fake_gradio(file=redirect) as hub:
        with pytest.raises(RedirectedError, match=r"http://127\.0\.0\.1:1, which isn't allowed"):
            async with SpaceClient.connect("owner/name", hub=hub, token="hf_mine"):
                pytest.fail("connected")


async def test_https_is_used_where_a_server_redirects_to_it(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All further requests go there; never back, and never to another host."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    async with serve_fake_gradio(tls=server_tls(authority)) as secure:
        for status in (301, 302, 307, 308):
            redirect = respond_text(status, Location=f"{secure}config")
            async with (
                serve_fake_gradio(config=redirect, join=redirect, file=redirect) as plain,
                SpaceClient.connect(plain) as space,
            ):
                assert space.address == secure
                assert space.warnings == (f"{plain} redirects to {secure}.",)
                assert isinstance((await collect_events(space))[-1], Finished)
                assert (await space.fetch(RemotePicture("/gradio_api/file=a.png"))).data == PNG
        async with serve_fake_gradio() as plain:
            back = respond_text(302, Location=f"{plain}config")
            async with serve_fake_gradio(config=back, tls=server_tls(authority)) as address:
                with pytest.raises(RedirectedError, match=r"http://.*isn't allowed"):
                    async with SpaceClient.connect(address, token="hf_mine"):
                        pytest.fail("connected")


@pytest.mark.parametrize(
    ("url", "target", "kind"),
    [
        ("http://a.test/config", "http://a.test:80/x", None),
        ("https://a.test:443/config", "https://a.test/x", None),
        ("http://a.test/config", "https://a.test:443/x", None),
        ("http://a.test:7860/config", "https://a.test:8443/x", None),
        ("http://a.test/config", "http://a.test:7860/x", RedirectedError),
        ("https://a.test/config", "https://a.test:8443/x", RedirectedError),
        ("https://a.test/config", "http://a.test/x", RedirectedError),
        ("https://a.test/config", "https://b.test/x", RedirectedError),
        ("https://a.test/config", "https://me:pw@a.test/x", RedirectedError),
        ("https://a.test/config", "https://a.test.b.test/x", RedirectedError),
        ("http://a.test/config", "https://www.a.test/x", LoginPageError),
        ("http://a.test/config", "//login.test/x", LoginPageError),
        ("http://a.test/config", "ftp://a.test/x", RedirectedError),
    ],
)
def test_a_token_follows_a_redirect_to_the_same_host_alone(
    url: str, target: str, kind: type[SD35Error] | None
) -> None:
    resolved_target = redirect_target(308, URL(url), target)
    assert resolved_target is not None
    error = redirect_error("a Space", URL(url), resolved_target)
    assert (None if error is None else type(error)) is kind
    assert redirect_target(304, URL(url), target) is None
    assert redirect_target(302, URL(url), "http://[") is None
    assert redirect_target(302, URL(url), None) is None


async def test_another_path_of_the_server_is_followed() -> None:

    async def answer(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        handlers = {"/studio/config": "config", "/studio/gradio_api/info": "info"}
        return web.json_response(DESCRIPTION[handlers[request.path]])

    paths: list[str] = []
    redirect = respond_text(302, Location="studio/config?x=1")
    async with serve_fake_gradio(config=redirect, file=answer) as address:
        async with SpaceClient.connect(address) as space:
            assert space.address == f"{address}studio/"
    assert paths == ["/studio/config", "/studio/gradio_api/info"]
    endless = HandlerSequence(redirect, respond_text(302, Location="/config"))
    async with serve_fake_gradio(config=endless, file=endless) as address:
        with pytest.raises(RedirectedError, match="without end"):
            async with SpaceClient.connect(address):
                pytest.fail("connected")


HOTSPOT = "<html><form action=/login><input type=password></form></html>"
LOGIN_PAGES = {
    "page": respond_text(200, HOTSPOT, Content_Type="text/html"),
    "page without a form": respond_text(
        200, "<!DOCTYPE html><meta http-equiv='refresh' content='0;url=https://login.test/'>"
    ),
    "redirect": respond_text(302, Location="http://login.test/?next=config"),
    "status": respond_text(511, HOTSPOT),
}
ALL_HANDLERS = ("config", "info", "join", "data", "cancel", "file")


@pytest.mark.parametrize("login_page", LOGIN_PAGES.values(), ids=LOGIN_PAGES)
async def test_a_login_page_of_the_network_is_named(
    login_page: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the Hub and at the Space, before and during a run; a run that wasn't sent may wait."""
    monkeypatch.setitem(retry._BACKOFF, "wait_initial", 0.01)
    timeouts = Timeouts(outage=0.0, attempts=2)
    async with serve_fake_gradio(dict.fromkeys(ALL_HANDLERS, login_page)) as address:
        for name in ("owner/name", address):
            with pytest.raises(LoginPageError, match="log in") as error_info:
                async with SpaceClient.connect(name, hub=address, timeouts=timeouts):
                    pytest.fail("connected")
            assert is_outage(error_info.value)
            assert not error_info.value.was_sent
    for route in ("join", "data", "file"):
        async with (
            serve_fake_gradio({route: login_page}) as address,
            SpaceClient.connect(address, timeouts=timeouts) as space,
        ):
            with pytest.raises(LoginPageError, match="log in"):
                await collect_events(space)
                await space.fetch(RemotePicture("/gradio_api/file=a.png"))


async def test_any_page_of_the_hub_is_a_login_page_and_may_be_one_of_a_space() -> None:
    page = respond_text(200, "<html>Welcome!</html>")
    async with serve_fake_gradio(file=page, config=page) as address:
        with pytest.raises(LoginPageError, match="in place of Hugging Face"):
            async with SpaceClient.connect("owner/name", hub=address):
                pytest.fail("connected")
        with pytest.raises(ContractError, match=r"isn't a Gradio app.*login page"):
            async with SpaceClient.connect(address):
                pytest.fail("connected")


async def test_a_login_of_a_proxy_before_the_space_is_used() -> None:
    """HTTP Basic, as of nginx; a wrong password is tried once, in case it locks the account."""
    attempts: list[str | None] = []

    def guarded(handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            attempts.append(request.headers.get("Authorization"))
            if attempts[-1] == basic_header("ann", "right")["Authorization"]:
                return await handler(request)
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

        return answer

    handlers = {
        "config": respond_json(DESCRIPTION["config"]),
        "info": respond_json(DESCRIPTION["info"]),
        "join": respond_json({"event_id": "e"}),
        "data": respond_events(QUEUED, STARTED, FINISHED),
        "file": respond_picture(PNG),
    }
    guarded_handlers = {name: guarded(handler) for name, handler in handlers.items()}
    async with serve_fake_gradio(guarded_handlers) as address:
        async with SpaceClient.connect(address, login=("ann", "right")) as space:
            assert isinstance((await collect_events(space))[-1], Finished)
            await space.fetch(RemotePicture("/gradio_api/file=a.png"))
        assert attempts.count(None) == 1
        attempts.clear()
        with pytest.raises(LoginRequiredError, match="requires a username"):
            async with SpaceClient.connect(address, token="hf_mine"):
                pytest.fail("connected")
        attempts.clear()
        with pytest.raises(LoginRequiredError):
            async with SpaceClient.connect(address, login=("ann", "wrong")):
                pytest.fail("connected")
    assert len(attempts) == 2
