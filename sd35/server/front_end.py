"""The page's HTML, scripts and styles, arranged so that a browser loads them at once.

Gradio's page finds the many small files of its front end one after another, and has an app's own
scripts in its configuration, which no cache keeps. Here the HTML names all scripts in its first
lines, and the style sheets, as well as the app's scripts, come as one file each.

An app within another site's page has no HTML of its own, and is loaded as Gradio does it.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import gradio as gr
from gradio.routes import toorjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.server.asset_images import AssetImages
from sd35.server.gradio_files import GradioFiles

__all__ = ["FrontEnd", "FrontEndMiddleware"]

ASSETS_PREFIX: Final = "/assets/"

MEDIA_TYPES: Final = {"js": "text/javascript", "css": "text/css"}

# Gradio adds them itself: the root of a page is a column, and fields stand in forms.
IMPLICIT_TYPES: Final = ("column", "form")

# Gradio's script looks for a link with this address, and waits for the file if there is none.
THEME_SCRIPT: Final = (
    '<script>document.head.append(Object.assign(document.createElement("link"), {rel: "stylesheet",'
    'href: new URL("theme.css?v=" + gradio_config.theme_hash, document.baseURI).href}))</script>'
)


class FrontEnd:
    """The files of one app's page.

    Args:
        demo: the app; the types of its components decide which of Gradio's files are needed.
        head: `head` of its `launch()`, whose scripts and styles become files.
        images: of the page itself.
    """

    def __init__(self, demo: gr.Blocks, head: str, images: AssetImages | None = None) -> None:
        self._images = images
        gradio_files = GradioFiles()
        types = {block.get_block_name() for block in demo.blocks.values()}
        names = gradio_files.names([*IMPLICIT_TYPES, *sorted(types)])
        styles = [name for name in names if name.endswith(".css")]
        scripts = [name for name in [*gradio_files.entry_files, *names] if name.endswith(".js")]
        self._files: dict[str, str] = {}
        script = self._add_file("js", _contents(head, "script"))
        style = self._add_file("css", [*map(gradio_files.read, styles), *_contents(head, "style")])
        self._first_links = (
            f'<link rel="preload" as="style" href="{style}"><script defer src="{script}"></script>'
            + _links('<link rel="modulepreload" href=".{}{}">', scripts)
        )
        self._last_links = (
            re.sub(r"<(style|script)>.*?</\1>", "", head, flags=re.DOTALL)
            + f'<link rel="stylesheet" href="{style}">{THEME_SCRIPT}'
            # To Gradio's scripts these are loaded. Browsers load no style sheet that is disabled.
            + _links('<link rel="stylesheet" href=".{}{}" disabled>', styles)
        )
        self._head_setting = f'"head":{toorjson(head)}'

    def _add_file(self, extension: str, texts: Iterable[str]) -> str:
        """Join the texts in a file, and return its address, which changes with them."""
        text = "\n".join(texts)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = f"{ASSETS_PREFIX}page-{digest}.{extension}"
        self._files[path] = text
        return f".{path}"

    def find_file(self, path: str) -> Response | None:
        """Return one of the joined files, or an image of the page."""
        text = self._files.get(path)
        if text is None:
            return None if self._images is None else self._images.find(path)
        return Response(text, media_type=MEDIA_TYPES[path.rpartition(".")[2]])

    def arrange(self, html: str) -> str:
        """Return the HTML of the page with links to all files."""
        # Before the configuration, which is most of the HTML.
        html = html.replace("<style>", f"{self._first_links}<style>", 1)
        html = html.replace(self._head_setting, '"head":""', 1)
        return html.replace("</head>", f"{self._last_links}</head>", 1)


class FrontEndMiddleware:
    """ASGI middleware that arranges the page's HTML, and serves the joined files."""

    def __init__(self, app: ASGIApp, front_end: FrontEnd) -> None:
        self._app = app
        self._front_end = front_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a joined file, or pass the request on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        response = self._front_end.find_file(scope["path"])
        if response is not None:
            await response(scope, receive, send)
        elif scope["path"] == "/":
            await self._app(scope, receive, self._arrange_html(send))
        else:
            await self._app(scope, receive, send)

    def _arrange_html(self, send: Send) -> Send:
        """Return a `send` that joins the parts of a response, and arranges it if it is a page."""
        start: Message = {}
        chunks: list[bytes] = []

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            chunks.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(chunks)
            if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
                body = self._front_end.arrange(body.decode()).encode()
                MutableHeaders(scope=start)["Content-Length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        return send_page


def _contents(html: str, tag: str) -> list[str]:
    """Return the contents of the elements of this name that have no attributes."""
    return re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)


def _links(template: str, names: Iterable[str]) -> str:
    return "".join(template.format(ASSETS_PREFIX, name) for name in names)
