"""Gradio's `FileData` for pictures that this program serves."""

from typing import Any, Final
from urllib.parse import quote

from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import JobResult

__all__ = ["file_data", "preview_data"]


FILE_DATA_META: Final = {"_type": "gradio.FileData"}


def file_data(result: JobResult) -> dict[str, Any]:
    """A kept picture as Gradio's FileData."""
    return _file_data(result.url_path, result.name, result.mime_type, result.size_bytes)


def preview_data(path: str, artifact: Artifact) -> dict[str, Any]:
    """A kept preview as Gradio's FileData."""
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
