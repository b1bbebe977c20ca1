"""The files of the page: which ones, how few, and from memory."""

from pathlib import Path
from typing import Any

import anyio
import gradio as gr
import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.server.asset_cache import IMMUTABLE_PATH, MAX_BYTES, AssetCache
from sd35.server.asset_images import AssetImages
from sd35.server.front_end import FrontEnd
from sd35.server.gradio_files import GradioFiles

HTML = """<head><meta charset="utf-8"><style>body {}</style>
<script>window.gradio_config = {"head":"%s"};</script></head>"""


def test_files_of_components_are_found_in_gradio() -> None:
    """The names are those of the installed version, for each type of component, and exist."""
    files = GradioFiles()
    page_files = files.names([])
    assert {"Index", "core", "Blocks"} <= {name.partition("-")[0] for name in page_files}
    for type_ in ("column", "form", "html", "textbox", "slider", "radio", "checkbox", "button"):
        own_files = set(files.names([type_])) - set(page_files)
        assert any(name.endswith(".js") for name in own_files), type_
        assert all(map(files.read, own_files))


def test_html_names_files_instead_of_containing_them() -> None:
    """Scripts and styles of the app become files, whose addresses change with their content."""
    with gr.Blocks() as demo:
        gr.Textbox()
    head = (
        '<meta name="theme-color"><style>a {}</style><script>one()</script><script>two()</script>'
    )
    front_end = FrontEnd(demo, head)
    config_head = head.replace("<", "\\u003c").replace(">", "\\u003e").replace('"', '\\"')
    html = front_end.arrange(HTML % config_head)
    assert '{"head":""}' in html
    assert "one()" not in html
    assert html.count('<meta name="theme-color">') == 1
    script_path = html.partition('<script defer src=".')[2].partition('"')[0]
    script = front_end.find_file(script_path)
    assert script is not None
    assert script.body == b"one()\ntwo()"
    other = FrontEnd(demo, head.replace("one", "three")).arrange(HTML % "")
    assert script_path not in other


def test_images_of_the_page_have_the_address_of_their_content(tmp_path: Path) -> None:
    """Only the images are served, by names that change with them, so that browsers keep them."""
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "ink.webp").write_bytes(b"ink")
    (tmp_path / "page.js").write_bytes(b"secret")
    images = AssetImages(tmp_path)
    url = images.url("styles/ink")
    assert IMMUTABLE_PATH.fullmatch(f"/{url}")
    response = images.find(f"/{url}")
    assert response is not None
    assert (response.media_type, response.body) == ("image/webp", b"ink")
    assert images.find("/assets/page.js") is None
    assert images.find("/assets/styles-ink.webp") is None
    (tmp_path / "styles" / "ink.webp").write_bytes(b"other")
    assert AssetImages(tmp_path).url("styles/ink") != url


class FileApp:
    """ASGI app with one file, which counts its requests."""

    def __init__(self, size: int = 5, status: int = 200) -> None:
        self.requests = 0
        self._body = b"x" * size
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the file, in two parts."""
        self.requests += 1
        await send({"type": "http.response.start", "status": self._status, "headers": []})
        await send({"type": "http.response.body", "body": self._body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})


def fetch(app: ASGIApp, path: str, **headers: str) -> httpx.Response:
    async def get() -> httpx.Response:
        transport: Any = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    return anyio.run(get)


def test_assets_are_compressed_once() -> None:
    """A file is built once for each encoding; whoever asks gets all of it, to keep for good."""
    file_app = FileApp()
    cache = AssetCache(file_app)
    for encoding in ("br, gzip", "gzip, br", "gzip", "identity", "gzip"):
        response = fetch(cache, "/assets/Index-AbCd1234.js", **{"accept-encoding": encoding})
        assert response.text == "xxxxx!"
        assert "immutable" in response.headers["cache-control"]
    assert file_app.requests == 3


@pytest.mark.parametrize(
    ("path", "headers", "file_app"),
    [
        ("/assets/Index-AbCd1234.js", {"range": "bytes=0-1"}, FileApp()),
        ("/assets/Index-AbCd1234.js", {"if-none-match": "x"}, FileApp()),
        ("/assets/Index-AbCd1234.js", {}, FileApp(status=404)),
        ("/assets/Index-AbCd1234.js", {}, FileApp(size=MAX_BYTES)),
        ("/theme.css", {}, FileApp()),
        ("/", {}, FileApp()),
    ],
    ids=["part", "condition", "missing", "large", "theme", "page"],
)
def test_other_responses_are_not_kept(
    path: str, headers: dict[str, str], file_app: FileApp
) -> None:
    """Parts, conditional answers, errors, huge files and everything that may change are passed."""
    cache = AssetCache(file_app)
    for _ in range(2):
        fetch(cache, path, **headers)
    assert file_app.requests == 2
