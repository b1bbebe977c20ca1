"""The page's HTML from memory.

For each request, Gradio copies the description of all components, writes it as JSON, and fills its
template with that, which takes 8 ms (gradio 6.31). The result depends on the app and on the name of
who has logged in; in its addresses the page is ".", as `sd35.server.root_url` says.
"""

from typing import Any, Final, NamedTuple

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PageCache"]

MAX_PAGES: Final = 16

# Parameters of the address on which Gradio's page depends.
GRADIO_PARAMETERS: Final = ("page", "deep_link", "all_endpoints")


class _Sources(NamedTuple):
    """Objects from which Gradio makes the page."""

    config: object
    api_info: object

    def are(self, others: "_Sources") -> bool:
        """Return whether these are the same objects; comparing their contents would be slow."""
        return self.config is others.config and self.api_info is others.api_info


class PageCache:
    """ASGI middleware that keeps the page, as HTML and as compressed HTML, for each login."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Gradio compresses files only.
        self._page = GZipMiddleware(app)
        self._sources = _Sources(None, None)
        self._pages: LRUCache[tuple[str | None, bool], list[Message]] = LRUCache(MAX_PAGES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the page from memory, or pass the request on and keep the page."""
        request = Request(scope) if scope["type"] == "http" else None
        if request is None or not _is_for_plain_page(request):
            await self._app(scope, receive, send)
            return
        app = scope["app"]
        key = _username(app, request), "gzip" in request.headers.get("accept-encoding", "")
        # Both are replaced when another Space is connected.
        sources = _Sources(app.get_blocks().config, app.page_api_info)
        if not sources.are(self._sources):
            self._sources = sources
            self._pages.clear()
        messages = self._pages.get(key)
        if messages is None:
            messages = await self._load(scope, receive)
            if sources.are(self._sources) and _is_page(messages[0]):
                self._pages[key] = messages
        start, *body = messages
        # What is around changes the headers of a message.
        await send({**start, "headers": list(start["headers"])})
        for message in body:
            await send(message)

    async def _load(self, scope: Scope, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(dict(message))

        await self._page(scope, receive, keep)
        return messages


def _is_for_plain_page(request: Request) -> bool:
    is_page = request.method == "GET" and request.scope["path"] == "/"
    return is_page and not any(name in request.query_params for name in GRADIO_PARAMETERS)


def _username(app: Any, request: Request) -> str | None:  # noqa: ANN401  # Gradio's app
    """Return the name that Gradio finds for a request."""
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    token = next((request.cookies[name] for name in names if request.cookies.get(name)), None)
    username: str | None = app.tokens.get(token)
    return username


def _is_page(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    is_html = headers.get("content-type", "").startswith("text/html")
    return start["status"] == 200 and is_html and "set-cookie" not in headers
