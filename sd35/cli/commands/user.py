"""`user`: its commands. What one of them needs is imported when it runs: `--help` waits for nothing."""

from pathlib import Path
from typing import Final

import typer

from sd35.cli import options
from sd35.cli.exit_codes import EXIT_CODES_HELP

__all__ = ["user"]

DEFAULT_USERS_FILE: Final = Path("users.txt")

user = typer.Typer(
    no_args_is_help=True,
    epilog=EXIT_CODES_HELP,
    help="Say who may log in to a page that asks for it.",
)


@user.command(epilog=EXIT_CODES_HELP)
def add(
    name: options.UserName,
    *,
    file: options.UsersFile = DEFAULT_USERS_FILE,
    generates_password: options.GeneratedPassword = False,
) -> None:
    """Add somebody, or replace their password.

    On a terminal it is asked for, twice; otherwise it is the first line of the standard input.
    """
    from sd35.cli.commands.user_impl import add_user  # noqa: PLC0415

    raise typer.Exit(add_user(name, file, generates_password=generates_password))


@user.command(epilog=EXIT_CODES_HELP)
def remove(name: options.UserName, *, file: options.UsersFile = DEFAULT_USERS_FILE) -> None:
    """Remove somebody."""
    from sd35.cli.commands.user_impl import remove_user  # noqa: PLC0415

    raise typer.Exit(remove_user(name, file))


@user.command("list", epilog=EXIT_CODES_HELP)
def show(*, file: options.UsersFile = DEFAULT_USERS_FILE) -> None:
    """Write the names to the standard output, one a line."""
    from sd35.cli.commands.user_impl import list_users  # noqa: PLC0415

    raise typer.Exit(list_users(file))
