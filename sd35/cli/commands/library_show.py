"""`library show`: all that is known of one picture, in the library or anywhere else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Column, Table

from sd35.cli.formatting import (
    entry_as_json,
    entry_facts,
    file_as_json,
    file_facts,
    job_as_json,
    job_facts,
)
from sd35.cli.library_session import Needs, Telling, open_library, telling
from sd35.cli.messages import plain, reason
from sd35.cli.terminal import console, write_json, write_line
from sd35.core.errors import InvalidRequestError
from sd35.library.picture_file import read_file
from sd35.metadata.embedding import read_picture, read_texts
from sd35.metadata.infotext import write_infotext

__all__ = ["show"]

_NO_LETTER: Final = re.compile(r"[^\S\n]|[\0-\x08\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is known: fact by fact, the same for programs, and as infotext; empty where there is no picture."""

    facts: Iterable[tuple[str, str]]
    as_json: dict[str, Any]
    infotext: str = ""


def show(folder: Path | None, name: str, *, is_infotext: bool, is_json: bool) -> int:
    """Write all that is known of the picture in this file, or of this id, and return what the program ends with."""

    def work(told: Telling) -> None:
        if is_infotext and is_json:
            raise InvalidRequestError("Give --infotext or --json, not both.")
        shown = _of_file(Path(name)) if _is_file(Path(name)) else _of_id(folder, name, told)
        told.screen.close()
        if is_json:
            write_json(shown.as_json)
        elif is_infotext:
            _write_infotext(shown)
        else:
            _write_facts(shown)

    return telling(work, is_json=is_json)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _of_file(path: Path) -> _Shown:
    """What a file says of its picture.

    Raises:
        InvalidRequestError: it says nothing, or can't be read.
        PictureTooLargeError: it is larger than a picture is.

    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InvalidRequestError(f"{plain(path)} can't be read: {reason(error)}.") from error
    record, size = read_picture(data), read_texts(data).size
    if record is None:
        raise InvalidRequestError(f"{plain(path)} doesn't say how it was made, or isn't a picture.")
    return _Shown(
        file_facts(record, path, size, len(data)),
        file_as_json(record, path, size, len(data)),
        write_infotext(record, *(size or (record.width or 0, record.height or 0))),
    )


def _of_id(folder: Path | None, name: str, told: Telling) -> _Shown:
    """What the library knows of a picture, or of a job.

    Raises:
        InvalidRequestError: it knows neither.
        LibraryError: it can't be used.

    """
    with open_library(folder, told, Needs.LIBRARY) as library:
        entry, job = library.entry(name), library.jobs.get(name)
        if entry is not None:
            path, infotext = (
                library.path_of(entry),
                write_infotext(entry.record, entry.width, entry.height),
            )
            return _Shown(entry_facts(entry, path), entry_as_json(entry, path), infotext)
    if job is not None:
        return _Shown(job_facts(job), job_as_json(job))
    raise InvalidRequestError(
        f"There is no picture {plain(name)} in the library, and no such file."
    )


def _write_facts(shown: _Shown) -> None:
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    for name, value in shown.facts:
        if value:
            table.add_row(name, value)
    console().print(table)


def _write_infotext(shown: _Shown) -> None:
    if not shown.infotext:
        raise InvalidRequestError("This is a job that came to no picture: it has no infotext.")
    write_line(_NO_LETTER.sub(" ", shown.infotext).encode("utf-8", "replace"))
