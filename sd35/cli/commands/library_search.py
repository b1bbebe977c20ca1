"""`library search`: what is in the library, page after page, newest first."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Column, Table
from rich.text import Text

from sd35.cli.formatting import (
    entry_as_json,
    in_short,
    job_as_json,
    job_in_short,
    local,
    moment_of,
    shortened,
)
from sd35.cli.library_session import Telling, at_library, query_of
from sd35.cli.terminal import console, is_terminal, write_json, write_line
from sd35.jobs.repository import JobRecord
from sd35.library.library import Library
from sd35.library.query import Query
from sd35.library.repository import Entry

__all__ = ["search"]

AT_ONCE: Final = 100
"""Pictures that are asked of the index, and written, at a time."""

_CONTROLS: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")

_Found = Entry | JobRecord
_Write = Callable[[Library, Telling, Sequence[_Found]], None]


def search(folder: Path | None, words: Sequence[str], limit: int | None, *, is_json: bool) -> int:
    """Write what is found, `None` for all of it, and return what the program ends with."""
    write = _write_json if is_json else _write_table if is_terminal(sys.stdout) else _write_paths

    def work(library: Library, told: Telling) -> None:
        found = _Search(library, query_of(words))
        count = 0
        for page in found.pages(limit):
            write(library, told, page)
            count += len(page)
        if not count:
            told.remark("Nothing was found.")
        elif found.is_more:
            told.remark(f"{count:,}{found.of_how_many} are shown, the newest; --all shows all.")

    return at_library(folder, work, is_json=is_json)


class _Search:
    """Asks for one page after another, of pictures, or of jobs that came to none.

    Attributes:
        is_more: there was more after the last page.
        of_how_many: there are in all, as the middle of a sentence; empty where that isn't known.

    """

    def __init__(self, library: Library, query: Query) -> None:
        self._library = library
        self._query = query
        self._older: str | None = None
        self.is_more = False
        self.of_how_many = ""

    def pages(self, limit: int | None) -> Iterator[Sequence[_Found]]:
        """Each page, up to so many pictures; `None` for all."""
        left = limit
        while left is None or left > 0:
            page = self._next(AT_ONCE if left is None else min(left, AT_ONCE))
            yield page
            left = None if left is None else left - len(page)
            if not self.is_more:
                break

    def _next(self, limit: int) -> Sequence[_Found]:
        if self._query.is_failed:
            jobs = self._library.jobs.search(self._query, None, self._older, limit)
            self._older, self.is_more = jobs.older, jobs.older is not None
            return jobs.jobs
        page = self._library.page(self._query, limit=limit, older=self._older)
        self._older, self.is_more = page.older, page.older is not None
        self.of_how_many = (
            f" of {page.count:,}" if page.is_count_exact else f" of more than {page.count:,}"
        )
        return page.entries


def _write_json(library: Library, _: Telling, page: Sequence[_Found]) -> None:
    for each in page:
        write_json(
            entry_as_json(each, library.path_of(each))
            if isinstance(each, Entry)
            else job_as_json(each)
        )


def _write_paths(library: Library, told: Telling, page: Sequence[_Found]) -> None:
    """One a line: of a job, which has none, its id. A path that would be more than a line is left out."""
    for each in page:
        path = str(library.path_of(each)) if isinstance(each, Entry) else each.id
        if _CONTROLS.search(path):
            told.remark(f"This path has control characters, and is told by --json alone: {path}")
        else:
            write_line(os.fsencode(path))


def _write_table(_: Library, told: Telling, page: Sequence[_Found]) -> None:
    told.screen.close()
    table = Table.grid(
        Column(style="dim", no_wrap=True),
        Column(no_wrap=True),
        Column(overflow="fold"),
        padding=(0, 2),
    )
    for each in page:
        table.add_row(*_row(each))
    console().print(table)


def _row(each: _Found) -> tuple[str, str, Text]:
    if isinstance(each, Entry):
        record, size, small, made_at = (
            each.record,
            f"{each.width} × {each.height}",
            in_short(each),
            each.made_at,
        )
        return (
            local(made_at),
            size,
            Text.assemble(shortened(record.prompt) or "(no prompt)", "\n", (small, "dim")),
        )
    text = Text.assemble(shortened(each.request.prompt), "\n", (job_in_short(each), "dim"))
    return local(moment_of(each)), each.stage.value, text
