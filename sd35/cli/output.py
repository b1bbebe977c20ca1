"""Output of `generate`: image files, and paths or JSON lines on standard output."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sd35.cli.events import (
    CliEvent,
    OperationFailed,
    PicturePlanned,
    PictureSaved,
    PictureStarted,
    PreviewSaved,
    SheetSaved,
    ShutdownReport,
)
from sd35.cli.exit_codes import exit_code
from sd35.cli.reporter import shutdown_text
from sd35.cli.terminal import write_json, write_line
from sd35.core.atomic_files import os_error_text, write_errors, write_exclusive
from sd35.core.errors import SD35Error, WriteError
from sd35.core.events import (
    Event,
    Finished,
    Notice,
    Preview,
    Progress,
    Queued,
    RemotePicture,
    Started,
    Waiting,
)
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.text import one_line

__all__ = [
    "JsonLinesOutput",
    "PreviewWriter",
    "check_folder",
    "error_to_json",
    "write_path",
    "write_picture",
    "write_result",
]


def write_path(event: CliEvent) -> None:
    """Write the path of an image that was saved, or the prompt of one in a dry run."""
    if isinstance(event, PicturePlanned):
        write_line(one_line(event.request.prompt).encode("utf-8", "replace"))
    if isinstance(event, PictureSaved | SheetSaved):
        # As the bytes that the file system has: a name need not be valid UTF-8.
        write_line(os.fsencode(event.path))


class JsonLinesOutput:
    """Writer of events as JSON, each with the position of its image in the batch."""

    def __init__(self) -> None:
        self._position: dict[str, int] = {}

    def write(self, event: CliEvent) -> None:
        """Write an event as one line, unless it is of no use to programs."""
        if isinstance(event, PictureStarted):
            self._position = {"picture": event.index, "pictures": event.total}
        payload = _event_to_json(event)
        if payload:
            write_json(payload | self._position)


def _event_to_json(event: CliEvent) -> dict[str, Any]:
    match event:
        case Waiting() | Queued() | Started() | Progress() | Notice():
            return {"event": type(event).__name__.lower(), **asdict(event)}
        case Preview(picture=remote_picture):
            return {"event": "preview", "url": _public_url(remote_picture)}
        case PreviewSaved(picture=remote_picture, preview=preview, path=path):
            url = _public_url(remote_picture)
            return {"event": "preview", "url": url, "path": str(path), **_picture_to_json(preview)}
        case PicturePlanned():
            return _plan_to_json(event)
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
        case SheetSaved(path=path):
            return {"event": "sheet", "path": str(path)}
        case ShutdownReport(outcome=outcome):
            outcome_name = outcome and outcome.value
            return {"event": "stopped", "outcome": outcome_name, "text": shutdown_text(event)}
        case OperationFailed(error=error, request=GenerationRequest(prompt=prompt, seed=seed)):
            return {"event": "error", **error_to_json(error), "prompt": prompt, "seed": seed}
        case OperationFailed(error=error):
            return {"event": "error", **error_to_json(error)}
        case _:
            return {}


def _plan_to_json(event: PicturePlanned) -> dict[str, Any]:
    return {
        "event": "planned",
        "picture": event.index,
        "pictures": event.total,
        "prompt": event.request.prompt,
        "negative_prompt": event.request.negative_prompt,
        "seed": event.request.seed,
        "origin": dict(event.origin),
    }


def _public_url(picture: RemotePicture) -> str | None:
    # The commands that don't connect needn't wait for an HTTP library.
    from sd35.client.redaction import contains_secret  # noqa: PLC0415

    # A data URL is the image itself, megabytes of it.
    is_hidden = picture.url.startswith("data:") or contains_secret(picture.url)
    return None if is_hidden else picture.url


def _picture_to_json(picture: Picture) -> dict[str, Any]:
    return {
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
    }


def error_to_json(error: SD35Error) -> dict[str, Any]:
    """Return the JSON object of an error."""
    return {
        "kind": error.kind,
        "happened": one_line(error.happened),
        "remedy": error.remedy,
        "retry_after_seconds": error.retry_after_seconds,
        "retry_at": error.retry_at and error.retry_at.isoformat(timespec="seconds"),
        "exit_code": exit_code(error),
    }


def check_folder(folder: Path) -> None:
    """Create the folder if it is missing, and check that files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits say too little: a read-only mount or a full disk refuses as well. Better
        # now than for an image that has cost its quota.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        is_file = isinstance(error, FileExistsError)
        cause = "not a folder" if is_file else os_error_text(error)
        raise WriteError(
            f"Can't write to {one_line(folder)}: {cause}.", "Choose another folder with --out."
        ) from error


def write_picture(folder: Path, name: str, picture: Picture) -> Path:
    """Write an image to a new file, and return its path."""
    with write_errors(name):
        return write_exclusive(folder, name, picture.data)


def write_result(folder: Path, name: str, picture: Picture) -> Path:
    """Write a finished image to a new file, and return its path.

    Raises:
        WriteError: the folder has no room for it; the message says where else it is, if anywhere.
    """
    try:
        return write_picture(folder, name, picture)
    except WriteError as error:
        # The run has cost its quota. Only this user can read that folder.
        other_folder = Path(tempfile.mkdtemp(prefix="sd35-"))
        try:
            path = write_picture(other_folder, name, picture)
        except WriteError:
            other_folder.rmdir()
            raise error from None
        raise WriteError(
            f"{error.happened} It was saved as {one_line(path)} instead.",
            "Move it, and choose another folder with --out.",
        ) from error


class PreviewWriter:
    """Writer of the previews of one image to files.

    `on_event` receives a PreviewSaved for each, and all events but previews.
    """

    def __init__(
        self,
        folder: Path,
        make_name: Callable[[Picture], str],
        on_event: Callable[[Event | PreviewSaved], None],
    ) -> None:
        self._folder = folder
        self._make_name = make_name
        self._on_event = on_event
        self._pending_preview: tuple[RemotePicture, Picture] | None = None
        self._preview_count = 0

    def handle_event(self, event: Event) -> None:
        """Hold a preview back, and pass on everything else."""
        match event:
            case Preview(picture=remote_picture, fetched=Picture() as preview):
                self.close()
                self._pending_preview = remote_picture, preview
            case Finished(picture=remote_picture) if (
                self._pending_preview and self._pending_preview[0] == remote_picture
            ):
                # Gradio sends the finished image of a generator as its last preview, too.
                self._pending_preview = None
            case _:
                self._on_event(event)

    def close(self) -> None:
        """Write the preview that was held back."""
        if self._pending_preview is None:
            return
        remote_picture, preview = self._pending_preview
        self._pending_preview = None
        self._preview_count += 1
        name = Path(self._make_name(preview))
        preview_name = f"{name.stem}-preview-{self._preview_count:02d}{name.suffix}"
        path = write_picture(self._folder, preview_name, preview)
        self._on_event(PreviewSaved(remote_picture, preview, path))
