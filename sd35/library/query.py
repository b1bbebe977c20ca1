"""The search line: words, and what a picture is to be, in one line as people type it. Pure."""

import datetime as dt
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from sd35.core.sizes import parse_ratio
from sd35.library.text_index import sqlite_text

__all__ = ["MATCH_ALL", "Cursor", "Filter", "Query", "parse_date_range", "parse_query"]


def parse_date_range(text: str) -> tuple[float, float]:
    """Return the first moment of a day, a month or a year, and the first one after it, in seconds since 1970.

    Raises:
        ValueError: the text is no `2026-11-24`, `2026-11` or `2026`, or this machine's calendar
            doesn't go there.

    """
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?", text)
    numbers = [int(part) for part in (match.groups() if match else ()) if part]
    year, month, day = [*numbers, 1, 1][:3]
    start_date = dt.date(year, month, day)
    try:
        return _to_timestamp(start_date), _to_timestamp(_next_period(start_date, len(numbers)))
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error


def _next_period(start_date: dt.date, precision: int) -> dt.date:
    match precision:
        case 1:
            return dt.date(start_date.year + 1, 1, 1)
        case 2:
            return dt.date(start_date.year + start_date.month // 12, start_date.month % 12 + 1, 1)
        case _:
            return start_date + dt.timedelta(days=1)


def _to_timestamp(day: dt.date) -> float:
    return dt.datetime(day.year, day.month, day.day).astimezone().timestamp()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is ordered by moment (seconds since 1970) and id; `str` is fit for an address."""

    timestamp: float
    id: str

    def __str__(self) -> str:
        return (
            urlsafe_b64encode(f"{self.timestamp!r} {self.id}".encode()).decode("ascii").rstrip("=")
        )

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Return the place that this text says; `None` where it says none."""
        if not text:
            return None
        try:
            timestamp, _, id_ = (
                urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8").partition(" ")
            )
            cursor = cls(float(timestamp), sqlite_text(id_))
        except ValueError:
            return None
        return cursor if math.isfinite(cursor.timestamp) else None


MAX_QUERY_LENGTH: Final = 1000
MAX_QUERY_TOKENS: Final = 40

RATIO_TOLERANCE: Final = 0.03
"""How far off, as a part of it, a picture's ratio may be."""

_BLANK_AFTER_COLON: Final = re.compile(
    r"\b(seed|steps|size|ratio|before|after|on):\s+(?=[0-9])", re.IGNORECASE
)
"""People put a blank behind a colon."""

_MAX_INTEGER: Final = 2**63 - 1

_TOKEN: Final = re.compile(r'(-?)(?:([A-Za-z]+):(?="|[^\s"]))?(?:"([^"]*)(?:"|$)|(\S+))')
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

    terms: tuple[str, ...] = ()
    prefix: str | None = None
    excluded_terms: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    scope: str = "shown"
    problems: tuple[str, ...] = ()

    @property
    def has_criteria(self) -> bool:
        """Whether it is anything but all pictures of a place."""
        return bool(self.terms or self.prefix or self.excluded_terms or self.filters)

    @property
    def is_job_query(self) -> bool:
        """Whether it speaks of jobs that came to no picture, and not of pictures."""
        return self.scope == "failed"


MATCH_ALL: Final = Query()


class _QuerySyntaxError(ValueError):
    """What was typed isn't what its field takes; the text says what it takes."""


def parse_query(text: str) -> Query:
    """Return what this line asks for, whatever was typed.

    Words and "phrases" are all to be there, -words aren't; `seed:7 size:1024x576 steps:40
    ratio:16:9 space:… model:… tool:… tag:… before:2026-11-01 after:2026-10 on:2026-11-24`, by this
    machine's calendar, where a month or a year stands for all of its days and `after` begins with
    the first one; `is:starred is:demo is:trash is:missing is:failed`.
    """
    problems = (
        [f"Only the first {MAX_QUERY_LENGTH:,} characters count."]
        if len(text) > MAX_QUERY_LENGTH
        else []
    )
    builder = _QueryBuilder(problems)
    text = text[:MAX_QUERY_LENGTH]
    tokens = list(_TOKEN.finditer(_BLANK_AFTER_COLON.sub(r"\1:", text)))
    if len(tokens) > MAX_QUERY_TOKENS:
        problems.append(f"Only the first {MAX_QUERY_TOKENS} words count.")
    for token in tokens[:MAX_QUERY_TOKENS]:
        builder.add(token, is_last=token.end() == len(token.string))
    return builder.build()


class _QueryBuilder:
    """What the parts have said so far."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._terms: list[str] = []
        self._excluded_terms: list[str] = []
        self._filters: list[Filter] = []
        self._prefix: str | None = None
        self._scope = "shown"

    def add(self, token: re.Match[str], *, is_last: bool) -> None:
        minus, name, phrase, word = token.groups()
        value = phrase if word is None else word
        parser = _FIELD_PARSERS.get((name or "").lower())
        if name and parser:
            self._add_filter(name.lower(), value, is_excluded=bool(minus))
        else:
            self._add_term(
                f"{name}:{value}" if name else value, minus, is_prefix=is_last and word is not None
            )

    def _add_filter(self, name: str, value: str, *, is_excluded: bool) -> None:
        try:
            filter_ = _FIELD_PARSERS[name](value)
        except _QuerySyntaxError as error:
            self._problems.append(f"{name}:{value[:40]} isn't understood: {error}")
            return
        if filter_.name != "scope":
            self._filters.append(Filter(filter_.name, filter_.values, is_excluded))
        elif is_excluded:
            self._problems.append(
                f"-{name}:{value[:40]} isn't understood: what is left out here anyway has no minus."
            )
        else:
            self._scope = str(filter_.values[0])

    def _add_term(self, text: str, minus: str, *, is_prefix: bool) -> None:
        if not any(char.isalnum() for char in text):
            if text.strip():
                self._problems.append(f"“{text[:40]}” has no letters or digits to search for.")
        elif minus:
            self._excluded_terms.append(text)
        elif is_prefix:
            self._prefix = text
        else:
            self._terms.append(text)

    def build(self) -> Query:
        return Query(
            terms=tuple(self._terms),
            prefix=self._prefix,
            excluded_terms=tuple(self._excluded_terms),
            filters=tuple(self._filters),
            scope=self._scope,
            problems=tuple(self._problems),
        )


def _int_parser(name: str) -> Callable[[str], Filter]:
    def parse(value: str) -> Filter:
        if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > _MAX_INTEGER:
            raise _QuerySyntaxError(f"a whole number, such as {name}:40.")
        return Filter(name, (int(value),))

    return parse


def _parse_size(value: str) -> Filter:
    match = re.fullmatch(r"([0-9]{1,9})[x×*]([0-9]{1,9})", value, re.IGNORECASE)
    if match is None:
        raise _QuerySyntaxError("width and height in pixels, such as size:1024x576.")
    return Filter("size", (int(match[1]), int(match[2])))


def _parse_ratio_range(value: str) -> Filter:
    try:
        ratio = parse_ratio(value)
    except (ValueError, OverflowError):
        raise _QuerySyntaxError("width and height, such as ratio:16:9.") from None
    return Filter("ratio", (ratio * (1 - RATIO_TOLERANCE), ratio * (1 + RATIO_TOLERANCE)))


def _name_parser(name: str) -> Callable[[str], Filter]:
    def parse(value: str) -> Filter:
        if not value.strip():
            raise _QuerySyntaxError("a name, or a part of it.")
        return Filter(name, (value.strip(),))

    return parse


_FLAGS: Final = {
    "starred": Filter("starred"),
    "demo": Filter("demo"),
    "trash": Filter("scope", ("trash",)),
    "missing": Filter("scope", ("missing",)),
    "failed": Filter("scope", ("failed",)),
}


def _parse_flag(value: str) -> Filter:
    try:
        return _FLAGS[value.lower()]
    except KeyError:
        raise _QuerySyntaxError(f"one of {', '.join(_FLAGS)}.") from None


def _parse_before(value: str) -> Filter:
    return Filter("made", (-math.inf, math.nextafter(_parse_dates(value)[0], -math.inf)))


def _parse_after(value: str) -> Filter:
    return Filter("made", (_parse_dates(value)[0], math.inf))


def _parse_on(value: str) -> Filter:
    start, end = _parse_dates(value)
    return Filter("made", (start, math.nextafter(end, -math.inf)))


def _parse_dates(value: str) -> tuple[float, float]:
    try:
        return parse_date_range(value)
    except ValueError:
        raise _QuerySyntaxError(
            "a day, a month or a year, such as 2026-11-24, 2026-11 or 2026."
        ) from None


_FIELD_PARSERS: Final[dict[str, Callable[[str], Filter]]] = {
    **{name: _int_parser(name) for name in ("seed", "steps")},
    **{name: _name_parser(name) for name in ("space", "model", "tool", "tag")},
    "size": _parse_size,
    "ratio": _parse_ratio_range,
    "before": _parse_before,
    "after": _parse_after,
    "on": _parse_on,
    "is": _parse_flag,
}
