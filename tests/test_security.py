"""SecurityMiddleware: hosts, origins, paths, headers, limits of bodies; and failed requests."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from sd35.server import security
from sd35.server.error_boundary import MAX_LINES, ErrorBoundary, limit_log_lines
from sd35.server.security import SecurityMiddleware
from sd35.server.server import host_names

JOIN_PATH = "/gradio_api/queue/join"


def make_client(**options: tuple[str, ...]) -> TestClient:
    async def respond(request: Request) -> PlainTextResponse:
        has_credentials = not {"cookie", "authorization"}.isdisjoint(request.headers)
        return PlainTextResponse("reached" if has_credentials else "reached without credentials")

    inner = Starlette(routes=[Route("/{path:path}", respond, methods=["GET", "POST"])])
    return TestClient(SecurityMiddleware(inner, **options))


client = make_client(
    known_hosts=("127.0.0.1", "Studio.example:8443", "bücher.example", ".gradio.live")
)
embedded = make_client(
    known_hosts=("studio.example",), frame_ancestors=("https://blog.example", "https://*.hf.space")
)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.1.5", 200),
        ("STUDIO.example.", 200),
        ("studio.example:", 200),
        ("xn--bcher-kva.example", 200),
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
def test_unknown_hosts_are_refused(host: str, status: int) -> None:
    """A site that points its own name at this machine (DNS rebinding) gets no answer."""
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
        # A proxy has changed `Host`.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://192.168.1.5:8080"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, 403),
        ({"Host": "192.168.1.5", "Origin": "http://192.168.1.5:8080"}, 403),
        ({"Origin": "http://10.0.0.1:80", "X-Page-Address": "http://10.0.0.1:80/a/"}, 200),
        ({"Origin": "http://10.0.0.1:81", "X-Page-Address": "http://10.0.0.1:80/a/"}, 403),
        ({"Origin": "http://evil.example", "X-Page-Address": "http://evil.example/"}, 403),
    ],
)
def test_cross_site_posts_are_refused(headers: dict[str, str], status: int) -> None:
    """A page of another site can't start a job here, and programs and the page itself can."""
    headers = {"Host": "localhost:7860"} | headers
    assert client.post(JOIN_PATH, headers=headers).status_code == status


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
def test_only_named_sites_may_embed(origin: str, status: int) -> None:
    """A site that may embed the page can use it from there, and no other can."""
    headers = {"Host": "studio.example", "Origin": origin}
    answer = embedded.post(JOIN_PATH, headers=headers | {"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 200 else None)
    preflight = headers | {"Access-Control-Request-Method": "POST"}
    expected_status = 204 if status == 200 else 403
    assert embedded.options(JOIN_PATH, headers=preflight).status_code == expected_status


def test_no_site_may_name_itself_as_the_page() -> None:
    """A site can't send the page's header; where it may embed the page, that doesn't count."""
    headers = {"Host": "localhost", "Origin": "http://6.6.6.6"}
    preflight = headers | {"Access-Control-Request-Headers": "x-page-address"}
    assert client.options(JOIN_PATH, headers=preflight).status_code == 403
    headers |= {"X-Page-Address": "http://6.6.6.6/", "Cookie": "a=b"}
    answer = make_client(frame_ancestors=("*",)).post(JOIN_PATH, headers=headers)
    assert answer.text == "reached without credentials"


def test_cors_headers_of_gradio_are_removed() -> None:
    """Other sites can't read answers, although Gradio allows any origin to."""

    async def respond_like_gradio(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            "Access-Control-Allow-Origin": "http://evil.example",
            "Access-Control-Allow-Credentials": "true",
        }
        await PlainTextResponse("reached", headers=headers)(scope, receive, send)

    answer = TestClient(SecurityMiddleware(respond_like_gradio)).get(
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
        "/pwa_icon/30000",
        "/?page=x",
        "/login/callback?_nb_redirects=x",
        "/assets/%00",
        f"/static/{'ü' * 128}",
        "/monitoring",
        "/docs",
        "/..%2fetc/passwd",
        "//evil.example",
    ],
)
def test_unused_routes_are_closed(path: str) -> None:
    """Gradio's uploads, proxy and tools can't be reached."""
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
def test_used_routes_are_open(path: str) -> None:
    """The page and programs reach what they need."""
    assert client.get(f"http://localhost{path}").status_code == 200


@pytest.mark.parametrize(
    ("headers", "expected_names"),
    [
        ({"X-Forwarded-Host": "abc.gradio.live"}, {"x-forwarded-host"}),
        ({"X-Forwarded-Host": "studio.example:8443"}, {"x-forwarded-host"}),
        ({"X-Forwarded-Host": "evil.example"}, set()),
        ({"X-Forwarded-Host": "studio.example, inner.example"}, {"x-forwarded-host"}),
        ({"X-Forwarded-Host": "evil.example, studio.example"}, set()),
        ({"X-Forwarded-Host": "studio.example@evil.example"}, set()),
        ({"X-Forwarded-Host": "a b:["}, set()),
        ({"X-Forwarded-Host": ""}, set()),
        ({"X-Gradio-Server": "http://localhost"}, set()),
        ({"X-Page-Address": "https://studio.example:8443/a/b/"}, {"x-page-address"}),
        ({"X-Page-Address": "https://evil.example/"}, set()),
        ({"X-Page-Address": "https://studio.example/\"?)'"}, set()),
    ],
)
def test_addresses_are_this_server_s_own(headers: dict[str, str], expected_names: set[str]) -> None:
    """No header makes Gradio give visitors another server's address, or fail to parse one."""

    async def respond(request: Request) -> JSONResponse:
        return JSONResponse([name for name in request.headers if name.startswith("x-")])

    inner = Starlette(routes=[Route("/", respond)])
    middleware = SecurityMiddleware(inner, ("studio.example", ".gradio.live"))
    answer = TestClient(middleware).get("/", headers={"Host": "localhost"} | headers)
    assert set(answer.json()) == expected_names


@pytest.mark.parametrize(
    ("path", "location", "expected_location"),
    [
        ("/login/", "http://localhost/login?a=b", "../login?a=b"),
        ("/gradio_api/info/", "http://localhost/gradio_api/info", "../info"),
        ("/logout", "http://localhost", "./"),
        ("/login", "https://huggingface.co/oauth", "https://huggingface.co/oauth"),
        ("/logout", "http://[", "http://["),
    ],
)
def test_redirects_are_relative(path: str, location: str, expected_location: str) -> None:
    """A redirect within the server holds behind any proxy, whatever that makes of host and path."""
    middleware = SecurityMiddleware(RedirectResponse(location))
    answer = TestClient(middleware).get(f"http://localhost{path}", follow_redirects=False)
    assert answer.headers["location"] == expected_location


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PUT", "PATCH", "X"])
def test_unused_methods_are_refused(method: str) -> None:
    """No route gets a method that none of them needs."""
    middleware = SecurityMiddleware(PlainTextResponse("reached"))
    assert TestClient(middleware).request(method, "http://localhost/").status_code == 405


def test_long_addresses_are_refused() -> None:
    """An address beyond the limit doesn't reach Gradio, which fails to parse some."""
    assert client.get(f"http://localhost/?{'x' * 8000}").status_code == 200
    assert client.get(f"http://localhost/?{'x' * 8200}").status_code == 414


def test_failed_request_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen error is answered, and leaves its class and place in the log, nothing else."""

    async def fail(request: object) -> PlainTextResponse:
        raise ValueError("hf_secret\n" + "text of a visitor " * 100)

    app = ErrorBoundary(Starlette(routes=[Route("/", fail)]))
    limit_log_lines()
    answer = TestClient(app).get("/?query=of+a+visitor")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    (record,) = caplog.records
    assert record.getMessage().startswith("GET: ValueError at tests/test_security.py:")
    assert record.exc_info is None


@pytest.mark.parametrize("name", ["asyncio.test", "python_multipart.test", "sd35.server.test"])
def test_log_lines_of_requests_are_limited(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A flood of bad requests fills no disk, and hides nothing that isn't about requests."""
    limit_log_lines()
    for _ in range(3 * MAX_LINES):
        try:
            int("x")
        except ValueError:
            logging.getLogger(name).exception("Task\nfailed %s", "here")
    logging.getLogger("sd35.library").warning("The disk is full.")
    lines = [record.getMessage() for record in caplog.records if record.name == name]
    assert len(lines) == MAX_LINES
    assert lines[0].startswith("Task: ValueError at tests/test_security.py:")
    assert all(len(line) < 120 and "\n" not in line for line in lines)
    assert caplog.records[-1].getMessage() == "The disk is full."
    assert logging.lastResort is not None
    another_record = logging.makeLogRecord({"name": name, "msg": "Task failed"})
    assert not logging.lastResort.filter(another_record), "without configured logging, too"


def test_security_headers() -> None:
    """Only named sites can frame the page, and it loads nothing from others."""
    headers = client.get("/", headers={"Host": "localhost"}).headers
    assert headers["content-security-policy"].endswith("frame-ancestors 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    embedded_headers = embedded.get("/", headers={"Host": "localhost"}).headers
    assert embedded_headers["content-security-policy"].endswith(
        "frame-ancestors 'self' https://blog.example https://*.hf.space"
    )
    assert "x-frame-options" not in embedded_headers


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "-1"}, {"Content-Length": "1e9"}])
def test_large_bodies_are_refused(headers: dict[str, str]) -> None:
    """A body beyond the limit is not read to its end, whatever its headers say."""
    chunks = (b"x" * 200_000 for _ in range(9))
    answer = client.post(JOIN_PATH, headers={"Host": "localhost"} | headers, content=chunks)
    assert answer.status_code == 413


@pytest.mark.anyio
async def test_incomplete_bodies_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose body never ends is refused, and doesn't reach the app."""
    monkeypatch.setattr(security, "BODY_TIMEOUT_SECONDS", 0.05)
    sent_messages: list[Message] = []

    async def receive_slowly() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent_messages.append(message)

    async def app(*_: object) -> None:
        pytest.fail("the request was passed on")

    scope = {
        "type": "http",
        "method": "POST",
        "path": JOIN_PATH,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    messages = receive_slowly()
    await SecurityMiddleware(app)(scope, lambda: anext(messages), send)
    assert sent_messages[0]["status"] == 408


def test_page_for_the_network_has_the_machine_s_names() -> None:
    """A server that listens on all addresses is known under the machine's names, too."""
    names = host_names("::", ["nas.lan"], is_shared=False, is_on_hub=False)
    assert {"nas.lan", socket.gethostname(), f"{socket.gethostname()}.local"} < set(names)


def test_shared_page_has_its_public_hosts() -> None:
    """Public links and Hugging Face Spaces are reached under their own hosts."""
    assert host_names("127.0.0.1", [], is_shared=True, is_on_hub=True) == (
        "127.0.0.1",
        ".gradio.live",
        ".hf.space",
    )
