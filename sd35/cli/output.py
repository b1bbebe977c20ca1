"""Standard output for programs: a path or a JSON object a line."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sd35.cli.events import (
    CliEvent,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    PreviewSaved,
    ShutdownReport,
)
from sd35.cli.exit_codes import exit_code
from sd35.cli.reporter import shutdown_text
from sd35.cli.terminal import write_json, write_line
from sd35.core.errors import SD35Error
from sd35.core.events import Notice, Preview, Progress, Queued, RemotePicture, Started, Waiting
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.text import one_line

__all__ = ["JsonLinesOutput", "error_to_json", "write_path"]

# Events that are written with all of their fields.
_EVENT_NAMES: Final[Mapping[type, str]] = {
    Waiting: "waiting",
    Queued: "queued",
    Started: "started",
    Progress: "progress",
    Notice: "notice",
}


def write_path(event: CliEvent) -> None:
    """Write the path of an image that was saved."""
    if isinstance(event, PictureSaved):
        # As the bytes that the file system has: a name need not be valid UTF-8.
        write_line(os.fsencode(event.path))


class JsonLinesOutput:
    """Writes events as JSON, each with the position of its image in the batch."""

    def __init__(self) -> None:
        self._position: dict[str, int] = {}

    def write(self, event: CliEvent) -> None:
        """Write an event as one line, if it is of use to programs."""
        if isinstance(event, PictureStarted):
            self._position = {"picture": event.index, "pictures": event.total}
        payload = _event_to_json(event)
        if payload:
            write_json(payload | self._position)


def _event_to_json(event: CliEvent) -> dict[str, Any]:
    match event:
        case Waiting() | Queued() | Started() | Progress() | Notice():
            return {"event": _EVENT_NAMES[type(event)], **asdict(event)}
        case Preview(picture=remote_picture):
            return {"event": "preview", "url": _public_url(remote_picture)}
        case PreviewSaved(picture=remote_picture, preview=preview, path=path):
            url = _public_url(remote_picture)
            return {"event": "preview", "url": url, "path": str(path), **_picture_to_json(preview)}
        case PictureSaved():
            return {
                "event": "saved",
                "path": str(event.path),
                "seed": event.picture.seed,
                "prompt": event.prompt,
                **_picture_to_json(event.picture),
                "seconds": round(event.elapsed_seconds, 3),
                "space": event.space,
                "is_demo": event.is_demo,
            }
        case ShutdownReport(outcome=outcome):
            outcome_name = outcome and outcome.value
            return {"event": "stopped", "outcome": outcome_name, "text": shutdown_text(event)}
        case OperationFailed(error=error, request=GenerationRequest(prompt=prompt, seed=seed)):
            return {"event": "error", **error_to_json(error), "prompt": prompt, "seed": seed}
        case OperationFailed(error=error):
            return {"event": "error", **error_to_json(error)}
        case _:
            return {}


def _public_url(picture: RemotePicture) -> str | None:
    # A data URL is the image itself, megabytes of it.
    return None if picture.url.startswith("data:") else picture.url


def _picture_to_json(picture: Picture) -> dict[str, Any]:
    return {
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
    }


def error_to_json(error: SD35Error) -> dict[str, Any]:
    """Return an error as programs read it."""
    return {
        "kind": error.kind,
        "happened": one_line(error.happened),
        "remedy": error.remedy,
        "retry_after_seconds": error.retry_after_seconds,
        "retry_at": error.retry_at and error.retry_at.isoformat(timespec="seconds"),
        "exit_code": exit_code(error),
    }
