"""The file of those who may log in: read, and changed as a whole, by one program at a time, for its owner alone."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sd35.cli.messages import one_line, os_error_text
from sd35.core.errors import InvalidRequestError, WriteError
from sd35.server.accounts import Account, parse_password_file

__all__ = ["UserFile"]

LOCK_TIMEOUT: Final = 10.0
POLL_INTERVAL: Final = 0.02

_Lines = list[tuple[str, Account | None]]


class UserFile:
    """A file of names and hashes; comments in it stay where they are.

    Args:
        file: where it is; behind a link, what the link leads to.
        lock_seconds: how long another program that changes it is waited for.

    """

    def __init__(self, file: Path, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._file = file
        self._lock_timeout = lock_timeout

    def accounts(self, *, must_exist: bool = False) -> list[Account]:
        """Return who is in it, in its order; nobody, if there is no such file and none `must_exist`.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read.

        """
        return [account for _, account in self._read_lines(must_exist=must_exist) if account]

    def upsert(self, account: Account) -> bool:
        """Add somebody, or replace what was there of them; return whether there was.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read.
            WriteError: it can't be written; it is as it was.

        """
        with self._edit_lines(must_exist=False) as lines:
            index = _line_index(account.name, lines)
            if index is None:
                lines.append((str(account), account))
            else:
                lines[index] = (str(account), account)
            return index is not None

    def remove(self, name: str) -> None:
        """Remove somebody.

        Raises:
            AccountError: a line is broken.
            InvalidRequestError: it can't be read, or they aren't in it.
            WriteError: it can't be written; it is as it was.

        """
        with self._edit_lines(must_exist=True) as lines:
            index = _line_index(name, lines)
            if index is None:
                raise InvalidRequestError(f"There is no {name} in {one_line(self._file)}.")
            del lines[index]

    @contextmanager
    def _edit_lines(self, *, must_exist: bool) -> Iterator[_Lines]:
        """Hold the lines while the block changes them, and write them when it has."""
        try:
            path = self._file.resolve()
            with _file_lock(path, self._lock_timeout):
                lines = self._read_lines(must_exist=must_exist)
                yield lines
                _atomic_write(path, "".join(f"{line}\n" for line, _ in lines).encode("utf-8"))
        except OSError as error:
            message = f"{one_line(self._file)} can't be written: {os_error_text(error)}."
            raise WriteError(message, "Choose another one with --file.") from error

    def _read_lines(self, *, must_exist: bool) -> _Lines:
        try:
            lines = parse_password_file(self._file.read_bytes(), self._file)
        except FileNotFoundError:
            if not must_exist:
                return []
            raise InvalidRequestError(
                f"There is no file {one_line(self._file)}.", "Choose one with --file."
            ) from None
        except OSError as error:
            raise InvalidRequestError(
                f"{one_line(self._file)} can't be read: {os_error_text(error)}."
            ) from error
        while lines and not lines[-1][0]:
            lines.pop()  # what follows the last line's end
        return lines


def _line_index(name: str, lines: _Lines) -> int | None:
    return next(
        (index for index, (_, account) in enumerate(lines) if account and account.name == name),
        None,
    )


@contextmanager
def _file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Keep other programs from changing the file while the block lasts, by a file beside it that only one can make.

    Raises:
        WriteError: another one holds it for too long, or was killed while it did.
        OSError: no file can be made there.

    """
    lock_path = path.with_name(f".{path.name}.lock")
    deadline = time.monotonic() + timeout
    while True:
        try:
            os.close(os.open(lock_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() >= deadline:
                remedy = f"If that can't be, remove {one_line(lock_path)}, which says so."
                raise WriteError(
                    f"Another program is changing {one_line(path.name)}.", remedy
                ) from None
            time.sleep(POLL_INTERVAL)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)


def _atomic_write(path: Path, data: bytes) -> None:
    """Write the file, whole or not at all; only its owner may read it."""
    descriptor, temp_path = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=".part", dir=path.parent
    )  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temp_path).replace(path)
    finally:
        Path(temp_path).unlink(missing_ok=True)
