"""The terminal program's commands, and its entry point."""

import codecs
import io
import logging
import sys
from typing import Annotated, ClassVar, Final, NoReturn

import typer

from sd35.cli.exit_codes import EXIT_UNEXPECTED
from sd35.cli.lazy import LazyGroup, make_app
from sd35.core.log_format import configure_logging
from sd35.core.version import __version__

__all__ = ["app", "main"]

log = logging.getLogger(__name__)

_ASCII_REPLACEMENTS: Final = str.maketrans(
    {"…": "...", "×": "x", "·": "-", "–": "-", "“": '"', "”": '"', "✓": "+", "✗": "!", "■": "!"}
)


class Commands(LazyGroup):
    """Commands of the program."""

    modules: ClassVar = {
        "generate": ("generate", "Generate images and save them."),
        "space": ("space", "Show a Space's limits and features."),
        "doctor": ("doctor", "Diagnose connection problems."),
        "space-files": ("space_files", "List the files for a Hugging Face Space."),
        "library": ("library", "Search, export and import your library."),
        "user": ("user", "Manage users."),
        "help": ("help", "Show help, and the exit codes."),
    }


app = make_app(cls=Commands, epilog="Exit codes: python -m sd35 help exit-codes")


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Generate images with Stable Diffusion 3.5 over a Gradio Space."""
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _prepare_streams() -> None:
    """Replace characters that the encoding of an output lacks, such as in the C locale."""
    # The default, "strict", would end the program with a UnicodeEncodeError at the first "…".
    codecs.register_error("ascii-fallback", _ascii_fallback)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ascii-fallback")


def _ascii_fallback(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_ASCII_REPLACEMENTS)
    return "".join(char if char.isascii() else "?" for char in text), error.end


def main() -> NoReturn:
    """Run the program and exit."""
    _prepare_streams()
    # Libraries warn of things that a user can't change, such as Gradio of its own dependencies.
    configure_logging(logging.ERROR)
    try:
        app()
    except Exception:  # the outermost edge
        log.exception("unexpected error")
    sys.exit(EXIT_UNEXPECTED)
