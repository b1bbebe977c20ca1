"""`library show`: all that is known of one picture, in the library or anywhere else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Column, Table

from sd35.cli.formatting import (
    entry_facts,
    entry_to_json,
    file_facts,
    file_to_json,
    job_facts,
    job_to_json,
)
from sd35.cli.library_session import Reporter, Requires, open_library, run_command
from sd35.cli.messages import one_line, os_error_text
from sd35.cli.terminal import make_console, write_json, write_line
from sd35.core.errors import InvalidRequestError
from sd35.jobs.repository import JobRepository
from sd35.library.picture_file import read_file
from sd35.metadata.embedding import read_metadata, read_texts
from sd35.metadata.infotext import write_infotext

__all__ = ["show_picture"]

_UNPRINTABLE: Final = re.compile(r"[^\S\n]|[\0-\x08\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class _PictureDetails:
    """What is known: fact by fact, the same for programs, and as infotext; empty where there is no picture."""

    facts: Iterable[tuple[str, str]]
    payload: dict[str, Any]
    infotext: str = ""


def show_picture(folder: Path | None, name: str, *, is_infotext: bool, is_json: bool) -> int:
    """Write all that is known of the picture in this file, or of this id, and return what the program ends with."""

    def operation(reporter: Reporter) -> None:
        if is_infotext and is_json:
            raise InvalidRequestError("Give --infotext or --json, not both.")
        details = (
            _details_from_file(Path(name))
            if _is_file(Path(name))
            else _details_from_library(folder, name, reporter)
        )
        reporter.terminal.close()
        if is_json:
            write_json(details.payload)
        elif is_infotext:
            _write_infotext(details)
        else:
            _write_facts(details)

    return run_command(operation, is_json=is_json)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _details_from_file(path: Path) -> _PictureDetails:
    """What a file says of its picture.

    Raises:
        InvalidRequestError: it says nothing, or can't be read.
        PictureTooLargeError: it is larger than a picture is.

    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InvalidRequestError(
            f"{one_line(path)} can't be read: {os_error_text(error)}."
        ) from error
    record, size = read_metadata(data), read_texts(data).size
    if record is None:
        raise InvalidRequestError(
            f"{one_line(path)} doesn't say how it was made, or isn't a picture."
        )
    return _PictureDetails(
        file_facts(record, path, size, len(data)),
        file_to_json(record, path, size, len(data)),
        write_infotext(record, *(size or (record.width or 0, record.height or 0))),
    )


def _details_from_library(folder: Path | None, name: str, reporter: Reporter) -> _PictureDetails:
    """What the library knows of a picture, or of a job.

    Raises:
        InvalidRequestError: it knows neither.
        LibraryError: it can't be used.

    """
    with open_library(folder, reporter, Requires.LIBRARY) as library:
        entry, job = library.get(name), JobRepository(library).get(name)
        if entry is not None:
            path, infotext = (
                library.file_path(entry),
                write_infotext(entry.record, entry.width, entry.height),
            )
            return _PictureDetails(entry_facts(entry, path), entry_to_json(entry, path), infotext)
    if job is not None:
        return _PictureDetails(job_facts(job), job_to_json(job))
    raise InvalidRequestError(
        f"There is no picture {one_line(name)} in the library, and no such file."
    )


def _write_facts(details: _PictureDetails) -> None:
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    for name, value in details.facts:
        if value:
            table.add_row(name, value)
    make_console().print(table)


def _write_infotext(details: _PictureDetails) -> None:
    if not details.infotext:
        raise InvalidRequestError("This is a job that came to no picture: it has no infotext.")
    write_line(_UNPRINTABLE.sub(" ", details.infotext).encode("utf-8", "replace"))
