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

from sd35.core.atomic_files import PART, replace
from sd35.core.errors import PictureError
from sd35.core.picture import open_picture
from sd35.library.layout import remove_if_old
from sd35.library.picture_file import read_file

__all__ = ["LONGEST_SIDE", "Thumbnails", "draw_small"]

LONGEST_SIDE: Final = 320
"""In pixels."""

MAX_BYTES: Final = 256 << 20
"""Of all thumbnails of a library."""

AT_ONCE: Final = 2
"""How many pictures are decoded at the same time: one of 64 million pixels takes 256 MB."""

_BROKEN: Final = (
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


class Thumbnails:
    """The thumbnails in a folder."""

    def __init__(self, folder: Path, limit_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._size: int | None = None
        self._counting = threading.Lock()
        self._drawing = threading.BoundedSemaphore(AT_ONCE)

    def get(self, id_: str, path: Path) -> Path | None:
        """Return the thumbnail of the picture in a file; `None` where it can't be drawn, or not be written."""
        small = self._path(id_)
        with suppress(OSError):
            os.utime(small)
            return small
        try:
            with self._drawing:
                data = draw_small(read_file(path))
            small.parent.mkdir(parents=True, exist_ok=True)
            replace(small, data)
        except (OSError, PictureError):
            return None
        self._count(len(data))
        return small

    def forget(self, id_: str) -> None:
        """Remove the thumbnail of a picture that has changed or is gone."""
        with suppress(OSError):
            self._path(id_).unlink()

    def _path(self, id_: str) -> Path:
        name = hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.webp"

    def tidy(self) -> None:
        """Remove what a program has left half written."""
        for part in self._folder.glob(f"??/.*{PART}"):
            remove_if_old(part)

    def size_bytes(self) -> int:
        """Return how many bytes all of them have."""
        return sum(size for _, size, _ in self._all())

    def _count(self, added: int) -> None:
        with self._counting:
            self._size = self.size_bytes() if self._size is None else self._size + added
            if self._size > self._limit_bytes:
                self._size = self._make_room()

    def _make_room(self) -> int:
        kept = 0
        for _, size, path in sorted(self._all(), reverse=True):
            if kept + size > self._limit_bytes * 9 // 10:
                with suppress(OSError):
                    path.unlink()
            else:
                kept += size
        return kept

    def _all(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, and its path."""
        found = []
        for path in self._folder.glob("??/*.webp"):
            with suppress(OSError):
                told = path.stat()
                found.append((told.st_mtime, told.st_size, path))
        return found


def draw_small(data: bytes) -> bytes:
    """Return a picture as a WebP of at most `LONGEST_SIDE` pixels, the way up that it is to be looked at.

    Raises:
        PictureError: it isn't one that may be opened.

    """
    picture = open_picture(data)
    try:
        with Image.open(io.BytesIO(data), formats=[picture.format]) as image:
            image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(
            "I"
        ):  # 16 bits of grey, of which `convert` would take the lower ones
            upright = upright.point(lambda value: value * (1 / 256)).convert("L")
        small = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=80, method=2)
    except _BROKEN as error:
        raise PictureError("The picture is damaged.") from error
    return out.getvalue()
