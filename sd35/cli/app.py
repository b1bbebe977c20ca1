"""The terminal program's commands, and its entry point."""

import logging
import sys
from typing import Annotated, ClassVar, NoReturn

import typer

from sd35.cli.exit_codes import EXIT_UNEXPECTED
from sd35.cli.lazy import LazyGroup, make_app
from sd35.core.log_format import configure_logging
from sd35.core.standard_streams import prepare_standard_streams
from sd35.core.version import __version__

__all__ = ["app", "main"]

log = logging.getLogger(__name__)


class Commands(LazyGroup):
    """Commands of the program."""

    modules: ClassVar = {
        "generate": ("generate", "Generate images and save them."),
        "grid": ("grid", "Generate a labelled grid of images."),
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


def main() -> NoReturn:
    """Run the program and exit."""
    prepare_standard_streams()
    # Libraries warn of things that a user can't change, such as Gradio of its own dependencies.
    configure_logging(logging.ERROR)
    try:
        app()
    except Exception:  # the outermost edge
        log.exception("unexpected error")
    sys.exit(EXIT_UNEXPECTED)
