"""From the messages and statuses of a Space to errors. Pure, and mostly data.

The messages are those of the `spaces` package (ZeroGPU, versions 0.19 to 0.51), of Gradio's queue
(4 to 6), of Hugging Face's proxy and of its Hub. None of them has a code: the text is all there is.
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

from sd35.client.redaction import redact, secrets_version
from sd35.core.errors import (
    AbortedError,
    AccessDeniedError,
    BusyError,
    GenerationFailedError,
    IdentityError,
    IdentityExpiredError,
    InvalidRequestError,
    LoginPageError,
    LoginRequiredError,
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
from sd35.core.text import one_line

__all__ = [
    "RUN_ERROR_PATTERNS",
    "STAGE_ERRORS",
    "ErrorPattern",
    "asks_for_basic",
    "error_for_stage",
    "error_for_status",
    "parse_run_error",
    "sanitize",
]

MAX_MESSAGE_CHARACTERS = 400  # the longest message of a Space that is shown
MAX_READ_CHARACTERS = 2048  # with its markup and its secrets

# A server whose clock is wrong may ask for years.
MAX_RETRY_AFTER_SECONDS = 366 * 86400


@dataclass(frozen=True, slots=True)
class ErrorPattern:
    """One kind of failure: the pattern of its message or else its title, the error, the remedy.

    `remedy` is `None` where that of the error class fits.
    """

    pattern: str
    error: type[SD35Error]
    remedy: str | None = None
    title: str | None = None


# The kinds of failure of a run, in the order in which they are tried.
RUN_ERROR_PATTERNS: Final = (
    ErrorPattern(
        r"app has reached its GPU limit",
        IdentityError,
        "The Space couldn't identify you. Add a Hugging Face token (HF_TOKEN) and try again.",
    ),
    ErrorPattern(r"expired ZeroGPU proxy token", IdentityExpiredError),
    ErrorPattern(
        r"requested GPU duration .* larger than the maximum allowed",
        QuotaError,
        "Use a token with more GPU time (HF_TOKEN), or choose another Space.",
        title="illegal duration",
    ),
    ErrorPattern(
        r"too many ZeroGPU credits",
        BusyError,
        "Too many jobs at once. Wait for the others to finish.",
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
        r"(?:greater|less|larger|smaller) than (?:the )?(?:maximum|minimum) value"
        r"|not in the list of choices",
        InvalidRequestError,
        "The Space's limits may have changed. Reconnect and try again.",
    ),
    ErrorPattern(
        r"out ?of ?memory",
        GenerationFailedError,
        "Not enough GPU memory. Try a smaller size.",
    ),
    ErrorPattern(
        r"\b(?:invalid|expired|missing) "
        r"(?:(?:hf|hugging ?face|access|api|auth|user|bearer)\w* ){0,2}token\b"
        r"|not authenticated|log ?in to use",
        AccessDeniedError,
    ),
)

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
        (
            r"unlogged|authenticate with a|sign-?up|huggingface\.co/join|create a free account"
            r"|log ?in to get"
        ),
    ),
    ("pro", r"\bpro (?:zero)?gpu quota|add credits"),
    ("free", r"\bfree (?:zero)?gpu quota|subscribe|upgrade|^user is run"),
)
_QUOTA_REMEDIES: Final = {
    "anonymous": "Add a free Hugging Face token (HF_TOKEN) for more.",
    "free": "Upgrade to PRO for more.",
    "pro": "Add credits to your Hugging Face account for more.",
}

# The repeats are bounded: a long text of a hostile Space would otherwise take quadratic time.
_TAG_PATTERN = re.compile(r"</?[A-Za-z!][^<>]{0,500}>")
_QUOTED_PATTERN = re.compile(r"""(['"])(.*)\1""", re.DOTALL)
# ZeroGPU's sentence about a duration lacks its end: "the maximum allowedSubscribe to …".
_MISSING_END_PATTERN = re.compile(r"(?<=maximum allowed)(?=[A-Z])")
_EXCEPTION_NAME_PATTERN = re.compile(r"[A-Za-z_.]{0,60}(?:Error|Exception)")


def sanitize(text: object) -> str:
    """Return a Space's text as one short line without markup, enclosing quotes and secrets.

    All words of a Space pass through here before they are kept, logged or shown. What isn't a text
    or a number is empty.
    """
    if not isinstance(text, str | int | float):
        return ""
    return _sanitize(str(text)[: MAX_READ_CHARACTERS + 1], secrets_version())


@lru_cache(maxsize=512)  # every step of every run has the same unit and description
def _sanitize(text: str, _secrets_version: int) -> str:
    # Twice, for tags that were escaped.
    plain_text = _TAG_PATTERN.sub("", html.unescape(_TAG_PATTERN.sub("", text)))
    result = one_line(redact(plain_text))
    # ZeroGPU's worker sends the repr of an exception's text: "'ValueError'".
    while quoted_match := _QUOTED_PATTERN.fullmatch(result):
        result = quoted_match[2].strip()
    result = _MISSING_END_PATTERN.sub(". ", result)
    if len(result) > MAX_MESSAGE_CHARACTERS:
        return result[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    if len(text) > MAX_READ_CHARACTERS:
        # The last word may be the beginning of a secret that was cut off.
        return result.rpartition(" ")[0] + "…"
    return result


def parse_run_error(text: object, title: object = None) -> SD35Error:
    """Return the error for the `error` and `title` of a failed run.

    The `error` is `None` in a Space without `show_error=True`, which is the default.
    """
    message = sanitize(text) if isinstance(text, str) else ""
    if not message:
        return GenerationFailedError("The Space reported an error without details.")
    title_text = sanitize(title).lower() if isinstance(title, str) else ""
    # Messages first: several kinds share the title "ZeroGPU quota exceeded".
    matches = [
        *(kind for kind in RUN_ERROR_PATTERNS if re.search(kind.pattern, message, re.IGNORECASE)),
        *(kind for kind in RUN_ERROR_PATTERNS if kind.title and kind.title in title_text),
    ]
    if not matches:
        return GenerationFailedError(_format_message(message))
    if matches[0].error is QuotaError:
        return _quota_error(message, matches[0].remedy)
    return matches[0].error(_format_message(message), matches[0].remedy)


def _format_message(message: str) -> str:
    if _EXCEPTION_NAME_PATTERN.fullmatch(message):
        return f"The Space reported an error: {message}."
    return f"The Space says: {message}" + ("" if message.endswith((".", "!", "?", "…")) else ".")


def _quota_error(message: str, remedy: str | None) -> QuotaError:
    account = next(
        (name for name, pattern in _ACCOUNT_PATTERNS if re.search(pattern, message, re.IGNORECASE)),
        None,
    )
    account_remedy = None if account is None else _QUOTA_REMEDIES[account]
    error = QuotaError(_format_message(message), remedy or account_remedy)
    error.account = account
    if match := _QUOTA_SECONDS_PATTERN.search(message):
        # ZeroGPU has sent them in both orders.
        seconds = {match[2].lower(): int(match[1]), match[4].lower(): int(match[3])}
        error.requested_seconds = seconds.get("requested")
        error.remaining_seconds = seconds.get("left")
    retry_delay = _parse_retry_delay(message)
    if retry_delay is not None:
        error.set_retry_after(retry_delay)
    return error


def _parse_retry_delay(message: str) -> int | None:
    """Return the seconds in a message; ZeroGPU's 0:00:00 means unknown, not now."""
    if match := _RETRY_DURATION_PATTERN.search(message):
        days, hours, minutes, seconds = (int((part or "0")[:6]) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None
    if match := _RETRY_UNIT_PATTERN.search(message):
        return int(match[1]) * _SECONDS_PER_UNIT[match[2][0].lower()] or None
    return None


# The stages of a Space at the Hub: the error, and the end of its sentence.
STAGE_ERRORS: Final[Mapping[str, tuple[type[SD35Error] | None, str]]] = {
    "RUNNING": (None, ""),
    "RUNNING_BUILDING": (None, ""),
    "RUNNING_APP_STARTING": (None, ""),
    "STOPPED": (SpaceAsleepError, "is asleep"),
    "SLEEPING": (SpaceAsleepError, "is asleep"),
    "BUILDING": (SpaceAsleepError, "is being built"),
    "APP_STARTING": (SpaceAsleepError, "is starting"),
    "PAUSED": (SpacePausedError, "was paused by its owner"),
    "NO_APP_FILE": (SpaceBrokenError, "has no app yet"),
    "CONFIG_ERROR": (SpaceBrokenError, "isn't running: its configuration is invalid"),
    "BUILD_ERROR": (SpaceBrokenError, "isn't running: its build failed"),
    "RUNTIME_ERROR": (SpaceBrokenError, "isn't running: its program crashed"),
    "DELETING": (SpaceBrokenError, "is being deleted"),
}


def error_for_stage(name: str, stage: str) -> SD35Error | None:
    """Return the error for a stage at the Hub; `None` for a running Space and unknown stages."""
    error_class, state_text = STAGE_ERRORS.get(stage, (None, ""))
    return None if error_class is None else error_class(f"{name} {state_text}.")


# The errors for some HTTP statuses, with their sentences and remedies.
STATUS_ERRORS: Final[Mapping[int, tuple[type[SD35Error], str, str | None]]] = {
    401: (AccessDeniedError, "The Space requires a valid token or a login.", None),
    403: (AccessDeniedError, "The Space requires a valid token or a login.", None),
    404: (SpaceNotFoundError, "Nothing found at this address.", None),
    407: (
        UnreachableError,
        "The proxy requires a login.",
        "Add the username and password to the proxy's address.",
    ),
    413: (
        MalformedRequestError,
        "The request is too large for the Space.",
        "Try a shorter prompt.",
    ),
    429: (RateLimitedError, "The Space has received too many requests.", None),
    # RFC 6585: never the server's own answer.
    511: (LoginPageError, "Your network requires a login.", None),
}


def error_for_status(status: int, body: str, headers: Mapping[str, str] | None = None) -> SD35Error:
    """Return the error for an HTTP status other than 200."""
    server_message = _error_message(body)
    retry_delay = _parse_retry_after(headers or {})
    if status == 401 and _asks_for_login(server_message, headers or {}):
        error: SD35Error = LoginRequiredError("The Space requires a username and a password.")
    elif status in STATUS_ERRORS:
        error_class, message, remedy = STATUS_ERRORS[status]
        error = error_class(message, remedy)
    elif status >= 500:
        error = _server_error(status, server_message)
    elif status >= 400:
        reason = server_message or "no reason given"
        error = MalformedRequestError(f"The Space rejected the request ({status}): {reason}.")
    elif status >= 300:
        error = SpaceNotFoundError("The Space redirected to an address that can't be used.")
    else:
        error = ProtocolError(f"The Space answered with an unexpected status ({status}).")
    if retry_delay is not None and error.may_pass:
        error.set_retry_after(retry_delay)
    return error


def _asks_for_login(server_message: str, headers: Mapping[str, str]) -> bool:
    """Return whether a refusal is that of Gradio's `auth=`, or of a proxy with a login."""
    return "Not authenticated" in server_message or asks_for_basic(headers)


def asks_for_basic(headers: Mapping[str, str]) -> bool:
    """Return whether a server asks for a username and a password by HTTP Basic (RFC 7617)."""
    return re.search(r"\bbasic\b", headers.get("WWW-Authenticate", ""), re.IGNORECASE) is not None


# The last six are Cloudflare's, for a server that it can't reach.
_GATEWAY_STATUSES: Final = {502, 503, 504, 520, 521, 522, 523, 524, 530}


def _server_error(status: int, message: str) -> SD35Error:
    lowercase_message = message.lower()
    if "queue is full" in lowercase_message:
        return QueueFullError("The Space's queue is full.")
    if "queue is stopped" in lowercase_message:
        return SpaceStoppedError("The Space is restarting.")
    if "space is in error" in lowercase_message:
        return SpaceBrokenError("The Space is down or paused.")
    if status in _GATEWAY_STATUSES:
        error = SpaceAsleepError("The Space is starting or restarting.")
        # A gateway answers 503 without having passed the request on; after 502 and 504 it may have
        # arrived.
        error.was_sent = status != 503
        return error
    reason = f": {message}" if message else ""
    return ProtocolError(f"The Space failed to answer ({status}){reason}.")


def _error_message(body: str) -> str:
    """Return the message of a body: Gradio's `detail`, the Hub's `error`, or a plain text."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Gateways and reverse proxies answer with a page, which is no message for a person.
        is_html = re.search(r"<(?:!doctype|html|head|body|div)\b", body, re.IGNORECASE) is not None
        return "" if is_html else sanitize(body).rstrip(".")
    if not isinstance(payload, dict):
        return ""
    value = next((payload[key] for key in ("detail", "error", "message") if payload.get(key)), "")
    return sanitize(value if isinstance(value, str) else orjson.dumps(value).decode()).rstrip(".")


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in `Retry-After` (RFC 9110: a number or a date) or `RateLimit` (`t=…`)."""
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
