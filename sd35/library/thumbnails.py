"""Thumbnails, rendered when they are first requested, and a cache of them in a folder."""

import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import Image

from sd35.core.atomic_files import TEMP_SUFFIX, atomic_write
from sd35.core.errors import PictureError
from sd35.core.picture import decoding_errors, open_image, open_picture
from sd35.library.layout import remove_if_stale
from sd35.metadata.embedding import read_texts

__all__ = ["ThumbnailCache", "render_thumbnail", "render_upright"]

MAX_THUMBNAIL_SIDE: Final = 320  # in pixels
MAX_CACHE_BYTES: Final = 256 << 20  # size of all thumbnails of a library
MAX_CONCURRENT_DECODES: Final = 2  # an image of 64 million pixels takes 256 MB

# By EXIF orientation.
_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ThumbnailCache:
    """The thumbnails in a folder, of which the least recently used are deleted beyond a size."""

    def __init__(self, folder: Path, limit_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._total_bytes: int | None = None
        self._size_lock = threading.Lock()
        self._decode_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT_DECODES)

    def get(self, id_: str, read: Callable[[], bytes]) -> Path | None:
        """Return the thumbnail of an image that can be read; `None` if there can't be one."""
        thumbnail_path = self._path(id_)
        with suppress(OSError):
            if stat.S_ISREG(thumbnail_path.lstat().st_mode):
                # The mtime tells the last use: many file systems are mounted without access times.
                os.utime(thumbnail_path)
                return thumbnail_path
        try:
            with self._decode_semaphore:
                data = render_thumbnail(read())
            thumbnail_path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(thumbnail_path, data)
        except (OSError, PictureError):
            return None
        self._add_size(len(data))
        return thumbnail_path

    def remove(self, id_: str) -> None:
        """Remove the thumbnail of an image that was changed or deleted."""
        with suppress(OSError):
            self._path(id_).unlink()

    def _path(self, id_: str) -> Path:
        # A hash: IDs differ by case, which not all file systems tell apart. In subfolders, as
        # many systems are slow with tens of thousands of files in one.
        name = hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.webp"

    def remove_stale(self) -> None:
        """Remove temporary files that a killed program has left."""
        for temp_file in self._folder.glob(f"??/.*{TEMP_SUFFIX}"):
            remove_if_stale(temp_file)

    def size_bytes(self) -> int:
        """Return the size of all thumbnails."""
        return sum(size for _, size, _ in self._list_thumbnails())

    def _add_size(self, added_bytes: int) -> None:
        with self._size_lock:
            if self._total_bytes is None:
                self._total_bytes = self.size_bytes()
            else:
                self._total_bytes += added_bytes
            if self._total_bytes > self._limit_bytes:
                self._total_bytes = self._evict_least_used()

    def _evict_least_used(self) -> int:
        # Down to 90 %, so that not every new thumbnail lists the whole folder.
        total_bytes = 0
        for _, size, path in sorted(self._list_thumbnails(), reverse=True):
            if total_bytes + size > self._limit_bytes * 9 // 10:
                with suppress(OSError):
                    path.unlink()
            else:
                total_bytes += size
        return total_bytes

    def _list_thumbnails(self) -> list[tuple[float, int, Path]]:
        """Return time of last use, size and path of each thumbnail."""
        thumbnails = []
        for path in self._folder.glob("??/*.webp"):
            with suppress(OSError):
                stat_result = path.stat()
                thumbnails.append((stat_result.st_mtime, stat_result.st_size, path))
        return thumbnails


def render_thumbnail(data: bytes) -> bytes:
    """Return an image as an upright WebP of at most `MAX_THUMBNAIL_SIDE` pixels per side.

    Raises:
        PictureError: the data isn't an image that may be opened.
    """
    thumbnail = render_upright(data, (MAX_THUMBNAIL_SIDE, MAX_THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    with decoding_errors("The image is damaged."):
        thumbnail.save(buffer, "WEBP", quality=80, method=2)
    return buffer.getvalue()


def render_upright(data: bytes, max_size: tuple[int, int]) -> Image.Image:
    """Return an image of at most this width and height, upright, as RGB or RGBA.

    Raises:
        PictureError: the data isn't an image that may be opened.
    """
    picture = open_picture(data)
    with decoding_errors("The image is damaged."):
        with open_image(data, picture.format) as image:
            # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size: several times faster.
            image.draft("RGB", max_size)
            # Thumbnails lose their EXIF, and with it the orientation.
            transposition = _TRANSPOSITIONS.get(read_texts(data).orientation)
            upright = image.copy() if transposition is None else image.transpose(transposition)
        if upright.mode.startswith("I"):
            # Of 16 bits of grey, `convert` would take the lower eight.
            upright = upright.point(lambda value: value * (1 / 256)).convert("L")
        thumbnail = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        thumbnail.thumbnail(max_size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return thumbnail
