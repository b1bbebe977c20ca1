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
from bench.start import first_page
from sd35.core.atomic_files import write_new
from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.query import Cursor, Query, parse_query
from sd35.library.search import Page
from sd35.library.thumbnails import draw_small
from sd35.metadata.embedding import embed_record
from sd35.metadata.model import Record, new_id
from sd35.server.launch import free_port

__all__ = ["PICTURES", "measure"]

PICTURES: Final = 50_000
FEW: Final = 100
"""Pictures of the small library."""

EACH_ROUND: Final = 10
"""How often a page is read in a round."""

MAX_PAGE_MS: Final = 50
MAX_ADD_MS: Final = 30
MAX_EMBED_MS: Final = 5
MAX_START: Final = 1.1
"""With many pictures, as a multiple of a start with none: less can't be told from chance."""

_ID: Final = f"{FEW // 2:022d}"
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


def measure(number: int, rounds: int) -> None:
    """Print the tables, and whether the aims hold."""
    with tempfile.TemporaryDirectory(prefix="bench-library-") as place, ExitStack() as stack:
        folders = [Path(place) / name for name in ("many", "few", "none")]
        many, few, none = (stack.enter_context(Library.open(folder)) for folder in folders)
        scans = [
            _Row("looking through the folder, first"),
            _Row("looking through the folder, again"),
        ]
        for library, wanted, seconds in ((many, number, scans[0].many), (few, FEW, scans[0].few)):
            print(f"making {wanted:,} pictures: this may take minutes", file=sys.stderr, flush=True)
            shelves.fill(library.folder, wanted)
            seconds.append(_seconds(library.rescan))
        reads = [_read(row, act, many, few, rounds) for row, act in _reads(number)]
        _take_turns(scans[1], many.rescan, few.rescan, rounds, times=1)
        _show(f"{number:,} pictures", f"{FEW} pictures", [*reads, *scans])
        opens = _Row("opening the library, and closing it")
        _take_turns(
            opens,
            lambda: Library.open(many.folder).close(),
            lambda: Library.open(none.folder).close(),
            rounds,
        )
        start = _Row("start of app.py to its first page")
        _take_turns(
            start, lambda: _start(many.folder), lambda: _start(none.folder), rounds, times=1
        )
        _show(f"{number:,} pictures", "none", [opens, start])
        adds, beyond = _adds(many, Path(place), rounds)
        writes = [adds, *_writes(many, rounds)]
        _show("of 1.5 MB", "of it, write and fsync alone", writes)
        _aims(reads, beyond, writes[1], start)


def _aims(reads: list[_Row], beyond: float, embed: _Row, start: _Row) -> None:
    slowest = max(reads, key=lambda row: statistics.median(row.many))
    slowest_ms = 1000 * statistics.median(slowest.many)
    embed_ms = 1000 * statistics.median(embed.many)
    ratio = statistics.median(start.many) / statistics.median(start.few)
    for words, said, is_met in (
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
        ("the app starts as soon as with none", f"{ratio:.2f}×", ratio <= MAX_START),
    ):
        print(f"- {'met' if is_met else '**not met**'}: {words}: {said}")


_Read = Callable[[Library], object]


def _reads(number: int) -> Iterator[tuple[_Row, _Read]]:
    everything = parse_query("")
    seconds = {"many": _place(number - 48), "few": _place(FEW - 48)}
    far = {"many": _place(number // 10), "few": _place(FEW // 2)}
    yield _Row("the first page"), lambda library: library.page(everything, "")
    yield (
        _Row("the next page"),
        lambda library: library.page(everything, "", older=seconds[library.folder.name]),
    )
    yield (
        _Row("a page far down"),
        lambda library: library.page(everything, "", older=far[library.folder.name]),
    )
    yield (
        _Row("a picture and its neighbours"),
        lambda library: (library.entry(_ID, ""), library.neighbours(_ID, "")),
    )
    for name, text in SEARCHES.items():
        yield _Row(f"{name}: `{text.strip()}`"), partial(_search, parse_query(text))


def _place(number: int) -> str:
    """Where a page begins, just below this picture."""
    return str(Cursor(shelves.moment(number).timestamp(), f"{number:022d}"))


def _search(query: Query, library: Library) -> Page:
    return library.page(query, "")


def _read(row: _Row, act: _Read, many: Library, few: Library, rounds: int) -> _Row:
    _take_turns(row, lambda: act(many), lambda: act(few), rounds)
    row.steps = _steps(many, act)
    return row


def _steps(library: Library, act: _Read) -> int:
    """How many instructions of SQLite's own machine it takes: a row that is read takes at least three."""
    counter = count()
    database = library._database  # noqa: SLF001  # only its own connections can be counted
    with database.reading() as connection:
        pass
    connection.set_progress_handler(lambda: next(counter) < 0, 1)
    act(library)
    connection.set_progress_handler(None, 1)
    return next(counter)


def _take_turns(
    row: _Row,
    many: Callable[[], object],
    few: Callable[[], object],
    rounds: int,
    times: int = EACH_ROUND,
) -> None:
    turns = [(many, row.many), (few, row.few)]
    many(), few()
    for _ in range(rounds * times):
        turns.reverse()  # who comes second may have it easier
        for act, seconds in turns:
            seconds.append(_seconds(act))


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _start(folder: Path) -> None:
    port = free_port()
    first_page(
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


def _adds(library: Library, place: Path, rounds: int) -> tuple[_Row, float]:
    """Adding a picture, and writing as many bytes alone, in turn; and the median of what it takes more."""
    data = pictures.final()
    picture, row = open_picture(data), _Row("adding a picture")
    _take_turns(
        row,
        lambda: library.add(data, picture, Record(prompt="a new picture", seed=7), ""),
        lambda: write_new(place / "alone", f"{new_id()}.png", data),
        rounds,
    )
    return row, statistics.median(one - other for one, other in zip(row.many, row.few, strict=True))


def _writes(library: Library, rounds: int) -> Iterator[_Row]:
    data, record = pictures.final(), Record(prompt="a lighthouse", seed=7, id="x")
    yield _alone("putting a record into it", lambda: embed_record(data, record), rounds)
    yield _alone("drawing its thumbnail", lambda: draw_small(data), rounds)
    [entry] = library.page(parse_query("new picture"), "", limit=1).entries
    library.thumbnail(entry.id)
    yield _alone("finding its thumbnail", lambda: library.thumbnail(entry.id), rounds)
    on = count()
    yield _alone(
        "starring it", lambda: library.star([entry.id], "", is_starred=next(on) % 2 == 0), rounds
    )


def _alone(name: str, act: Callable[[], object], rounds: int) -> _Row:
    act()
    return _Row(name, [_seconds(act) for _ in range(rounds * EACH_ROUND)])


def _show(many: str, few: str, rows: Sequence[_Row]) -> None:
    titles = ["", f"{many}, median ms", "p95", f"{few}, median ms", "ratio", "SQLite's steps"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row in rows:
        one = statistics.median(row.many)
        other = statistics.median(row.few) if row.few else None
        cells = [
            row.name,
            _ms(one),
            _ms(_p95(row.many)) if len(row.many) > 1 else "–",
            "–" if other is None else _ms(other),
            "–" if other is None else f"{one / other:.2f}×",
            "–" if row.steps is None else f"{row.steps:,}",
        ]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def _ms(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"
