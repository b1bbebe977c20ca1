"""`library search`: images or unfinished jobs of the library, page by page, newest first."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from rich.table import Column, Table
from rich.text import Text
from typer import Option

from sd35.cli import options
from sd35.cli.lazy import make_app
from sd35.cli.library_session import (
    build_query,
    entry_to_json,
    format_timestamp,
    job_to_json,
    open_library,
)
from sd35.cli.reporter import Reporter
from sd35.cli.runner import command_context
from sd35.cli.terminal import make_console, write_json, write_line
from sd35.core.text import one_line
from sd35.jobs.record import JobRecord
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.query import Query
from sd35.library.repository import Entry

__all__ = ["app"]

PAGE_SIZE: Final = 100
MAX_PROMPT_LENGTH: Final = 200

# C0, DEL and C1: the latter are control sequences, too, for some terminals.
_CONTROL_CHARS: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")

SearchHit = Entry | JobRecord

Limit = Annotated[
    int, Option(metavar="N", parser=options.whole_number(1), help="Maximum number of results.")
]
ShowAll = Annotated[bool, Option("--all", help="Show all.")]
JsonLines = Annotated[bool, Option("--json", help="Print JSON, one object per line.")]

app = make_app()


@app.command(cls=options.QueryCommand)
def search(
    terms: options.SearchTerms = None,
    *,
    limit: Limit = 20,
    show_all: ShowAll = False,
    folder: options.LibraryFolder = None,
    as_json: JsonLines = False,
) -> None:
    """Find images, newest first.

    Prints a table in a terminal, and otherwise one path per line (the ID of a job without an
    image).
    """
    with command_context(is_json=as_json) as reporter, open_library(folder, reporter) as library:
        paged_search = _PagedSearch(library, build_query(terms))
        count = 0
        # Each page is printed as it comes, so that a large library needs neither time nor memory.
        for page in paged_search.pages(None if show_all else limit):
            if as_json:
                _write_json(library, page)
            elif sys.stdout.isatty():
                _print_table(page)
            else:
                _write_paths(library, reporter, page)
            count += len(page)
        if not count:
            reporter.hint("No results.")
        elif paged_search.has_more:
            total = paged_search.total_text
            reporter.hint(f"Showing the newest {count:,}{total}. Use --all for all.")


class _PagedSearch:
    """Search that is fetched page by page.

    Attributes:
        has_more: whether there is more after the last page.
        total_text: the total, such as ` of 12`; empty where it is unknown.
    """

    def __init__(self, library: Library, query: Query) -> None:
        self._library = library
        self._query = query
        self._cursor: str | None = None
        self.has_more = False
        self.total_text = ""

    def pages(self, limit: int | None) -> Iterator[Sequence[SearchHit]]:
        """Yield pages with at most `limit` hits in all; `None` for no limit."""
        remaining = sys.maxsize if limit is None else limit
        while remaining > 0:
            page = self._fetch_page(min(remaining, PAGE_SIZE))
            yield page
            remaining -= len(page)
            if not self.has_more:
                break

    def _fetch_page(self, limit: int) -> Sequence[SearchHit]:
        hits: Sequence[SearchHit]
        if self._query.is_job_query:
            jobs = JobRepository(self._library).search(self._query, None, self._cursor, limit)
            hits = jobs.jobs
            self._cursor = jobs.older_cursor
        else:
            page = self._library.search(self._query, limit=limit, older_cursor=self._cursor)
            hits = page.entries
            self._cursor = page.older_cursor
            more_than = "" if page.is_count_exact else "more than "
            self.total_text = f" of {more_than}{page.count:,}"
        self.has_more = self._cursor is not None
        return hits


def _write_json(library: Library, page: Sequence[SearchHit]) -> None:
    for hit in page:
        if isinstance(hit, Entry):
            write_json(entry_to_json(hit, library.file_path(hit)))
        else:
            write_json(job_to_json(hit))


def _write_paths(library: Library, reporter: Reporter, page: Sequence[SearchHit]) -> None:
    for hit in page:
        path = str(library.file_path(hit)) if isinstance(hit, Entry) else hit.id
        # A line break in a name would make two paths of one, and a script act on other files.
        if _CONTROL_CHARS.search(path):
            reporter.hint(f"Skipped a path with control characters, use --json: {path}")
        else:
            write_line(os.fsencode(path))


def _print_table(page: Sequence[SearchHit]) -> None:
    table = Table.grid(
        Column(style="dim", no_wrap=True),
        Column(no_wrap=True),
        Column(overflow="fold"),
        padding=(0, 2),
    )
    for hit in page:
        table.add_row(*(_entry_row(hit) if isinstance(hit, Entry) else _job_row(hit)))
    make_console().print(table)


def _entry_row(entry: Entry) -> tuple[str, str, Text]:
    record = entry.metadata
    details = (
        "" if record.seed is None else f"seed {record.seed}",
        "starred" if record.is_starred else "",
        "demo" if record.is_demo else "",
        ", ".join(record.tags),
        entry.path,
    )
    text = _hit_text(record.prompt, details)
    return format_timestamp(entry.made_at), f"{entry.width} × {entry.height}", text


def _job_row(job: JobRecord) -> tuple[str, str, Text]:
    details = (f"seed {job.request.seed}", job.error_message, job.id)
    text = _hit_text(job.request.prompt, details)
    return format_timestamp(job.created_at), job.status.value, text


def _hit_text(prompt: str, details: Sequence[str]) -> Text:
    text = one_line(prompt) or "(no prompt)"
    if len(text) > MAX_PROMPT_LENGTH:
        text = f"{text[: MAX_PROMPT_LENGTH - 1]}…"
    details_line = " · ".join(one_line(part) for part in details if part)
    return Text.assemble(text, "\n", (details_line, "dim"))
