"""`library stats`: counts and sizes of images, jobs and files."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from sd35.cli import options
from sd35.cli.lazy import Command, make_app
from sd35.cli.library_session import JOB_STATUS_NAMES, format_timestamp, open_library
from sd35.cli.runner import command_context
from sd35.cli.terminal import print_facts, write_json
from sd35.core.text import format_bytes, one_line
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.stats import Stats

__all__ = ["app"]

app = make_app()


@app.command(cls=Command)
def stats(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Show library statistics."""
    with command_context(is_json=as_json) as reporter, open_library(folder, reporter) as library:
        library_stats = library.stats()
        job_counts = JobRepository(library).count_by_status()
        if not as_json:
            print_facts(_facts(library, library_stats, job_counts))
            return
        first = library_stats.first
        last = library_stats.last
        write_json(
            {
                "folder": str(library.folder),
                **asdict(library_stats),  # datetimes, which JSON doesn't know, are replaced below
                "jobs": {JOB_STATUS_NAMES[status]: count for status, count in job_counts.items()},
                "first": first and first.isoformat(),
                "last": last and last.isoformat(),
            }
        )


def _facts(
    library: Library, stats: Stats, job_counts: Mapping[JobStatus, int]
) -> Iterator[tuple[str, str]]:
    yield "Folder", one_line(library.folder)
    yield "Images", f"{stats.pictures:,}, {format_bytes(stats.picture_bytes)}"
    yield "Starred", f"{stats.starred:,}"
    yield "Trash", f"{stats.trashed:,}, {format_bytes(stats.trash_bytes)}"
    yield "Missing", f"{stats.missing:,}"
    if stats.first is not None and stats.last is not None:
        yield "Created", f"{format_timestamp(stats.first)} to {format_timestamp(stats.last)}"
    counts = (f"{count:,} {status.value}" for status, count in job_counts.items() if count)
    yield "Jobs", ", ".join(counts)
    yield "Index", format_bytes(stats.index_bytes)
    yield "Thumbnails", format_bytes(stats.thumbnail_bytes)
    if stats.free_bytes is not None:
        yield "Free on disk", format_bytes(stats.free_bytes)
