"""The words of a refusal → the error it is. Pure.

The wordings are those of the `spaces` package (ZeroGPU), of Gradio's queue, and of Hugging Face's proxy.
"""

import html
import re
from collections.abc import Callable

from sd35.errors import (
    AbortedError,
    AccessDeniedError,
    BusyError,
    GenerationFailedError,
    ProtocolError,
    QuotaError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    UnreachableError,
)

__all__ = ["clean", "error_of_run", "error_of_status"]

MAX_WORDS = 400
"""Characters of a Space's own words that are shown."""

_RETRY_IN = re.compile(r"(?:re)?try (?:again )?in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", re.IGNORECASE)
_TAG = re.compile(r"<[^>]{0,500}>")


def clean(text: object) -> str:
    """Return a Space's words fit to be read: no markup, no wrapping quotes, one line, not endless."""
    plain = html.unescape(_TAG.sub("", str(text)[: 4 * MAX_WORDS]))
    words = " ".join(plain.split()).strip("'\"").strip()
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


def _quota(words: str) -> SD35Error:
    return QuotaError(_sentence(words), retry_after_seconds=_retry_after(words))


def _retry_after(words: str) -> int | None:
    match = _RETRY_IN.search(words)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None  # 0:00:00 means unknown, not now


def _sentence(words: str) -> str:
    return f"The Space says: {words}" + ("" if words.endswith((".", "!", "?", "…")) else ".")


_KINDS: tuple[tuple[re.Pattern[str], Callable[[str], SD35Error]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), make)
    for pattern, make in (
        (r"quotas?\b|runs limit|GPU limit|illegal duration|maximum allowed", _quota),
        (
            r"no GPU (was|is)|too many ZeroGPU credits|queue is full",
            lambda words: BusyError(_sentence(words)),
        ),
        (r"GPU task aborted", lambda words: AbortedError(_sentence(words))),
        (r"token", lambda words: AccessDeniedError(_sentence(words))),
    )
)


def error_of_run(text: object, title: object = None) -> SD35Error:
    """Return the error that a failed run's `error` and `title` speak of; `text` is `None` where the Space hides it."""
    words = clean(text) if text else ""
    if not words:
        return GenerationFailedError("The run failed inside the Space, and it doesn't say why.")
    heading = clean(title) if title else ""
    for pattern, make in _KINDS:
        if pattern.search(words) or pattern.search(heading):
            return make(words)
    return GenerationFailedError(_sentence(words))


def error_of_status(status: int, body: str) -> SD35Error:
    """Return the error that an HTTP status other than 2xx speaks of, where it isn't a run's own answer."""
    words = clean(body)
    if status in {401, 403}:
        return AccessDeniedError("The Space doesn't let this request in: it is private, or wants a token or a login.")
    if status == 404:
        return SpaceNotFoundError("There is nothing at this address.")
    if status == 429:
        return RateLimitedError("The Space has had too many requests from here.")
    if status in {400, 422}:
        return ProtocolError(
            f"The Space doesn't accept this program's request ({status}): {words or 'no reason given'}."
        )
    if status >= 500:
        return _server_error(status, words)
    return UnreachableError(f"The Space answered {status}, which is not expected.")


def _server_error(status: int, words: str) -> SD35Error:
    lowered = words.lower()
    if "queue is full" in lowered:
        return BusyError("The Space's queue is full.")
    if "space is in error" in lowered:
        return SpaceBrokenError("The Space is in error or paused.")
    if status in {502, 503, 504}:
        return SpaceAsleepError("The Space is starting or restarting.")
    return ProtocolError(f"The Space failed to take the request ({status}).")
