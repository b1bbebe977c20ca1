"""A library with many images: pages, searches, writes, rescans, and what it costs the app's start.

Reads are measured in turn with a small library: the ratio is what the many images cost.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from bench import library_files, pictures
from bench.start import time_to_first_page
from bench.tables import NO_VALUE, print_table
from sd35.core.atomic_files import write_exclusive
from sd35.core.picture import open_picture
from sd35.jobs.prompt_history import PromptHistory, PromptPage
from sd35.library.library import Library
from sd35.library.query import Cursor, Query, parse_query
from sd35.library.search import PicturePage
from sd35.library.thumbnails import render_thumbnail
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import GenerationMetadata, new_id

__all__ = ["PICTURE_COUNT", "measure"]

PICTURE_COUNT: Final = 50_000
SMALL_LIBRARY_SIZE: Final = 100
PAGE_SIZE: Final = 48
REPEATS_PER_ROUND: Final = 10

MAX_PAGE_MS: Final = 50
MAX_ADD_MS: Final = 30
MAX_EMBED_MS: Final = 5
MAX_START_RATIO: Final = 1.1  # less can't be told from chance

_COMMON_ID: Final = f"{SMALL_LIBRARY_SIZE // 2:022d}"  # of an image in both libraries

SEARCHES: Final = {
    "a word": "lighthouse",
    "two words": "lighthouse owl",
    "a phrase": '"misty lighthouse"',
    "a prefix": "lig",
    "a word, another excluded": "lighthouse -owl",
    "Chinese characters": "灯台",
    "a rare word": "variation 4711",
    "a seed": "seed:1234567890",
    "a tag": "tag:sea",
    "starred": "is:starred",
    "a range of dates": "after:2025-06 before:2025-08",
    "a word and a date": "lighthouse before:2025-03",
    "many filters": "owl model:medium steps:40 ratio:16:9 is:starred",
    "an unknown word": "xylophone ",
    "a word and a tag without a common image": "lighthouse tag:desert",
}

_Operation = Callable[[Library], object]


@dataclass(slots=True)
class _Row:
    """Measurements, in seconds: of the large library, and of what it is compared with."""

    name: str
    large: list[float] = field(default_factory=list)
    small: list[float] = field(default_factory=list)
    steps: int | None = None

    @property
    def large_ms(self) -> float:
        return 1000 * statistics.median(self.large)

    def cells(self) -> list[str]:
        """Return the table's cells."""
        small_ms = 1000 * statistics.median(self.small) if self.small else None
        p95 = sorted(self.large)[min(len(self.large) - 1, round(0.95 * len(self.large)))]
        return [
            self.name,
            _ms_text(self.large_ms),
            _ms_text(1000 * p95) if len(self.large) > 1 else NO_VALUE,
            NO_VALUE if small_ms is None else _ms_text(small_ms),
            NO_VALUE if small_ms is None else f"{self.large_ms / small_ms:.2f}×",
            NO_VALUE if self.steps is None else f"{self.steps:,}",
        ]


def measure(picture_count: int, rounds: int) -> None:
    """Print the tables, and which targets are met."""
    with tempfile.TemporaryDirectory(prefix="bench-library-") as directory, ExitStack() as stack:
        folders = [Path(directory) / name for name in ("large", "small", "empty")]
        large, small, empty = (stack.enter_context(Library.open(folder)) for folder in folders)
        first_scan = _Row("first scan of the folder")
        scan = _Row("scan without changes")
        first_scan.large.append(_fill(large, picture_count))
        first_scan.small.append(_fill(small, SMALL_LIBRARY_SIZE))
        reads = [
            _measure_read(name, operation, large, small, rounds)
            for name, operation in _read_cases({large.folder: picture_count})
        ]
        _measure_in_turn(scan, large.rescan, small.rescan, rounds)
        _print_rows(
            f"{picture_count:,} images",
            f"{SMALL_LIBRARY_SIZE} images",
            [*reads, first_scan, scan],
        )
        opening = _Row("open and close the library")
        start = _Row("start app.py, to its first page")
        _measure_in_turn(
            opening,
            lambda: Library.open(large.folder).close(),
            lambda: Library.open(empty.folder).close(),
            rounds * REPEATS_PER_ROUND,
        )
        _measure_in_turn(start, partial(_start_app, large), partial(_start_app, empty), rounds)
        _print_rows(f"{picture_count:,} images", "no images", [opening, start])
        adding, embedding, *others = _measure_writes(large, Path(directory), rounds)
        _print_rows("image of 1.5 MB", "write and fsync alone", [adding, embedding, *others])
        _print_targets(reads, adding, embedding, start)


def _print_targets(reads: list[_Row], adding: _Row, embedding: _Row, start: _Row) -> None:
    slowest = max(reads, key=lambda row: row.large_ms)
    pairs = zip(adding.large, adding.small, strict=True)
    added_ms = 1000 * statistics.median(add - write for add, write in pairs)
    start_ratio = statistics.median(start.large) / statistics.median(start.small)
    targets = [
        (f"each page and search: {MAX_PAGE_MS} ms", slowest.large_ms, MAX_PAGE_MS),
        (f"add an image: {MAX_ADD_MS} ms more than the write alone", added_ms, MAX_ADD_MS),
        (f"embed metadata: {MAX_EMBED_MS} ms", embedding.large_ms, MAX_EMBED_MS),
        (f"start: {MAX_START_RATIO} × that with an empty library", start_ratio, MAX_START_RATIO),
    ]
    rows = [
        [target, f"{value:.2f}", "yes" if value <= limit else "no"]
        for target, value, limit in targets
    ]
    print_table(["target: at most", "measured", "met"], rows)


def _fill(library: Library, picture_count: int) -> float:
    """Write images into the library's folder, and return the seconds of its first scan."""
    print(f"writing {picture_count:,} images, which may take minutes", file=sys.stderr, flush=True)
    library_files.write_pictures(library.folder, picture_count)
    return _time_call(library.rescan)


def _read_cases(picture_counts: dict[Path, int]) -> Iterator[tuple[str, _Operation]]:
    def page_below(part: float) -> _Operation:
        """Return an operation that reads the page below this part of a library's images."""

        def read(library: Library) -> PicturePage:
            size = picture_counts.get(library.folder, SMALL_LIBRARY_SIZE)
            # At least a page must remain, in the small library, too.
            index = min(size - PAGE_SIZE, max(PAGE_SIZE, int(size * part)))
            cursor = Cursor(library_files.created_at(index).timestamp(), f"{index:022d}")
            return library.search(parse_query(""), "", older_cursor=str(cursor))

        return read

    yield "the first page", partial(_search, parse_query(""))
    yield "the second page", page_below(1)
    yield "a page far down", page_below(0.1)
    yield (
        "an image and the ids of its neighbors",
        lambda library: (library.get(_COMMON_ID, ""), library.adjacent_ids(_COMMON_ID, "")),
    )
    for text in ("", "lig", "lighthouse owl"):
        name = f"prompts: `{text}`" if text else "all prompts"
        yield name, partial(_search_prompts, text)
    for name, text in SEARCHES.items():
        yield f"{name}: `{text.strip()}`", partial(_search, parse_query(text))


def _search(query: Query, library: Library) -> PicturePage:
    return library.search(query, "")


def _search_prompts(text: str, library: Library) -> PromptPage:
    return PromptHistory(library).search(text, "", PAGE_SIZE)


def _measure_read(
    name: str, operation: _Operation, large: Library, small: Library, rounds: int
) -> _Row:
    row = _Row(name)
    times = rounds * REPEATS_PER_ROUND
    _measure_in_turn(row, partial(operation, large), partial(operation, small), times)
    row.steps = _count_sqlite_steps(large, operation)
    return row


def _count_sqlite_steps(library: Library, operation: _Operation) -> int:
    """Return the number of instructions of SQLite's virtual machine, at least three per row."""
    counter = count()
    # Progress handlers belong to a connection: the one that is free now is the one that
    # `operation` gets, because this thread is the only one.
    with library.database.read_transaction() as connection:
        pass
    connection.set_progress_handler(lambda: next(counter) < 0, 1)
    operation(library)
    connection.set_progress_handler(None, 1)
    return next(counter)


def _measure_in_turn(
    row: _Row, large: Callable[[], object], small: Callable[[], object], times: int
) -> None:
    turns = [(large, row.large), (small, row.small)]
    large(), small()
    for _ in range(times):
        turns.reverse()  # the second one may find warmer caches
        for operation, seconds in turns:
            seconds.append(_time_call(operation))


def _time_call(operation: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    operation()
    return time.perf_counter() - started_at


def _start_app(library: Library) -> None:
    arguments = ("--space", "demo", "--port", "{port}", "--library", str(library.folder))
    time_to_first_page("app.py", *arguments)


def _measure_writes(library: Library, directory: Path, rounds: int) -> Iterator[_Row]:
    """Measure adding an image, in turn with only writing it, and what else is done to it."""
    data = pictures.final()
    picture = open_picture(data)
    adding = _Row("add an image")
    record = GenerationMetadata(prompt="a new picture", seed=7)
    times = rounds * REPEATS_PER_ROUND
    _measure_in_turn(
        adding,
        lambda: library.add(picture, record, ""),
        lambda: write_exclusive(directory / "alone", f"{new_id()}.png", data),
        times,
    )
    yield adding
    known_record = GenerationMetadata(prompt="a lighthouse", seed=7, id="x")
    [entry] = library.search(parse_query("new picture"), "", limit=1).entries
    library.thumbnail(entry.id)
    sequence = count()
    operations: dict[str, Callable[[], object]] = {
        "embed metadata": lambda: embed_metadata(data, known_record),
        "render its thumbnail": lambda: render_thumbnail(data),
        "find its thumbnail": lambda: library.thumbnail(entry.id),
        "star it": lambda: library.star([entry.id], "", is_starred=next(sequence) % 2 == 0),
    }
    for name, operation in operations.items():
        operation()
        yield _Row(name, [_time_call(operation) for _ in range(times)])


def _print_rows(large: str, small: str, rows: list[_Row]) -> None:
    titles = ["", f"{large}, median ms", "p95", f"{small}, median ms", "ratio", "SQLite steps"]
    print_table(titles, [row.cells() for row in rows])


def _ms_text(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"
