"""What a program reads of `generate`, on the standard output: the paths of pictures, or each event as JSON."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sd35.cli.events import (
    CliEvent,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    PreviewSaved,
    ShutdownReport,
)
from sd35.cli.exit_codes import exit_code
from sd35.cli.messages import one_line, shutdown_text
from sd35.cli.terminal import write_json, write_line
from sd35.core.errors import SD35Error
from sd35.core.events import Notice, Preview, Progress, Queued, Started, Waiting

__all__ = ["JsonLinesOutput", "PathOutput", "error_to_json"]

_EVENT_NAMES: Mapping[type, str] = {
    Waiting: "waiting",
    Queued: "queued",
    Started: "started",
    Progress: "progress",
    Notice: "notice",
}
"""The events that are told as they are, each with all of its fields."""


class PathOutput:
    """The path of each saved picture, one a line."""

    def show(self, event: CliEvent) -> None:
        """Write the path, if one was saved.

        Raises:
            BrokenPipeError: nobody reads it any more.
            WriteError: it couldn't be written.

        """
        if isinstance(event, PictureSaved):
            write_line(os.fsencode(event.path))


class JsonLinesOutput:
    """A JSON object for each event, one a line; `picture` of `pictures` says which one it is about."""

    def __init__(self) -> None:
        self._current_picture: PictureStarted | None = None

    def show(self, event: CliEvent) -> None:
        """Write the object, if it is an event for programs.

        Raises:
            BrokenPipeError: nobody reads it any more.
            WriteError: it couldn't be written.

        """
        if isinstance(event, PictureStarted):
            self._current_picture = event
        payload = _to_json(event)
        if payload:
            position = (
                {"picture": self._current_picture.index, "pictures": self._current_picture.total}
                if self._current_picture
                else {}
            )
            write_json(payload | position)


def _to_json(event: CliEvent) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    match event:
        case Waiting() | Queued() | Started() | Progress() | Notice():
            payload = {"event": _EVENT_NAMES[type(event)], **asdict(event)}
        case Preview() | PreviewSaved():
            payload = {"event": "preview", **_preview_to_json(event)}
        case PictureSaved():
            payload = {"event": "saved", **_saved_to_json(event)}
        case ShutdownReport(outcome=outcome):
            payload = {
                "event": "stopped",
                "outcome": outcome and outcome.value,
                "text": shutdown_text(event),
            }
        case OperationFailed(error=error, request=request):
            request_fields = (
                {} if request is None else {"prompt": request.prompt, "seed": request.seed}
            )
            payload = {"event": "error", **error_to_json(error), **request_fields}
    return payload


def _preview_to_json(event: Preview | PreviewSaved) -> dict[str, Any]:
    url = None if event.picture.url.startswith("data:") else event.picture.url
    if isinstance(event, Preview):
        return {"url": url}
    picture = event.preview
    return {
        "url": url,
        "path": str(event.path),
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
    }


def _saved_to_json(event: PictureSaved) -> dict[str, Any]:
    picture = event.picture
    return {
        "path": str(event.path),
        "seed": picture.seed,
        "prompt": event.prompt,
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
        "seconds": round(event.elapsed_seconds, 3),
        "space": event.space,
        "is_demo": event.is_demo,
    }


def error_to_json(error: SD35Error) -> dict[str, Any]:
    """Return what a program wants to know of an error."""
    return {
        "kind": error.kind,
        "happened": one_line(error.happened),
        "remedy": error.remedy,
        "retry_after_seconds": error.retry_after_seconds,
        "retry_at": error.retry_at and error.retry_at.isoformat(timespec="seconds"),
        "exit_code": exit_code(error),
    }
