"""Small copies of pictures for a page of many, made when they are first asked for; the least used ones go."""

import hashlib
import io
import os
import struct
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from sd35.core.atomic_files import TEMP_SUFFIX, atomic_write
from sd35.core.errors import PictureError
from sd35.core.picture import open_picture
from sd35.library.layout import remove_if_stale
from sd35.library.picture_file import read_file

__all__ = ["MAX_THUMBNAIL_SIDE", "ThumbnailCache", "render_thumbnail"]

MAX_THUMBNAIL_SIDE: Final = 320
"""In pixels."""

MAX_CACHE_BYTES: Final = 256 << 20
"""Of all thumbnails of a library."""

MAX_CONCURRENT_DECODES: Final = 2
"""How many pictures are decoded at the same time: one of 64 million pixels takes 256 MB."""

_DECODE_ERRORS: Final = (
    *(
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
        OverflowError,
        IndexError,
        KeyError,
    ),
    *(
        TypeError,
        AttributeError,
        MemoryError,
        ZeroDivisionError,
        RuntimeError,
        Image.DecompressionBombError,
    ),
)
"""What Pillow raises of pictures that somebody has damaged with care."""


class ThumbnailCache:
    """The thumbnails in a folder."""

    def __init__(self, folder: Path, limit_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._total_bytes: int | None = None
        self._size_lock = threading.Lock()
        self._decode_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT_DECODES)

    def get(self, id_: str, path: Path) -> Path | None:
        """Return the thumbnail of the picture in a file; `None` where it can't be drawn, or not be written."""
        thumbnail_path = self._path(id_)
        with suppress(OSError):
            os.utime(thumbnail_path)
            return thumbnail_path
        try:
            with self._decode_semaphore:
                data = render_thumbnail(read_file(path))
            thumbnail_path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(thumbnail_path, data)
        except (OSError, PictureError):
            return None
        self._add_size(len(data))
        return thumbnail_path

    def remove(self, id_: str) -> None:
        """Remove the thumbnail of a picture that has changed or is gone."""
        with suppress(OSError):
            self._path(id_).unlink()

    def _path(self, id_: str) -> Path:
        name = hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.webp"

    def remove_stale(self) -> None:
        """Remove what a program has left half written."""
        for temp_file in self._folder.glob(f"??/.*{TEMP_SUFFIX}"):
            remove_if_stale(temp_file)

    def size_bytes(self) -> int:
        """Return how many bytes all of them have."""
        return sum(size for _, size, _ in self._list_thumbnails())

    def _add_size(self, added_bytes: int) -> None:
        with self._size_lock:
            self._total_bytes = (
                self.size_bytes() if self._total_bytes is None else self._total_bytes + added_bytes
            )
            if self._total_bytes > self._limit_bytes:
                self._total_bytes = self._evict_least_used()

    def _evict_least_used(self) -> int:
        total_bytes = 0
        for _, size, path in sorted(self._list_thumbnails(), reverse=True):
            if total_bytes + size > self._limit_bytes * 9 // 10:
                with suppress(OSError):
                    path.unlink()
            else:
                total_bytes += size
        return total_bytes

    def _list_thumbnails(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, and its path."""
        thumbnails = []
        for path in self._folder.glob("??/*.webp"):
            with suppress(OSError):
                stat_result = path.stat()
                thumbnails.append((stat_result.st_mtime, stat_result.st_size, path))
        return thumbnails


def render_thumbnail(data: bytes) -> bytes:
    """Return a picture as a WebP of at most `LONGEST_SIDE` pixels, the way up that it is to be looked at.

    Raises:
        PictureError: it isn't one that may be opened.

    """
    picture = open_picture(data)
    try:
        with Image.open(io.BytesIO(data), formats=[picture.format]) as image:
            image.draft("RGB", (MAX_THUMBNAIL_SIDE, MAX_THUMBNAIL_SIDE))
            upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(
            "I"
        ):  # 16 bits of grey, of which `convert` would take the lower ones
            upright = upright.point(lambda value: value * (1 / 256)).convert("L")
        thumbnail = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        thumbnail.thumbnail(
            (MAX_THUMBNAIL_SIDE, MAX_THUMBNAIL_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0
        )
        buffer = io.BytesIO()
        thumbnail.save(buffer, "WEBP", quality=80, method=2)
    except _DECODE_ERRORS as error:
        raise PictureError("The picture is damaged.") from error
    return buffer.getvalue()
