"""The file of those who may log in: read, and changed as a whole, by one program at a time, for its owner alone."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sd35.cli.messages import plain, reason
from sd35.core.errors import InvalidRequestError, NotWrittenError
from sd35.server.accounts import Account, accounts_in

__all__ = ["UserFile"]

LOCK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02

_Lines = list[tuple[str, Account | None]]


class UserFile:
    """A file of names and hashes; comments in it stay where they are.

    Args:
        file: where it is; behind a link, what the link leads to.
        lock_seconds: how long another program that changes it is waited for.

    """

    def __init__(self, file: Path, lock_seconds: float = LOCK_SECONDS) -> None:
        self._file = file
        self._lock_seconds = lock_seconds

    def accounts(self, *, must_exist: bool = False) -> list[Account]:
        """Return who is in it, in its order; nobody, if there is no such file and none `must_exist`.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read.

        """
        return [account for _, account in self._lines(must_exist=must_exist) if account]

    def put(self, account: Account) -> bool:
        """Add somebody, or replace what was there of them; return whether there was.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read.
            NotWrittenError: it can't be written; it is as it was.

        """
        with self._changing(must_exist=False) as lines:
            found = _place_of(account.name, lines)
            if found is None:
                lines.append((str(account), account))
            else:
                lines[found] = (str(account), account)
            return found is not None

    def remove(self, name: str) -> None:
        """Remove somebody.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read, or they aren't in it.
            NotWrittenError: it can't be written; it is as it was.

        """
        with self._changing(must_exist=True) as lines:
            found = _place_of(name, lines)
            if found is None:
                raise InvalidRequestError(f"There is no {name} in {plain(self._file)}.")
            del lines[found]

    @contextmanager
    def _changing(self, *, must_exist: bool) -> Iterator[_Lines]:
        """Hold the lines while the block changes them, and write them when it has."""
        try:
            path = self._file.resolve()
            with _lock(path, self._lock_seconds):
                lines = self._lines(must_exist=must_exist)
                yield lines
                _replace(path, "".join(f"{line}\n" for line, _ in lines).encode("utf-8"))
        except OSError as error:
            happened = f"{plain(self._file)} can't be written: {reason(error)}."
            raise NotWrittenError(happened, "Choose another one with --file.") from error

    def _lines(self, *, must_exist: bool) -> _Lines:
        try:
            lines = accounts_in(self._file.read_bytes(), self._file)
        except FileNotFoundError:
            if not must_exist:
                return []
            raise InvalidRequestError(
                f"There is no file {plain(self._file)}.", "Choose one with --file."
            ) from None
        except OSError as error:
            raise InvalidRequestError(
                f"{plain(self._file)} can't be read: {reason(error)}."
            ) from error
        while lines and not lines[-1][0]:
            lines.pop()  # what follows the last line's end
        return lines


def _place_of(name: str, lines: _Lines) -> int | None:
    return next(
        (place for place, (_, account) in enumerate(lines) if account and account.name == name),
        None,
    )


@contextmanager
def _lock(path: Path, limit_seconds: float) -> Iterator[None]:
    """Keep other programs from changing the file while the block lasts, by a file beside it that only one can make.

    Raises:
        NotWrittenError: another one holds it for too long, or was killed while it did.
        OSError: no file can be made there.

    """
    lock = path.with_name(f".{path.name}.lock")
    deadline = time.monotonic() + limit_seconds
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() >= deadline:
                remedy = f"If that can't be, remove {plain(lock)}, which says so."
                raise NotWrittenError(
                    f"Another program is changing {plain(path.name)}.", remedy
                ) from None
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    """Write the file, whole or not at all; only its owner may read it."""
    handle, part = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=".part", dir=path.parent
    )  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)
