"""Texts that the page, the terminal and agents share: quantities, times, and events in one line.

Everything here is plain text. HTML is escaped where it is built.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # errors.py uses this module, and events.py uses errors.py
    from sd35.core.events import Notice, Progress, Queued, Waiting

__all__ = [
    "format_bytes",
    "format_duration",
    "format_elapsed",
    "format_estimate",
    "format_local_time",
    "local_queue_text",
    "notice_text",
    "one_line",
    "ordinal",
    "pluralize",
    "printable",
    "progress_text",
    "queue_text",
    "waiting_text",
    "with_time_left",
]


def format_bytes(byte_count: int) -> str:
    """Return a size such as `1.3 MB`, in decimal units as file managers and browsers show it."""
    for threshold, unit, decimals in ((1e9, "GB", 1), (1e6, "MB", 1), (1e3, "KB", 0)):
        if byte_count >= threshold:
            return f"{byte_count / threshold:.{decimals}f} {unit}"
    return pluralize(byte_count, "byte")


def format_duration(seconds: float) -> str:
    """Return a duration in whole seconds, such as `12 s`, `5 min` or `1 min 5 s`."""
    minutes, remaining_seconds = divmod(int(seconds), 60)
    hours, remaining_minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (remaining_minutes, "min"), (remaining_seconds, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def format_elapsed(seconds: float) -> str:
    """Return how long a finished task took: to a tenth of a second below a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else format_duration(seconds)


def format_estimate(seconds: float) -> str:
    """Return an estimate such as `about 12 s` or `about 6 min`, without digits that nobody knows.

    It changes seldom, so that a page that shows it again and again is quiet.
    """
    if seconds < 3:
        return "a few seconds"
    for limit, unit in ((20, 1), (60, 5), (120, 10), (300, 30), (3600, 60)):
        rounded = round(seconds / unit) * unit
        if rounded < limit:
            return f"about {format_duration(rounded)}"
    return f"about {format_duration(round(seconds / 600) * 600)}"


def with_time_left(text: str, seconds: float | None) -> str:
    """Return what a job is doing, with the estimated time until its image if there is any."""
    if seconds is None:
        return text
    return f"{text.rstrip('…')} · {format_estimate(seconds)} left"


def format_local_time(moment: dt.datetime) -> str:
    """Return the time on this machine's clock, with the day unless that is today."""
    local_time = moment.astimezone()
    today = dt.datetime.now().astimezone().date()
    match (local_time.date() - today).days:
        case 0:
            return f"{local_time:%H:%M}"
        case 1:
            return f"{local_time:%H:%M} tomorrow"
        case _:
            # %-d would drop the leading zero, but not on Windows.
            return f"{local_time:%H:%M} on {local_time.day} {local_time:%B %Y}"


def pluralize(count: int | str, noun: str) -> str:
    """Return a count with its noun, such as `1 image`; a count that is text (`500+`) is plural."""
    number = f"{count:,}" if isinstance(count, int) else count
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def ordinal(number: int) -> str:
    """Return an English ordinal number, such as `2nd`."""
    # 11th, 12th and 13th, but 21st, 22nd and 23rd.
    is_teen = number % 100 in {11, 12, 13}
    suffix = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{suffix}"


def one_line(text: object) -> str:
    """Return the text as one line of printable characters.

    A Space, a file name or a prompt may hold line breaks and terminal escapes, which could move
    the cursor or hide what stands before them.
    """
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())


def printable(text: str) -> str:
    """Return the text without control characters, except line breaks.

    Those of bidirectional text are among them: they make a terminal show words in another order.
    """
    return "".join(char for char in text if char.isprintable() or char == "\n")


def local_queue_text(jobs_ahead: int, queue_length: int) -> str:
    """Return the position of a job in this app's queue, which holds the jobs of all visitors."""
    if not queue_length:
        return "Queued"
    if jobs_ahead == 0:
        return "Up next"
    return f"{ordinal(jobs_ahead + 1)} of {queue_length:,} in the queue"


def queue_text(event: Queued) -> str:
    """Return the position of a request in the Space's queue."""
    if event.rank == 0:
        return "Next at the Space"
    position = event.rank + 1
    return f"Position {position:,} of {max(event.size, position):,} at the Space"


def waiting_text(event: Waiting) -> str:
    """Return what the client is waiting for, for how long, and for how long at most."""
    # The reason may be a whole sentence, of an error.
    reason = one_line(event.reason).rstrip(".…")
    if event.waited_seconds < 1 and not event.limit_seconds:
        return f"{reason}…"
    limit = f", up to {format_duration(event.limit_seconds)}" if event.limit_seconds else ""
    return f"{reason} ({format_duration(event.waited_seconds)}{limit})…"


def progress_text(progress: Progress | None) -> str:
    """Return what a run is doing: its step, the Space's own description, or a general text."""
    if progress is not None and progress.step is not None and progress.total:
        return f"Step {min(progress.step, progress.total):,} of {progress.total:,}"
    description = "" if progress is None else one_line(progress.description or "")
    return description or "Generating…"


def notice_text(notice: Notice) -> str:
    """Return a notice with its title, unless the title only repeats the level."""
    has_title = notice.title is not None and notice.title.lower() != notice.level.lower()
    return one_line(f"{notice.title}: {notice.text}" if has_title else notice.text)
