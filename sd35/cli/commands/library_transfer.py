"""`library export`, `import` and `rescan`: pictures out of the library, into it, and the index of what is there."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from sd35.cli.library_session import Reporter, Requires, build_query, run_on_library
from sd35.cli.messages import one_line
from sd35.core.errors import InvalidRequestError
from sd35.jobs.repository import JobRepository
from sd35.library.layout import LOCAL_OWNER_KEY
from sd35.library.library import Library

__all__ = ["export_pictures", "import_pictures", "rescan_library"]

MAX_LISTED_FILES: Final = 20
"""Files that couldn't be read, of which each is told by its name."""


def export_pictures(
    folder: Path | None, target: Path, terms: Sequence[str], *, is_json: bool
) -> int:
    """Copy pictures out of the library, and return what the program ends with."""

    def operation(library: Library, reporter: Reporter) -> None:
        query = build_query(terms)
        if query.is_job_query:
            raise InvalidRequestError("What failed has no picture to be copied.")
        reporter.start_task("Copying pictures")
        export_result = library.export(target, query)
        _report_unreadable(reporter, export_result.unreadable)
        reporter.finish(
            f"{_count_phrase(export_result.pictures)} copied to {one_line(export_result.path)}.",
            {
                "path": str(export_result.path),
                "pictures": export_result.pictures,
                "unreadable": list(export_result.unreadable),
            },
        )

    return run_on_library(folder, operation, is_json=is_json)


def import_pictures(folder: Path | None, source: Path, *, is_json: bool) -> int:
    """Copy the pictures of a folder or a .zip into the library, and return what the program ends with."""

    def operation(library: Library, reporter: Reporter) -> None:
        import_result = library.import_from(
            source, LOCAL_OWNER_KEY, reporter.start_task("Importing pictures")
        )
        unreadable = [str(path) for path in import_result.unreadable]
        _report_unreadable(reporter, unreadable)
        reporter.finish(
            f"{_count_phrase(import_result.added)} added; {import_result.skipped:,} were there already.",
            {
                "added": import_result.added,
                "already": import_result.skipped,
                "unreadable": unreadable,
            },
        )

    return run_on_library(folder, operation, is_json=is_json, requires=Requires.NOTHING)


def rescan_library(folder: Path | None, *, is_json: bool) -> int:
    """Bring the index to what is in the library's folder, and return what the program ends with."""

    def operation(library: Library, reporter: Reporter) -> None:
        scan_result = JobRepository(library).rescan(
            reporter.start_task("Looking through the library")
        )
        _report_unreadable(reporter, scan_result.unreadable)
        counts = {
            name: count for name, count in asdict(scan_result).items() if name != "unreadable"
        }
        summary = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        reporter.finish(
            f"The index is up to date: {summary or 'nothing has changed'}.",
            {**counts, "unreadable": list(scan_result.unreadable)},
        )

    return run_on_library(folder, operation, is_json=is_json, requires=Requires.FOLDER)


def _count_phrase(count: int) -> str:
    return f"{count:,} {'picture was' if count == 1 else 'pictures were'}"


def _report_unreadable(reporter: Reporter, paths: Sequence[str]) -> None:
    for path in paths[:MAX_LISTED_FILES]:
        reporter.show_hint(f"This can't be read as a picture: {path}")
    if len(paths) > MAX_LISTED_FILES:
        reporter.show_hint(f"So can't {len(paths) - MAX_LISTED_FILES:,} others.")
