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

__all__ = ["Artifact", "ArtifactStore"]

URL_PREFIX = "sd35"

MAX_PREVIEW_CACHE_BYTES = 64 << 20
"""Of all the previews that are kept for programs; the oldest go first."""

PREVIEW_LIFETIME = 600.0

MAX_UNSAVED_BYTES = 256 << 20
"""Of all the pictures that couldn't be written and are kept in memory; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A picture that is handed out: its file, or its bytes, and whose it is."""

    owner: str | None
    name: str
    mime_type: str
    content: Path | bytes


class ArtifactStore:
    """What is handed out, by `(job id, name)`. Belongs to one event loop.

    Args:
        served: the folder in which programs are told that pictures are. Gradio hands on no path
            outside of its own folder; nothing need be there.

    """

    def __init__(self, temp_dir: Path) -> None:
        self._temp_dir = temp_dir
        self._files: dict[tuple[str, str], Artifact] = {}
        self._unsaved = _SizeLimitedCache(MAX_UNSAVED_BYTES)
        self._previews = _SizeLimitedCache(MAX_PREVIEW_CACHE_BYTES, PREVIEW_LIFETIME)

    def put(self, job_id: str, artifact: Artifact) -> str:
        """Hand this out from now on, and return the path by which it is asked for."""
        key = job_id, artifact.name
        if isinstance(artifact.content, Path):
            self._files[key] = artifact
        else:
            self._unsaved.add(key, artifact)
        return self._path(key)

    def put_preview(self, job_id: str, artifact: Artifact) -> str:
        """Hand this out for some minutes, and return the path by which it is asked for."""
        self._previews.add((job_id, artifact.name), artifact)
        return self._path((job_id, artifact.name))

    def _path(self, key: tuple[str, str]) -> str:
        return str(self._temp_dir / URL_PREFIX / key[0] / key[1])

    def find(self, path: str) -> Artifact | None:
        """What is handed out by this path, if anything is; the folders before ours don't matter."""
        *_, prefix, job_id, name = ["", "", "", *re.split(r"[/\\]", path)]
        if prefix != URL_PREFIX:
            return None
        key = job_id, name
        return self._files.get(key) or self._unsaved.get(key) or self._previews.get(key)

    @staticmethod
    def job_id_from_path(path: str) -> str:
        """The job that a path speaks of, if it is one by which something may be handed out."""
        return ["", "", *re.split(r"[/\\]", path)][-2]

    def remove_job(self, job_id: str) -> None:
        """Hand out nothing of this job any more."""
        for key in [key for key in self._files if key[0] == job_id]:
            del self._files[key]
        self._unsaved.remove_job(job_id)
        self._previews.remove_job(job_id)


class _SizeLimitedCache:
    """Bytes with a limit on their sum, and one on their age in seconds."""

    def __init__(self, max_bytes: int, max_age_seconds: float = float("inf")) -> None:
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._total_bytes = 0
        self._entries: OrderedDict[tuple[str, str], tuple[float, Artifact]] = OrderedDict()

    def add(self, key: tuple[str, str], artifact: Artifact) -> None:
        self._remove(key)
        self._entries[key] = time.monotonic(), artifact
        self._total_bytes += _size_bytes(artifact)
        while self._entries and (
            self._total_bytes > self._max_bytes or self._is_expired(next(iter(self._entries)))
        ):
            self._remove(next(iter(self._entries)))

    def get(self, key: tuple[str, str]) -> Artifact | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def remove_job(self, job_id: str) -> None:
        for key in [key for key in self._entries if key[0] == job_id]:
            self._remove(key)

    def _is_expired(self, key: tuple[str, str]) -> bool:
        return time.monotonic() - self._entries[key][0] > self._max_age_seconds

    def _remove(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._total_bytes -= _size_bytes(entry[1])


def _size_bytes(artifact: Artifact) -> int:
    return len(artifact.content) if isinstance(artifact.content, bytes) else 0
