"""Pieces of HTML that several views share.

`Markup.format` escapes everything that comes from a visitor or a Space.
"""

import datetime as dt
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from markupsafe import Markup

from sd35.core.errors import (
    AccessDeniedError,
    IdentityError,
    LoginRequiredError,
    QuotaError,
    SD35Error,
    SpaceNotFoundError,
)
from sd35.core.text import format_duration, format_local_time

__all__ = [
    "EMPTY_HTML",
    "action_button",
    "concat",
    "day_time",
    "error_message",
    "facts",
    "short_day_time",
    "ways_on",
]

EMPTY_HTML: Final = Markup("")

# A Space that is private looks like one that doesn't exist.
TOKEN_ERRORS: Final = (AccessDeniedError, SpaceNotFoundError)

# A remedy may have numbered steps, a command, and pages of the Hub. Other addresses, which a Space
# may have named, are no links.
_STEP_START: Final = re.compile(r"(?:^|\s)(?=[1-9]\. )")
_COMMAND: Final = Markup("<code>{}</code>")
_LINK: Final = Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>')
_MARKED_PART: Final = re.compile(r"`([^`]+)`|(https://huggingface\.co/[\w./-]*\w)")


def concat(parts: Iterable[Markup]) -> Markup:
    """Return the pieces of HTML as one."""
    return EMPTY_HTML.join(parts)


def facts(texts: Iterable[str]) -> Markup:
    """Return short facts as spans; the style sheet puts dots between them."""
    return concat(Markup("<span>{}</span>").format(text) for text in texts)


# Escaping takes most of the time of an update, and a queue has the same buttons for minutes.
@lru_cache(maxsize=2000)
def action_button(action: str, text: str, job_id: str = "", label: str = "") -> Markup:
    """Return a button that runs an action of `queue_actions`; `label` names one with a symbol."""
    return Markup('<button type="button" data-action="{}" data-id="{}"{}>{}</button>').format(
        action,
        job_id,
        Markup(' aria-label="{0}" title="{0}"').format(label) if label else "",
        text,
    )


def error_message(error: SD35Error, *, resumes: bool = False) -> Markup:
    """Return what happened and what to do; `resumes`: the queue resumes once the quota is back."""
    if error.retry_at is None:
        return Markup("{} {}").format(error.happened, _remedy(error.remedy))
    if not isinstance(error, QuotaError):
        time = _time(error.retry_at, format_local_time(error.retry_at))
        return Markup("{} Try again at {}. {}").format(error.happened, time, error.remedy)
    # Not for screen readers, which would read the whole message again with each minute.
    return Markup(
        'Your GPU quota resets {} <span aria-hidden="true">(in {})</span>.{}'
        "<details><summary>Details</summary>{} {}</details>"
    ).format(
        day_time(error.retry_at),
        _format_wait(error.retry_at),
        " The queue goes on then." if resumes else "",
        error.happened,
        _remedy(error.remedy),
    )


def ways_on(error: SD35Error | None) -> Markup:
    """Return buttons that lead on after a refusal, of which space.css shows those that help."""
    is_about_token = isinstance(error, (QuotaError, IdentityError, *TOKEN_ERRORS))
    if not is_about_token or isinstance(error, LoginRequiredError):
        return EMPTY_HTML
    ways = [("token", "Add token")]
    if isinstance(error, TOKEN_ERRORS):
        ways = [*ways, ("change", "Change token")]
    # Nothing is left for a shorter run, either. A Space that doesn't say so may have some.
    if isinstance(error, QuotaError) and error.remaining_seconds != 0:
        ways = [("turbo", "Use Turbo"), *ways]
    button = Markup('<button type="button" data-way="{}">{}</button>')
    return concat(button.format(name, text) for name, text in ways)


def day_time(moment: dt.datetime) -> Markup:
    """Return a moment of the next days as a part of a sentence: `Thursday at 9:38`."""
    day, clock = _day_and_clock(moment)
    return _time(moment, f"{day} at {clock}", Markup(' data-day="long"'))


def short_day_time(moment: dt.datetime) -> Markup:
    """Return a moment of the next days where there is little room: `9:38`, or `Thu 9:38`."""
    day, clock = _day_and_clock(moment)
    short_day = {"today": "", "tomorrow": day}.get(day, day[:3])
    return _time(moment, f"{short_day} {clock}".strip(), Markup(' data-day="short"'))


def _day_and_clock(moment: dt.datetime) -> tuple[str, str]:
    local_time = moment.astimezone()
    days = (local_time.date() - dt.datetime.now().astimezone().date()).days
    day = {0: "today", 1: "tomorrow"}.get(days, f"{local_time:%A}")
    return day, f"{local_time.hour}:{local_time:%M}"


def _time(moment: dt.datetime, text: str, attributes: Markup = EMPTY_HTML) -> Markup:
    # page.js shows the time by the reader's clock, which may not be the server's.
    return Markup('<time datetime="{}"{}>{}</time>').format(
        moment.isoformat(timespec="seconds"), attributes, text
    )


def _format_wait(moment: dt.datetime) -> str:
    """Return the time until a moment in whole minutes or hours."""
    minutes = max(1, math.ceil((moment - dt.datetime.now(dt.UTC)).total_seconds() / 60))
    if minutes < 100:
        return format_duration(minutes * 60)
    return format_duration(round(minutes / 60) * 3600)


def _remedy(text: str) -> Markup:
    """Return what to do: each numbered step on its own line, with links and commands."""
    first, *steps = [_marked(part) for part in _STEP_START.split(text)]
    lines = (Markup('<span class="step">{}</span>').format(step) for step in steps)
    return first + concat(lines)


def _marked(text: str) -> Markup:
    parts = []
    end = 0
    for match in _MARKED_PART.finditer(text):
        parts.append(Markup.escape(text[end : match.start()]))
        template = _COMMAND if match[1] else _LINK
        parts.append(template.format(match[1] or match[2]))
        end = match.end()
    return concat((*parts, Markup.escape(text[end:])))
