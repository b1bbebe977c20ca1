"""What a program reads of `generate`, on the standard output: the paths of pictures, or each event as JSON."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sd35.cli.events import Begun, Failed, Kept, News, Saved, Stopped
from sd35.cli.exit_codes import exit_code
from sd35.cli.messages import plain, stopped
from sd35.cli.terminal import write_json, write_line
from sd35.core.errors import SD35Error
from sd35.core.events import Notice, Preview, Progress, Queued, Started, Waiting

__all__ = ["JsonLines", "Paths", "error_as_json"]

_NAMES: Mapping[type, str] = {
    Waiting: "waiting",
    Queued: "queued",
    Started: "started",
    Progress: "progress",
    Notice: "notice",
}
"""The events that are told as they are, each with all of its fields."""


class Paths:
    """The path of each saved picture, one a line."""

    def show(self, news: News) -> None:
        """Write the path, if one was saved.

        Raises:
            BrokenPipeError: nobody reads it any more.
            NotWrittenError: it couldn't be written.

        """
        if isinstance(news, Saved):
            write_line(os.fsencode(news.path))


class JsonLines:
    """A JSON object for each event, one a line; `picture` of `pictures` says which one it is about."""

    def __init__(self) -> None:
        self._begun: Begun | None = None

    def show(self, news: News) -> None:
        """Write the object, if it is an event for programs.

        Raises:
            BrokenPipeError: nobody reads it any more.
            NotWrittenError: it couldn't be written.

        """
        if isinstance(news, Begun):
            self._begun = news
        told = _told(news)
        if told:
            place = (
                {"picture": self._begun.number, "pictures": self._begun.count}
                if self._begun
                else {}
            )
            write_json(told | place)


def _told(news: News) -> dict[str, Any]:
    told: dict[str, Any] = {}
    match news:
        case Waiting() | Queued() | Started() | Progress() | Notice():
            told = {"event": _NAMES[type(news)], **asdict(news)}
        case Preview() | Kept():
            told = {"event": "preview", **_preview(news)}
        case Saved():
            told = {"event": "saved", **_saved(news)}
        case Stopped(outcome=outcome):
            told = {"event": "stopped", "outcome": outcome and outcome.value, "text": stopped(news)}
        case Failed(error=error, request=request):
            about = {} if request is None else {"prompt": request.prompt, "seed": request.seed}
            told = {"event": "error", **error_as_json(error), **about}
    return told


def _preview(news: Preview | Kept) -> dict[str, Any]:
    url = None if news.picture.url.startswith("data:") else news.picture.url
    if isinstance(news, Preview):
        return {"url": url}
    picture = news.fetched
    return {
        "url": url,
        "path": str(news.path),
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
    }


def _saved(news: Saved) -> dict[str, Any]:
    picture = news.picture
    return {
        "path": str(news.path),
        "seed": picture.seed,
        "prompt": news.prompt,
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(picture.data),
        "seconds": round(news.seconds, 3),
        "space": news.space,
        "is_demo": news.is_demo,
    }


def error_as_json(error: SD35Error) -> dict[str, Any]:
    """Return what a program wants to know of an error."""
    return {
        "kind": error.kind,
        "happened": plain(error.happened),
        "remedy": error.remedy,
        "retry_after_seconds": error.retry_after_seconds,
        "retry_at": error.retry_at and error.retry_at.isoformat(timespec="seconds"),
        "exit_code": exit_code(error),
    }
