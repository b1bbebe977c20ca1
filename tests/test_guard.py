"""What a Gradio server leaves open, closed."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sd35.guard import Guard

app = Guard(
    Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("in"), methods=["GET", "POST"])]),
    hosts=["studio.example", ".gradio.live"],
)
client = TestClient(app)


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
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "https://abc.gradio.live"}, 200),
        ({"Origin": "https://abc.gradio.live", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:7860"}, 200),
    ],
)
def test_no_posts_from_other_sites(headers: dict[str, str], status: int) -> None:
    """A page of another site can fill the disk with uploads, or start runs."""
    answer = client.post("/gradio_api/upload", headers={"Host": "localhost:7860"} | headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gradio_api/file=/tmp/x.png", 200),
        ("/gradio_api/file=https://example.org/x", 403),
        ("/gradio_api/file=https%3A//example.org/x", 403),
        ("/gradio_api/file=//example.org/x", 403),
    ],
)
def test_no_fetching_of_foreign_files(path: str, status: int) -> None:
    """The server is a proxy to any host for whoever asks."""
    assert client.get(path, headers={"Host": "localhost"}).status_code == status


def test_headers() -> None:
    """The page may be framed by, or run code from, another site."""
    headers = client.get("/", headers={"Host": "localhost"}).headers
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
