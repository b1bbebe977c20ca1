"""The images that this program serves: results as files, previews from memory for a few minutes."""

import re
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cachetools import FIFOCache, TTLCache

__all__ = ["Artifact", "ArtifactStore"]

URL_PREFIX: Final = "sd35"

MAX_PREVIEW_CACHE_BYTES = 64 << 20

PREVIEW_LIFETIME: Final = 600.0

# Images that couldn't be saved. Beyond that, the oldest are lost.
MAX_UNSAVED_BYTES: Final = 256 << 20

_Key = tuple[str, str]  # the job's id, and the artifact's name


@dataclass(frozen=True, slots=True)
class Artifact:
    """File that is served to its owner: its path, or its bytes."""

    owner: str | None
    name: str
    mime_type: str
    content: Path | bytes


class ArtifactStore:
    """Store of the artifacts, by job and name. Not thread-safe."""

    def __init__(self, temp_dir: Path) -> None:
        # Gradio refuses an API endpoint's answer with a path outside of its temporary folder. So
        # the paths of artifacts begin with that folder, but nothing is written there.
        self._temp_dir = temp_dir
        self._files: dict[_Key, Artifact] = {}  # and images that are being saved
        self._unsaved: MutableMapping[_Key, Artifact] = FIFOCache(MAX_UNSAVED_BYTES, _size_bytes)
        self._previews: MutableMapping[_Key, Artifact] = TTLCache(
            MAX_PREVIEW_CACHE_BYTES, PREVIEW_LIFETIME, time.monotonic, _size_bytes
        )

    def put(self, job_id: str, artifact: Artifact, *, is_limited: bool = False) -> str:
        """Serve a result, in place of one of the same name, and return its path.

        `is_limited`: the artifact may be dropped if there are too many of these.
        """
        self._unsaved.pop((job_id, artifact.name), None)
        self._files.pop((job_id, artifact.name), None)
        return self._put(self._unsaved if is_limited else self._files, job_id, artifact)

    def put_preview(self, job_id: str, artifact: Artifact) -> str:
        """Serve a preview for a few minutes, and return its path."""
        return self._put(self._previews, job_id, artifact)

    def _put(
        self, artifacts: MutableMapping[_Key, Artifact], job_id: str, artifact: Artifact
    ) -> str:
        artifacts[job_id, artifact.name] = artifact
        return str(self._temp_dir / URL_PREFIX / job_id / artifact.name)

    def find(self, path: str) -> Artifact | None:
        """Return the artifact of a path. The folders before the prefix don't matter."""
        # The path is only a key: no file is opened by a path that a client has sent.
        *_, prefix, job_id, name = ["", "", "", *re.split(r"[/\\]", path)]
        if prefix != URL_PREFIX:
            return None
        key = job_id, name
        return self._files.get(key) or self._unsaved.get(key) or self._previews.get(key)

    @staticmethod
    def job_id_from_path(path: str) -> str:
        """Return the id of the job in a path, or any text if it isn't the path of an artifact."""
        return ["", "", *re.split(r"[/\\]", path)][-2]

    def remove_job(self, job_id: str) -> None:
        """Remove all artifacts of a job."""
        for artifacts in (self._files, self._unsaved, self._previews):
            for key in [key for key in artifacts if key[0] == job_id]:
                del artifacts[key]


def _size_bytes(artifact: Artifact) -> int:
    return len(artifact.content) if isinstance(artifact.content, bytes) else 0
