"""`library stats`: how much there is in the library."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from sd35.cli.formatting import STATUS_TO_JSON, format_local_datetime
from sd35.cli.library_session import Reporter, run_on_library
from sd35.cli.messages import format_bytes, one_line
from sd35.cli.terminal import make_console, write_json
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.stats import Stats

__all__ = ["show_stats"]


def show_stats(folder: Path | None, *, is_json: bool) -> int:
    """Write how much there is of everything, and return what the program ends with."""

    def operation(library: Library, reporter: Reporter) -> None:
        stats, job_counts = library.stats(), JobRepository(library).count_by_status()
        reporter.terminal.close()
        if is_json:
            write_json(_stats_to_json(library, stats, job_counts))
        else:
            _write_table(library, stats, job_counts)

    return run_on_library(folder, operation, is_json=is_json)


def _stats_to_json(
    library: Library, stats: Stats, job_counts: Mapping[JobStatus, int]
) -> dict[str, Any]:
    return {
        "folder": str(library.folder),
        **asdict(stats),
        "jobs": {STATUS_TO_JSON[status]: count for status, count in job_counts.items()},
        "first": stats.first and stats.first.isoformat(),
        "last": stats.last and stats.last.isoformat(),
    }


def _write_table(library: Library, stats: Stats, job_counts: Mapping[JobStatus, int]) -> None:
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    table.add_row("Folder", one_line(library.folder))
    table.add_row("Pictures", f"{stats.pictures:,}, {format_bytes(stats.picture_bytes)}")
    table.add_row("Starred", f"{stats.starred:,}")
    table.add_row("Trash", f"{stats.trashed:,}, {format_bytes(stats.trash_bytes)}")
    table.add_row("Missing", f"{stats.missing:,}")
    if stats.first is not None and stats.last is not None:
        table.add_row(
            "Made", f"{format_local_datetime(stats.first)} to {format_local_datetime(stats.last)}"
        )
    table.add_row(
        "Jobs",
        ", ".join(f"{count:,} {status.value}" for status, count in job_counts.items() if count),
    )
    table.add_row("Index", format_bytes(stats.index_bytes))
    table.add_row("Thumbnails", format_bytes(stats.thumbnail_bytes))
    if stats.free_bytes is not None:
        table.add_row("Free on disk", format_bytes(stats.free_bytes))
    make_console().print(table)
