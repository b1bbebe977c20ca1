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
    "CODES",
    "DONE",
    "EXITS",
    "READER_GONE",
    "UNFORESEEN",
    "Exit",
    "exit_code",
    "exit_code_of_signal",
]

DONE: Final = 0
UNFORESEEN: Final = 1
READER_GONE: Final = 128 + 13
"""What a shell reports of a program whose output nobody reads any more (SIGPIPE; not every system has that)."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One way in which the program ends."""

    code: int
    meaning: str
    errors: tuple[type[SD35Error], ...] = ()


EXITS: Final = (
    Exit(DONE, "done"),
    Exit(
        2,
        "the command line is wrong, or the Space doesn't make what was asked for",
        (InvalidRequestError,),
    ),
    Exit(4, "a token is needed, not valid, or may not see the Space", (AccessDeniedError,)),
    Exit(
        3,
        "the Space can't be used: not reached, not found, asleep, in error",
        (ConnectionFailedError,),
    ),
    Exit(5, "the GPU quota is used up, or whose it is wasn't told", (QuotaError, IdentityError)),
    Exit(6, "busy: no GPU is free, the queue is full, too many requests", (RefusedError,)),
    Exit(7, "the run failed, or was ended, inside the Space", (GenerationFailedError,)),
    Exit(8, "the connection broke, or went silent, during the run", (StreamError,)),
    Exit(9, "the picture can't be used, or a file can't be written", (PictureError, LibraryError)),
    Exit(UNFORESEEN, "failed in a way that wasn't foreseen", (SD35Error,)),
    Exit(128 + signal.SIGINT, "stopped by Ctrl-C"),
    Exit(READER_GONE, "nobody reads the output any more"),
    Exit(128 + signal.SIGTERM, "stopped by SIGTERM"),
)
"""In the order in which they are tried: an error ends the program with the first code that has its kind."""


CODES: Final = "\b\nEnds with\n" + "\n".join(
    f"  {way.code:3}  {way.meaning}" for way in sorted(EXITS, key=lambda way: way.code)
)
"""The same, for `--help`; its first letter keeps the lines."""


def exit_code(error: SD35Error) -> int:
    """Return the code that this error ends the program with."""
    return next(way.code for way in EXITS if isinstance(error, way.errors))


def exit_code_of_signal(number: int) -> int:
    """Return the code of a program that this signal has stopped."""
    return 128 + number
