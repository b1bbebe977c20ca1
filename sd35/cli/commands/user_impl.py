"""What `user` does: adds, removes and lists who may log in. No password is an argument: `ps` would show it."""

import getpass
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sd35.cli.events import Failed
from sd35.cli.exit_codes import DONE
from sd35.cli.messages import plain
from sd35.cli.reporter import open_screen
from sd35.cli.runner import run_here
from sd35.cli.terminal import console, is_terminal, say, write_line
from sd35.cli.user_file import UserFile
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.server.accounts import (
    MAX_PASSWORD,
    Account,
    AccountError,
    PasswordHash,
    generated_login,
    plain_name,
)

__all__ = ["add_user", "list_users", "remove_user"]

MAX_LINE: Final = 4 * MAX_PASSWORD + len("\ufeff\r\n".encode())

SHORT: Final = 8
"""Characters; a password of fewer is one that the usual lists of passwords have."""


def add_user(name: str, file: Path, *, generates: bool) -> int:
    """Add somebody with a password that is asked for, or made and written; return what the program ends with."""

    def work() -> None:
        users, called = UserFile(file), plain_name(name)
        users.accounts()  # a file that can't be used is told of before anybody types a password
        password = generated_login()[1] if generates else _asked()
        was_there = users.put(Account(called, PasswordHash.of(password)))
        did = f"{called} has a new password" if was_there else f"{called} was added"
        _say("✓", "green", f"{did} in {plain(file)}.")
        if len(password) < SHORT:
            _say(
                "!",
                "yellow",
                f"The password is short: one of fewer than {SHORT} characters is soon guessed.",
            )
        if generates:
            write_line(password.encode("ascii"))

    return _run(work)


def remove_user(name: str, file: Path) -> int:
    """Remove somebody, and return what the program ends with."""

    def work() -> None:
        called = plain_name(name)
        UserFile(file).remove(called)
        _say("✓", "green", f"{called} was removed from {plain(file)}.")

    return _run(work)


def list_users(file: Path) -> int:
    """Write who may log in, and return what the program ends with."""

    def work() -> None:
        accounts = UserFile(file).accounts(must_exist=True)
        for account in accounts:
            write_line(account.name.encode("utf-8"))
        if not accounts:
            _say("·", "dim", f"There is nobody in {plain(file)}.")

    return _run(work)


def _asked() -> str:
    """Return the password that a person types twice, or a program writes in one line.

    Raises:
        InvalidRequestError: there is none, or it isn't the same twice.

    """
    if not is_terminal(sys.stdin):
        return _first_line()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            password = getpass.getpass("Password: ")
            again = getpass.getpass("Again: ")
    except (EOFError, getpass.GetPassWarning):
        raise InvalidRequestError(
            "No password was given, or none can be typed here without being seen."
        ) from None
    if password != again:
        raise InvalidRequestError(
            "These were two different passwords.", "Nothing was changed; try again."
        )
    return password


def _first_line() -> str:
    line = sys.stdin.buffer.readline(MAX_LINE + 1) if sys.stdin is not None else b""
    if len(line) > MAX_LINE:
        raise InvalidRequestError(
            f"The password in the standard input has more than {MAX_PASSWORD} characters."
        )
    try:
        password = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequestError("The password in the standard input isn't UTF-8.") from None
    if not password:
        remedy = "Write it there in one line, or let one be made with --generate."
        raise InvalidRequestError("There is no password in the standard input.", remedy)
    return password


def _run(work: Callable[[], None]) -> int:
    def end() -> int:
        try:
            work()
        except AccountError as error:
            raise InvalidRequestError(str(error)) from error
        return DONE

    def failed(error: SD35Error) -> None:
        open_screen(is_quiet=False, is_json=False).show(Failed(error))

    return run_here(end, failed)


def _say(mark: str, style: str, sentence: str) -> None:
    say(console(stderr=True), mark, style, sentence)
