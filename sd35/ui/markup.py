"""Pieces of HTML that several views share.

`Markup.format` escapes everything that comes from a visitor or a Space.
"""

import re
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

from sd35.core.errors import QuotaError, SD35Error
from sd35.core.text import format_local_time

__all__ = ["EMPTY_HTML", "action_button", "concat", "error_message", "facts"]

EMPTY_HTML: Final = Markup("")

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
    # page.js shows the time by the reader's clock, which may not be the server's.
    time = Markup('<time datetime="{}">{}</time>').format(
        error.retry_at.isoformat(timespec="seconds"), format_local_time(error.retry_at)
    )
    if not isinstance(error, QuotaError):
        return Markup("{} Try again at {}. {}").format(error.happened, time, error.remedy)
    return Markup(
        "Your GPU quota is used up until {}.{} {}<details><summary>Details</summary>{}</details>"
    ).format(time, " The queue resumes then." if resumes else "", error.remedy, error.happened)


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
