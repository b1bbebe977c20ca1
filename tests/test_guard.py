"""What a Gradio server leaves open, closed."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from sd35.server import security
from sd35.server.security import SecurityMiddleware


def make_client(**options: tuple[str, ...]) -> TestClient:
    inner = Starlette(
        routes=[Route("/{path:path}", lambda _: PlainTextResponse("in"), methods=["GET", "POST"])]
    )
    return TestClient(SecurityMiddleware(inner, **options))


client = make_client(known_hosts=("127.0.0.1", "studio.example", ".gradio.live"))
embedded = make_client(
    known_hosts=("studio.example",), frame_ancestors=("https://blog.example", "https://*.hf.space")
)

JOIN_PATH = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.1.5", 200),
        ("STUDIO.example", 200),
        ("abc.gradio.live", 200),
        ("evil.example", 400),
        ("gradio.live.evil.example", 400),
        ("evilgradio.live", 400),
        ("localhost.evil.example", 400),
        ("localhost@evil.example", 400),
        ("[", 400),
        ("", 400),
    ],
)
def test_only_known_hosts(host: str, status: int) -> None:
    """A foreign page that points its own name at this machine can read what is here."""
    assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:7860"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:7861"}, 403),
        ({"Origin": "http://127.0.0.1:7861"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "https://abc.gradio.live"}, 200),
        ({"Origin": "https://abc.gradio.live", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:7860"}, 200),
    ],
)
def test_no_posts_from_other_sites(headers: dict[str, str], status: int) -> None:
    """A page of another site can start runs here."""
    assert (
        client.post(JOIN_PATH, headers={"Host": "localhost:7860"} | headers).status_code == status
    )


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://blog.example", 200),
        ("https://someone-else.hf.space", 200),
        ("http://blog.example", 403),
        ("https://evil-blog.example", 403),
        ("https://hf.space.evil.example", 403),
        ("https://blog.example.evil.example", 403),
        ("null", 403),
    ],
)
def test_only_sites_that_may_embed_the_page_may_ask(origin: str, status: int) -> None:
    """A page that embeds this one doesn't work there, or any page may use what only some are trusted with."""
    answer = embedded.post(
        JOIN_PATH,
        headers={"Host": "studio.example", "Origin": origin, "Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 200 else None)
    headers = {"Host": "studio.example", "Origin": origin, "Access-Control-Request-Method": "POST"}
    assert embedded.options(JOIN_PATH, headers=headers).status_code == (
        204 if status == 200 else 403
    )


def test_other_sites_can_not_read() -> None:
    """Gradio lets any site read what is here, with the visitor's cookies, where it isn't called localhost."""

    async def stream_like_gradio(scope: Scope, _receive: object, send: object) -> None:
        headers = {
            "Access-Control-Allow-Origin": "http://evil.example",
            "Access-Control-Allow-Credentials": "true",
        }
        await PlainTextResponse("in", headers=headers)(scope, _receive, send)  # type: ignore[arg-type]

    answer = TestClient(SecurityMiddleware(stream_like_gradio)).get(
        "/config", headers={"Host": "10.0.0.1", "Origin": "http://evil.example"}
    )
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/upload_progress",
        "/gradio_api/proxy=https://example.org/x",
        "/gradio_api/file=https://example.org/x",
        "/gradio_api/file=https%3A//example.org/x",
        "/gradio_api/file=HTTPS%253A//example.org/x",
        "/gradio_api/file=//example.org/x",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/token",
        "/gradio_api/reset",
        "/gradio_api/component_server",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-code",
        "/gradio_api/deep_link",
        "/gradio_api/runs",
        "/gradio_api/custom_component/1/client/component/x.js",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/monitoring",
        "/docs",
        "/..%2fetc/passwd",
        "//evil.example",
    ],
)
def test_only_what_is_needed_is_there(path: str) -> None:
    """Something of Gradio's that this program doesn't use can be used by others: uploads, a proxy, its own tools."""
    for method in ("GET", "POST"):
        assert client.request(method, f"http://localhost{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/gradio_api/info",
        "/assets/x.js",
        JOIN_PATH,
        "/gradio_api/call/infer/0f3a",
        "/gradio_api/file=/a b.png",
    ],
)
def test_what_is_needed_is_there(path: str) -> None:
    """The page, or a program, doesn't get what it needs."""
    assert client.get(f"http://localhost{path}").status_code == 200


def test_headers() -> None:
    """The page may be framed by, or run code from, another site."""
    headers = client.get("/", headers={"Host": "localhost"}).headers
    assert headers["content-security-policy"].endswith("frame-ancestors 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    local_headers = embedded.get("/", headers={"Host": "localhost"}).headers
    assert local_headers["content-security-policy"].endswith(
        "frame-ancestors 'self' https://blog.example https://*.hf.space"
    )
    assert "x-frame-options" not in local_headers


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "-1"}, {"Content-Length": "1e9"}])
def test_no_endless_bodies(headers: dict[str, str]) -> None:
    """Somebody fills the memory with one request."""

    def endless_body() -> "list[bytes]":
        return [b"x" * 200_000 for _ in range(9)]

    answer = client.post(
        JOIN_PATH, headers={"Host": "localhost"} | headers, content=iter(endless_body())
    )
    assert answer.status_code == 413


@pytest.mark.anyio
async def test_no_bodies_that_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds connections for ever, with requests that have no end."""
    monkeypatch.setattr(security, "BODY_TIMEOUT_SECONDS", 0.05)
    sent_messages: list[Message] = []

    async def send_slowly() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        while True:
            await asyncio_event.wait()

    import asyncio  # noqa: PLC0415

    asyncio_event = asyncio.Event()
    messages = send_slowly()

    async def send(message: Message) -> None:
        sent_messages.append(message)

    async def never_receive(*_: object) -> None:
        raise AssertionError("it isn't passed on")

    scope = {
        "type": "http",
        "method": "POST",
        "path": JOIN_PATH,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    await SecurityMiddleware(never_receive)(scope, lambda: anext(messages), send)
    assert sent_messages[0]["status"] == 408
