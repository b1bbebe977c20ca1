"""`library sheet`: the labelled sheet of a set, as a web page, an archive or an image."""

from pathlib import Path
from typing import Annotated, Final

from typer import Argument

from sd35.cli import options
from sd35.cli.lazy import make_app
from sd35.cli.library_session import open_library
from sd35.cli.runner import command_context
from sd35.cli.terminal import write_json
from sd35.core.atomic_files import write_errors, write_exclusive
from sd35.core.errors import InvalidRequestError
from sd35.core.home_folder import expand_home
from sd35.core.text import one_line, pluralize
from sd35.jobs.sheets import load_sheet
from sd35.library.sheet import Sheet
from sd35.library.sheet_html import render_page, sheet_archive
from sd35.library.sheet_image import render_sheet

__all__ = ["app"]

FILE_TYPES: Final = (".html", ".zip", ".png")

SetName = Annotated[
    str,
    Argument(metavar="ID", show_default=False, help="ID of a set, or of an image in the set."),
]
SheetTarget = Annotated[
    Path, Argument(metavar="FILE", show_default=False, help="New .html, .zip or .png file.")
]

app = make_app()


@app.command(cls=options.QueryCommand)
def sheet(
    name: SetName,
    target: SheetTarget,
    *,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Write a set as one labelled sheet.

    A .html file has smaller copies of the images in it, a .zip file the images themselves, and a
    .png file is one large image.
    """
    with command_context(is_json=as_json) as reporter, open_library(folder, reporter) as library:
        target = expand_home(target).absolute()
        _check_target(target, library.folder)
        entry = library.get(name)
        loaded = load_sheet(library, name if entry is None else entry.metadata.set_id)
        if loaded is None:
            raise InvalidRequestError(
                f"There is no set {one_line(name)}.", "`library show ID` tells the set of an image."
            )
        reporter.start_task("Writing the sheet")
        with write_errors(one_line(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            path = write_exclusive(target.parent, target.name, _render(loaded.sheet, target))
        images = pluralize(len(loaded.entries), "image")
        reporter.success(f"Wrote a sheet of {images} to {one_line(path)}.")
        if as_json:
            write_json({"path": str(path), "pictures": len(loaded.entries)})


def _check_target(target: Path, library_folder: Path) -> None:
    if target.suffix.lower() not in FILE_TYPES:
        raise InvalidRequestError(f"{one_line(target)} must end with .html, .zip or .png.", "")
    # It would become an image of the library.
    if library_folder.resolve() in target.resolve().parents:
        raise InvalidRequestError(
            f"{one_line(target)} is in the library.", "Choose a folder outside of it."
        )


def _render(sheet: Sheet, target: Path) -> bytes:
    match target.suffix.lower():
        case ".html":
            return render_page(sheet).encode()
        case ".zip":
            return b"".join(sheet_archive(sheet))
        case _:
            return render_sheet(sheet)
