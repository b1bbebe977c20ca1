"""The library with many pictures in it: pages, searches, adding, looking through; and what opening it costs the app.

What is read is read of a small library beside it in turn, so that the ratio says what many pictures
cost.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from bench import pictures, shelves
from bench.start import time_to_first_page
from sd35.core.atomic_files import write_exclusive
from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.query import Cursor, Query, parse_query
from sd35.library.search import PicturePage
from sd35.library.thumbnails import render_thumbnail
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import GenerationMetadata, new_id
from sd35.server.launch import free_port

__all__ = ["PICTURE_COUNT", "measure"]

PICTURE_COUNT: Final = 50_000
SMALL_LIBRARY_SIZE: Final = 100
"""Pictures of the small library."""

REPEATS_PER_ROUND: Final = 10
"""How often a page is read in a round."""

MAX_PAGE_MS: Final = 50
MAX_ADD_MS: Final = 30
MAX_EMBED_MS: Final = 5
MAX_START_RATIO: Final = 1.1
"""With many pictures, as a multiple of a start with none: less can't be told from chance."""

_COMMON_ID: Final = f"{SMALL_LIBRARY_SIZE // 2:022d}"
"""Of a picture that both libraries have."""

SEARCHES: Final = {
    "a word": "lighthouse",
    "two words": "lighthouse owl",
    "a phrase": '"misty lighthouse"',
    "the beginning of a word": "lig",
    "two words of which one is left out": "lighthouse -owl",
    "Chinese letters": "灯台",
    "a rare word": "variation 4711",
    "seed:": "seed:1234567890",
    "tag:": "tag:sea",
    "is:starred": "is:starred",
    "after: and before:": "after:2025-06 before:2025-08",
    "a word, before:": "lighthouse before:2025-03",
    "all sorts": "owl model:medium steps:40 ratio:16:9 is:starred",
    "a word that isn't there": "xylophone ",
    "a word and a tag that don't meet": "lighthouse tag:desert",
}


@dataclass(slots=True)
class _Row:
    """What is measured of many pictures, and of few; in seconds."""

    name: str
    many: list[float] = field(default_factory=list)
    few: list[float] = field(default_factory=list)
    steps: int | None = None


def measure(picture_count: int, rounds: int) -> None:
    """Print the tables, and whether the aims hold."""
    with tempfile.TemporaryDirectory(prefix="bench-library-") as directory, ExitStack() as stack:
        folders = [Path(directory) / name for name in ("many", "few", "none")]
        many, few, none = (stack.enter_context(Library.open(folder)) for folder in folders)
        scans = [
            _Row("looking through the folder, first"),
            _Row("looking through the folder, again"),
        ]
        for library, target_count, seconds in (
            (many, picture_count, scans[0].many),
            (few, SMALL_LIBRARY_SIZE, scans[0].few),
        ):
            print(
                f"making {target_count:,} pictures: this may take minutes",
                file=sys.stderr,
                flush=True,
            )
            shelves.write_pictures(library.folder, target_count)
            seconds.append(_time_call(library.rescan))
        reads = [
            _measure_read(row, act, many, few, rounds) for row, act in _read_cases(picture_count)
        ]
        _measure_interleaved(scans[1], many.rescan, few.rescan, rounds, times=1)
        _print_table(
            f"{picture_count:,} pictures", f"{SMALL_LIBRARY_SIZE} pictures", [*reads, *scans]
        )
        opens = _Row("opening the library, and closing it")
        _measure_interleaved(
            opens,
            lambda: Library.open(many.folder).close(),
            lambda: Library.open(none.folder).close(),
            rounds,
        )
        start = _Row("start of app.py to its first page")
        _measure_interleaved(
            start, lambda: _start_app(many.folder), lambda: _start_app(none.folder), rounds, times=1
        )
        _print_table(f"{picture_count:,} pictures", "none", [opens, start])
        adds, beyond = _measure_adding(many, Path(directory), rounds)
        writes = [adds, *_measure_writes(many, rounds)]
        _print_table("of 1.5 MB", "of it, write and fsync alone", writes)
        _print_aims(reads, beyond, writes[1], start)


def _print_aims(reads: list[_Row], beyond: float, embed: _Row, start: _Row) -> None:
    slowest = max(reads, key=lambda row: statistics.median(row.many))
    slowest_ms = 1000 * statistics.median(slowest.many)
    embed_ms = 1000 * statistics.median(embed.many)
    ratio = statistics.median(start.many) / statistics.median(start.few)
    for label, figure, is_met in (
        (
            f"a page and a search at most {MAX_PAGE_MS} ms",
            f"{slowest_ms:.1f}, {slowest.name}",
            slowest_ms <= MAX_PAGE_MS,
        ),
        (
            f"adding at most {MAX_ADD_MS} ms beyond the disk",
            f"{1000 * beyond:.1f}",
            1000 * beyond <= MAX_ADD_MS,
        ),
        (
            f"a record into a picture at most {MAX_EMBED_MS} ms",
            f"{embed_ms:.1f}",
            embed_ms <= MAX_EMBED_MS,
        ),
        ("the app starts as soon as with none", f"{ratio:.2f}×", ratio <= MAX_START_RATIO),
    ):
        print(f"- {'met' if is_met else '**not met**'}: {label}: {figure}")


_LibraryRead = Callable[[Library], object]


def _read_cases(picture_count: int) -> Iterator[tuple[_Row, _LibraryRead]]:
    match_all = parse_query("")
    seconds = {
        "many": _cursor_below(picture_count - 48),
        "few": _cursor_below(SMALL_LIBRARY_SIZE - 48),
    }
    far_cursors = {
        "many": _cursor_below(picture_count // 10),
        "few": _cursor_below(SMALL_LIBRARY_SIZE // 2),
    }
    yield _Row("the first page"), lambda library: library.search(match_all, "")
    yield (
        _Row("the next page"),
        lambda library: library.search(match_all, "", older_cursor=seconds[library.folder.name]),
    )
    yield (
        _Row("a page far down"),
        lambda library: library.search(
            match_all, "", older_cursor=far_cursors[library.folder.name]
        ),
    )
    yield (
        _Row("a picture and its neighbours"),
        lambda library: (library.get(_COMMON_ID, ""), library.adjacent_ids(_COMMON_ID, "")),
    )
    for name, text in SEARCHES.items():
        yield _Row(f"{name}: `{text.strip()}`"), partial(_search, parse_query(text))


def _cursor_below(index: int) -> str:
    """Where a page begins, just below this picture."""
    return str(Cursor(shelves.created_at(index).timestamp(), f"{index:022d}"))


def _search(query: Query, library: Library) -> PicturePage:
    return library.search(query, "")


def _measure_read(
    row: _Row, operation: _LibraryRead, many: Library, few: Library, rounds: int
) -> _Row:
    _measure_interleaved(row, lambda: operation(many), lambda: operation(few), rounds)
    row.steps = _count_sqlite_steps(many, operation)
    return row


def _count_sqlite_steps(library: Library, operation: _LibraryRead) -> int:
    """How many instructions of SQLite's own machine it takes: a row that is read takes at least three."""
    counter = count()
    database = library.database  # only its own connections can be counted
    with database.read_transaction() as connection:
        pass
    connection.set_progress_handler(lambda: next(counter) < 0, 1)
    operation(library)
    connection.set_progress_handler(None, 1)
    return next(counter)


def _measure_interleaved(
    row: _Row,
    many: Callable[[], object],
    few: Callable[[], object],
    rounds: int,
    times: int = REPEATS_PER_ROUND,
) -> None:
    turns = [(many, row.many), (few, row.few)]
    many(), few()
    for _ in range(rounds * times):
        turns.reverse()  # who comes second may have it easier
        for operation, seconds in turns:
            seconds.append(_time_call(operation))


def _time_call(operation: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    operation()
    return time.perf_counter() - started_at


def _start_app(folder: Path) -> None:
    port = free_port()
    time_to_first_page(
        [
            sys.executable,
            "app.py",
            "--space",
            "demo",
            "--port",
            str(port),
            "--library",
            str(folder),
        ],
        port,
    )


def _measure_adding(library: Library, directory: Path, rounds: int) -> tuple[_Row, float]:
    """Adding a picture, and writing as many bytes alone, in turn; and the median of what it takes more."""
    data = pictures.final()
    picture, row = open_picture(data), _Row("adding a picture")
    _measure_interleaved(
        row,
        lambda: library.add(picture, GenerationMetadata(prompt="a new picture", seed=7), ""),
        lambda: write_exclusive(directory / "alone", f"{new_id()}.png", data),
        rounds,
    )
    return row, statistics.median(
        add_seconds - write_seconds
        for add_seconds, write_seconds in zip(row.many, row.few, strict=True)
    )


def _measure_writes(library: Library, rounds: int) -> Iterator[_Row]:
    data, record = pictures.final(), GenerationMetadata(prompt="a lighthouse", seed=7, id="x")
    yield _measure_alone("putting a record into it", lambda: embed_metadata(data, record), rounds)
    yield _measure_alone("drawing its thumbnail", lambda: render_thumbnail(data), rounds)
    [entry] = library.search(parse_query("new picture"), "", limit=1).entries
    library.thumbnail(entry.id)
    yield _measure_alone("finding its thumbnail", lambda: library.thumbnail(entry.id), rounds)
    on = count()
    yield _measure_alone(
        "starring it", lambda: library.star([entry.id], "", is_starred=next(on) % 2 == 0), rounds
    )


def _measure_alone(name: str, operation: Callable[[], object], rounds: int) -> _Row:
    operation()
    return _Row(name, [_time_call(operation) for _ in range(rounds * REPEATS_PER_ROUND)])


def _print_table(many: str, few: str, rows: Sequence[_Row]) -> None:
    titles = ["", f"{many}, median ms", "p95", f"{few}, median ms", "ratio", "SQLite's steps"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row in rows:
        many_median = statistics.median(row.many)
        few_median = statistics.median(row.few) if row.few else None
        cells = [
            row.name,
            _ms(many_median),
            _ms(_p95(row.many)) if len(row.many) > 1 else "–",
            "–" if few_median is None else _ms(few_median),
            "–" if few_median is None else f"{many_median / few_median:.2f}×",
            "–" if row.steps is None else f"{row.steps:,}",
        ]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def _ms(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"
