"""`library import`: images of other tools, or of an export, into the library."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from sd35.cli import options
from sd35.cli.lazy import Command, make_app
from sd35.cli.library_session import Requires, open_library, report_skipped
from sd35.cli.runner import command_context
from sd35.cli.terminal import write_json
from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.text import one_line, pluralize
from sd35.library.layout import LOCAL_OWNER_KEY

__all__ = ["app"]

ImportSource = Annotated[
    Path,
    Argument(metavar="SOURCE", show_default=False, help="Folder, .zip file, image or export."),
]

app = make_app()


@app.command("import", cls=Command)
def import_images(
    source: ImportSource, *, folder: options.LibraryFolder = None, as_json: options.Json = False
) -> None:
    """Copy images into the library.

    They may come from any tool. Duplicates are skipped.
    """
    with command_context(is_json=as_json) as reporter:
        _check_source(source)  # before the library is opened, which creates it
        with open_library(folder, reporter, Requires.NOTHING) as library:
            on_progress = reporter.start_task("Importing images")
            result = library.import_from(source, LOCAL_OWNER_KEY, on_progress)
        skipped_files = report_skipped(reporter, result.skipped_files)
        duplicates = pluralize(result.duplicates, "duplicate")
        reporter.success(f"Added {pluralize(result.added, 'image')} ({duplicates}).")
        if as_json:
            write_json(
                {"added": result.added, "already": result.duplicates, "skipped": skipped_files}
            )


def _check_source(source: Path) -> None:
    try:
        source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidRequestError(f"No such file or folder: {one_line(source)}.") from error
    except OSError as error:
        message = f"Couldn't read {one_line(source)}: {os_error_text(error)}."
        raise InvalidRequestError(message) from error
