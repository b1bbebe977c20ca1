"""Days, months and years, as they are typed, on this machine's calendar."""

import datetime as dt
import re

__all__ = ["days"]


def days(text: str) -> tuple[float, float]:
    """Return the first moment of a day, a month or a year, and the first one after it, in seconds since 1970.

    Raises:
        ValueError: the text is no `2026-11-24`, `2026-11` or `2026`, or this machine's calendar doesn't go there.

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
