"""What somebody asks for in the gallery: what their browser says, checked. Pure."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["FIRST_PAGE", "GalleryEvent", "PagePosition"]

MAX_IDS: Final = 2000
MAX_TEXT_LENGTH: Final = 2000
MAX_CURSOR_LENGTH: Final = 400
MAX_REQUEST_ID: Final = 2**53

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where in a list a page is: after or before which cursor; without either, at its beginning."""

    newer: str | None = None
    older: str | None = None

    def __str__(self) -> str:
        return f"newer:{self.newer}" if self.newer else f"older:{self.older}" if self.older else ""

    @classmethod
    def parse(cls, text: str) -> "PagePosition":
        """Return the place that `str` has told; what is anything else is the beginning."""
        direction, _, cursor = text[:MAX_CURSOR_LENGTH].partition(":")
        return (
            cls(newer=cursor)
            if direction == "newer"
            else cls(older=cursor)
            if direction == "older"
            else cls()
        )


FIRST_PAGE: Final = PagePosition()


@dataclass(frozen=True, slots=True)
class GalleryEvent:
    """What somebody asks for in the gallery, checked: it comes from a browser.

    Attributes:
        what: `page`, `reset`, `find`, `open`, `compare`, or what is to be done with the pictures.
        ids: of pictures.
        place: of the page that is shown.
        words: what was typed for tags, or is to be searched for.
        show: which of the choices beside the search line.
        is_open: whether a picture is shown large, which is then the only one that it is about.
        ticket: the number of this question, which goes with its answer.

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
        """Return what this says, as far as it says anything that can be asked for."""
        values = payload if isinstance(payload, dict) else {}
        action, position_text, text, filter_name = (
            _text_or_empty(values.get(name)) for name in ("what", "at", "words", "show")
        )
        ids, request_id = values.get("ids"), values.get("ticket")
        valid_ids = [id_ for id_ in ids[:MAX_IDS] if _is_id(id_)] if isinstance(ids, list) else []
        return cls(
            action,
            tuple(valid_ids),
            PagePosition.parse(position_text),
            text[:MAX_TEXT_LENGTH],
            filter_name,
            is_viewer_open=values.get("is_open") is True,
            request_id=request_id
            if type(request_id) is int and 0 <= request_id < MAX_REQUEST_ID
            else 0,
        )

    @property
    def tags(self) -> list[str]:
        """The words that were typed, with commas between."""
        return [tag for tag in (" ".join(part.split()) for part in self.text.split(",")) if tag]


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID_PATTERN.fullmatch(value) is not None
