"""Events that a browser sends to the library tab, validated."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["FIRST_PAGE", "GalleryEvent", "PagePosition"]

MAX_IDS: Final = 2000
MAX_TEXT_LENGTH: Final = 2000
MAX_CURSOR_LENGTH: Final = 400
MAX_REQUEST_ID: Final = 2**53  # above this, JavaScript's numbers are no longer exact

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Position of a page in a list: newer or older than a cursor, or else the first page."""

    newer: str | None = None
    older: str | None = None

    def __str__(self) -> str:
        if self.newer:
            return f"newer:{self.newer}"
        if self.older:
            return f"older:{self.older}"
        return ""

    @classmethod
    def parse(cls, text: str) -> "PagePosition":
        """Parse the output of `str`; anything else is the first page."""
        direction, _, cursor = text[:MAX_CURSOR_LENGTH].partition(":")
        match direction:
            case "newer":
                return cls(newer=cursor)
            case "older":
                return cls(older=cursor)
            case _:
                return cls()


FIRST_PAGE: Final = PagePosition()


@dataclass(frozen=True, slots=True)
class GalleryEvent:
    """One event of assets/library.js, or of assets/compare.js.

    Attributes:
        action: `page`, `refresh`, `search`, `open`, `compare`, or a key of `actions.ACTIONS`.
        ids: images that the action applies to.
        position: of the page that the grid shows.
        text: query of a search, or tags separated by commas.
        filter_name: the filter chosen next to the search field.
        is_viewer_open: the action was chosen in the viewer, so its image is shown again after it.
        request_id: number that goes back with the answer, so that the browser can drop late ones.
    """

    action: str = ""
    ids: tuple[str, ...] = ()
    position: PagePosition = FIRST_PAGE
    text: str = ""
    filter_name: str = ""
    is_viewer_open: bool = False
    request_id: int = 0

    @classmethod
    def from_payload(cls, payload: object) -> "GalleryEvent":
        """Read an event's JSON; whatever isn't valid in it gets its default value."""
        values = payload if isinstance(payload, dict) else {}
        ids = values.get("ids")
        request_id = values.get("request_id")
        # Not `isinstance`: `True` is an instance of int, too.
        if type(request_id) is not int or not 0 <= request_id < MAX_REQUEST_ID:
            request_id = 0
        return cls(
            action=_text_or_empty(values.get("action")),
            ids=tuple(filter(_is_id, ids[:MAX_IDS])) if isinstance(ids, list) else (),
            position=PagePosition.parse(_text_or_empty(values.get("position"))),
            text=_text_or_empty(values.get("text"))[:MAX_TEXT_LENGTH],
            filter_name=_text_or_empty(values.get("filter")),
            is_viewer_open=values.get("is_viewer_open") is True,
            request_id=request_id,
        )

    @property
    def tags(self) -> list[str]:
        """The text, split at its commas, without superfluous spaces."""
        tags = (" ".join(part.split()) for part in self.text.split(","))
        return [tag for tag in tags if tag]


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_id(value: object) -> bool:
    # Ids become parts of URLs and HTML attributes, so nothing else may come through here.
    return isinstance(value, str) and _ID_PATTERN.fullmatch(value) is not None
