"""What `user` does: adds, removes and lists who may log in. No password is an argument: `ps` would show it."""

import getpass
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sd35.cli.events import OperationFailed
from sd35.cli.exit_codes import EXIT_OK
from sd35.cli.messages import one_line
from sd35.cli.reporter import open_reporter
from sd35.cli.runner import run_sync
from sd35.cli.terminal import is_terminal, make_console, print_message, write_line
from sd35.cli.user_file import UserFile
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.server.accounts import (
    MAX_PASSWORD_LENGTH,
    Account,
    AccountError,
    generate_credentials,
    hash_password,
    normalize_username,
)

__all__ = ["add_user", "list_users", "remove_user"]

MAX_LINE_BYTES: Final = 4 * MAX_PASSWORD_LENGTH + len("\ufeff\r\n".encode())

MIN_STRONG_LENGTH: Final = 8
"""Characters; a password of fewer is one that the usual lists of passwords have."""


def add_user(name: str, file: Path, *, generates_password: bool) -> int:
    """Add somebody with a password that is asked for, or made and written; return what the program ends with."""

    def operation() -> None:
        user_file, username = UserFile(file), normalize_username(name)
        user_file.accounts()  # a file that can't be used is told of before anybody types a password
        password = generate_credentials()[1] if generates_password else _prompt_password()
        is_replaced = user_file.upsert(Account(username, hash_password(password)))
        summary = f"{username} has a new password" if is_replaced else f"{username} was added"
        _print_message("✓", "green", f"{summary} in {one_line(file)}.")
        if len(password) < MIN_STRONG_LENGTH:
            _print_message(
                "!",
                "yellow",
                f"The password is short: one of fewer than {MIN_STRONG_LENGTH} characters is soon guessed.",
            )
        if generates_password:
            write_line(password.encode("ascii"))

    return _run_operation(operation)


def remove_user(name: str, file: Path) -> int:
    """Remove somebody, and return what the program ends with."""

    def operation() -> None:
        username = normalize_username(name)
        UserFile(file).remove(username)
        _print_message("✓", "green", f"{username} was removed from {one_line(file)}.")

    return _run_operation(operation)


def list_users(file: Path) -> int:
    """Write who may log in, and return what the program ends with."""

    def operation() -> None:
        accounts = UserFile(file).accounts(must_exist=True)
        for account in accounts:
            write_line(account.name.encode("utf-8"))
        if not accounts:
            _print_message("·", "dim", f"There is nobody in {one_line(file)}.")

    return _run_operation(operation)


def _prompt_password() -> str:
    """Return the password that a person types twice, or a program writes in one line.

    Raises:
        InvalidRequestError: there is none, or it isn't the same twice.

    """
    if not is_terminal(sys.stdin):
        return _read_password_line()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            password = getpass.getpass("Password: ")
            confirmation = getpass.getpass("Again: ")
    except (EOFError, getpass.GetPassWarning):
        raise InvalidRequestError(
            "No password was given, or none can be typed here without being seen."
        ) from None
    if password != confirmation:
        raise InvalidRequestError(
            "These were two different passwords.", "Nothing was changed; try again."
        )
    return password


def _read_password_line() -> str:
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES + 1) if sys.stdin is not None else b""
    if len(line) > MAX_LINE_BYTES:
        raise InvalidRequestError(
            f"The password in the standard input has more than {MAX_PASSWORD_LENGTH} characters."
        )
    try:
        password = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequestError("The password in the standard input isn't UTF-8.") from None
    if not password:
        remedy = "Write it there in one line, or let one be made with --generate."
        raise InvalidRequestError("There is no password in the standard input.", remedy)
    return password


def _run_operation(operation: Callable[[], None]) -> int:
    def run_operation() -> int:
        try:
            operation()
        except AccountError as error:
            raise InvalidRequestError(str(error)) from error
        return EXIT_OK

    def report_error(error: SD35Error) -> None:
        open_reporter(is_quiet=False, is_json=False).show(OperationFailed(error))

    return run_sync(run_operation, report_error)


def _print_message(symbol: str, style: str, message: str) -> None:
    print_message(make_console(stderr=True), symbol, style, message)
