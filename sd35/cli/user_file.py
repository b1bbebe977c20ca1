"""The password file, edited by one program at a time and readable by its owner only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sd35.core.atomic_files import atomic_write, os_error_text
from sd35.core.errors import InvalidRequestError, WriteError
from sd35.core.text import one_line
from sd35.server.accounts import Account, parse_password_file

__all__ = ["UserFile"]

LOCK_TIMEOUT: Final = 10.0

_Lines = list[tuple[str, Account | None]]


class UserFile:
    """File of usernames and password hashes.

    Comments in it are preserved, and a change that fails leaves the file as it was. Every method
    raises AccountError for an invalid line.

    Args:
        file: its path, or that of a link to it.
        lock_timeout: seconds to wait for another program that edits the file.
    """

    def __init__(self, file: Path, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._file = file
        self._lock_timeout = lock_timeout

    def accounts(self, *, must_exist: bool = False) -> list[Account]:
        """Return the accounts in the order of the file."""
        return [account for _, account in self._read_lines(must_exist=must_exist) if account]

    def upsert(self, account: Account) -> bool:
        """Add an account or replace the one of the same name; return whether there was one."""
        with self._edit_lines(must_exist=False) as lines:
            names = [existing.name if existing else None for _, existing in lines]
            is_known = account.name in names
            index = names.index(account.name) if is_known else len(lines)
            lines[index : index + 1] = [(str(account), account)]
            return is_known

    def remove(self, name: str) -> None:
        """Remove an account."""
        with self._edit_lines(must_exist=True) as lines:
            remaining_lines = [line for line in lines if line[1] is None or line[1].name != name]
            if len(remaining_lines) == len(lines):
                raise InvalidRequestError(f"No user {name} in {one_line(self._file)}.")
            lines[:] = remaining_lines

    @contextmanager
    def _edit_lines(self, *, must_exist: bool) -> Iterator[_Lines]:
        """Yield the lines, and write them back as the block has changed them."""
        # Replacing the link instead of its target would leave the page with the old users.
        path = self._file.resolve()
        # Not the file itself: it is replaced, and a lock on the old one would have no effect.
        lock = FileLock(path.with_name(f".{path.name}.lock"), self._lock_timeout, mode=0o600)
        try:
            path.parent.stat()  # FileLock would create a missing folder
            with lock:
                lines = self._read_lines(must_exist=must_exist)
                yield lines
                text = "".join(f"{line}\n" for line, _ in lines)
                # The old file may have been made by hand, and be readable by all.
                atomic_write(path, text.encode("utf-8"), mode=0o600)
        except Timeout as error:
            raise WriteError(
                f"Another program is editing {one_line(path.name)}.", "Try again later."
            ) from error
        except OSError as error:
            raise WriteError(
                f"Couldn't write {one_line(self._file)}: {os_error_text(error)}.",
                "Choose another file with --file.",
            ) from error

    def _read_lines(self, *, must_exist: bool) -> _Lines:
        try:
            lines = parse_password_file(self._file.read_bytes(), self._file)
        except FileNotFoundError:
            if not must_exist:
                return []
            raise InvalidRequestError(
                f"File not found: {one_line(self._file)}.", "Choose one with --file."
            ) from None
        except OSError as error:
            raise InvalidRequestError(
                f"Couldn't read {one_line(self._file)}: {os_error_text(error)}."
            ) from error
        while lines and not lines[-1][0]:
            # The empty text after the last line break; without this, each edit would add one more.
            lines.pop()
        return lines
