"""`library stats`: how much there is in the library."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from sd35.cli.formatting import local
from sd35.cli.library_session import Telling, at_library
from sd35.cli.messages import plain, size
from sd35.cli.terminal import console, write_json
from sd35.library.library import Library
from sd35.library.stats import Stats

__all__ = ["tell_stats"]


def tell_stats(folder: Path | None, *, is_json: bool) -> int:
    """Write how much there is of everything, and return what the program ends with."""

    def work(library: Library, told: Telling) -> None:
        stats = library.stats()
        told.screen.close()
        if is_json:
            write_json(_as_json(library, stats))
        else:
            _write(library, stats)

    return at_library(folder, work, is_json=is_json)


def _as_json(library: Library, stats: Stats) -> dict[str, Any]:
    return {
        "folder": str(library.folder),
        **asdict(stats),
        "jobs": {stage.value: count for stage, count in stats.jobs.items()},
        "first": stats.first and stats.first.isoformat(),
        "last": stats.last and stats.last.isoformat(),
    }


def _write(library: Library, stats: Stats) -> None:
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    table.add_row("Folder", plain(library.folder))
    table.add_row("Pictures", f"{stats.pictures:,}, {size(stats.picture_bytes)}")
    table.add_row("Starred", f"{stats.starred:,}")
    table.add_row("Trash", f"{stats.trashed:,}, {size(stats.trash_bytes)}")
    table.add_row("Missing", f"{stats.missing:,}")
    if stats.first is not None and stats.last is not None:
        table.add_row("Made", f"{local(stats.first)} to {local(stats.last)}")
    table.add_row(
        "Jobs",
        ", ".join(f"{count:,} {stage.value}" for stage, count in stats.jobs.items() if count),
    )
    table.add_row("Index", size(stats.index_bytes))
    table.add_row("Thumbnails", size(stats.thumbnail_bytes))
    if stats.free_bytes is not None:
        table.add_row("Free on disk", size(stats.free_bytes))
    console().print(table)
