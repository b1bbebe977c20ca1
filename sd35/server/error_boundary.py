"""The end of every request that fails: an answer, and at most one short line in the log.

Without it, a request of 64 bytes could write a traceback of 5 kB, as often as a stranger likes.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ErrorBoundary", "describe_error", "limit_log_lines"]

log = logging.getLogger(__name__)

# Lines of libraries may be caused by requests, and so by strangers, as those of the server are.
OWN_LOGGERS: Final = "sd35."
SERVER_LOGGERS: Final = "sd35.server."

# The boundary has closed the connection on purpose, and said why; and a hint for developers, after
# a line about the same request.
_SUPERFLUOUS_LINES: Final = (
    "ASGI callable returned without completing response.",
    "No supported WebSocket library detected.",
)

MAX_LINE_LENGTH: Final = 200
MAX_LINES: Final = 20
PERIOD_SECONDS: Final = 60.0


class ErrorBoundary:
    """ASGI middleware that turns an unforeseen error into a line of the log, and an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end its response if that fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False
        is_complete = False

        async def send_and_observe(message: Message) -> None:
            nonlocal is_started, is_complete
            await send(message)
            is_started = True
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self._app(scope, receive, send_and_observe)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            causes = list(_causes(error))
            is_refused = any(isinstance(cause, HTTPException) for cause in causes)
            is_gone = any(isinstance(cause, ClientDisconnect) for cause in causes)
            if not is_refused and not is_gone:
                log.error("%s: %s", scope["method"], describe_error(error))  # noqa: TRY400  # one line
            if not is_started:
                await PlainTextResponse("Something went wrong.", 500)(scope, receive, send)
            elif is_refused and not is_complete:
                # The stream of an unknown session, in which Gradio has sent the error. Other bodies
                # stay incomplete, by which clients know: uvicorn closes the connection.
                await send({"type": "http.response.body", "body": b""})


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _causes(part)
    elif error.__cause__ is not None:
        yield from _causes(error.__cause__)


def describe_error(error: BaseException) -> str:
    """Return the class of an error, and where it was raised.

    Not its message, which may contain a visitor's text or a token.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__
    file = Path(traceback.tb_frame.f_code.co_filename)
    return f"{type(error).__name__} at {file.parent.name}/{file.name}:{traceback.tb_lineno}"


class _LineLimiter(logging.Filter):
    """Filter that lets a few lines per logger and minute through, without tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # each server logs from its own thread
        self._period_start = 0.0
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line may be written."""
        if record.name.startswith(OWN_LOGGERS) and not record.name.startswith(SERVER_LOGGERS):
            return True
        # Each handler asks, about the same record.
        attributes = vars(record)
        if "is_within_limit" not in attributes:
            attributes["is_within_limit"] = self._shorten_and_count(record)
        is_within_limit: bool = attributes["is_within_limit"]
        return is_within_limit

    def _shorten_and_count(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(_SUPERFLUOUS_LINES):
            return False
        message = record.getMessage().partition("\n")[0][:MAX_LINE_LENGTH]
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            message = f"{message}: {describe_error(error)}"
        with self._lock:
            now = time.monotonic()
            if now - self._period_start > PERIOD_SECONDS:
                self._period_start = now
                self._counts.clear()
            self._counts[record.name] += 1
            count = self._counts[record.name]
        if count == MAX_LINES:
            message += " (no more such lines for a minute)"
        record.msg = message
        record.args = None
        record.exc_info = None
        return count <= MAX_LINES


_line_limiter = _LineLimiter()


def limit_log_lines() -> None:
    """Limit what requests can write through the handlers that exist now."""
    handlers = [*logging.getLogger().handlers, *logging.getLogger("uvicorn").handlers]
    # Python's own, for programs that configure no logging.
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)
    for handler in handlers:
        handler.addFilter(_line_limiter)
