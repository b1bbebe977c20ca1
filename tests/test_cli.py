"""The program as a whole: help, lazy loading and exit codes."""

import re

import pytest

import sd35
from sd35.cli.app import Commands
from sd35.cli.commands.library import LibraryCommands
from sd35.cli.exit_codes import EXIT_CODES, exit_code
from sd35.cli.lazy import LazyGroup
from sd35.core import errors
from tests.cli_program import imported_modules, invoke

SLOW_MODULES = {
    *("aiohttp", "anyio", "gradio", "numpy", "PIL", "pydantic_settings", "rich", "sqlite3"),
}


@pytest.mark.parametrize(
    ("arguments", "group"), [([], Commands), (["library", "--help"], LibraryCommands)]
)
def test_help_lists_commands_without_importing_them(
    arguments: list[str], group: type[LazyGroup]
) -> None:
    """The help of a group has each command, and waits for none of their libraries."""
    modules, text = imported_modules(*arguments)
    assert "typer" in modules
    assert not modules & SLOW_MODULES
    for name, (_, help_text) in group.modules.items():
        assert re.search(rf"^  {name} +{re.escape(help_text)}$", text, re.MULTILINE), name


@pytest.mark.parametrize("group", [Commands, LibraryCommands])
def test_listed_help_is_that_of_the_command(group: type[LazyGroup]) -> None:
    """The line in the list of commands is the first of the command's own help."""
    lazy_group = group(name="root")
    for name, (_, help_text) in group.modules.items():
        assert lazy_group.load(name).help.splitlines()[0] == help_text


def test_exit_codes_are_listed() -> None:
    """`help exit-codes` prints the whole table."""
    code, out, _ = invoke("help", "exit-codes")
    assert code == 0
    assert out.splitlines() == [f"{entry.code:3}  {entry.meaning}" for entry in EXIT_CODES]
    assert invoke("help") == invoke("--help") == invoke()


def test_version() -> None:
    """`--version` prints the package's version."""
    assert invoke("--version") == (0, f"{sd35.__version__}\n", "")


def test_every_error_has_an_exit_code() -> None:
    """Each kind of error has the exit code that the table says."""
    codes = {
        error.kind: exit_code(error("x"))
        for error in (getattr(errors, name) for name in errors.__all__)
        if isinstance(error, type) and issubclass(error, errors.SD35Error)
    }
    assert codes.pop("unforeseen") == 1
    kinds_by_code = {
        code: {kind for kind in codes if codes[kind] == code} for code in set(codes.values())
    }
    assert kinds_by_code[2] == {"invalid"}
    assert kinds_by_code[3] >= {
        "connection",
        "unreachable",
        "not-found",
        "asleep",
        "in-error",
        "paused",
        "contract",
    }
    assert kinds_by_code[4] == {"access"}
    assert kinds_by_code[5] == {"quota", "identity", "identity-expired"}
    assert kinds_by_code[6] == {"refused", "busy", "queue-full", "rate-limited", "allowance"}
    assert kinds_by_code[7] == {"failed", "aborted"}
    assert kinds_by_code[8] == {"stream", "cut", "lost", "silent", "protocol", "malformed"}
    assert kinds_by_code[9] == {
        "not-a-picture",
        "too-large",
        "picture-gone",
        "not-written",
        "library",
        "index-damaged",
    }
