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
    "RUN_WORDINGS",
    "STAGES",
    "Wording",
    "clean",
    "error_of_run",
    "error_of_stage",
    "error_of_status",
]

MAX_WORDS = 400
"""Characters of a Space's own words that are shown."""

MAX_RETRY_AFTER_SECONDS = 366 * 86400
"""A header that says to come back later than this isn't believed."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One way in which a Space refuses: its words (or else its title) → the error, and what to do about it.

    `remedy` is `None` where that of the error's kind serves.
    """

    words: str
    error: type[SD35Error]
    remedy: str | None = None
    title: str | None = None

    def matches(self, words: str) -> bool:
        """Whether these are the words of this refusal."""
        return re.search(self.words, words, re.IGNORECASE) is not None

    def is_under(self, title: str) -> bool:
        """Whether this is the title of this refusal."""
        return self.title is not None and self.title in title.lower()


RUN_WORDINGS: Final = (
    Wording(
        r"app has reached its GPU limit",
        IdentityError,
        "It wasn't told whose quota to use: set HF_TOKEN to a token, then generate again.",
    ),
    Wording(r"expired ZeroGPU proxy token", IdentityExpiredError),
    Wording(
        r"requested GPU duration .* larger than the maximum allowed",
        QuotaError,
        "Set HF_TOKEN to a token that may use more GPU time, or choose another Space.",
        title="illegal duration",
    ),
    Wording(
        r"too many ZeroGPU credits",
        BusyError,
        "Let your other runs end first, then try again: fewer at once.",
        title="pending credits",
    ),
    Wording(r"no GPU (?:was|is) (?:currently )?available", BusyError, title="queue timeout"),
    Wording(
        r"GPU quotas?\b|exceeded your .{0,40}\bquota\b|\bruns limit\b",
        QuotaError,
        title="quota exceeded",
    ),
    Wording(r"queue is full", QueueFullError),
    Wording(r"GPU task aborted", AbortedError),
    Wording(
        r"(?:greater|less|larger|smaller) than (?:the )?(?:maximum|minimum) value|not in the list of choices",
        InvalidRequestError,
        "Connect again: the Space's limits may have changed.",
    ),
    Wording(
        r"out ?of ?memory",
        GenerationFailedError,
        "Its GPU's memory is too small for this: try a smaller size.",
    ),
    Wording(
        r"\b(?:invalid|expired|missing) (?:(?:hf|hugging ?face|access|api|auth|user|bearer)\w* ){0,2}token\b"
        r"|not authenticated|log ?in to use",
        AccessDeniedError,
    ),
    Wording(r"", GenerationFailedError),  # whatever else it says, in its own words
)
"""In the order in which they are tried: first each one's words, then each one's title."""

_RETRY_IN = re.compile(
    r"(?:re)?try (?:again )?in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", re.IGNORECASE
)
_RETRY_UNITS = re.compile(
    r"(?:re)?try (?:again )?(?:in|after) (\d{1,6}) ?(s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
_SECONDS = re.compile(
    r"(\d{1,9})s (requested|left) vs\. (\d{1,9})s (requested|left)", re.IGNORECASE
)
_UNITS = {"s": 1, "m": 60, "h": 3600}

_ACCOUNTS: Final = (
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

_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,500}>")
_QUOTED = re.compile(r"""(['"])(.*)\1""", re.DOTALL)
_EXCEPTION = re.compile(r"[A-Za-z_.]{0,60}(?:Error|Exception)")


def clean(text: object) -> str:
    """Return a Space's words fit to be read: no markup, no wrapping quotes, one line, not endless."""
    return _clean(str(text)[: 4 * MAX_WORDS])


@lru_cache(maxsize=512)  # the same unit and description come with each step
def _clean(text: str) -> str:
    plain = _TAG.sub("", html.unescape(_TAG.sub("", text)))
    printable = "".join(letter if letter.isprintable() else " " for letter in plain)
    words = " ".join(printable.split())
    while quoted := _QUOTED.fullmatch(words):
        words = quoted[2].strip()
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


def error_of_run(text: object, title: object = None) -> SD35Error:
    """Return the error that a failed run's `error` and `title` speak of; `text` is `None` where the Space hides it."""
    words = clean(text) if isinstance(text, str) else ""
    if not words:
        return GenerationFailedError("The run failed inside the Space, and it doesn't say why.")
    heading = clean(title).lower() if isinstance(title, str) else ""
    *known, general = RUN_WORDINGS
    wording = next(
        (w for w in known if w.matches(words)),
        next((w for w in known if w.is_under(heading)), general),
    )
    if wording.error is QuotaError:
        return _quota(words, wording.remedy)
    return wording.error(_sentence(words), wording.remedy)


def _sentence(words: str) -> str:
    if _EXCEPTION.fullmatch(words):
        return f"The run failed inside the Space: {words}."
    return f"The Space says: {words}" + ("" if words.endswith((".", "!", "?", "…")) else ".")


def _quota(words: str, remedy: str | None) -> QuotaError:
    account = next(
        (name for name, signs in _ACCOUNTS if re.search(signs, words, re.IGNORECASE)), None
    )
    told = _SECONDS.search(words)
    seconds = {told[2].lower(): int(told[1]), told[4].lower(): int(told[3])} if told else {}
    error = QuotaError(
        _sentence(words),
        remedy or (_QUOTA_REMEDIES[account] if account else None),
        account=account,
        requested_seconds=seconds.get("requested"),
        left_seconds=seconds.get("left"),
    )
    wait = _retry_in(words)
    if wait is not None:
        error.come_back_after(wait)
    return error


def _retry_in(words: str) -> int | None:
    """When to try again, in seconds; 0:00:00 means unknown, not now."""
    if match := _RETRY_IN.search(words):
        days, hours, minutes, seconds = (int((part or "0")[:6]) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None
    if match := _RETRY_UNITS.search(words):
        return int(match[1]) * _UNITS[match[2][0].lower()] or None
    return None


STAGES: Final[Mapping[str, tuple[type[SD35Error] | None, str]]] = {
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


def error_of_stage(name: str, stage: str) -> SD35Error | None:
    """Return the error that a Space's stage at the Hub is; `None` if it runs, or the stage isn't known."""
    kind, words = STAGES.get(stage, (None, ""))
    return None if kind is None else kind(f"{name} {words}.")


STATUSES: Final[Mapping[int, tuple[type[SD35Error], str, str | None]]] = {
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


def error_of_status(status: int, body: str, headers: Mapping[str, str] | None = None) -> SD35Error:
    """Return the error that an HTTP status other than 200 speaks of, where it isn't a run's own answer."""
    words = _words_of(body)
    wait = _retry_after(headers or {})
    if status in STATUSES:
        kind, sentence, remedy = STATUSES[status]
        error = kind(sentence, remedy)
    elif status >= 500:
        error = _server_error(status, words)
    elif status >= 400:
        told = words or "no reason given"
        error = MalformedRequestError(
            f"The Space doesn't accept this program's request ({status}): {told}."
        )
    elif status >= 300:
        error = SpaceNotFoundError("The Space sends this request elsewhere, which isn't followed.")
    else:
        error = ProtocolError(f"The Space answered {status}, which is not expected.")
    if wait is not None and error.may_pass:
        error.come_back_after(wait)
    return error


def _server_error(status: int, words: str) -> SD35Error:
    lowered = words.lower()
    if "queue is full" in lowered:
        return QueueFullError("The Space's queue is full.")
    if "queue is stopped" in lowered:
        return SpaceStoppedError("The Space is restarting.")
    if "space is in error" in lowered:
        return SpaceBrokenError("The Space is in error or paused.")
    if status in {502, 503, 504}:
        error = SpaceAsleepError("The Space is starting or restarting.")
        error.was_sent = status != 503
        return error
    return ProtocolError(f"The Space failed to answer ({status}){f': {words}' if words else ''}.")


def _words_of(body: str) -> str:
    """What an answer's body says, if that is a sentence: Gradio's `detail`, the Hub's `error`, or plain text."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        is_page = re.search(r"<(?:!doctype|html|head|body|div)\b", body, re.IGNORECASE) is not None
        return "" if is_page else clean(body).rstrip(".")
    for name in ("detail", "error", "message"):
        if isinstance(told, dict) and told.get(name):
            return clean(
                told[name] if isinstance(told[name], str) else orjson.dumps(told[name]).decode()
            ).rstrip(".")
    return ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` (RFC 9110: a number or a date) or else `RateLimit` (…;t=number) ask for."""
    told = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", told):
        return _believable(int(told))
    if told:
        try:
            moment = email.utils.parsedate_to_datetime(told)
        except ValueError:
            return None
        return _believable((moment - dt.datetime.now(moment.tzinfo)).total_seconds())
    limit = re.search(r";\s*t=(\d{1,9})\b", headers.get("RateLimit", ""))
    return _believable(int(limit[1])) if limit else None


def _believable(seconds: float) -> float | None:
    return seconds if 0 < seconds <= MAX_RETRY_AFTER_SECONDS else None
