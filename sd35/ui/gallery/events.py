"""What somebody asks for in the gallery: what their browser says, checked. Pure."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["BEGINNING", "Asked", "Place"]

MAX_IDS: Final = 2000
MAX_TAGS_TEXT: Final = 2000
MAX_CURSOR: Final = 400
MAX_TICKET: Final = 2**53

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list a page is: after or before which cursor; without either, at its beginning."""

    newer: str | None = None
    older: str | None = None

    def __str__(self) -> str:
        return f"newer:{self.newer}" if self.newer else f"older:{self.older}" if self.older else ""

    @classmethod
    def read(cls, text: str) -> "Place":
        """Return the place that `str` has told; what is anything else is the beginning."""
        way, _, cursor = text[:MAX_CURSOR].partition(":")
        return (
            cls(newer=cursor) if way == "newer" else cls(older=cursor) if way == "older" else cls()
        )


BEGINNING: Final = Place()


@dataclass(frozen=True, slots=True)
class Asked:
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

    what: str = ""
    ids: tuple[str, ...] = ()
    place: Place = BEGINNING
    words: str = ""
    show: str = ""
    is_open: bool = False
    ticket: int = 0

    @classmethod
    def read(cls, told: object) -> "Asked":
        """Return what this says, as far as it says anything that can be asked for."""
        values = told if isinstance(told, dict) else {}
        what, at, words, show = (
            _text(values.get(name)) for name in ("what", "at", "words", "show")
        )
        ids, ticket = values.get("ids"), values.get("ticket")
        kept = [each for each in ids[:MAX_IDS] if _is_id(each)] if isinstance(ids, list) else []
        return cls(
            what,
            tuple(kept),
            Place.read(at),
            words[:MAX_TAGS_TEXT],
            show,
            is_open=values.get("is_open") is True,
            ticket=ticket if type(ticket) is int and 0 <= ticket < MAX_TICKET else 0,
        )

    @property
    def tags(self) -> list[str]:
        """The words that were typed, with commas between."""
        return [word for word in (" ".join(each.split()) for each in self.words.split(",")) if word]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None
