"""The program as a whole: help, lazy loading and exit codes."""

import io
import re
import sys

import pytest
from rich.console import Console
from uvicorn.logging import DefaultFormatter

import sd35
from sd35.cli.app import Commands
from sd35.cli.commands.library import LibraryCommands
from sd35.cli.exit_codes import EXIT_CODES, exit_code
from sd35.cli.lazy import LazyGroup
from sd35.cli.progress import PlainProgress
from sd35.core import errors
from sd35.core.events import Waiting
from sd35.core.standard_streams import prepare_standard_streams
from sd35.space.__main__ import Reporter
from sd35.space.engine import Loading
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
    assert kinds_by_code[2] == {"invalid", "prompt", "template"}
    assert kinds_by_code[3] >= {
        "connection",
        "unreachable",
        "not-found",
        "asleep",
        "in-error",
        "paused",
        "contract",
    }
    assert kinds_by_code[4] == {"access", "login"}
    assert kinds_by_code[5] == {"quota", "identity", "identity-expired"}
    assert kinds_by_code[6] == {"refused", "busy", "queue-full", "rate-limited", "allowance"}
    assert kinds_by_code[7] == {"failed", "aborted"}
    assert kinds_by_code[8] == {
        "stream",
        "cut",
        "lost",
        "silent",
        "protocol",
        "malformed",
        "web-page",
    }
    assert kinds_by_code[9] == {
        "not-a-picture",
        "too-large",
        "picture-gone",
        "not-written",
        "library",
        "index-damaged",
    }


def test_program_needs_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without standard streams, as in `pythonw`, others' code can use them, and text is dropped."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        monkeypatch.setattr(sys, f"__{name}__", None)
    prepare_standard_streams()
    DefaultFormatter()  # of Uvicorn, which looks at the standard output
    print("…", flush=True)  # noqa: T201
    sys.stderr.write("\udcff")
    assert sys.stdin.read() == ""


def test_program_prints_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that the console lacks, or half of one, is replaced and ends nothing."""
    for encoding, expected_output in (("cp437", "+ a...? ?é"), ("utf-8", "✓ a…? 猫é")):
        data = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding))
        prepare_standard_streams()
        print("✓ a…\udcff 猫é", end="", flush=True)  # noqa: T201
        assert data.getvalue().decode(encoding) == expected_output


def test_long_wait_fills_no_log() -> None:
    """A wait is said once, and again every ten seconds, however often its numbers change."""
    output = io.StringIO()
    progress = PlainProgress(Console(file=output))
    for seconds in range(25):
        progress.update(f"{seconds}", Waiting(f"Downloading: {seconds / 10} of 27.6 GB", seconds))
    progress.update("loading", Waiting("Loading the model", 25))
    progress.update("again", Waiting("Loading the model", 1))
    assert output.getvalue().split() == ["0", "10", "20", "loading", "again"]


def test_long_download_of_a_space_fills_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    """People get few lines, and the page in its parent process all of them."""
    for is_child, expected_count in ((False, 2), (True, 3)):
        reporter = Reporter(is_child=is_child)
        for text in ("Downloading: 1.0 of 9 GB", "Downloading: 1.1 of 9 GB", "Loading", "Loading"):
            reporter.report_loading(Loading(text))
        assert len(capsys.readouterr().out.splitlines()) == expected_count
