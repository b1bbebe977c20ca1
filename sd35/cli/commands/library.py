"""`library`: its commands. What one of them needs is imported when it runs: `--help` waits for nothing."""

import re
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand

from sd35.cli import options
from sd35.cli.exit_codes import EXIT_CODES_HELP

__all__ = ["library"]

DEFAULT_LIMIT: Final = 20

_EXCLUDED_TERM: Final = re.compile(r"-[^-].+", re.DOTALL)

_ESCAPE_PREFIX: Final = "\ue000"
"""Before a word that isn't to be taken for options; it means nothing, and nobody types it."""


class _QueryCommand(TyperCommand):
    """A command for which `-word` is a word, where it stands: its options have two hyphens."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # of the click that typer has
        escaped_args = [
            f"{_ESCAPE_PREFIX}{arg}" if _EXCLUDED_TERM.fullmatch(arg) else arg for arg in args
        ]
        remaining_args = super().parse_args(ctx, escaped_args)
        ctx.params = {name: _unescape(value) for name, value in ctx.params.items()}
        return remaining_args


def _unescape(value: Any) -> Any:  # noqa: ANN401  # of any option
    match value:
        case str():
            return value.removeprefix(_ESCAPE_PREFIX)
        case Path():
            return Path(str(value).removeprefix(_ESCAPE_PREFIX))
        case list() | tuple():
            return [_unescape(item) for item in value]
        case _:
            return value


library = typer.Typer(
    no_args_is_help=True,
    epilog=EXIT_CODES_HELP,
    help="Find, show and move the pictures that are kept.",
)


@library.command(cls=_QueryCommand, epilog=EXIT_CODES_HELP)
def search(
    terms: options.SearchTerms = None,
    *,
    limit: options.Limit = DEFAULT_LIMIT,
    show_all: options.ShowAll = False,
    folder: options.LibraryFolder = None,
    as_json: options.JsonLines = False,
) -> None:
    """Find pictures, the newest first.

    A terminal gets a list of them, and a program the path of each, one a line; of what failed, an
    id.
    """
    from sd35.cli.commands.library_search import search_library as find  # noqa: PLC0415

    raise typer.Exit(find(folder, terms or (), None if show_all else limit, is_json=as_json))


@library.command(cls=_QueryCommand, epilog=EXIT_CODES_HELP)
def show(
    name: options.PictureName,
    *,
    infotext: options.Infotext = False,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Say all that is known of a picture.

    Of a file, in the library or anywhere else, it is what the file itself says, whichever tool has
    written it there.
    """
    from sd35.cli.commands.library_show import show_picture as tell  # noqa: PLC0415

    raise typer.Exit(tell(folder, name, is_infotext=infotext, is_json=as_json))


@library.command(cls=_QueryCommand, epilog=EXIT_CODES_HELP)
def export(
    target: options.ExportTarget,
    terms: options.SearchTerms = None,
    *,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Copy pictures to a new folder or .zip.

    With them goes what is known of each: pictures.jsonl has a line for it.
    """
    from sd35.cli.commands.library_transfer import export_pictures  # noqa: PLC0415

    raise typer.Exit(export_pictures(folder, target, terms or (), is_json=as_json))


@library.command("import", epilog=EXIT_CODES_HELP)
def import_(
    source: options.ImportSource,
    *,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Copy the pictures of a folder or a .zip, or a single one, into the library.

    They may be those of other tools, or an export. What is there already is passed over.
    """
    from sd35.cli.commands.library_transfer import import_pictures  # noqa: PLC0415

    raise typer.Exit(import_pictures(folder, source, is_json=as_json))


@library.command(epilog=EXIT_CODES_HELP)
def rescan(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Look through the library's folder.

    What came, went, moved or was edited there by other means is known then. A folder that is none
    becomes a library.
    """
    from sd35.cli.commands.library_transfer import rescan_library as look  # noqa: PLC0415

    raise typer.Exit(look(folder, is_json=as_json))


@library.command(epilog=EXIT_CODES_HELP)
def stats(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Say how much there is in the library."""
    from sd35.cli.commands.library_stats import show_stats  # noqa: PLC0415

    raise typer.Exit(show_stats(folder, is_json=as_json))
