"""`library`: its commands. What one of them needs is imported when it runs: `--help` waits for nothing."""

import re
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand

from sd35.cli import options
from sd35.cli.exit_codes import CODES

__all__ = ["library"]

SHOWN: Final = 20

_MINUS_WORD: Final = re.compile(r"-[^-].+", re.DOTALL)

_NO_OPTION: Final = "\ue000"
"""Before a word that isn't to be taken for options; it means nothing, and nobody types it."""


class _TakesWords(TyperCommand):
    """A command for which `-word` is a word, where it stands: its options have two hyphens."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # of the click that typer has
        marked = [f"{_NO_OPTION}{each}" if _MINUS_WORD.fullmatch(each) else each for each in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return rest


def _unmarked(value: Any) -> Any:  # noqa: ANN401  # of any option
    match value:
        case str():
            return value.removeprefix(_NO_OPTION)
        case Path():
            return Path(str(value).removeprefix(_NO_OPTION))
        case list() | tuple():
            return [_unmarked(each) for each in value]
        case _:
            return value


library = typer.Typer(
    no_args_is_help=True, epilog=CODES, help="Find, show and move the pictures that are kept."
)


@library.command(cls=_TakesWords, epilog=CODES)
def search(
    words: options.Words = None,
    *,
    limit: options.Limit = SHOWN,
    everything: options.All = False,
    folder: options.LibraryFolder = None,
    as_json: options.JsonLines = False,
) -> None:
    """Find pictures, the newest first.

    A terminal gets a list of them, and a program the path of each, one a line; of what failed, an
    id.
    """
    from sd35.cli.commands.library_search import search as find  # noqa: PLC0415

    raise typer.Exit(find(folder, words or (), None if everything else limit, is_json=as_json))


@library.command(cls=_TakesWords, epilog=CODES)
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
    from sd35.cli.commands.library_show import show as tell  # noqa: PLC0415

    raise typer.Exit(tell(folder, name, is_infotext=infotext, is_json=as_json))


@library.command(cls=_TakesWords, epilog=CODES)
def export(
    target: options.Target,
    words: options.Words = None,
    *,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Copy pictures to a new folder or .zip.

    With them goes what is known of each: pictures.jsonl has a line for it.
    """
    from sd35.cli.commands.library_transfer import export_to  # noqa: PLC0415

    raise typer.Exit(export_to(folder, target, words or (), is_json=as_json))


@library.command("import", epilog=CODES)
def bring_in(
    source: options.Source, *, folder: options.LibraryFolder = None, as_json: options.Json = False
) -> None:
    """Copy the pictures of a folder or a .zip, or a single one, into the library.

    They may be those of other tools, or an export. What is there already is passed over.
    """
    from sd35.cli.commands.library_transfer import import_from  # noqa: PLC0415

    raise typer.Exit(import_from(folder, source, is_json=as_json))


@library.command(epilog=CODES)
def rescan(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Look through the library's folder.

    What came, went, moved or was edited there by other means is known then. A folder that is none
    becomes a library.
    """
    from sd35.cli.commands.library_transfer import rescan as look  # noqa: PLC0415

    raise typer.Exit(look(folder, is_json=as_json))


@library.command(epilog=CODES)
def stats(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Say how much there is in the library."""
    from sd35.cli.commands.library_stats import tell_stats  # noqa: PLC0415

    raise typer.Exit(tell_stats(folder, is_json=as_json))
