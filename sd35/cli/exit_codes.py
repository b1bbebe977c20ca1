"""How the program ends: a number for each kind of error, as shells and scripts read it."""

import signal
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
    "EXIT_CODES_HELP",
    "EXIT_OK",
    "EXIT_SIGPIPE",
    "EXIT_UNEXPECTED",
    "ExitCode",
    "exit_code",
    "exit_code_for_signal",
]

EXIT_OK: Final = 0
EXIT_UNEXPECTED: Final = 1
EXIT_SIGPIPE: Final = 128 + 13
"""What a shell reports of a program whose output nobody reads any more (SIGPIPE; not every system has that)."""


@dataclass(frozen=True, slots=True)
class ExitCode:
    """One way in which the program ends."""

    code: int
    meaning: str
    error_types: tuple[type[SD35Error], ...] = ()


EXIT_CODES: Final = (
    ExitCode(EXIT_OK, "done"),
    ExitCode(
        2,
        "the command line is wrong, or the Space doesn't make what was asked for",
        (InvalidRequestError,),
    ),
    ExitCode(4, "a token is needed, not valid, or may not see the Space", (AccessDeniedError,)),
    ExitCode(
        3,
        "the Space can't be used: not reached, not found, asleep, in error",
        (ConnectionFailedError,),
    ),
    ExitCode(
        5, "the GPU quota is used up, or whose it is wasn't told", (QuotaError, IdentityError)
    ),
    ExitCode(6, "busy: no GPU is free, the queue is full, too many requests", (RefusedError,)),
    ExitCode(7, "the run failed, or was ended, inside the Space", (GenerationFailedError,)),
    ExitCode(8, "the connection broke, or went silent, during the run", (StreamError,)),
    ExitCode(
        9, "the picture can't be used, or a file can't be written", (PictureError, LibraryError)
    ),
    ExitCode(EXIT_UNEXPECTED, "failed in a way that wasn't foreseen", (SD35Error,)),
    ExitCode(128 + signal.SIGINT, "stopped by Ctrl-C"),
    ExitCode(EXIT_SIGPIPE, "nobody reads the output any more"),
    ExitCode(128 + signal.SIGTERM, "stopped by SIGTERM"),
)
"""In the order in which they are tried: an error ends the program with the first code that has its kind."""


EXIT_CODES_HELP: Final = "\b\nEnds with\n" + "\n".join(
    f"  {entry.code:3}  {entry.meaning}"
    for entry in sorted(EXIT_CODES, key=lambda entry: entry.code)
)
"""The same, for `--help`; its first letter keeps the lines."""


def exit_code(error: SD35Error) -> int:
    """Return the code that this error ends the program with."""
    return next(entry.code for entry in EXIT_CODES if isinstance(error, entry.error_types))


def exit_code_for_signal(signal_number: int) -> int:
    """Return the code of a program that this signal has stopped."""
    return 128 + signal_number
