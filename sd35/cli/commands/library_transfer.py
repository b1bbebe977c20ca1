"""`library export`, `import` and `rescan`: pictures out of the library, into it, and the index of what is there."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from sd35.cli.library_session import Needs, Telling, at_library, query_of
from sd35.cli.messages import plain
from sd35.core.errors import InvalidRequestError
from sd35.library.layout import HERE
from sd35.library.library import Library

__all__ = ["export_to", "import_from", "rescan"]

MAX_TOLD: Final = 20
"""Files that couldn't be read, of which each is told by its name."""


def export_to(folder: Path | None, target: Path, words: Sequence[str], *, is_json: bool) -> int:
    """Copy pictures out of the library, and return what the program ends with."""

    def work(library: Library, told: Telling) -> None:
        query = query_of(words)
        if query.is_failed:
            raise InvalidRequestError("What failed has no picture to be copied.")
        told.work("Copying pictures")
        done = library.export(target, query)
        _tell_unreadable(told, done.unreadable)
        told.end(
            f"{_pictures(done.pictures)} copied to {plain(done.path)}.",
            {
                "path": str(done.path),
                "pictures": done.pictures,
                "unreadable": list(done.unreadable),
            },
        )

    return at_library(folder, work, is_json=is_json)


def import_from(folder: Path | None, source: Path, *, is_json: bool) -> int:
    """Copy the pictures of a folder or a .zip into the library, and return what the program ends with."""

    def work(library: Library, told: Telling) -> None:
        done = library.import_from(source, HERE, told.work("Importing pictures"))
        unreadable = [str(path) for path in done.unreadable]
        _tell_unreadable(told, unreadable)
        told.end(
            f"{_pictures(done.added)} added; {done.already:,} were there already.",
            {"added": done.added, "already": done.already, "unreadable": unreadable},
        )

    return at_library(folder, work, is_json=is_json, needs=Needs.NOTHING)


def rescan(folder: Path | None, *, is_json: bool) -> int:
    """Bring the index to what is in the library's folder, and return what the program ends with."""

    def work(library: Library, told: Telling) -> None:
        changes = library.rescan(told.work("Looking through the library"))
        _tell_unreadable(told, changes.unreadable)
        counts = {name: count for name, count in asdict(changes).items() if name != "unreadable"}
        sentence = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        told.end(
            f"The index is up to date: {sentence or 'nothing has changed'}.",
            {**counts, "unreadable": list(changes.unreadable)},
        )

    return at_library(folder, work, is_json=is_json, needs=Needs.FOLDER)


def _pictures(count: int) -> str:
    return f"{count:,} {'picture was' if count == 1 else 'pictures were'}"


def _tell_unreadable(told: Telling, paths: Sequence[str]) -> None:
    for path in paths[:MAX_TOLD]:
        told.remark(f"This can't be read as a picture: {path}")
    if len(paths) > MAX_TOLD:
        told.remark(f"So can't {len(paths) - MAX_TOLD:,} others.")
