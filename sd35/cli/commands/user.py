"""`user`: the users of a page with a login.

No password is ever an argument: process lists and the shell's history would show it.
"""

import getpass
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from sd35.cli.events import Hint
from sd35.cli.lazy import Command, make_app
from sd35.cli.reporter import Reporter
from sd35.cli.runner import command_context
from sd35.cli.terminal import write_line
from sd35.cli.user_file import UserFile
from sd35.core.errors import InvalidRequestError
from sd35.core.text import one_line
from sd35.server.accounts import (
    MAX_PASSWORD_LENGTH,
    Account,
    AccountError,
    generate_credentials,
    hash_password,
    normalize_username,
)

__all__ = ["app"]

# In UTF-8 a character takes 4 bytes at most; a byte order mark and a line end come on top.
MAX_LINE_BYTES: Final = 4 * MAX_PASSWORD_LENGTH + len("\ufeff\r\n".encode())

# The minimum of NIST SP 800-63B. Only a hint: a page for one evening needs no strong password.
MIN_STRONG_LENGTH: Final = 8

UserName = Annotated[
    str, Argument(metavar="NAME", show_default=False, help="Username (case-insensitive).")
]
UsersFile = Annotated[
    Path,
    Option(
        "--file",
        metavar="FILE",
        show_default=False,
        help="File with users and password hashes (default: users.txt in the current folder).",
    ),
]
GeneratePassword = Annotated[
    bool, Option("--generate", help="Generate a password and print it once.")
]

DEFAULT_USERS_FILE: Final = Path("users.txt")

app = make_app(no_args_is_help=True)


@app.callback()
def user() -> None:
    """Manage users."""


@app.command(cls=Command)
def add(
    name: UserName,
    *,
    file: UsersFile = DEFAULT_USERS_FILE,
    generate: GeneratePassword = False,
) -> None:
    """Add a user or change a password.

    Asks for the password twice in a terminal; otherwise reads the first line of stdin.
    """
    with _user_command() as reporter:
        username = normalize_username(name)
        user_file = UserFile(file)
        # A broken file is reported before anybody types a password.
        user_file.accounts()
        password = generate_credentials()[1] if generate else _prompt_password()
        is_replaced = user_file.upsert(Account(username, hash_password(password)))
        action = "Changed the password of" if is_replaced else "Added"
        reporter.success(f"{action} {username} in {one_line(file)}.")
        if len(password) < MIN_STRONG_LENGTH:
            hint = f"This password is weak. Use at least {MIN_STRONG_LENGTH} characters."
            reporter.show(Hint(hint, is_warning=True))
        # Last: no password is printed that isn't saved.
        if generate:
            write_line(password.encode("ascii"))


@app.command(cls=Command)
def remove(name: UserName, *, file: UsersFile = DEFAULT_USERS_FILE) -> None:
    """Remove a user."""
    with _user_command() as reporter:
        username = normalize_username(name)
        UserFile(file).remove(username)
        reporter.success(f"Removed {username} from {one_line(file)}.")


@app.command("list", cls=Command)
def list_users(*, file: UsersFile = DEFAULT_USERS_FILE) -> None:
    """List users."""
    with _user_command() as reporter:
        accounts = UserFile(file).accounts(must_exist=True)
        for account in accounts:
            write_line(account.name.encode("utf-8"))
        if not accounts:
            reporter.hint(f"No users in {one_line(file)}.")


@contextmanager
def _user_command() -> Iterator[Reporter]:
    with command_context() as reporter:
        try:
            yield reporter
        except AccountError as error:
            raise InvalidRequestError(str(error)) from error


def _prompt_password() -> str:
    """Return the password that is typed twice, or the first line of standard input."""
    if not sys.stdin.isatty():
        return _read_password_line()
    try:
        with warnings.catch_warnings():
            # getpass only warns where it can't turn the echo off, and shows what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            password = getpass.getpass("Password: ")
            confirmation = getpass.getpass("Repeat password: ")
    except (EOFError, getpass.GetPassWarning):
        raise InvalidRequestError("No password entered.") from None
    if password != confirmation:
        raise InvalidRequestError("The passwords don't match.", "Nothing was changed. Try again.")
    return password


def _read_password_line() -> str:
    # Limited, as a pipe such as `yes | tr -d '\n'` never ends its line.
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES + 1) if sys.stdin is not None else b""
    if len(line) > MAX_LINE_BYTES:
        raise InvalidRequestError(
            f"The password in stdin is longer than {MAX_PASSWORD_LENGTH} characters."
        )
    try:
        password = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequestError("The password in stdin isn't UTF-8.") from None
    if not password:
        raise InvalidRequestError(
            "No password in stdin.", "Pass it as the first line, or use --generate."
        )
    return password
