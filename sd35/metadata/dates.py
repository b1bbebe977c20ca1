"""Date of an image, as its file tells it: of a tool's own record, EXIF, XMP or PNG."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Final

from sd35.metadata.parsing import parse_text

__all__ = ["NOON", "parse_date", "read_date"]

NOON: Final = dt.time(12)  # the same day in almost all time zones

# A clock that was never set begins with the first of January of one of these years.
_FIRST_DAY: Final = dt.datetime(1980, 1, 2, tzinfo=dt.UTC)
_MAX_AHEAD: Final = dt.timedelta(days=1)  # clocks and time zones differ
_MAX_LENGTH: Final = 40

# As in EXIF and in ISO 8601, without a time, a fraction or a zone as well.
_DATE: Final = re.compile(
    r"(\d{4})[-:/](\d{1,2})[-:/](\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,12}))?)?)?"
    r"\s*(Z|UTC|[-+]\d{2}:?\d{2})?",
    re.ASCII | re.IGNORECASE,
)
# As in e-mail: PNG recommends this form.
_MAIL_DATE: Final = re.compile(
    r"(?:[a-z]{3},? )?\s*(\d{1,2}) ([a-z]{3})[a-z]* (\d{4}) (\d{2}:\d{2}(?::\d{2})?)\s*"
    r"(Z|UTC|GMT|[-+]\d{4})?",
    re.ASCII | re.IGNORECASE,
)
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]

# Names of texts, best first, each with the name of its offset from UTC.
_KEYS: Final = (
    ("DateTimeOriginal", "OffsetTimeOriginal"),
    ("DateTimeDigitized", "OffsetTimeDigitized"),
    ("Creation Time", ""),
    ("CreateDate", ""),
    ("DateTime", "OffsetTime"),
    ("tIME", ""),
)


def read_date(texts: Mapping[str, str]) -> dt.datetime | None:
    """Return when an image was made, by texts that aren't a tool's settings."""
    dates = (
        parse_date(f"{texts[key].strip()[:_MAX_LENGTH]}{texts.get(offset_key, '').strip()[:10]}")
        for key, offset_key in _KEYS
        if key in texts
    )
    return next(filter(None, dates), None)


def parse_date(value: object) -> dt.datetime | None:
    """Return the time that a text tells, in UTC; `None` for nonsense.

    A time without a zone is local time, and a date without a time is `NOON`.
    """
    text = parse_text(value).strip()[:_MAX_LENGTH]
    try:
        time = _parse_time(text)
        if time is None:
            return None
        now = dt.datetime.now(dt.UTC)
        date = time.astimezone(dt.UTC)
        return date if _FIRST_DAY <= date <= now + _MAX_AHEAD else None
    except (ValueError, OverflowError, OSError):
        return None


def _parse_time(text: str) -> dt.datetime | None:
    match = _DATE.fullmatch(text)
    if match:
        day = dt.date(int(match[1]), int(match[2]), int(match[3]))
        hour = int(match[4]) if match[4] else NOON.hour
        microsecond = int(f"{match[7] or 0:0<6}"[:6])
        time = dt.time(hour, int(match[5] or 0), int(match[6] or 0), microsecond)
        return dt.datetime.combine(day, time, _parse_zone(match[8]))
    match = _MAIL_DATE.fullmatch(text)
    if match is None or match[2].lower() not in _MONTHS:
        return None
    day = dt.date(int(match[3]), _MONTHS.index(match[2].lower()) + 1, int(match[1]))
    return dt.datetime.combine(day, dt.time.fromisoformat(match[4]), _parse_zone(match[5]))


def _parse_zone(text: str | None) -> dt.tzinfo | None:
    if not text:
        return None
    if text[0] not in "+-":
        return dt.UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return dt.timezone(dt.timedelta(minutes=-minutes if text[0] == "-" else minutes))
