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
    entry_to_json,
    format_local_datetime,
    job_created_at,
    job_summary_line,
    job_to_json,
    summary_line,
    truncate_prompt,
)
from sd35.cli.library_session import Reporter, build_query, run_on_library
from sd35.cli.terminal import is_terminal, make_console, write_json, write_line
from sd35.jobs.record import JobRecord
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.query import Query
from sd35.library.repository import Entry

__all__ = ["search_library"]

PAGE_SIZE: Final = 100
"""Pictures that are asked of the index, and written, at a time."""

_CONTROL_CHARS: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")

_SearchHit = Entry | JobRecord
_PageWriter = Callable[[Library, Reporter, Sequence[_SearchHit]], None]


def search_library(
    folder: Path | None, terms: Sequence[str], limit: int | None, *, is_json: bool
) -> int:
    """Write what is found, `None` for all of it, and return what the program ends with."""
    write_page = (
        _write_json if is_json else _write_table if is_terminal(sys.stdout) else _write_paths
    )

    def operation(library: Library, reporter: Reporter) -> None:
        paged_search = _PagedSearch(library, build_query(terms))
        count = 0
        for page in paged_search.pages(limit):
            write_page(library, reporter, page)
            count += len(page)
        if not count:
            reporter.show_hint("Nothing was found.")
        elif paged_search.is_more:
            reporter.show_hint(
                f"{count:,}{paged_search.total_text} are shown, the newest; --all shows all."
            )

    return run_on_library(folder, operation, is_json=is_json)


class _PagedSearch:
    """Asks for one page after another, of pictures, or of jobs that came to none.

    Attributes:
        is_more: there was more after the last page.
        of_how_many: there are in all, as the middle of a sentence; empty where that isn't known.

    """

    def __init__(self, library: Library, query: Query) -> None:
        self._library = library
        self._query = query
        self._cursor: str | None = None
        self.is_more = False
        self.total_text = ""

    def pages(self, limit: int | None) -> Iterator[Sequence[_SearchHit]]:
        """Each page, up to so many pictures; `None` for all."""
        remaining = limit
        while remaining is None or remaining > 0:
            page = self._fetch_page(PAGE_SIZE if remaining is None else min(remaining, PAGE_SIZE))
            yield page
            remaining = None if remaining is None else remaining - len(page)
            if not self.is_more:
                break

    def _fetch_page(self, limit: int) -> Sequence[_SearchHit]:
        if self._query.is_job_query:
            jobs = JobRepository(self._library).search(self._query, None, self._cursor, limit)
            self._cursor, self.is_more = jobs.older_cursor, jobs.older_cursor is not None
            return jobs.jobs
        page = self._library.search(self._query, limit=limit, older_cursor=self._cursor)
        self._cursor, self.is_more = page.older_cursor, page.older_cursor is not None
        self.total_text = (
            f" of {page.count:,}" if page.is_count_exact else f" of more than {page.count:,}"
        )
        return page.entries


def _write_json(library: Library, _: Reporter, page: Sequence[_SearchHit]) -> None:
    for hit in page:
        write_json(
            entry_to_json(hit, library.file_path(hit))
            if isinstance(hit, Entry)
            else job_to_json(hit)
        )


def _write_paths(library: Library, reporter: Reporter, page: Sequence[_SearchHit]) -> None:
    """One a line: of a job, which has none, its id. A path that would be more than a line is left out."""
    for hit in page:
        path = str(library.file_path(hit)) if isinstance(hit, Entry) else hit.id
        if _CONTROL_CHARS.search(path):
            reporter.show_hint(
                f"This path has control characters, and is told by --json alone: {path}"
            )
        else:
            write_line(os.fsencode(path))


def _write_table(_: Library, reporter: Reporter, page: Sequence[_SearchHit]) -> None:
    reporter.terminal.close()
    table = Table.grid(
        Column(style="dim", no_wrap=True),
        Column(no_wrap=True),
        Column(overflow="fold"),
        padding=(0, 2),
    )
    for hit in page:
        table.add_row(*_table_row(hit))
    make_console().print(table)


def _table_row(hit: _SearchHit) -> tuple[str, str, Text]:
    if isinstance(hit, Entry):
        record, size, details, made_at = (
            hit.record,
            f"{hit.width} × {hit.height}",
            summary_line(hit),
            hit.made_at,
        )
        return (
            format_local_datetime(made_at),
            size,
            Text.assemble(truncate_prompt(record.prompt) or "(no prompt)", "\n", (details, "dim")),
        )
    text = Text.assemble(truncate_prompt(hit.request.prompt), "\n", (job_summary_line(hit), "dim"))
    return format_local_datetime(job_created_at(hit)), hit.status.value, text
