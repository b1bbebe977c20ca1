"""Programs that are killed at any moment: nothing that was confirmed is lost or done twice."""

import json
import os
import random
import re
import shutil
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

from sd35.core.atomic_files import TEMP_SUFFIX
from sd35.core.errors import LibraryError
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import JobRepository
from sd35.jobs.service import JobService, JobServiceConfig
from sd35.jobs.sheets import load_sheet
from sd35.jobs.space_connection import SpaceConfig
from sd35.jobs.store import JobStore
from sd35.library.layout import STATE_DIR, owner_key
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.library.repository import Entry
from sd35.library.scanner import ScanResult
from sd35.metadata.embedding import embed_metadata, read_metadata
from sd35.metadata.model import GenerationMetadata
from tests.app_server import serve_app
from tests.browsers import FORM_VALUES, BrowserSession
from tests.full_disk import Disk, disk
from tests.impostor import make_request
from tests.killable import (
    LIMIT_SECONDS,
    Program,
    Space,
    fail_demo,
    import_and_export,
    run_studio,
    stage_image,
    wait_for_image,
)
from tests.library_fixtures import add_picture, encode_picture, folder_in_memory
from tests.test_app import start_program

__all__ = ["disk"]

SEED = 20_261_124
LIBRARY_SIZE = 500
PICTURE_COUNT = 30
MAX_MESSAGES = 8
MAX_LIFETIME_SECONDS = 0.04
"""A program is killed after up to so many messages, and so many more seconds."""


def kill_counts(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrize `count`: a few kills in each run of the tests, many with `pytest -m kills`."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.kills)])


_COUNTS_SQL = """
SELECT owner,
    CASE WHEN is_missing THEN 'missing' WHEN trashed_at IS NULL THEN 'shown' ELSE 'trash' END,
    count(*), sum(size_bytes)
FROM pictures GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    with Space().serve() as space:
        yield space


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def _make_rng() -> random.Random:
    return random.Random(SEED)  # noqa: S311  # no secrets


@contextmanager
def _with_note(note: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, pytest.fail.Exception) as error:
        error.add_note(note)
        raise


class KillScenario:
    """Library in which one program after another is killed, and what they had confirmed.

    Attributes:
        submitted_jobs: owner, prompt and seed of each accepted job, by its id.
        tagged: the id and the tag of each tagged image.
        shown_ids: the ids of the images that could be seen, saved or not.

    """

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder = folder / "library"
        self.space = space
        self.submitted_jobs: dict[str, list[Any]] = {}
        self.tagged: list[tuple[str, str]] = []
        self.shown_ids: set[str] = set()
        self._scratch_dir = folder / "scratch"
        self._scratch_dir.mkdir()
        Library.open(self.folder).close()
        self._pending_jobs: dict[str, list[str]] = {}
        self._initial_prompt_counts = space.prompt_counts.copy()
        self._ran: set[str] = set()
        self._was_taken_over = False
        self._metadata_cache: dict[Path, tuple[int, GenerationMetadata]] = {}

    def begin(self, seed: int) -> Program:
        """Start a program on the library."""
        return Program(run_studio, self.folder, self.space.address, seed)

    def pictures(self) -> dict[Path, GenerationMetadata]:
        """Return the metadata of each image file; new and changed files are decoded."""
        for path in [
            *self.folder.glob("**/*.png"),
            *(self.folder / STATE_DIR / "trash").glob("**/*.png"),
        ]:
            stamp = path.stat().st_mtime_ns
            if path not in self._metadata_cache or self._metadata_cache[path][0] != stamp:
                with Image.open(path) as image:
                    image.load()
                record = read_metadata(path.read_bytes())
                assert record is not None, f"{path} has no record"
                assert (
                    record.seed == self.submitted_jobs.get(record.id, [None, None, record.seed])[2]
                ), path
                self._metadata_cache[path] = stamp, record
        self._metadata_cache = {
            path: cached for path, cached in self._metadata_cache.items() if path.exists()
        }
        return {path: record for path, (_, record) in self._metadata_cache.items()}

    def process_messages(self, messages: list[Any], *, is_alone: bool = True) -> None:
        """Note what a program has confirmed. Only one that `is_alone` adopts all pending jobs."""
        for line in messages:
            match line:
                case ["submitted", id_, *details]:
                    self.submitted_jobs[id_] = details
                case ["tagged", id_, tag]:
                    self.tagged.append((id_, tag))
                case ["shown", id_]:
                    self.shown_ids.add(id_)
                case ["restored", owner, pending]:
                    assert not is_alone or pending == [
                        [id_, True] for id_ in self._pending_jobs.get(owner, [])
                    ], "a pending job is lost"
                    self._was_taken_over = True
                case unexpected:
                    pytest.fail("\n".join(map(str, unexpected)))

    def check_index(self) -> None:
        """Check a copy of the index, so that the next program finds the original as it was."""
        copy = self._scratch_dir / "library.sqlite3"
        for file in self._scratch_dir.iterdir():
            file.unlink()
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(self.folder / STATE_DIR / f"{copy.name}{end}", f"{copy}{end}")
        with closing(sqlite3.connect(copy)) as index:
            assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not index.execute("PRAGMA foreign_key_check").fetchall()
            counts = [
                row for row in index.execute("SELECT * FROM counts ORDER BY owner, scope") if row[2]
            ]
            assert counts == index.execute(_COUNTS_SQL).fetchall()
            self._check_jobs(index)

    def _check_jobs(self, index: sqlite3.Connection) -> None:
        rows = index.execute(
            "SELECT id, owner, json_extract(request, '$.prompt'), json_extract(request, '$.seed'),"
            " status, is_api_call, position FROM jobs ORDER BY position, created_at"
        ).fetchall()
        statuses = {row[0]: row[4] for row in rows}
        assert self.submitted_jobs.items() <= {row[0]: list(row[1:4]) for row in rows}.items(), (
            "a job is lost"
        )
        assert self.space.prompt_counts - self._initial_prompt_counts <= Counter(
            row[2] for row in rows
        ), "a job was run again by itself"
        picture_ids = {record.id for record in self.pictures().values()}
        assert picture_ids >= {id_ for id_, status in statuses.items() if status == "completed"}, (
            "a saved picture is lost"
        )
        if self._was_taken_over:
            assert not any(statuses[id_] in {"running", "pending"} for id_ in self._ran), (
                "a job that was running isn't interrupted"
            )
        self._ran = {id_ for id_, status in statuses.items() if status == "running"}
        self._was_taken_over = False
        self._pending_jobs = {}
        for id_, owner, _, _, status, is_api_call, _ in rows:
            if status == "pending" and not is_api_call:
                self._pending_jobs.setdefault(owner, []).append(id_)
        positions = [row[-1] for row in rows if row[4] == "pending"]
        assert len(positions) == len(set(positions)), "a reordering was written by halves"

    def check_everything(self) -> None:
        """Check the library after a rescan: index, files and jobs agree."""
        for part in self.folder.rglob(f".*{TEMP_SUFFIX}"):
            os.utime(part, (0, 0))
        with Library.open(self.folder) as library:
            JobRepository(library).adopt_orphans()
            library.rescan()
            assert library.rescan() == ScanResult()
            assert not list(self.folder.rglob(f".*{TEMP_SUFFIX}"))
            files = self.pictures()
            pages = [library.search(parse_query(text), limit=500) for text in ("", "is:trash")]
            entries = {entry.id: entry for entry in _iterate_entries(library)}
            assert {library.file_path(entry): entry.metadata for entry in entries.values()} == files
            assert sum(page.count for page in pages) == len(files)
            assert all(tag in entries[id_].metadata.tags for id_, tag in self.tagged), (
                "a tag is lost"
            )
            assert self.shown_ids <= entries.keys(), "an image that was shown is lost"
            jobs = [JobRepository(library).get(id_) for id_ in self.submitted_jobs]
            for job in filter(None, jobs):
                assert (job.id in entries) == (job.status is JobStatus.COMPLETED), job
                assert job.status is not JobStatus.RUNNING
        self.check_index()


def _iterate_entries(library: Library) -> Iterator[Entry]:
    for text in ("", "is:trash"):
        older: str | None = None
        while True:
            page = library.search(parse_query(text), limit=500, older_cursor=older)
            yield from page.entries
            older = page.older_cursor
            if older is None:
                break


@kill_counts(8, 200)
def test_kill_at_any_moment_loses_nothing(folder: Path, space: Space, count: int) -> None:
    """A killed program leaves every job and image whole, and no job is run again by itself."""
    scenario = KillScenario(folder, space)
    rng = _make_rng()
    for index in range(count):
        program = scenario.begin(SEED + index)
        program.listen(rng.randrange(MAX_MESSAGES), LIMIT_SECONDS)
        messages = program.kill(rng.random() * MAX_LIFETIME_SECONDS)
        with _with_note(f"seed {SEED}, program {index}"):
            scenario.process_messages(messages)
            scenario.check_index()
    scenario.check_everything()
    assert len(scenario.submitted_jobs) > count / 2


def test_staged_image_is_saved_after_a_kill(folder: Path) -> None:
    """An image that can be seen is found after a kill; while its program lives, nobody moves it."""
    program = Program(stage_image, folder)
    program.listen(1, LIMIT_SECONDS)
    with Library.open(folder) as library:
        assert not library.has_abandoned_images()
        assert library.rescan() == ScanResult()
        [id_] = program.kill()
        staged_files = list((folder / STATE_DIR).rglob("*-a-cat.png"))
        damaged_file = staged_files[0].with_stem("damaged")
        damaged_file.write_bytes(staged_files[0].read_bytes()[:-20])
        assert library.has_abandoned_images()
        assert library.rescan() == ScanResult(added=1)
        entry = library.get(id_)
        assert entry is not None
        assert read_metadata(library.read_bytes(id_)) == entry.metadata
        assert not library.has_abandoned_images()
        assert library.rescan() == ScanResult()


@kill_counts(2, 20)
def test_library_opens_after_a_kill_at_the_first_start(
    folder: Path, space: Space, count: int
) -> None:
    """A program that was killed while it made the library can be started again."""
    rng = _make_rng()
    for index in range(count):
        program = Program(run_studio, folder / str(index), space.address, index)
        program.kill(rng.random() * 0.05)
        with Library.open(folder / str(index)) as library:
            JobRepository(library).adopt_orphans()
            assert library.rescan() == ScanResult()


@kill_counts(1, 6)
def test_kill_of_one_of_two_programs_loses_nothing(folder: Path, space: Space, count: int) -> None:
    """Two programs on one library neither lose nor repeat jobs when both are killed."""
    scenario = KillScenario(folder, space)
    rng = _make_rng()
    for index in range(count):
        first = scenario.begin(2 * index)
        second = scenario.begin(2 * index + 1)
        for program, lines in ((first, 20), (second, 20), (first, rng.randrange(20, 50))):
            program.listen(lines, LIMIT_SECONDS)
        scenario.process_messages(first.kill(rng.random() * MAX_LIFETIME_SECONDS), is_alone=False)
        second.listen(60, LIMIT_SECONDS)
        scenario.process_messages(second.kill(rng.random() * MAX_LIFETIME_SECONDS), is_alone=False)
        scenario.check_index()
    scenario.check_everything()


@kill_counts(3, 20)
def test_killed_import_or_export_can_be_completed(folder: Path, count: int) -> None:
    """An import or export that was killed is completed by the next one, without duplicates."""
    source = folder / "source"
    rng = _make_rng()
    source.mkdir()
    for index in range(PICTURE_COUNT):
        data = encode_picture(index)
        (source / f"{index}.png").write_bytes(
            embed_metadata(data, GenerationMetadata(id=f"p{index}")) if index % 2 else data
        )
    for index in range(count):
        library = folder / f"library-{index}"
        target = folder / f"export-{index}"
        program = Program(import_and_export, library, source, target)
        program.listen(1, rng.random() * 0.3)
        assert program.kill() in ([], [["done"]])
        if not (target / "pictures.jsonl").exists():
            assert Program(import_and_export, library, source, target).wait() == [["done"]]
        manifest_lines = (target / "pictures.jsonl").read_text("ascii").splitlines()
        assert {json.loads(line)["path"] for line in manifest_lines} == {
            path.relative_to(target).as_posix() for path in target.rglob("*.png")
        }
        assert len(manifest_lines) == PICTURE_COUNT
        with Library.open(library) as opened:
            assert opened.rescan() == ScanResult()
            assert opened.search().count == PICTURE_COUNT


def test_page_after_a_crash_shows_interrupted_and_paused_jobs(folder: Path, space: Space) -> None:
    """A page shows the interrupted and the held job after a crash; neither is run again."""
    space.resume_run.clear()
    with (
        start_program(folder, "--space", space.address, "--at-once", "1") as (process, address, _),
        BrowserSession(address).open() as visit,
    ):
        running_job, _ = (visit.submit(prompt)[1] for prompt in ("wait", "a cat"))
        assert space.run_started.wait(LIMIT_SECONDS)
        process.kill()
    [library_folder] = (path.parent.parent for path in folder.rglob("library.sqlite3"))
    with (
        serve_app(space.address, library_folder, UsageLimits(max_concurrent=1)) as restarted,
        BrowserSession(restarted.address).open() as visit,
    ):
        _, _, _, _, queue, *_ = visit.result("watch_jobs", [""])
        assert f'<li data-kind="interrupted" data-job="{running_job}">' in queue
        assert re.search('<li data-kind="held".*?<b>a cat</b><span>Paused · Seed 7,', queue)
        job = JobRepository(restarted.studio.library).get(running_job)
        assert job is not None
        assert job.request.seed == 7
        assert (space.prompt_counts["wait"], space.prompt_counts["a cat"]) == (1, 0)
    space.resume_run.set()


@pytest.mark.kills
def test_grid_goes_on_after_a_crash(folder: Path, space: Space) -> None:
    """What a killed program has left of a grid is made when it is resumed, each in its place."""
    space.resume_run.clear()
    axes = [{"kind": "prompt", "text": "cat,wait"}, {"kind": "seed", "text": "1-2"}]
    submission = {"key": "a" * 32, "values": ["cat", *FORM_VALUES[1:]], "grid": axes}
    with (
        start_program(folder, "--space", space.address, "--at-once", "1") as (process, address, _),
        BrowserSession(address).open() as visit,
    ):
        visit.run("submit", [""], {"submissions": [submission]})
        assert space.run_started.wait(LIMIT_SECONDS)
        process.kill()
    space.resume_run.set()
    [library_folder] = (path.parent.parent for path in folder.rglob("library.sqlite3"))
    with (
        serve_app(space.address, library_folder, UsageLimits(max_concurrent=1)) as restarted,
        BrowserSession(restarted.address).open() as visit,
    ):
        library = restarted.studio.library
        visit.result("watch_jobs", [""])
        [entry] = library.search().entries
        loaded = load_sheet(library, entry.metadata.set_id)
        assert loaded is not None
        cells = list(loaded.sheet.cells)
        assert [cell.note for cell in cells] == ["", "Interrupted", "Queued", "Queued"]
        for action in ({"action": "resume"}, {"action": "retry", "id": cells[1].job_id}):
            visit.run("run_queue_action", [""], action)
        visit.result("watch_jobs", [""])
        loaded = load_sheet(library, entry.metadata.set_id)
        assert loaded is not None
        assert [
            (picture.metadata.prompt, picture.metadata.seed) for picture in loaded.sheet.pictures
        ] == [*(("cat", 1), ("wait", 1), ("cat", 2), ("wait", 2))]


async def _wait_for_state(job: Job, predicate: Callable[[JobState], bool]) -> JobState:
    with anyio.fail_after(LIMIT_SECONDS):
        while not predicate(state := job.state.value):
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return state


@pytest.mark.anyio
async def test_image_is_saved_once_a_full_disk_has_room(
    disk: Disk, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that arrives while the disk is full is saved once, as soon as there is room."""
    monkeypatch.setattr(
        "sd35.jobs.runner.SAVE_RETRY_INTERVAL", 0.1
    )  # else the test takes as long as that
    library = Library.open(disk.folder / "library")
    service = JobService(
        SpaceConfig(space.address), fail_demo, JobServiceConfig(disk.folder, library)
    )
    early_job = await service.submit(make_request("early"))
    early_result = (await _wait_for_state(early_job, lambda state: state.is_saved)).result
    assert early_result is not None
    assert early_result.path is not None
    value_before = early_result.path.read_bytes()
    space.resume_run.clear()
    late_job = await service.submit(make_request("wait"))
    await _wait_for_state(late_job, lambda state: state.status is JobStatus.RUNNING)
    disk.fill()
    space.resume_run.set()
    late_result = (await _wait_for_state(late_job, lambda state: state.result is not None)).result
    assert late_result is not None
    assert late_result.path is None
    assert "Couldn't save" in late_result.save_error
    artifact = service.artifacts.find(late_result.url_path)
    assert artifact is not None
    assert isinstance(artifact.content, bytes)
    with pytest.raises(LibraryError, match=r"The library's disk is full|index can't be used"):
        for _ in range(LIBRARY_SIZE):
            await service.submit(make_request("refused"))
    disk.free()
    await _wait_for_state(late_job, lambda state: state.is_saved)
    assert early_result.path.read_bytes() == value_before
    await _wait_for_state(
        await service.submit(make_request("after")),
        lambda state: state.status is JobStatus.COMPLETED,
    )
    await service.aclose()
    library.close()
    with Library.open(disk.folder / "library") as library:
        JobRepository(library).adopt_orphans()
        assert library.rescan() == ScanResult()
        prompts = Counter(entry.metadata.prompt for entry in _iterate_entries(library))
    assert prompts["early"] == prompts["wait"] == prompts["after"] == 1


@pytest.mark.anyio
@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
@pytest.mark.parametrize("has_room", [True, False])
async def test_image_in_memory_outlives_the_program(
    *,
    disk: Disk,
    space: Space,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has_room: bool,
) -> None:
    """At the end, an image in memory is saved: in the library, or where only this user can read it.

    The next start moves it into the library, and its job is completed.
    """
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    visitor = Visitor("user:ann", "user:ann")
    library = Library.open(disk.folder / "library")
    config = JobServiceConfig(disk.folder, library)
    service = JobService(SpaceConfig(space.address), fail_demo, config)
    space.resume_run.clear()
    job = await service.submit(make_request("wait"), visitor)
    await _wait_for_state(job, lambda state: state.status is JobStatus.RUNNING)
    disk.fill()
    space.resume_run.set()
    await _wait_for_state(job, lambda state: state.result is not None)
    if has_room:
        disk.free()
    await service.aclose()
    library.close()
    paths = [path for path in home.rglob("*") if path.is_file()]
    assert len(paths) == (0 if has_room else 1)
    for path in paths:
        assert str(path) in caplog.text
        assert read_metadata(path.read_bytes()) is not None
        folders = [folder for folder in path.parents if home in folder.parents]
        assert [stat.S_IMODE(file.stat().st_mode) for file in (path, *folders[-2:])] == [
            0o600,
            0o700,
            0o700,
        ]
    disk.free()
    library = Library.open(disk.folder / "library")
    service = JobService(SpaceConfig(space.address), fail_demo, replace(config, library=library))
    await service.restore_session(visitor)
    await service.restore_unsaved()
    assert list(home.iterdir()) == []
    entry = library.get(job.id, owner_key(visitor.owner))
    assert entry is not None
    assert not entry.is_missing
    record = JobRepository(library).get(job.id)
    assert record is not None
    assert record.status is JobStatus.COMPLETED
    await service.aclose()
    library.close()


@pytest.mark.anyio
async def test_jobs_run_though_the_index_was_damaged(folder: Path, space: Space) -> None:
    """Damage in use costs no job: the index is replaced, and rebuilt from the images."""
    library = Library.open(folder / "library")
    service = JobService(SpaceConfig(space.address), fail_demo, JobServiceConfig(folder, library))
    await _wait_for_state(
        await service.submit(make_request("early")),
        lambda state: state.status is JobStatus.COMPLETED,
    )
    with closing(sqlite3.connect(library.folder / STATE_DIR / "library.sqlite3")) as index:
        index.execute("DROP TABLE jobs")
    job = await service.submit(make_request("late"))
    await _wait_for_state(job, lambda state: state.status is JobStatus.COMPLETED)
    await service.restore_session(LOCAL_VISITOR)
    await service.aclose(LIMIT_SECONDS)
    library.rescan()
    prompts = {entry.metadata.prompt for entry in _iterate_entries(library)}
    assert prompts == {"early", "late"}
    assert list((library.folder / STATE_DIR).glob("library.sqlite3.damaged-*"))
    assert JobRepository(library).get(job.id) is not None
    library.close()


@pytest.mark.anyio
async def test_missing_folder_is_reported_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the library's folder is missing, the log says so once, however often it is needed."""
    with Library.open(folder / "library") as library:
        store = JobStore(library)
        shutil.rmtree(folder / "library")
        for _ in range(3):
            await store.rescan()
    assert len(caplog.records) == 1


def test_rescan_indexes_an_image_that_the_index_missed(folder: Path) -> None:
    """An image whose index entry couldn't be written is found by the next rescan, once."""
    library = Library.open(folder)
    library.close()
    entry = add_picture(library, 1)
    with Library.open(folder) as library:
        assert library.rescan() == ScanResult(added=1)
        assert library.get(entry.id) == entry


def test_suspended_program_keeps_the_finished_image(space: Space, folder: Path) -> None:
    """An image that is finished while the program is suspended isn't lost to a time limit."""
    seconds = 1.2
    space.run_started.clear()
    space.resume_run.clear()
    program = Program(wait_for_image, folder, space.address, seconds)
    program.listen(1, LIMIT_SECONDS)
    with program.suspended():
        time.sleep(1.5 * seconds)  # the suspension itself is what is tested
        space.resume_run.set()
    messages = program.wait()
    assert ["completed", "None"] in messages, messages
