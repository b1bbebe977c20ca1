"""The library's pictures, as they are handed out: small ones for a page of many, whole ones, and many in a ZIP.

An ASGI app behind the page's own door. What is asked for is an id, or several: no path is ever made
of it, and what is another's is answered as what isn't there.
"""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.library.layout import owner_key
from sd35.library.library import Library

__all__ = ["PICTURES_PREFIX", "PictureRoutes"]

T = TypeVar("T")

PICTURES_PREFIX: Final = "/studio/"
"""Below this are the pictures."""

MAX_ZIP_PICTURES: Final = 2000

MAX_THUMBNAIL_WORKERS: Final = 2
"""How many thumbnails are drawn at the same time: each may need as much memory as the picture has pixels."""

_PICTURE_PATH: Final = re.compile(rf"{PICTURES_PREFIX}(thumbnail|picture)/([A-Za-z0-9_-]{{1,64}})")
_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IMMUTABLE: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
_CACHE_ONE_DAY: Final = {"Cache-Control": "private, max-age=86400"}
_REVALIDATE: Final = {"Cache-Control": "private, no-cache"}


class PictureRoutes:
    """Hands out the pictures of whoever asks, who is `scope["state"]["visitor"]`.

    Args:
        library: whose pictures.

    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._thumbnail_limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `GET thumbnail/<id>`, `GET picture/<id>`, and `POST zip` with the form's field `ids`."""
        try:
            response = await self._route(Request(scope, receive), scope["state"]["visitor"])
        except LibraryError as error:
            response = PlainTextResponse(f"{error}", 503)
        await response(scope, receive, send)

    async def _route(self, request: Request, visitor: Visitor) -> Response:
        path, method = request.scope["path"], request.method
        match = _PICTURE_PATH.fullmatch(path)
        allowed_methods = (
            "POST" if path == f"{PICTURES_PREFIX}zip" else "GET, HEAD" if match else ""
        )
        if not allowed_methods or visitor.owner is None:
            return _not_found()
        if method not in allowed_methods.split(", "):
            return PlainTextResponse("Not like this.", 405, {"Allow": allowed_methods})
        owner = owner_key(visitor.owner)
        if match is None:
            return await self._zip_response(await request.body(), owner)
        if match[1] == "thumbnail":
            return await self._thumbnail_response(match[2], owner)
        return await self._picture_response(
            match[2], owner, is_download="download" in request.query_params
        )

    async def _thumbnail_response(self, id_: str, owner: str) -> Response:
        if self._thumbnail_limiter is None:  # it belongs to the loop that serves
            self._thumbnail_limiter = anyio.CapacityLimiter(MAX_THUMBNAIL_WORKERS)
        path = await _run_in_thread(
            lambda: self._library.thumbnail(id_, owner), self._thumbnail_limiter
        )
        if path is None:
            return _not_found()
        return await _file_response(path, f"image/{path.suffix[1:]}", _IMMUTABLE)

    async def _picture_response(self, id_: str, owner: str, *, is_download: bool) -> Response:
        entry = await _run_in_thread(lambda: self._library.get(id_, owner))
        if entry is None:
            return _not_found()
        path, media_type = self._library.file_path(entry), f"image/{entry.format.lower()}"
        if is_download:  # with the stars and tags that it has by now
            return await _file_response(
                path, media_type, _REVALIDATE, PurePosixPath(entry.path).name
            )
        return await _file_response(path, media_type, _CACHE_ONE_DAY)

    async def _zip_response(self, body: bytes, owner: str) -> Response:
        ids = _parse_ids(body)
        if ids is None:
            return PlainTextResponse(f"Name up to {MAX_ZIP_PICTURES:,} pictures: ids=…,…", 400)
        entries = await _run_in_thread(
            lambda: [entry for id_ in ids if (entry := self._library.get(id_, owner))]
        )
        if not entries:
            return _not_found()
        filename = f"sd35-pictures-{dt.date.today():%Y-%m-%d}.zip"  # noqa: DTZ011  # as this machine's clock has it
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(
            self._library.zip_export(entries, owner), media_type="application/zip", headers=headers
        )


async def _run_in_thread(
    operation: Callable[[], T], limiter: anyio.CapacityLimiter | None = None
) -> T:
    return await anyio.to_thread.run_sync(operation, limiter=limiter)


async def _file_response(
    path: Path, media_type: str, headers: dict[str, str], filename: str | None = None
) -> Response:
    if not await _run_in_thread(path.is_file):
        return _not_found()
    return FileResponse(path, media_type=media_type, headers=headers, filename=filename)


def _not_found() -> Response:
    return PlainTextResponse(
        "There is no such picture here, or no longer.", 404, {"Cache-Control": "no-store"}
    )


def _parse_ids(body: bytes) -> list[str] | None:
    """The ids in a form's body; `None` where there are none, too many, or it isn't one."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return None
    ids = list(dict.fromkeys(",".join(form.get("ids", ())).split(",")))
    return (
        ids if 0 < len(ids) <= MAX_ZIP_PICTURES and all(map(_ID_PATTERN.fullmatch, ids)) else None
    )
