"""Whatever ends the program, at whatever moment: what was promised is there, whole, and nothing is done twice."""

import json
import os
import random
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

from sd35.core.atomic_files import PART
from sd35.core.errors import LibraryError
from sd35.jobs.job import Job, JobState, Phase
from sd35.jobs.repository import Stage
from sd35.jobs.service import House, SpaceChoice, Studio
from sd35.library.layout import HIDDEN
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.library.repository import Entry
from sd35.library.scanner import Changes
from sd35.metadata.embedding import embed_record, read_picture
from sd35.metadata.model import Record
from tests.browsers import FIELDS, Visit
from tests.disks import Disk, disk
from tests.impostor import asking
from tests.lives import LIMIT, Program, Space, brings, lives, no_demo
from tests.shelves import encoded, put
from tests.test_app import started

__all__ = ["disk"]

SEED = 20_261_124
KILLS = 200
MANY = 500
PICTURES = 30
MOST_LINES = 8
LONGEST_SECONDS = 0.04
"""After so many lines, and so much longer at most, a program is killed."""


_COUNTS = """
SELECT owner, CASE WHEN is_missing THEN 'missing' WHEN trashed_at IS NULL THEN 'shown' ELSE 'trash' END, count(*),
    sum(size_bytes) FROM pictures GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    with Space().served() as space:
        yield space


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, where that can be had: a disk's own time isn't what is tested."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _chance() -> random.Random:
    return random.Random(SEED)  # noqa: S311


@contextmanager
def _noting(words: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, pytest.fail.Exception) as error:
        error.add_note(words)
        raise


class Story:
    """A library in which one program after another is killed, and what they were promised.

    Attributes:
        asked: jobs that were accepted: whose, and with which prompt and seed.
        tagged: words that pictures were given.

    """

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder, self.space = folder / "library", space
        self.asked: dict[str, list[Any]] = {}
        self.tagged: list[tuple[str, str]] = []
        self._scratch = folder / "scratch"
        self._scratch.mkdir()
        Library.open(self.folder).close()
        self._waited: dict[str, list[str]] = {}
        self._asked_before = space.asked.copy()
        self._ran: set[str] = set()
        self._was_taken_over = False
        self._seen: dict[Path, tuple[int, Record]] = {}

    def begin(self, seed: int) -> Program:
        """Start a program."""
        return Program(lives, self.folder, self.space.address, seed)

    def pictures(self) -> dict[Path, Record]:
        """Every picture's file that shows, opened whole if it is new or another."""
        for path in [
            *self.folder.glob("**/*.png"),
            *(self.folder / HIDDEN / "trash").glob("**/*.png"),
        ]:
            stamp = path.stat().st_mtime_ns
            if path not in self._seen or self._seen[path][0] != stamp:
                with Image.open(path) as image:
                    image.load()
                record = read_picture(path.read_bytes())
                assert record is not None, f"{path} has no record"
                assert record.seed == self.asked.get(record.id, [None, None, record.seed])[2], path
                self._seen[path] = stamp, record
        self._seen = {path: told for path, told in self._seen.items() if path.exists()}
        return {path: record for path, (_, record) in self._seen.items()}

    def hear(self, said: list[Any], *, is_alone: bool = True) -> None:
        """Take in what a program has said; only one that is alone finds all that waited."""
        for line in said:
            match line:
                case ["asked", id_, *told]:
                    self.asked[id_] = told
                case ["tagged", id_, tag]:
                    self.tagged.append((id_, tag))
                case ["left", owner, waiting]:
                    assert not is_alone or waiting == [
                        [id_, True] for id_ in self._waited.get(owner, [])
                    ], "what waited is lost"
                    self._was_taken_over = True
                case other:
                    pytest.fail("\n".join(map(str, other)))

    def look(self) -> None:
        """Check what can be checked at any time, in a copy of the index: the next program finds it as it was left."""
        copy = self._scratch / "library.sqlite3"
        for file in self._scratch.iterdir():
            file.unlink()
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(self.folder / HIDDEN / f"{copy.name}{end}", f"{copy}{end}")
        with closing(sqlite3.connect(copy)) as index:
            assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not index.execute("PRAGMA foreign_key_check").fetchall()
            counts = [
                row for row in index.execute("SELECT * FROM counts ORDER BY owner, place") if row[2]
            ]
            assert counts == index.execute(_COUNTS).fetchall()
            self._check_jobs(index)

    def _check_jobs(self, index: sqlite3.Connection) -> None:
        rows = index.execute(
            "SELECT id, owner, json_extract(request, '$.prompt'), json_extract(request, '$.seed'), stage, picture_id,"
            " by_program, position FROM jobs ORDER BY position, created_at"
        ).fetchall()
        stages = {row[0]: row[4] for row in rows}
        assert self.asked.items() <= {row[0]: list(row[1:4]) for row in rows}.items(), (
            "a job is lost"
        )
        assert self.space.asked - self._asked_before <= Counter(row[2] for row in rows), (
            "something was run again by itself"
        )
        made = {record.id for record in self.pictures().values()}
        assert made >= {row[0] for row in rows if row[4] == "saved"}, "a saved picture is lost"
        if self._was_taken_over:
            assert not any(stages[id_] in {"running", "waiting"} for id_ in self._ran), (
                "what ran isn't interrupted"
            )
        self._ran, self._was_taken_over = (
            {id_ for id_, stage in stages.items() if stage == "running"},
            False,
        )
        self._waited = {}
        for id_, owner, *_, stage, _, by_program, _ in rows:
            if stage == "waiting" and not by_program:
                self._waited.setdefault(owner, []).append(id_)
        positions = [row[-1] for row in rows if row[4] == "waiting"]
        assert len(positions) == len(set(positions)), "a change of the order was written by halves"

    def look_through(self) -> None:
        """Check everything, as a program finds it that opens the library and looks through its folder."""
        for part in self.folder.rglob(f".*{PART}"):
            os.utime(part, (0, 0))
        with Library.open(self.folder) as library:
            library.take_over()
            library.rescan()
            assert library.rescan() == Changes()
            assert not list(self.folder.rglob(f".*{PART}"))
            files = self.pictures()
            shown = [library.page(parse_query(text), limit=500) for text in ("", "is:trash")]
            entries = {entry.id: entry for entry in _all(library)}
            assert {library.path_of(entry): entry.record for entry in entries.values()} == files
            assert sum(page.count for page in shown) == len(files)
            assert all(tag in entries[id_].record.tags for id_, tag in self.tagged), (
                "a word is lost"
            )
            jobs = [library.jobs.get(id_) for id_ in self.asked]
            for job in filter(None, jobs):
                assert (job.id in entries) == (job.stage is Stage.SAVED), job
                assert job.stage is not Stage.RUNNING
        self.look()


def _all(library: Library) -> Iterator[Entry]:
    for text in ("", "is:trash"):
        older: str | None = None
        while True:
            page = library.page(parse_query(text), limit=500, older=older)
            yield from page.entries
            older = page.older
            if older is None:
                break


def test_killed_at_any_moment(folder: Path, space: Space) -> None:
    """A crash loses or tears something, or has a picture made again that nobody has asked for again."""
    story, chance = Story(folder, space), _chance()
    for number in range(KILLS):
        program = story.begin(SEED + number)
        program.listen(chance.randrange(MOST_LINES), LIMIT)
        said = program.kill(chance.random() * LONGEST_SECONDS)
        with _noting(f"seed {SEED}, program {number}"):
            story.hear(said)
            story.look()
    story.look_through()
    assert len(story.asked) > KILLS / 2


def test_killed_while_the_library_is_made(folder: Path, space: Space) -> None:
    """A program that was killed at its very first start can never be started again."""
    chance = _chance()
    for number in range(20):
        program = Program(lives, folder / str(number), space.address, number)
        program.kill(chance.random() * 0.05)
        with Library.open(folder / str(number)) as library:
            library.take_over()
            assert library.rescan() == Changes()


def test_two_programs_of_which_one_is_killed(folder: Path, space: Space) -> None:
    """Two programs on one library lose, tear or repeat each other's jobs, or what is done to the pictures."""
    story, chance = Story(folder, space), _chance()
    for number in range(6):
        one, other = story.begin(2 * number), story.begin(2 * number + 1)
        for program, lines in ((one, 20), (other, 20), (one, chance.randrange(20, 50))):
            program.listen(lines, LIMIT)
        story.hear(one.kill(chance.random() * LONGEST_SECONDS), is_alone=False)
        other.listen(60, LIMIT)
        story.hear(other.kill(chance.random() * LONGEST_SECONDS), is_alone=False)
        story.look()
    story.look_through()


def test_killed_while_it_imports_or_exports(folder: Path) -> None:
    """An import or export that was cut off can't be completed, or has some pictures twice then."""
    source, chance = folder / "source", _chance()
    source.mkdir()
    for number in range(PICTURES):
        data = encoded(number)
        (source / f"{number}.png").write_bytes(
            embed_record(data, Record(id=f"p{number}")) if number % 2 else data
        )
    for number in range(20):
        library, target = folder / f"library-{number}", folder / f"export-{number}"
        program = Program(brings, library, source, target)
        program.listen(1, chance.random() * 0.3)
        assert program.kill() in ([], [["done"]])
        if not (target / "pictures.jsonl").exists():
            assert Program(brings, library, source, target).ended() == [["done"]]
        told = (target / "pictures.jsonl").read_text("ascii").splitlines()
        assert {json.loads(line)["path"] for line in told} == {
            path.relative_to(target).as_posix() for path in target.rglob("*.png")
        }
        assert len(told) == PICTURES
        with Library.open(library) as opened:
            assert opened.rescan() == Changes()
            assert opened.page().count == PICTURES


def test_the_program_itself_is_killed(folder: Path, space: Space) -> None:
    """A page that is opened after a crash doesn't say what was cut off, or what waits; or it is all done again."""
    flags = ("--space", space.address, "--at-once", "1")
    space.go_on.clear()
    with started(folder, *flags) as (process, address, _), Visit(address).open() as visit:
        ran, _ = (
            visit.result("_submit", [prompt, *FIELDS[1:], ""])[1] for prompt in ("wait", "a cat")
        )
        assert space.working.wait(LIMIT)
        process.kill()
    with started(folder, *flags) as (_, address, _), Visit(address).open() as visit:
        _, _, _, _, queue, _ = visit.result("_watch", [""])
        assert f'<li data-kind="interrupted" data-job="{ran}">' in queue
        assert re.search(
            '<li data-kind="held".*?<b>a cat</b><span>Waits until you let it go on. Seed 7,', queue
        )
        with Library.open(next(folder.rglob("library.sqlite3")).parent.parent) as library:
            job = library.jobs.get(ran)
        assert job is not None
        assert job.request.seed == 7
        assert (space.asked["wait"], space.asked["a cat"]) == (1, 0)
    space.go_on.set()


async def _until(job: Job, is_so: Callable[[JobState], bool]) -> JobState:
    with anyio.fail_after(LIMIT):
        while not is_so(state := job.state.value):
            await job.state.wait_for_change(state, LIMIT)
    return state


@pytest.mark.anyio
async def test_the_disk_is_full(disk: Disk, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that comes when the disk is full is lost, or there twice later; or others are, or the program."""
    monkeypatch.setattr(
        "sd35.jobs.service.SAVE_AGAIN_SECONDS", 0.1
    )  # else the test takes as long as that
    library = Library.open(disk.folder / "library")
    studio = Studio(SpaceChoice(space.address), no_demo, House(disk.folder, library))
    early = await studio.submit(asking("early"))
    before = (await _until(early, lambda state: state.made is not None)).made
    assert before is not None
    assert before.path is not None
    was = before.path.read_bytes()
    space.go_on.clear()
    late = await studio.submit(asking("wait"))
    await _until(late, lambda state: state.phase is Phase.RUNNING)
    disk.fill()
    space.go_on.set()
    made = (await _until(late, lambda state: state.made is not None)).made
    assert made is not None
    assert made.path is None
    assert "couldn't be written" in made.unwritten
    kept = studio.kept.find(made.served_as)
    assert kept is not None
    assert isinstance(kept.content, bytes)
    with pytest.raises(LibraryError, match=r"The disk of the library is full|index can't be used"):
        for _ in range(MANY):
            await studio.submit(asking("refused"))
    disk.free()
    assert (
        await _until(late, lambda state: state.made is not None and state.made.path is not None)
    ).made is not None
    assert before.path.read_bytes() == was
    await _until(await studio.submit(asking("after")), lambda state: state.phase is Phase.FINISHED)
    await studio.aclose()
    library.close()
    with Library.open(disk.folder / "library") as library:
        library.take_over()
        assert library.rescan() == Changes()
        prompts = Counter(entry.record.prompt for entry in _all(library))
    assert prompts["early"] == prompts["wait"] == prompts["after"] == 1


def test_a_picture_that_is_not_in_the_index(folder: Path) -> None:
    """A picture whose file could be written, but not the index, is lost, or written again and again."""
    library = Library.open(folder)
    library.close()
    entry = put(library, 1)
    with Library.open(folder) as library:
        assert library.rescan() == Changes(added=1)
        assert library.entry(entry.id) == entry
