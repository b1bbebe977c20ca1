"""What the system says when something can't be written, as a sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sd35.errors import NotWrittenError

__all__ = ["unwritten", "why"]


def why(error: OSError) -> str:
    """Return why it couldn't be done, as the end of a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full"
    return error.strerror or str(error)


@contextmanager
def unwritten(what: str) -> Iterator[None]:
    """Whatever can't be written in this block is a NotWrittenError, that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(f"{what} couldn't be written: {why(error)}.") from error
