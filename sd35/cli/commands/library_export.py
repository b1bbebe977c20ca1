"""`library export`: copies of images and their records, outside the library."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from sd35.cli import options
from sd35.cli.lazy import make_app
from sd35.cli.library_session import build_query, open_library, report_unreadable
from sd35.cli.runner import command_context
from sd35.cli.terminal import write_json
from sd35.core.errors import InvalidRequestError
from sd35.core.text import one_line, pluralize

__all__ = ["app"]

ExportTarget = Annotated[
    Path, Argument(metavar="TARGET", show_default=False, help="New folder or .zip file.")
]

app = make_app()


@app.command(cls=options.QueryCommand)
def export(
    target: ExportTarget,
    terms: options.SearchTerms = None,
    *,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Copy images to a new folder or .zip file.

    The file pictures.jsonl in it has the metadata of each image in one line.
    """
    with command_context(is_json=as_json) as reporter, open_library(folder, reporter) as library:
        query = build_query(terms)
        if query.is_job_query:
            raise InvalidRequestError("Failed jobs have no images to export.")
        reporter.start_task("Exporting images")
        result = library.export(target, query)
        report_unreadable(reporter, result.unreadable)
        images = pluralize(result.pictures, "image")
        reporter.success(f"Exported {images} to {one_line(result.path)}.")
        if as_json:
            write_json(
                {
                    "path": str(result.path),
                    "pictures": result.pictures,
                    "unreadable": list(result.unreadable),
                }
            )
