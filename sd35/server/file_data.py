"""Gradio's `FileData` for images that this program serves itself."""

from typing import Any, Final
from urllib.parse import quote

from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import JobResult

__all__ = ["FILE_DATA_META", "file_data", "preview_data"]

# By this, Gradio's clients recognize a file and download it.
FILE_DATA_META: Final = {"_type": "gradio.FileData"}


def file_data(result: JobResult) -> dict[str, Any]:
    """Return FileData for a job's result."""
    return _file_data(result.url_path, result.name, result.mime_type, result.size_bytes)


def preview_data(path: str, artifact: Artifact) -> dict[str, Any]:
    """Return FileData for a preview that is served under this path."""
    return _file_data(path, artifact.name, artifact.mime_type, None)


def _file_data(path: str, name: str, mime_type: str, size_bytes: int | None) -> dict[str, Any]:
    return {
        "path": path,
        "url": f"/gradio_api/file={quote(path)}",
        "orig_name": name,
        "mime_type": mime_type,
        "size": size_bytes,
        "meta": FILE_DATA_META,
    }
