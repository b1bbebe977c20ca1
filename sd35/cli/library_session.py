"""The library, opened for one command."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final

from sd35.cli.environment import read_settings
from sd35.cli.reporter import Reporter
from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError, LibraryError
from sd35.core.text import one_line, pluralize
from sd35.jobs.record import JobRecord, JobStatus
from sd35.library.exporter import manifest_entry
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import Query, parse_query
from sd35.library.read_only import is_read_only
from sd35.library.repository import Entry
from sd35.library.skipped_files import SkippedFiles

__all__ = [
    "JOB_STATUS_NAMES",
    "Requires",
    "build_query",
    "entry_to_json",
    "format_timestamp",
    "job_to_json",
    "open_library",
    "report_skipped",
    "report_unreadable",
]

MAX_LISTED_FILES: Final = 20

# Names in the JSON output. Scripts read them, so they don't follow the database.
JOB_STATUS_NAMES: Final = {
    JobStatus.PENDING: "waiting",
    JobStatus.RUNNING: "running",
    JobStatus.COMPLETED: "saved",
    JobStatus.CANCELLED: "stopped",
    JobStatus.FAILED: "failed",
    JobStatus.INTERRUPTED: "interrupted",
}


class Requires(Enum):
    """Requirement for opening the library: what must exist already."""

    LIBRARY = "library"
    FOLDER = "folder"
    NOTHING = "nothing"


@contextmanager
def open_library(
    folder: Path | None, reporter: Reporter, requires: Requires = Requires.LIBRARY
) -> Iterator[Library]:
    """Open the library in this folder, or that of the settings; rebuild its index if it is gone."""
    folder = read_settings(library=folder).library_folder
    _check_folder(folder, requires)
    with Library.open(folder) as library:
        # The index may be deleted at any time: the images contain everything that is in it.
        if library.needs_rescan and requires is not Requires.FOLDER:
            scan_result = library.rescan(reporter.start_task("Rebuilding the library index"))
            reporter.close()
            if scan_result.added:
                image_count = pluralize(scan_result.added, "image")
                reporter.hint(f"Rebuilt the library index from {image_count}.")
        yield library


def _check_folder(folder: Path, requires: Requires) -> None:
    # Opening a library creates one. A search in a mistyped folder must not.
    try:
        is_folder = folder.is_dir()
        # A folder that can't be written is searched without an index of its own.
        is_library = (folder / STATE_DIR).is_dir() or (is_folder and is_read_only(folder))
    except OSError as error:
        raise LibraryError(f"Couldn't read {one_line(folder)}: {os_error_text(error)}.") from error
    if requires is Requires.LIBRARY and not is_library:
        raise InvalidRequestError(
            f"No library found in {one_line(folder)}.",
            "Choose another one with --library, or create one with `rescan`.",
        )
    if requires is Requires.FOLDER and not is_folder:
        raise InvalidRequestError(
            f"Folder not found: {one_line(folder)}.", "Choose another one with --library."
        )


def build_query(terms: Sequence[str] | None) -> Query:
    """Return the query of a search."""
    query = parse_query(" ".join(terms or ()))
    # The page ignores invalid terms. A script would act on images that it didn't mean.
    if query.problems:
        problems = (one_line(text).removesuffix(" It was ignored.") for text in query.problems)
        raise InvalidRequestError(" ".join(problems))
    return query


def report_unreadable(reporter: Reporter, paths: Sequence[object]) -> None:
    """Print the files that can't be read as images, up to `MAX_LISTED_FILES` of them."""
    for path in paths[:MAX_LISTED_FILES]:
        reporter.hint(f"Skipped unreadable file: {path}")
    if len(paths) > MAX_LISTED_FILES:
        reporter.hint(f"… and {len(paths) - MAX_LISTED_FILES:,} more.")


def report_skipped(reporter: Reporter, skipped_files: Sequence[SkippedFiles]) -> dict[str, Any]:
    """Print how many files were passed over, and why; return the same as a JSON object."""
    for files in skipped_files:
        reporter.hint(str(files))
    return {
        files.reason.json_name: {"count": files.count, "paths": files.paths}
        for files in skipped_files
    }


def format_timestamp(timestamp: dt.datetime | float) -> str:
    """Return a time on this machine's clock, to the minute."""
    if isinstance(timestamp, float):
        timestamp = dt.datetime.fromtimestamp(timestamp, dt.UTC)
    # At the ends of the calendar, which a file may claim, the local time can't be represented.
    with suppress(ValueError, OverflowError, OSError):
        timestamp = timestamp.astimezone()
    return timestamp.isoformat(" ", "minutes")[:16]


def entry_to_json(entry: Entry, path: Path) -> dict[str, Any]:
    """Return the JSON object of an image."""
    return manifest_entry(entry, path) | {
        "made_at": entry.made_at.isoformat(),
        "owner": entry.owner,
        "is_trashed": entry.is_trashed,
        "is_missing": entry.is_missing,
    }


def job_to_json(job: JobRecord) -> dict[str, Any]:
    """Return the JSON object of a job."""
    request = job.request
    return {
        "id": job.id,
        "stage": JOB_STATUS_NAMES[job.status],
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "space": job.space,
        "created_at": dt.datetime.fromtimestamp(job.created_at, dt.UTC).isoformat(),
        "owner": job.owner,
        "error": {
            "kind": job.error_kind,
            "happened": job.error_message,
            "remedy": job.error_remedy,
        },
    }
