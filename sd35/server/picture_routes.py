"""The library's pictures, as they are handed out: small ones for a page of many, whole ones, and many in a ZIP.

An ASGI app behind the page's own door. What is asked for is an id, or several: no path is ever made
of it, and what is another's is answered as what isn't there.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from zipstream import ZIP_STORED, ZipStream  # type: ignore[import-untyped]

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.library.exporter import LIST, line_of
from sd35.library.layout import original_path, owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry

__all__ = ["SHELVES", "Shelves"]

T = TypeVar("T")

SHELVES: Final = "/studio/"
"""Below this are the pictures."""

MAX_IN_ZIP: Final = 2000

DRAWN_AT_ONCE: Final = 2
"""How many thumbnails are drawn at the same time: each may need as much memory as the picture has pixels."""

CHUNK_BYTES: Final = 256 * 1024

_PICTURE: Final = re.compile(rf"{SHELVES}(thumbnail|picture)/([A-Za-z0-9_-]{{1,64}})")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FOR_EVER: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
_FOR_A_DAY: Final = {"Cache-Control": "private, max-age=86400"}
_ASK_FIRST: Final = {"Cache-Control": "private, no-cache"}


class Shelves:
    """Hands out the pictures of whoever asks, who is `scope["state"]["visitor"]`.

    Args:
        library: whose pictures.

    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._drawing: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `GET thumbnail/<id>`, `GET picture/<id>`, and `POST zip` with the form's field `ids`."""
        try:
            answer = await self._answer(Request(scope, receive), scope["state"]["visitor"])
        except LibraryError as error:
            answer = PlainTextResponse(f"{error}", 503)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, visitor: Visitor) -> Response:
        path, method = request.scope["path"], request.method
        asked = _PICTURE.fullmatch(path)
        wanted = "POST" if path == f"{SHELVES}zip" else "GET, HEAD" if asked else ""
        if not wanted or visitor.owner is None:
            return _nothing()
        if method not in wanted.split(", "):
            return PlainTextResponse("Not like this.", 405, {"Allow": wanted})
        owner = owner_key(visitor.owner)
        if asked is None:
            return await self._zip(await request.body(), owner)
        if asked[1] == "thumbnail":
            return await self._thumbnail(asked[2], owner)
        return await self._picture(asked[2], owner, is_download="download" in request.query_params)

    async def _thumbnail(self, id_: str, owner: str) -> Response:
        if self._drawing is None:  # it belongs to the loop that serves
            self._drawing = anyio.CapacityLimiter(DRAWN_AT_ONCE)
        path = await _in_thread(lambda: self._library.thumbnail(id_, owner), self._drawing)
        if path is None:
            return _nothing()
        return await _file(path, f"image/{path.suffix[1:]}", _FOR_EVER)

    async def _picture(self, id_: str, owner: str, *, is_download: bool) -> Response:
        entry = await _in_thread(lambda: self._library.entry(id_, owner))
        if entry is None:
            return _nothing()
        path, media_type = self._library.path_of(entry), f"image/{entry.format.lower()}"
        if is_download:  # with the stars and tags that it has by now
            return await _file(path, media_type, _ASK_FIRST, PurePosixPath(entry.path).name)
        return await _file(path, media_type, _FOR_A_DAY)

    async def _zip(self, body: bytes, owner: str) -> Response:
        ids = _ids(body)
        if ids is None:
            return PlainTextResponse(f"Name up to {MAX_IN_ZIP:,} pictures: ids=…,…", 400)
        entries = await _in_thread(
            lambda: [entry for id_ in ids if (entry := self._library.entry(id_, owner))]
        )
        if not entries:
            return _nothing()
        name = f"sd35-pictures-{dt.date.today():%Y-%m-%d}.zip"  # noqa: DTZ011  # as this machine's clock has it
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(
            _zipped(self._library, entries), media_type="application/zip", headers=headers
        )


async def _in_thread(work: Callable[[], T], limiter: anyio.CapacityLimiter | None = None) -> T:
    return await anyio.to_thread.run_sync(work, limiter=limiter)


async def _file(
    path: Path, media_type: str, headers: dict[str, str], name: str | None = None
) -> Response:
    if not await _in_thread(path.is_file):
        return _nothing()
    return FileResponse(path, media_type=media_type, headers=headers, filename=name)


def _nothing() -> Response:
    return PlainTextResponse(
        "There is no such picture here, or no longer.", 404, {"Cache-Control": "no-store"}
    )


def _ids(body: bytes) -> list[str] | None:
    """The ids in a form's body; `None` where there are none, too many, or it isn't one."""
    try:
        told = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return None
    ids = list(dict.fromkeys(",".join(told.get("ids", ())).split(",")))
    return ids if 0 < len(ids) <= MAX_IN_ZIP and all(map(_ID.fullmatch, ids)) else None


def _zipped(library: Library, entries: list[Entry]) -> Iterator[bytes]:
    """The archive's bytes, as they are read: pictures as their files are, and last a line for each.

    A file that isn't there any more is left out, and so is its line.
    """
    archive, lines, taken = ZipStream(compress_type=ZIP_STORED), list[str](), set[str]()
    for entry in entries:
        try:
            file = library.path_of(entry).open("rb")
        except OSError:
            continue
        name = _name(entry, taken)
        with file:
            archive.add(_chunks(file), name)
            yield from archive.all_files()
        lines.append(line_of(entry, name))
    archive.add("".join(lines).encode("ascii"), LIST)
    yield from archive.finalize()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _name(entry: Entry, taken: set[str]) -> str:
    """Day and name, without whose folder it was in; what was put into the trash may have the name of another one."""
    name = "/".join(PurePosixPath(original_path(entry.path)).parts[-2:])
    name = f"{entry.id}/{name}" if name in taken else name
    taken.add(name)
    return name
