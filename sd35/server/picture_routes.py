"""The library over HTTP: thumbnails, whole images, sheets of sets, and a ZIP archive of many.

Requests contain ids only, never paths. For another visitor's image the answer is "not found".
"""

import datetime as dt
import re
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.jobs.sheets import load_sheet
from sd35.library.layout import LOCAL_OWNER_KEY, owner_key
from sd35.library.library import Library
from sd35.library.sheet_html import render_page, sheet_archive
from sd35.library.sheet_image import render_sheet
from sd35.library.style_thumbnails import StyleThumbnails
from sd35.server.fair_worker import FairWorker
from sd35.server.open_file_response import OpenFileResponse

__all__ = ["PICTURES_PREFIX", "SHEETS_PREFIX", "PictureRoutes"]

PICTURES_PREFIX: Final = "/studio/"
SHEETS_PREFIX: Final = f"{PICTURES_PREFIX}sheet/"

MAX_ZIP_PICTURES: Final = 2000

# Each one decodes an image, which needs 4 bytes per pixel.
MAX_THUMBNAIL_WORKERS: Final = 2

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PICTURE_PATH: Final = re.compile(
    rf"{PICTURES_PREFIX}(thumbnail|picture|style)/({_ID_PATTERN.pattern})"
)

_SHEET_PATH: Final = re.compile(rf"{SHEETS_PREFIX}({_ID_PATTERN.pattern})\.(html|png|zip)")
_SHEET_TYPES: Final = {"html": "text/html", "png": "image/png", "zip": "application/zip"}

# All private: a shared cache would serve one visitor's images to others.
_IMMUTABLE: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
_CACHE_ONE_DAY: Final = {"Cache-Control": "private, max-age=86400"}
_REVALIDATE: Final = {"Cache-Control": "private, no-cache"}


class PictureRoutes:
    """ASGI app that serves the images of the visitor in `scope["state"]`."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._style_thumbnails = StyleThumbnails(library)
        self._thumbnail_limiter: anyio.CapacityLimiter | None = None
        # A sheet may have hundreds of images, each of which is decoded.
        self._sheet_worker = FairWorker()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer requests for files.

        They are `GET thumbnail/<id>`, `GET picture/<id>`, `GET sheet/<set>.html` (or `.png`, or
        `.zip`), and `POST zip` with a field `ids`.
        """
        try:
            response = await self._route(Request(scope, receive), scope["state"]["visitor"])
        except LibraryError as error:
            response = PlainTextResponse(f"{error}", 503)
        await response(scope, receive, send)

    async def _route(self, request: Request, visitor: Visitor) -> Response:
        path = request.scope["path"]
        match = _PICTURE_PATH.fullmatch(path)
        sheet_match = _SHEET_PATH.fullmatch(path)
        is_zip = path == f"{PICTURES_PREFIX}zip"
        if visitor.owner is None or not (match or sheet_match or is_zip):
            return _not_found()
        allowed_methods = ("POST",) if is_zip else ("GET", "HEAD")
        if request.method not in allowed_methods:
            headers = {"Allow": ", ".join(allowed_methods)}
            return PlainTextResponse("Method not allowed.", 405, headers)
        owner = owner_key(visitor.owner)
        if sheet_match is not None:
            return await self._sheet_response(sheet_match[1], sheet_match[2], owner)
        if match is None:
            return await self._zip_response(await request.body(), owner)
        if match[1] == "style":
            return await self._style_response(match[2], owner)
        if match[1] == "thumbnail":
            return await self._thumbnail_response(match[2], owner)
        is_download = "download" in request.query_params
        return await self._picture_response(match[2], owner, is_download=is_download)

    async def _thumbnail_response(self, id_: str, owner: str) -> Response:
        # A limiter belongs to the event loop in which it is created.
        if self._thumbnail_limiter is None:
            self._thumbnail_limiter = anyio.CapacityLimiter(MAX_THUMBNAIL_WORKERS)
        path = await anyio.to_thread.run_sync(
            self._library.thumbnail, id_, owner, limiter=self._thumbnail_limiter
        )
        if path is None:
            return _not_found()
        return await self._file_response(path, f"image/{path.suffix[1:]}", _IMMUTABLE)

    async def _style_response(self, key: str, owner: str) -> Response:
        path = self._style_thumbnails.path(key)
        if path is None or owner != LOCAL_OWNER_KEY:
            return _not_found()
        return await self._file_response(path, "image/webp", _IMMUTABLE)

    async def _picture_response(self, id_: str, owner: str, *, is_download: bool) -> Response:
        entry = await anyio.to_thread.run_sync(self._library.get, id_, owner)
        if entry is None:
            return _not_found()
        path = self._library.file_path(entry)
        media_type = f"image/{entry.format.lower()}"
        if not is_download:
            return await self._file_response(path, media_type, _CACHE_ONE_DAY)
        # Stars and tags are in the file: a cached file would lack the latest ones.
        return await self._file_response(path, media_type, _REVALIDATE, path.name)

    async def _sheet_response(self, set_id: str, kind: str, owner: str) -> Response:
        loaded = await anyio.to_thread.run_sync(load_sheet, self._library, set_id, owner)
        if loaded is None:
            return _not_found()
        today = dt.datetime.now().astimezone().date()
        headers = {
            # Never shown by the browser as a page of this site: its texts are of any origin.
            "Content-Disposition": f'attachment; filename="sd35-set-{today}.{kind}"',
            "Cache-Control": "no-store",
        }
        if kind == "zip":
            archive = sheet_archive(loaded.sheet)
            return StreamingResponse(archive, media_type=_SHEET_TYPES[kind], headers=headers)
        render = render_sheet if kind == "png" else render_page
        content = await self._sheet_worker.run(partial(render, loaded.sheet), owner)
        return Response(content, media_type=_SHEET_TYPES[kind], headers=headers)

    async def _file_response(
        self, path: Path, media_type: str, headers: dict[str, str], filename: str | None = None
    ) -> Response:
        try:
            file = await anyio.to_thread.run_sync(self._library.open_path, path)
        except OSError:
            return _not_found()
        return OpenFileResponse(file, path, media_type, headers, filename)

    async def _zip_response(self, body: bytes, owner: str) -> Response:
        ids = _parse_ids(body)
        if ids is None:
            message = f"`ids` must be 1 to {MAX_ZIP_PICTURES:,} image ids, separated by commas."
            return PlainTextResponse(message, 400)
        entries = await anyio.to_thread.run_sync(
            lambda: [entry for id_ in ids if (entry := self._library.get(id_, owner))]
        )
        if not entries:
            return _not_found()
        today = dt.datetime.now().astimezone().date()
        headers = {
            "Content-Disposition": f'attachment; filename="sd35-images-{today}.zip"',
            "Cache-Control": "no-store",
        }
        archive = self._library.zip_export(entries, owner)
        return StreamingResponse(archive, media_type="application/zip", headers=headers)


def _not_found() -> Response:
    return PlainTextResponse("Image not found.", 404, {"Cache-Control": "no-store"})


def _parse_ids(body: bytes) -> list[str] | None:
    """Return the ids in a form's body; `None` if there are none, too many, or invalid ones."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return None
    ids = list(dict.fromkeys(",".join(form.get("ids", ())).split(",")))
    is_valid = 0 < len(ids) <= MAX_ZIP_PICTURES and all(map(_ID_PATTERN.fullmatch, ids))
    return ids if is_valid else None
