"""The search line: words, and what a picture is to be, in one line as people type it. Pure."""

import datetime as dt
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from sd35.core.sizes import parse_ratio
from sd35.library.text_index import plain_text

__all__ = ["EVERYTHING", "Cursor", "Filter", "Query", "days", "parse_query"]


def days(text: str) -> tuple[float, float]:
    """Return the first moment of a day, a month or a year, and the first one after it, in seconds since 1970.

    Raises:
        ValueError: the text is no `2026-11-24`, `2026-11` or `2026`, or this machine's calendar
            doesn't go there.

    """
    parts = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?", text)
    numbers = [int(part) for part in (parts.groups() if parts else ()) if part]
    year, month, day = [*numbers, 1, 1][:3]
    first = dt.date(year, month, day)
    try:
        return _moment(first), _moment(_next(first, len(numbers)))
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error


def _next(first: dt.date, precision: int) -> dt.date:
    match precision:
        case 1:
            return dt.date(first.year + 1, 1, 1)
        case 2:
            return dt.date(first.year + first.month // 12, first.month % 12 + 1, 1)
        case _:
            return first + dt.timedelta(days=1)


def _moment(day: dt.date) -> float:
    return dt.datetime(day.year, day.month, day.day).astimezone().timestamp()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is ordered by moment (seconds since 1970) and id; `str` is fit for an address."""

    made_at: float
    id: str

    def __str__(self) -> str:
        return urlsafe_b64encode(f"{self.made_at!r} {self.id}".encode()).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Return the place that this text says; `None` where it says none."""
        if not text:
            return None
        try:
            moment, _, id_ = (
                urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8").partition(" ")
            )
            place = cls(float(moment), plain_text(id_))
        except ValueError:
            return None
        return place if math.isfinite(place.made_at) else None


MAX_CHARACTERS: Final = 1000
MAX_PARTS: Final = 40

RATIO_TOLERANCE: Final = 0.03
"""How far off, as a part of it, a picture's ratio may be."""

_WITH_BLANKS: Final = re.compile(
    r"\b(seed|steps|size|ratio|before|after|on):\s+(?=[0-9])", re.IGNORECASE
)
"""People put a blank behind a colon."""

_MOST: Final = 2**63 - 1

_PART: Final = re.compile(r'(-?)(?:([A-Za-z]+):(?="|[^\s"]))?(?:"([^"]*)(?:"|$)|(\S+))')
"""A minus sign, a field's name, and a phrase in quotes or a word."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a picture is to be, or mustn't be.

    Attributes:
        name: what `values` are: `seed`, `size` (width and height in pixels), `steps`, `ratio` (the
            smallest and the largest width/height), `made` (the first and the last moment, in
            seconds since 1970), `space`, `model`, `tool` (a part of its name), `tag`, or `starred`,
            `demo` (no values).

    """

    name: str
    values: tuple[float | str, ...] = ()
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for; without anything, everything.

    Attributes:
        wanted: words and phrases that are there.
        begun: a word that begins so: the last one, that may be still being typed.
        unwanted: words and phrases that aren't there.
        filters: all of which hold.
        place: which pictures: those that are `shown`, in the `trash`, `missing`, or instead of any
            the jobs that `failed`.
        problems: a sentence for each part that wasn't understood, and doesn't count.

    """

    wanted: tuple[str, ...] = ()
    begun: str | None = None
    unwanted: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    place: str = "shown"
    problems: tuple[str, ...] = ()

    @property
    def is_search(self) -> bool:
        """Whether it is anything but all pictures of a place."""
        return bool(self.wanted or self.begun or self.unwanted or self.filters)

    @property
    def is_failed(self) -> bool:
        """Whether it speaks of jobs that came to no picture, and not of pictures."""
        return self.place == "failed"


EVERYTHING: Final = Query()


class _NotUnderstoodError(ValueError):
    """What was typed isn't what its field takes; the text says what it takes."""


def parse_query(text: str) -> Query:
    """Return what this line asks for, whatever was typed.

    Words and "phrases" are all to be there, -words aren't; `seed:7 size:1024x576 steps:40
    ratio:16:9 space:… model:… tool:… tag:… before:2026-11-01 after:2026-10 on:2026-11-24`, by this
    machine's calendar, where a month or a year stands for all of its days and `after` begins with
    the first one; `is:starred is:demo is:trash is:missing is:failed`.
    """
    problems = (
        [f"Only the first {MAX_CHARACTERS:,} characters count."]
        if len(text) > MAX_CHARACTERS
        else []
    )
    found = _Found(problems)
    text = text[:MAX_CHARACTERS]
    parts = list(_PART.finditer(_WITH_BLANKS.sub(r"\1:", text)))
    if len(parts) > MAX_PARTS:
        problems.append(f"Only the first {MAX_PARTS} words count.")
    for part in parts[:MAX_PARTS]:
        found.add(part, is_last=part.end() == len(part.string))
    return found.query()


class _Found:
    """What the parts have said so far."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._wanted: list[str] = []
        self._unwanted: list[str] = []
        self._filters: list[Filter] = []
        self._begun: str | None = None
        self._place = "shown"

    def add(self, part: re.Match[str], *, is_last: bool) -> None:
        minus, name, phrase, word = part.groups()
        value = phrase if word is None else word
        read = _FIELDS.get((name or "").lower())
        if name and read:
            self._add_filter(name.lower(), value, is_excluded=bool(minus))
        else:
            self._add_word(
                f"{name}:{value}" if name else value, minus, is_begun=is_last and word is not None
            )

    def _add_filter(self, name: str, value: str, *, is_excluded: bool) -> None:
        try:
            each = _FIELDS[name](value)
        except _NotUnderstoodError as error:
            self._problems.append(f"{name}:{value[:40]} isn't understood: {error}")
            return
        if each.name != "place":
            self._filters.append(Filter(each.name, each.values, is_excluded))
        elif is_excluded:
            self._problems.append(
                f"-{name}:{value[:40]} isn't understood: what is left out here anyway has no minus."
            )
        else:
            self._place = str(each.values[0])

    def _add_word(self, text: str, minus: str, *, is_begun: bool) -> None:
        if not any(letter.isalnum() for letter in text):
            if text.strip():
                self._problems.append(f"“{text[:40]}” has no letters or digits to search for.")
        elif minus:
            self._unwanted.append(text)
        elif is_begun:
            self._begun = text
        else:
            self._wanted.append(text)

    def query(self) -> Query:
        return Query(
            wanted=tuple(self._wanted),
            begun=self._begun,
            unwanted=tuple(self._unwanted),
            filters=tuple(self._filters),
            place=self._place,
            problems=tuple(self._problems),
        )


def _number(name: str) -> Callable[[str], Filter]:
    def read(value: str) -> Filter:
        if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > _MOST:
            raise _NotUnderstoodError(f"a whole number, such as {name}:40.")
        return Filter(name, (int(value),))

    return read


def _size(value: str) -> Filter:
    sides = re.fullmatch(r"([0-9]{1,9})[x×*]([0-9]{1,9})", value, re.IGNORECASE)
    if sides is None:
        raise _NotUnderstoodError("width and height in pixels, such as size:1024x576.")
    return Filter("size", (int(sides[1]), int(sides[2])))


def _ratio(value: str) -> Filter:
    try:
        wanted = parse_ratio(value)
    except (ValueError, OverflowError):
        raise _NotUnderstoodError("width and height, such as ratio:16:9.") from None
    return Filter("ratio", (wanted * (1 - RATIO_TOLERANCE), wanted * (1 + RATIO_TOLERANCE)))


def _part_of_name(name: str) -> Callable[[str], Filter]:
    def read(value: str) -> Filter:
        if not value.strip():
            raise _NotUnderstoodError("a name, or a part of it.")
        return Filter(name, (value.strip(),))

    return read


_IS: Final = {
    "starred": Filter("starred"),
    "demo": Filter("demo"),
    "trash": Filter("place", ("trash",)),
    "missing": Filter("place", ("missing",)),
    "failed": Filter("place", ("failed",)),
}


def _is(value: str) -> Filter:
    try:
        return _IS[value.lower()]
    except KeyError:
        raise _NotUnderstoodError(f"one of {', '.join(_IS)}.") from None


def _before(value: str) -> Filter:
    return Filter("made", (-math.inf, math.nextafter(_days(value)[0], -math.inf)))


def _after(value: str) -> Filter:
    return Filter("made", (_days(value)[0], math.inf))


def _on(value: str) -> Filter:
    first, beyond = _days(value)
    return Filter("made", (first, math.nextafter(beyond, -math.inf)))


def _days(value: str) -> tuple[float, float]:
    try:
        return days(value)
    except ValueError:
        raise _NotUnderstoodError(
            "a day, a month or a year, such as 2026-11-24, 2026-11 or 2026."
        ) from None


_FIELDS: Final[dict[str, Callable[[str], Filter]]] = {
    **{name: _number(name) for name in ("seed", "steps")},
    **{name: _part_of_name(name) for name in ("space", "model", "tool", "tag")},
    "size": _size,
    "ratio": _ratio,
    "before": _before,
    "after": _after,
    "on": _on,
    "is": _is,
}
