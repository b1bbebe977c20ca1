"""What a refusal says → the error it is. Pure, and mostly data.

The wordings are those of the `spaces` package (ZeroGPU, versions 0.19 to 0.51), of Gradio's queue
(4 to 6), of Hugging Face's proxy and of its Hub.
"""

import datetime as dt
import email.utils
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import orjson

from sd35.core.errors import (
    AbortedError,
    AccessDeniedError,
    BusyError,
    GenerationFailedError,
    IdentityError,
    IdentityExpiredError,
    InvalidRequestError,
    MalformedRequestError,
    ProtocolError,
    QueueFullError,
    QuotaError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    SpacePausedError,
    SpaceStoppedError,
    UnreachableError,
)

__all__ = [
    "RUN_ERROR_PATTERNS",
    "STAGE_ERRORS",
    "ErrorPattern",
    "error_for_stage",
    "error_for_status",
    "parse_run_error",
    "sanitize",
]

MAX_MESSAGE_CHARACTERS = 400
"""Characters of a Space's own words that are shown."""

MAX_RETRY_AFTER_SECONDS = 366 * 86400
"""A header that says to come back later than this isn't believed."""


@dataclass(frozen=True, slots=True)
class ErrorPattern:
    """One way in which a Space refuses: its words (or else its title) → the error, and what to do about it.

    `remedy` is `None` where that of the error's kind serves.
    """

    pattern: str
    error: type[SD35Error]
    remedy: str | None = None
    title: str | None = None

    def matches(self, message: str) -> bool:
        """Whether these are the words of this refusal."""
        return re.search(self.pattern, message, re.IGNORECASE) is not None

    def matches_title(self, title: str) -> bool:
        """Whether this is the title of this refusal."""
        return self.title is not None and self.title in title.lower()


RUN_ERROR_PATTERNS: Final = (
    ErrorPattern(
        r"app has reached its GPU limit",
        IdentityError,
        "It wasn't told whose quota to use: set HF_TOKEN to a token, then generate again.",
    ),
    ErrorPattern(r"expired ZeroGPU proxy token", IdentityExpiredError),
    ErrorPattern(
        r"requested GPU duration .* larger than the maximum allowed",
        QuotaError,
        "Set HF_TOKEN to a token that may use more GPU time, or choose another Space.",
        title="illegal duration",
    ),
    ErrorPattern(
        r"too many ZeroGPU credits",
        BusyError,
        "Let your other runs end first, then try again: fewer at once.",
        title="pending credits",
    ),
    ErrorPattern(r"no GPU (?:was|is) (?:currently )?available", BusyError, title="queue timeout"),
    ErrorPattern(
        r"GPU quotas?\b|exceeded your .{0,40}\bquota\b|\bruns limit\b",
        QuotaError,
        title="quota exceeded",
    ),
    ErrorPattern(r"queue is full", QueueFullError),
    ErrorPattern(r"GPU task aborted", AbortedError),
    ErrorPattern(
        r"(?:greater|less|larger|smaller) than (?:the )?(?:maximum|minimum) value|not in the list of choices",
        InvalidRequestError,
        "Connect again: the Space's limits may have changed.",
    ),
    ErrorPattern(
        r"out ?of ?memory",
        GenerationFailedError,
        "Its GPU's memory is too small for this: try a smaller size.",
    ),
    ErrorPattern(
        r"\b(?:invalid|expired|missing) (?:(?:hf|hugging ?face|access|api|auth|user|bearer)\w* ){0,2}token\b"
        r"|not authenticated|log ?in to use",
        AccessDeniedError,
    ),
    ErrorPattern(r"", GenerationFailedError),  # whatever else it says, in its own words
)
"""In the order in which they are tried: first each one's words, then each one's title."""

_RETRY_DURATION_PATTERN = re.compile(
    r"(?:re)?try (?:again )?in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", re.IGNORECASE
)
_RETRY_UNIT_PATTERN = re.compile(
    r"(?:re)?try (?:again )?(?:in|after) (\d{1,6}) ?(s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
_QUOTA_SECONDS_PATTERN = re.compile(
    r"(\d{1,9})s (requested|left) vs\. (\d{1,9})s (requested|left)", re.IGNORECASE
)
_SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600}

_ACCOUNT_PATTERNS: Final = (
    (
        "anonymous",
        r"unlogged|authenticate with a|sign-?up|huggingface\.co/join|create a free account|log ?in to get",
    ),
    ("pro", r"\bpro (?:zero)?gpu quota|add credits"),
    ("free", r"\bfree (?:zero)?gpu quota|subscribe|upgrade|^user is run"),
)
_QUOTA_REMEDIES: Final = {
    "anonymous": "Without a token there is about one picture a day: set HF_TOKEN to one of a Hugging Face account, "
    "which is free, for more.",
    "free": "A PRO account of Hugging Face has more.",
    "pro": "Credits can be added to your Hugging Face account for more.",
}

_TAG_PATTERN = re.compile(r"</?[A-Za-z!][^<>]{0,500}>")
_QUOTED_PATTERN = re.compile(r"""(['"])(.*)\1""", re.DOTALL)
_EXCEPTION_NAME_PATTERN = re.compile(r"[A-Za-z_.]{0,60}(?:Error|Exception)")


def sanitize(text: object) -> str:
    """Return a Space's words fit to be read: no markup, no wrapping quotes, one line, not endless."""
    return _sanitize(str(text)[: 4 * MAX_MESSAGE_CHARACTERS])


@lru_cache(maxsize=512)  # the same unit and description come with each step
def _sanitize(text: str) -> str:
    untagged_text = _TAG_PATTERN.sub("", html.unescape(_TAG_PATTERN.sub("", text)))
    printable = "".join(char if char.isprintable() else " " for char in untagged_text)
    result = " ".join(printable.split())
    while quoted_match := _QUOTED_PATTERN.fullmatch(result):
        result = quoted_match[2].strip()
    return (
        result
        if len(result) <= MAX_MESSAGE_CHARACTERS
        else result[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    )


def parse_run_error(text: object, title: object = None) -> SD35Error:
    """Return the error that a failed run's `error` and `title` speak of; `text` is `None` where the Space hides it."""
    message = sanitize(text) if isinstance(text, str) else ""
    if not message:
        return GenerationFailedError("The run failed inside the Space, and it doesn't say why.")
    title_text = sanitize(title).lower() if isinstance(title, str) else ""
    *specific_patterns, fallback_pattern = RUN_ERROR_PATTERNS
    error_pattern = next(
        (candidate for candidate in specific_patterns if candidate.matches(message)),
        next(
            (candidate for candidate in specific_patterns if candidate.matches_title(title_text)),
            fallback_pattern,
        ),
    )
    if error_pattern.error is QuotaError:
        return _quota_error(message, error_pattern.remedy)
    return error_pattern.error(_format_message(message), error_pattern.remedy)


def _format_message(message: str) -> str:
    if _EXCEPTION_NAME_PATTERN.fullmatch(message):
        return f"The run failed inside the Space: {message}."
    return f"The Space says: {message}" + ("" if message.endswith((".", "!", "?", "…")) else ".")


def _quota_error(message: str, remedy: str | None) -> QuotaError:
    account = next(
        (name for name, pattern in _ACCOUNT_PATTERNS if re.search(pattern, message, re.IGNORECASE)),
        None,
    )
    match = _QUOTA_SECONDS_PATTERN.search(message)
    seconds_by_label = (
        {match[2].lower(): int(match[1]), match[4].lower(): int(match[3])} if match else {}
    )
    error = QuotaError(
        _format_message(message),
        remedy or (_QUOTA_REMEDIES[account] if account else None),
        account=account,
        requested_seconds=seconds_by_label.get("requested"),
        remaining_seconds=seconds_by_label.get("left"),
    )
    retry_delay = _parse_retry_delay(message)
    if retry_delay is not None:
        error.set_retry_after(retry_delay)
    return error


def _parse_retry_delay(message: str) -> int | None:
    """When to try again, in seconds; 0:00:00 means unknown, not now."""
    if match := _RETRY_DURATION_PATTERN.search(message):
        days, hours, minutes, seconds = (int((part or "0")[:6]) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None
    if match := _RETRY_UNIT_PATTERN.search(message):
        return int(match[1]) * _SECONDS_PER_UNIT[match[2][0].lower()] or None
    return None


STAGE_ERRORS: Final[Mapping[str, tuple[type[SD35Error] | None, str]]] = {
    "RUNNING": (None, ""),
    "RUNNING_BUILDING": (None, ""),
    "RUNNING_APP_STARTING": (None, ""),
    "STOPPED": (SpaceAsleepError, "is asleep"),
    "SLEEPING": (SpaceAsleepError, "is asleep"),
    "BUILDING": (SpaceAsleepError, "is being built"),
    "APP_STARTING": (SpaceAsleepError, "is starting"),
    "PAUSED": (SpacePausedError, "was paused by its owner"),
    "NO_APP_FILE": (SpaceBrokenError, "has no program yet"),
    "CONFIG_ERROR": (SpaceBrokenError, "isn't running: its configuration is wrong"),
    "BUILD_ERROR": (SpaceBrokenError, "isn't running: building it failed"),
    "RUNTIME_ERROR": (SpaceBrokenError, "isn't running: its program failed"),
    "DELETING": (SpaceBrokenError, "is being deleted"),
}
"""What the Hub reports of a Space: the error that it is, and how to say it. A visit wakes one that is asleep."""


def error_for_stage(name: str, stage: str) -> SD35Error | None:
    """Return the error that a Space's stage at the Hub is; `None` if it runs, or the stage isn't known."""
    error_class, state_text = STAGE_ERRORS.get(stage, (None, ""))
    return None if error_class is None else error_class(f"{name} {state_text}.")


STATUS_ERRORS: Final[Mapping[int, tuple[type[SD35Error], str, str | None]]] = {
    401: (
        AccessDeniedError,
        "The Space doesn't let this request in: it is private, or wants a token or a login.",
        None,
    ),
    403: (
        AccessDeniedError,
        "The Space doesn't let this request in: it is private, or wants a token or a login.",
        None,
    ),
    404: (SpaceNotFoundError, "There is nothing at this address.", None),
    407: (
        UnreachableError,
        "The proxy wants a login.",
        "Put its user and password into the proxy's address.",
    ),
    413: (
        MalformedRequestError,
        "The request is too large for the Space.",
        "Try a shorter prompt.",
    ),
    429: (RateLimitedError, "The Space has had too many requests from here.", None),
}
"""What an HTTP status speaks of, where it isn't a run's own answer: the error, its sentence and its remedy."""


def error_for_status(status: int, body: str, headers: Mapping[str, str] | None = None) -> SD35Error:
    """Return the error that an HTTP status other than 200 speaks of, where it isn't a run's own answer."""
    server_message = _error_message(body)
    retry_delay = _parse_retry_after(headers or {})
    if status in STATUS_ERRORS:
        error_class, message, remedy = STATUS_ERRORS[status]
        error = error_class(message, remedy)
    elif status >= 500:
        error = _server_error(status, server_message)
    elif status >= 400:
        reason = server_message or "no reason given"
        error = MalformedRequestError(
            f"The Space doesn't accept this program's request ({status}): {reason}."
        )
    elif status >= 300:
        error = SpaceNotFoundError("The Space sends this request elsewhere, which isn't followed.")
    else:
        error = ProtocolError(f"The Space answered {status}, which is not expected.")
    if retry_delay is not None and error.may_pass:
        error.set_retry_after(retry_delay)
    return error


def _server_error(status: int, message: str) -> SD35Error:
    lowercase_message = message.lower()
    if "queue is full" in lowercase_message:
        return QueueFullError("The Space's queue is full.")
    if "queue is stopped" in lowercase_message:
        return SpaceStoppedError("The Space is restarting.")
    if "space is in error" in lowercase_message:
        return SpaceBrokenError("The Space is in error or paused.")
    if status in {502, 503, 504}:
        error = SpaceAsleepError("The Space is starting or restarting.")
        error.was_sent = status != 503
        return error
    return ProtocolError(
        f"The Space failed to answer ({status}){f': {message}' if message else ''}."
    )


def _error_message(body: str) -> str:
    """What an answer's body says, if that is a sentence: Gradio's `detail`, the Hub's `error`, or plain text."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        is_html = re.search(r"<(?:!doctype|html|head|body|div)\b", body, re.IGNORECASE) is not None
        return "" if is_html else sanitize(body).rstrip(".")
    for key in ("detail", "error", "message"):
        if isinstance(payload, dict) and payload.get(key):
            return sanitize(
                payload[key]
                if isinstance(payload[key], str)
                else orjson.dumps(payload[key]).decode()
            ).rstrip(".")
    return ""


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` (RFC 9110: a number or a date) or else `RateLimit` (…;t=number) ask for."""
    header = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", header):
        return _plausible_delay(int(header))
    if header:
        try:
            retry_at = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        return _plausible_delay((retry_at - dt.datetime.now(retry_at.tzinfo)).total_seconds())
    rate_limit_match = re.search(r";\s*t=(\d{1,9})\b", headers.get("RateLimit", ""))
    return _plausible_delay(int(rate_limit_match[1])) if rate_limit_match else None


def _plausible_delay(seconds: float) -> float | None:
    return seconds if 0 < seconds <= MAX_RETRY_AFTER_SECONDS else None
