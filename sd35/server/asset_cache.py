"""Gradio's scripts and style sheets from memory."""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AssetCache"]

MAX_BYTES: Final = 8 << 20

# A new version of a file has another name.
IMMUTABLE_PATH: Final = re.compile(r"/assets/[\w.-]+-[\w-]{8,}\.\w+")
CACHED_PATH: Final = re.compile(rf"{IMMUTABLE_PATH.pattern}|/static/js/[\w.-]+")
IMMUTABLE: Final = "public, max-age=31536000, immutable"

# With these a client requests something else than the whole file.
CONDITIONS: Final = ("range", "if-none-match", "if-modified-since")


class AssetCache:
    """ASGI middleware that keeps the files of Gradio's front end, as they were compressed.

    Gradio reads and compresses a file for each request, which is most of the CPU of a visit.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._responses: dict[tuple[str, str], list[Message]] = {}
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or pass the request on and keep the answer."""
        if scope["type"] != "http" or CACHED_PATH.fullmatch(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] != "GET" or any(name in headers for name in CONDITIONS):
            await self._app(scope, receive, send)
            return
        key = (scope["path"], _encoding(headers))
        messages = self._responses.get(key)
        if messages is None:
            messages = await self._load(scope, receive)
            size = sum(len(message.get("body", b"")) for message in messages)
            if messages[0]["status"] == 200 and self._bytes + size <= MAX_BYTES:
                self._responses[key] = messages
                self._bytes += size
        start, *body = messages
        # What is around may change the headers of a message.
        await send({**start, "headers": list(start["headers"])})
        for message in body:
            await send(message)

    async def _load(self, scope: Scope, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start" and IMMUTABLE_PATH.fullmatch(scope["path"]):
                MutableHeaders(scope=message)["Cache-Control"] = IMMUTABLE
            # Gradio's compression reuses its message.
            messages.append(dict(message))

        await self._app(scope, receive, keep)
        return messages


def _encoding(headers: Headers) -> str:
    """Return the encoding that Gradio chooses."""
    accepted = headers.get("accept-encoding", "")
    return next((encoding for encoding in ("br", "gzip") if encoding in accepted), "")
