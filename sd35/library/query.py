"""Search queries: words and filters in one line, as people type them. Pure."""

import datetime as dt
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from sd35.core.seed import MAX_SEED
from sd35.core.sizes import parse_ratio
from sd35.library.text_index import sqlite_text

__all__ = ["MATCH_ALL", "Cursor", "Filter", "Query", "parse_query"]

MAX_QUERY_LENGTH: Final = 1000
MAX_QUERY_TOKENS: Final = 40

RATIO_TOLERANCE: Final = 0.03  # allowed difference of an aspect ratio, as a fraction of the ratio

_MAX_INTEGER: Final = 2**63 - 1  # of SQLite

# A blank that people, and the keyboards of phones, put after the colon of a field.
_BLANK_AFTER_COLON: Final = re.compile(
    r"\b(seed|steps|size|ratio|before|after|on):\s+(?=[0-9])", re.IGNORECASE
)

# An optional minus sign and field name, and a phrase in quotes or a word.
_TOKEN: Final = re.compile(r'(-?)(?:([A-Za-z]+):(?="|[^\s"]))?(?:"([^"]*)(?:"|$)|(\S+))')


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a list ordered by time (Unix seconds) and ID; `str` is safe in a URL."""

    timestamp: float
    id: str

    def __str__(self) -> str:
        # `repr` of a float is exact: rounded, an image would be skipped or come twice.
        text = f"{self.timestamp!r} {self.id}"
        return urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Return the cursor of a text, or `None` for any other text."""
        if not text:
            return None
        try:
            decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
            timestamp, _, id_ = decoded.partition(" ")
            cursor = cls(float(timestamp), sqlite_text(id_))
        except ValueError:
            return None
        # float() accepts nan and inf, too; sqlite3 would pass nan on as NULL.
        return cursor if math.isfinite(cursor.timestamp) else None


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a field.

    Attributes:
        name: `seed`, `steps`, `size` (width and height in pixels), `ratio` (smallest and largest
            width/height), `made` (first and last moment, in Unix seconds), `space`, `model`,
            `tool` (part of the name), `tag`, `set` (its ID), or without values `starred`, `demo`.
    """

    name: str
    values: tuple[float | str, ...] = ()
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed search query; the default matches everything.

    Attributes:
        terms: words and phrases that must be there.
        prefix: beginning of another word: the last one, which the user may still be typing.
        excluded_terms: words and phrases that must not be there.
        filters: conditions that must all hold.
        scope: `shown`, `trash` or `missing` images, or `failed` jobs.
        problems: a sentence for each part of the text that was ignored.
    """

    terms: tuple[str, ...] = ()
    prefix: str | None = None
    excluded_terms: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    scope: str = "shown"
    problems: tuple[str, ...] = ()

    @property
    def has_criteria(self) -> bool:
        """Return whether the query is anything but all images of a scope."""
        return bool(self.terms or self.prefix or self.excluded_terms or self.filters)

    @property
    def set_id(self) -> str:
        """The set whose shown images are all that the query is about; empty for any other query."""
        match self:
            case Query((), None, (), (Filter("set", (str(set_id),), False),), "shown"):
                return set_id
            case _:
                return ""

    @property
    def is_job_query(self) -> bool:
        """Return whether the query is about jobs without an image."""
        return self.scope == "failed"


MATCH_ALL: Final = Query()


def parse_query(text: str) -> Query:
    """Parse a line of user input; parts that aren't understood are reported as problems.

    All words and "phrases" must be there, -words must not. Fields are `seed:7 size:1024x576
    steps:40 ratio:16:9 space:… model:… tool:… tag:… before:2026-11-01 after:2026-10 on:2026-11-24`
    (in local time; a month or a year stands for all its days, and `after` includes the first one)
    and `is:starred is:demo is:trash is:missing is:failed`.
    """
    parser = _QueryParser()
    if len(text) > MAX_QUERY_LENGTH:
        parser.problems.append(f"Only the first {MAX_QUERY_LENGTH:,} characters were used.")
    text = _BLANK_AFTER_COLON.sub(r"\1:", text[:MAX_QUERY_LENGTH])
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) > MAX_QUERY_TOKENS:
        parser.problems.append(f"Only the first {MAX_QUERY_TOKENS} words were used.")
    for token in tokens[:MAX_QUERY_TOKENS]:
        parser.add(token, is_last=token.end() == len(text))
    return Query(
        terms=tuple(parser.terms),
        prefix=parser.prefix,
        excluded_terms=tuple(parser.excluded_terms),
        filters=tuple(parser.filters),
        scope=parser.scope,
        problems=tuple(parser.problems),
    )


class _QuerySyntaxError(ValueError):
    """A field's value can't be parsed; the text completes the sentence "field: …"."""


class _QueryParser:
    def __init__(self) -> None:
        self.terms: list[str] = []
        self.prefix: str | None = None
        self.excluded_terms: list[str] = []
        self.filters: list[Filter] = []
        self.scope = "shown"
        self.problems: list[str] = []

    def add(self, token: re.Match[str], *, is_last: bool) -> None:
        minus, name, phrase, word = token.groups()
        value = phrase if word is None else word
        if name and name.lower() in _FIELD_PARSERS:
            self._add_filter(name.lower(), value, is_excluded=bool(minus))
            return
        # An unknown field is text: prompts have colons, too.
        text = f"{name}:{value}" if name else value
        if not any(char.isalnum() for char in text):
            # FTS5 would find nothing at all for a term without any token.
            if text.strip():
                self.problems.append(f"“{text[:40]}” has no letters or digits. It was ignored.")
        elif minus:
            self.excluded_terms.append(text)
        elif is_last and word is not None:
            self.prefix = text
        else:
            self.terms.append(text)

    def _add_filter(self, name: str, value: str, *, is_excluded: bool) -> None:
        scope = value.lower()
        if name == "is" and scope in _SCOPE_SUBJECTS:
            if is_excluded:
                subject = _SCOPE_SUBJECTS[scope]
                self.problems.append(f"-is:{scope} isn't needed: {subject} never included.")
            else:
                self.scope = scope
            return
        try:
            filter_ = _FIELD_PARSERS[name](value)
        except _QuerySyntaxError as error:
            self.problems.append(f"{name}: {error}. It was ignored.")
        else:
            self.filters.append(replace(filter_, is_excluded=is_excluded))


_SCOPE_SUBJECTS: Final = {
    "trash": "the trash is",
    "missing": "missing images are",
    "failed": "unfinished jobs are",
}


def _int_parser(name: str, maximum: int) -> Callable[[str], Filter]:
    def parse(value: str) -> Filter:
        # int() also accepts the digits of other scripts, signs, blanks and underscores.
        if not re.fullmatch(r"[0-9]{1,40}", value) or int(value) > maximum:
            raise _QuerySyntaxError(f"needs a whole number, such as {name}:40")
        return Filter(name, (int(value),))

    return parse


def _name_parser(name: str) -> Callable[[str], Filter]:
    def parse(value: str) -> Filter:
        if not value.strip():
            raise _QuerySyntaxError("needs a name")
        return Filter(name, (value.strip(),))

    return parse


def _parse_size(value: str) -> Filter:
    match = re.fullmatch(r"([0-9]{1,9})[x×*]([0-9]{1,9})", value, re.IGNORECASE)
    if match is None:
        raise _QuerySyntaxError("needs width and height in pixels, such as size:1024x576")
    return Filter("size", (int(match[1]), int(match[2])))


def _parse_ratio_range(value: str) -> Filter:
    try:
        ratio = parse_ratio(value)
    except (ValueError, OverflowError):
        raise _QuerySyntaxError("needs width and height, such as ratio:16:9") from None
    return Filter("ratio", (ratio * (1 - RATIO_TOLERANCE), ratio * (1 + RATIO_TOLERANCE)))


def _parse_flag(value: str) -> Filter:
    flags = ("starred", "demo")
    if value.lower() not in flags:
        raise _QuerySyntaxError(f"needs one of {', '.join((*flags, *_SCOPE_SUBJECTS))}")
    return Filter(value.lower())


def _parse_before(value: str) -> Filter:
    return Filter("made", (-math.inf, math.nextafter(_parse_dates(value)[0], -math.inf)))


def _parse_after(value: str) -> Filter:
    return Filter("made", (_parse_dates(value)[0], math.inf))


def _parse_on(value: str) -> Filter:
    start, end = _parse_dates(value)
    # BETWEEN includes both ends, and the next day's first moment isn't part of the day.
    return Filter("made", (start, math.nextafter(end, -math.inf)))


def _parse_dates(text: str) -> tuple[float, float]:
    """Return the first moment of a day, month or year and of the next one, in Unix seconds."""
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?", text)
    numbers = [int(part) for part in (match.groups() if match else ()) if part]
    try:
        year, month, day = [*numbers, 1, 1][:3]
        start = dt.date(year, month, day)
        return _to_timestamp(start), _to_timestamp(_next_period(start, len(numbers)))
    except (ValueError, OverflowError, OSError):  # also of times that the system can't convert
        raise _QuerySyntaxError("needs a date, such as 2026-11-24, 2026-11 or 2026") from None


def _next_period(start: dt.date, precision: int) -> dt.date:
    match precision:
        case 1:
            return dt.date(start.year + 1, 1, 1)
        case 2:
            return dt.date(start.year + start.month // 12, start.month % 12 + 1, 1)
        case _:
            return start + dt.timedelta(days=1)


def _to_timestamp(day: dt.date) -> float:
    return dt.datetime(day.year, day.month, day.day).astimezone().timestamp()


_FIELD_PARSERS: Final[dict[str, Callable[[str], Filter]]] = {
    "seed": _int_parser("seed", MAX_SEED),
    "steps": _int_parser("steps", _MAX_INTEGER),
    **{name: _name_parser(name) for name in ("space", "model", "tool", "tag", "set")},
    "size": _parse_size,
    "ratio": _parse_ratio_range,
    "before": _parse_before,
    "after": _parse_after,
    "on": _parse_on,
    "is": _parse_flag,
}
