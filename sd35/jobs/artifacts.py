"""The pictures that this program hands out: finished ones as files, previews for a while in memory.

Each is found by the job that it belongs to and its name, and only by what is listed here: no path
    is ever made of what
somebody asks for.
"""

import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kept", "KeptPictures"]

PLACE = "sd35"

MAX_PREVIEW_BYTES = 64 << 20
"""Of all the previews that are kept for programs; the oldest go first."""

PREVIEW_SECONDS = 600.0

MAX_UNWRITTEN_BYTES = 256 << 20
"""Of all the pictures that couldn't be written and are kept in memory; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that is handed out: its file, or its bytes, and whose it is."""

    owner: str | None
    name: str
    mime_type: str
    content: Path | bytes


class KeptPictures:
    """What is handed out, by `(job id, name)`. Belongs to one event loop.

    Args:
        served: the folder in which programs are told that pictures are. Gradio hands on no path
            outside of its own folder; nothing need be there.

    """

    def __init__(self, served: Path) -> None:
        self._served = served
        self._files: dict[tuple[str, str], Kept] = {}
        self._unwritten = _Memory(MAX_UNWRITTEN_BYTES)
        self._previews = _Memory(MAX_PREVIEW_BYTES, PREVIEW_SECONDS)

    def keep(self, job_id: str, kept: Kept) -> str:
        """Hand this out from now on, and return the path by which it is asked for."""
        key = job_id, kept.name
        if isinstance(kept.content, Path):
            self._files[key] = kept
        else:
            self._unwritten.add(key, kept)
        return self._path(key)

    def keep_preview(self, job_id: str, kept: Kept) -> str:
        """Hand this out for some minutes, and return the path by which it is asked for."""
        self._previews.add((job_id, kept.name), kept)
        return self._path((job_id, kept.name))

    def _path(self, key: tuple[str, str]) -> str:
        return str(self._served / PLACE / key[0] / key[1])

    def find(self, path: str) -> Kept | None:
        """What is handed out by this path, if anything is; the folders before ours don't matter."""
        *_, place, job_id, name = ["", "", "", *re.split(r"[/\\]", path)]
        if place != PLACE:
            return None
        key = job_id, name
        return self._files.get(key) or self._unwritten.get(key) or self._previews.get(key)

    @staticmethod
    def job_of(path: str) -> str:
        """The job that a path speaks of, if it is one by which something may be handed out."""
        return ["", "", *re.split(r"[/\\]", path)][-2]

    def forget(self, job_id: str) -> None:
        """Hand out nothing of this job any more."""
        for key in [key for key in self._files if key[0] == job_id]:
            del self._files[key]
        self._unwritten.forget(job_id)
        self._previews.forget(job_id)


class _Memory:
    """Bytes with a limit on their sum, and one on their age in seconds."""

    def __init__(self, limit_bytes: int, limit_seconds: float = float("inf")) -> None:
        self._limit_bytes = limit_bytes
        self._limit_seconds = limit_seconds
        self._size = 0
        self._entries: OrderedDict[tuple[str, str], tuple[float, Kept]] = OrderedDict()

    def add(self, key: tuple[str, str], kept: Kept) -> None:
        self._remove(key)
        self._entries[key] = time.monotonic(), kept
        self._size += _size(kept)
        while self._entries and (
            self._size > self._limit_bytes or self._is_old(next(iter(self._entries)))
        ):
            self._remove(next(iter(self._entries)))

    def get(self, key: tuple[str, str]) -> Kept | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def forget(self, job_id: str) -> None:
        for key in [key for key in self._entries if key[0] == job_id]:
            self._remove(key)

    def _is_old(self, key: tuple[str, str]) -> bool:
        return time.monotonic() - self._entries[key][0] > self._limit_seconds

    def _remove(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= _size(entry[1])


def _size(kept: Kept) -> int:
    return len(kept.content) if isinstance(kept.content, bytes) else 0
