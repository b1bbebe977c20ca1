"""The exit code of each kind of error: the one table for commands, help and documentation."""

from dataclasses import dataclass
from typing import Final

from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    GenerationFailedError,
    IdentityError,
    InvalidRequestError,
    LibraryError,
    PictureError,
    QuotaError,
    RefusedError,
    SD35Error,
    StreamError,
)

__all__ = [
    "EXIT_CODES",
    "EXIT_SIGPIPE",
    "EXIT_UNEXPECTED",
    "SIGNAL_BASE",
    "ExitCode",
    "exit_code",
]

# Shells report a process that was ended by signal N as 128 + N.
SIGNAL_BASE: Final = 128

EXIT_UNEXPECTED: Final = 1
# Written out, as Windows has no signal.SIGPIPE.
EXIT_SIGPIPE: Final = SIGNAL_BASE + 13


@dataclass(frozen=True, slots=True)
class ExitCode:
    """An exit code and the errors that it stands for."""

    code: int
    meaning: str
    error_types: tuple[type[SD35Error], ...] = ()


EXIT_CODES: Final = (
    ExitCode(0, "success"),
    ExitCode(EXIT_UNEXPECTED, "unexpected error", (SD35Error,)),
    ExitCode(2, "invalid command line, or not supported by the Space", (InvalidRequestError,)),
    ExitCode(
        3,
        "the Space is unavailable: unreachable, not found, asleep or in error",
        (ConnectionFailedError,),
    ),
    ExitCode(4, "the token or login is missing, invalid or has no access", (AccessDeniedError,)),
    ExitCode(5, "GPU quota used up, or you couldn't be identified", (QuotaError, IdentityError)),
    ExitCode(6, "busy: no GPU available, queue full or too many requests", (RefusedError,)),
    ExitCode(7, "generation failed or was cancelled at the Space", (GenerationFailedError,)),
    ExitCode(8, "the connection broke or timed out during generation", (StreamError,)),
    ExitCode(
        9, "the image is unusable, or a file couldn't be written", (PictureError, LibraryError)
    ),
    ExitCode(SIGNAL_BASE + 2, "stopped by Ctrl+C"),
    ExitCode(EXIT_SIGPIPE, "output closed (SIGPIPE)"),
    ExitCode(SIGNAL_BASE + 15, "stopped by SIGTERM"),
)

_CODES: Final = {error_type: entry.code for entry in EXIT_CODES for error_type in entry.error_types}


def exit_code(error: SD35Error) -> int:
    """Return the exit code of an error: that of the most specific class with an entry."""
    # AccessDeniedError is a ConnectionFailedError, for example, with a code of its own.
    return next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)
