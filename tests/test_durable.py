"""Jobs outlive the page that asked for them, and the program; and a queue that one can work with. On real servers."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from sd35.core.errors import InvalidRequestError, LibraryError, QuotaError
from sd35.core.request import GenerationRequest
from sd35.core.visitor import HERE, Visitor
from sd35.jobs.job import Job, Phase
from sd35.jobs.limits import Caps
from sd35.jobs.repository import JobRecord, Stage
from sd35.jobs.service import SpaceChoice, Studio
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.ui.create.queue_actions import act
from tests.fakes import FakeSpace
from tests.serving import house

pytestmark = pytest.mark.anyio

LIMIT = 20
ONE = Caps(at_once=1)
QUOTA = "error: You have exceeded your free GPU quota (60s requested vs. 34s left). Try again in 0:00:{:02}"
ANN = Visitor("user:ann", "user:ann")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@asynccontextmanager
async def opened(
    fake: FakeSpace, folder: Path, caps: Caps = ONE, unwatched: float | None = None
) -> AsyncIterator[Studio]:
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(folder, caps, unwatched=unwatched))
    await studio.connected()
    yield studio
    await studio.aclose()
    studio.library.close()


@pytest.fixture
async def studio(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[Studio]:
    async with opened(fake, tmp_path) as studio:
        yield studio


async def _no_demo() -> str:
    raise AssertionError("an explicit choice never falls back")


def asking(prompt: str, seed: int = 7) -> GenerationRequest:
    return GenerationRequest(prompt, width=512, height=512, seed=seed, randomize_seed=False)


async def until(job: Job, *phases: Phase) -> Job:
    with anyio.fail_after(LIMIT):
        while (state := job.state.value).phase not in phases:
            await job.state.wait_for_change(state, LIMIT)
    return job


async def written(studio: Studio, job: Job, stage: Stage) -> JobRecord:
    """What is written down of a job, as soon as it is that."""
    with anyio.fail_after(LIMIT):
        while (record := studio.library.jobs.get(job.id)) is None or record.stage is not stage:
            await anyio.lowlevel.checkpoint()
    return record


async def running(fake: FakeSpace, studio: Studio, visitor: Visitor = HERE) -> Job:
    """A job that runs until it is released."""
    fake.hold()
    job = await studio.submit(asking("wait: "), visitor)
    assert await asyncio.to_thread(fake.running.wait, LIMIT)
    return await until(job, Phase.RUNNING)


def prompts(jobs: list[Job]) -> list[str]:
    return [job.state.value.request.prompt for job in jobs]


async def test_a_job_is_written_down_at_each_step(fake: FakeSpace, studio: Studio) -> None:
    """What was asked for, or what became of it, isn't written down, or with another seed than the one that is used."""
    first = await running(fake, studio)
    second = await studio.submit(replace(asking("a cat"), randomize_seed=True))
    record = await written(studio, second, Stage.WAITING)
    assert (record.request, record.asked.randomize_seed) == (second.state.value.request, True)
    assert (await written(studio, first, Stage.RUNNING)).started_at is not None
    fake.release()
    await until(second, Phase.FINISHED)
    saved = await written(studio, second, Stage.SAVED)
    entry = studio.library.entry(saved.picture_id or "")
    assert entry is not None
    assert (entry.record.seed, entry.record.prompt) == (record.request.seed, "a cat")
    failed = await studio.submit(asking("error: no"))
    assert (await written(studio, failed, Stage.FAILED)).error_happened == "The Space says: no."


async def test_what_can_not_be_written_down_is_not_sent(fake: FakeSpace, tmp_path: Path) -> None:
    """A picture is asked for, and paid for, though nobody would know of it after a crash."""
    async with opened(fake, tmp_path) as studio:
        studio.library.close()
        with pytest.raises(LibraryError):
            await studio.submit(asking("a cat"))
        assert not studio.board(HERE).unfinished


async def test_after_the_program_was_ended(fake: FakeSpace, tmp_path: Path) -> None:
    """What ran is sent a second time unasked, or can't be run again with its seed; or what waited is forgotten."""
    async with opened(fake, tmp_path) as before:
        ran, waited = await running(fake, before), await before.submit(asking("a cat", 8))
        assert before.board(HERE).running == [ran]
    fake.release()
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        await studio.welcome(HERE)
        board = studio.board(HERE)
        assert [job.id for job in board.troubles] == [ran.id]
        assert [job.id for job in board.waiting] == [waited.id]
        assert board.troubles[0].state.value.phase is Phase.INTERRUPTED
        assert not board.is_at_work, "it waits until somebody says so"
        new = await studio.submit(asking("a dog"))
        await until(new, Phase.FINISHED)
        again = await studio.again(board.troubles[0], HERE)
        assert again.state.value.request == ran.state.value.request
        assert not board.troubles
        await until(again, Phase.FINISHED)
        [left] = board.waiting
        await studio.go_on(HERE)
        await until(left, Phase.FINISHED)
        assert left.state.value.request.seed == 8


async def test_nothing_is_run_again_twice(fake: FakeSpace, tmp_path: Path) -> None:
    """Two pages run the same job again, at once or one after the other, and it costs its quota twice."""
    async with opened(fake, tmp_path) as studio:
        job = await until(await studio.submit(asking("silent", 8)), Phase.FAILED)
        new, other = await asyncio.gather(studio.again(job, HERE), studio.again(job, HERE))
        assert new is other
        assert (new.state.value.request, new.asked) == (
            job.state.value.request,
            job.state.value.request,
        )
        await until(new, Phase.FAILED)
        await written(studio, new, Stage.FAILED)
        assert await act(studio, HERE, "again", job.id, "") == new.id
        found = studio.library.jobs.search(parse_query("is:failed")).jobs
        assert [each.id for each in found] == [new.id], "the library offers it once more"
        await studio.dismiss(new)
        third = await until(await studio.again(new, HERE), Phase.FAILED)
        await written(studio, third, Stage.FAILED)
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        assert [each.id for each in studio.board(HERE).troubles] == [third.id]
        with pytest.raises(InvalidRequestError, match="run again already"):
            await act(studio, HERE, "again", job.id, "")
        assert sum(studio.library.jobs.counts().values()) == 3


async def test_all_are_run_again_from_two_pages(fake: FakeSpace, studio: Studio) -> None:
    """Run all again, pressed in two pages at once, makes each picture twice."""
    for prompt in ("silent", "silent"):
        await until(await studio.submit(asking(prompt)), Phase.FAILED)
    await running(fake, studio)
    await asyncio.gather(
        act(studio, HERE, "retry-all", "", ""), act(studio, HERE, "retry-all", "", "")
    )
    assert len(studio.board(HERE).waiting) == 2
    fake.release()


async def test_what_another_program_has_run_again(fake: FakeSpace, tmp_path: Path) -> None:
    """Of two programs on one library, each runs the same job again; or one stays with what it can't run again."""
    async with opened(fake, tmp_path) as before:
        await running(fake, before)
    fake.release()
    async with opened(fake, tmp_path) as one, opened(fake, tmp_path) as other:
        for studio in (one, other):
            await studio.welcome(HERE)
        await act(one, HERE, "retry-all", "", "")
        await act(other, HERE, "retry-all", "", "")
        assert not other.board(HERE).troubles
        assert not other.board(HERE).unfinished


async def test_what_has_its_picture_is_not_run_again(fake: FakeSpace, studio: Studio) -> None:
    """A page that still shows as interrupted what was found to have its picture has it made a second time."""
    job = await until(await studio.submit(asking("a cat")), Phase.FINISHED)
    assert await act(studio, HERE, "again", job.id, "") == f"={job.id}"
    assert not studio.board(HERE).unfinished


async def test_two_programs_on_one_library(fake: FakeSpace, tmp_path: Path) -> None:
    """A second program takes what the first one is doing for interrupted, or does it a second time."""
    async with opened(fake, tmp_path) as one:
        job, waits = await running(fake, one), await one.submit(asking("a cat"))
        async with opened(fake, tmp_path) as other:
            await other.welcome(HERE)
            assert not other.board(HERE).unfinished
            assert not other.board(HERE).troubles
            fake.release()
            await until(waits, Phase.FINISHED)
            found = await other.find(job.id, HERE)
            assert found is not None
            assert found.state.value.made is not None, "its pictures are there for both"


async def test_a_program_s_job_is_not_taken_up(fake: FakeSpace, tmp_path: Path) -> None:
    """A script that has gone with the program has its pictures made all the same, for nobody."""
    async with opened(fake, tmp_path) as before:
        await running(fake, before)
        job = await before.submit(asking("a cat"), by_program=True)
    fake.release()
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        assert not studio.board(HERE).waiting
        assert (await written(studio, job, Stage.INTERRUPTED)).by_program


async def test_everybody_s_jobs_come_back_to_them_alone(fake: FakeSpace, tmp_path: Path) -> None:
    """After a restart, a visitor finds another's jobs, or not their own."""
    async with opened(fake, tmp_path) as before:
        await running(fake, before)
        job = await before.submit(asking("a cat"), ANN)
    fake.release()
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        assert not studio.board(HERE).waiting
        await studio.welcome(ANN)
        [waiting] = studio.board(ANN).waiting
        assert waiting.id == job.id
        assert studio.job(job.id, HERE) is None
        await studio.go_on(ANN)
        await until(waiting, Phase.FINISHED)
        assert await studio.find(job.id, Visitor("user:bob", "user:bob")) is None


async def test_the_queue_s_order(fake: FakeSpace, studio: Studio) -> None:
    """What waits can't be put before something else, the line doesn't heed it, or a restart forgets it."""
    first = await running(fake, studio)
    jobs = [await studio.submit(asking(name)) for name in "abcd"]
    await studio.queues.move(jobs[3], -2)
    await studio.queues.move(jobs[0], 9)
    await studio.queues.move(first, 1)  # it is past that
    assert prompts(studio.board(HERE).waiting) == ["d", "b", "c", "a"]
    kept = [
        each.request.prompt
        for each in studio.library.jobs.unfinished(owner="")
        if each.id != first.id
    ]
    assert kept == ["d", "b", "c", "a"]
    jobs[1].stop()
    fake.release()
    for job in jobs:
        await until(job, Phase.FINISHED, Phase.STOPPED)
    begun = sorted(
        (job.state.value.started_at or 0, job.state.value.request.prompt) for job in jobs
    )
    assert [name for _, name in begun] == ["b", "d", "c", "a"], "b has never begun"
    assert jobs[1].state.value.phase is Phase.STOPPED


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_so_many_at_once(fake: FakeSpace, tmp_path: Path, at_once: int) -> None:
    """More are sent to the Space at the same time than was said."""
    async with opened(fake, tmp_path, Caps(at_once=at_once)) as studio:
        await running(fake, studio)
        for name in "abc":
            await studio.submit(asking(f"wait: {name}"))
        with anyio.fail_after(LIMIT):
            while len(studio.board(HERE).running) < at_once:
                await studio.board(HERE).news.wait_for_change(studio.board(HERE).news.value, LIMIT)
        await anyio.lowlevel.checkpoint()
        assert len(studio.board(HERE).running) == at_once
        fake.release()


async def test_a_quota_pauses_the_queue_until_its_time(
    fake: FakeSpace, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole queue is burnt at a Space that has said when to come back; or it doesn't go on then."""
    monkeypatch.setattr("sd35.jobs.queues.LEAST_PAUSE_SECONDS", 0.0)
    first, second = (
        await studio.submit(asking(QUOTA.format(2))),
        await studio.submit(asking("a cat")),
    )
    began = time.monotonic()
    await until(first, Phase.CONNECTING, Phase.RUNNING)
    await until(first, Phase.WAITING)
    board = studio.board(HERE)
    assert board.pause is not None
    assert board.pause.until is not None
    assert isinstance(first.state.value.refusal, QuotaError)
    assert second.state.value.phase is Phase.WAITING
    assert (await written(studio, first, Stage.WAITING)).retry_at is not None
    await until(first, Phase.CONNECTING, Phase.RUNNING)
    assert time.monotonic() - began > 1
    await until(first, Phase.WAITING)  # refused again
    first.stop()
    assert second.state.value.phase is Phase.WAITING
    await studio.go_on(HERE)
    await until(second, Phase.FINISHED)
    assert board.pause is None


async def test_a_quota_without_a_time_holds_the_rest(fake: FakeSpace, studio: Studio) -> None:
    """Without a time to come back at, the rest of the queue is burnt; or what is asked for anew isn't tried."""
    first = await running(fake, studio)
    refused = await studio.submit(asking("error: You have exceeded your GPU quota"))
    held = await studio.submit(asking("a cat"))
    fake.release()
    await until(refused, Phase.FAILED)
    await until(first, Phase.FINISHED)
    assert held.state.value.is_held
    assert not studio.board(HERE).is_at_work
    await until(await studio.submit(asking("a dog")), Phase.FINISHED)
    await studio.go_on(HERE)
    await until(held, Phase.FINISHED)


async def test_a_program_is_told_of_the_quota_at_once(fake: FakeSpace, studio: Studio) -> None:
    """A script that waits for its picture hangs until the quota returns."""
    for _ in range(2):  # the second one comes into the pause
        job = await studio.submit(asking(QUOTA.format(59)), by_program=True)
        waits = await studio.submit(asking("a cat"))
        await until(job, Phase.FAILED)
        assert isinstance(job.state.value.error, QuotaError)
        assert waits.state.value.phase is Phase.WAITING


async def test_nobody_looks(fake: FakeSpace, tmp_path: Path) -> None:
    """With a limit to what is made for nobody, it goes on all the same; or it is lost, or ends while somebody looks."""
    async with opened(fake, tmp_path, unwatched=0.2) as studio:
        board = studio.board(HERE)
        with board.watched():
            job, waits = await running(fake, studio), await studio.submit(asking("a cat"))
            await anyio.sleep(0.3)  # the limit itself is what is tested
            assert job.state.value.phase is Phase.RUNNING
        await until(job, Phase.STOPPED)
        assert waits.state.value.is_held
        fake.release()
        await studio.go_on(HERE)
        with board.watched():
            await until(waits, Phase.FINISHED)


async def test_a_picture_whose_job_was_not_written_to_its_end(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """A program that was killed after a picture was saved says that it was interrupted, and makes it once more."""
    async with opened(fake, tmp_path) as before:
        job = await until(await before.submit(asking("a cat")), Phase.FINISHED)
        await written(before, job, Stage.SAVED)
    library = Library.open(tmp_path)
    library.jobs.change(job.id, stage=Stage.RUNNING, picture_id=None)
    library.close()
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        assert not studio.board(HERE).troubles
        assert (await written(studio, job, Stage.SAVED)).picture_id == job.id


async def test_a_quota_that_two_run_into(fake: FakeSpace, tmp_path: Path) -> None:
    """Two that are refused at the same time send each other back to the Space, again and again."""
    async with opened(fake, tmp_path, Caps(at_once=2)) as studio:
        jobs = [await studio.submit(asking(QUOTA.format(59))) for _ in range(4)]
        refused: set[int] = set()
        with anyio.move_on_after(1.0):  # in which there would be dozens
            while True:
                news = studio.board(HERE).news
                await news.wait_for_change(news.value, LIMIT)
                refused |= {
                    id(job.state.value.refusal)
                    for job in jobs
                    if job.state.value.refusal is not None
                }
        assert all(job.state.value.phase is Phase.WAITING for job in jobs)
        assert len(refused) == 2


async def test_asking_in_parallel(fake: FakeSpace, tmp_path: Path) -> None:
    """A visitor who asks for many at the same moment gets more into the line than may wait."""
    async with opened(fake, tmp_path, Caps(waiting=3, at_once=1)) as studio:
        await running(fake, studio, ANN)
        asked = await asyncio.gather(
            *(studio.submit(asking("a cat"), ANN) for _ in range(9)), return_exceptions=True
        )
        assert sum(isinstance(each, Job) for each in asked) == 3
        fake.release()


async def test_who_leaves_while_it_is_written_down(fake: FakeSpace, studio: Studio) -> None:
    """A job whose caller has left in its first moment waits for ever, for nobody."""
    await running(fake, studio)
    asking_for_it = asyncio.ensure_future(studio.submit(asking("a cat"), by_program=True))
    await anyio.lowlevel.checkpoint()
    asking_for_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking_for_it
    with anyio.fail_after(LIMIT):
        while len(studio.library.jobs.unfinished()) != 1:
            await anyio.lowlevel.checkpoint()
    await studio.welcome(HERE)
    assert not studio.board(HERE).waiting
    fake.release()


async def test_a_stop_that_nobody_had_asked_for_is_told_after_a_restart(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """What was stopped for want of a looker can't be run again after a restart."""
    async with opened(fake, tmp_path, unwatched=0.1) as before:
        with before.board(HERE).watched():
            job = await running(fake, before)
        await until(job, Phase.STOPPED)
        await written(before, job, Stage.STOPPED)
    fake.release()
    async with opened(fake, tmp_path) as studio:
        await studio.welcome(HERE)
        assert [each.id for each in studio.board(HERE).troubles] == [job.id]


async def test_a_picture_without_a_job_can_be_looked_at(fake: FakeSpace, tmp_path: Path) -> None:
    """After the index was made anew, or of an imported picture, the page says that it is no longer here."""
    async with opened(fake, tmp_path) as before:
        job = await until(await before.submit(asking("a cat")), Phase.FINISHED)
    (tmp_path / ".studio" / "library.sqlite3").unlink()
    async with opened(fake, tmp_path) as studio:
        studio.library.rescan()
        found = await studio.find(job.id, HERE)
        assert found is not None
        assert found.state.value.made is not None
        assert found.state.value.request == job.state.value.request
        assert await studio.find(job.id, ANN) is None


async def test_an_index_that_is_taken_away_while_the_program_runs(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """After somebody has deleted the index, pictures, or what waits, are gone; or another program takes it over."""
    async with opened(fake, tmp_path) as studio:
        made = await until(await studio.submit(asking("a cat")), Phase.FINISHED)
        ran, waits = await running(fake, studio), await studio.submit(asking("a dog"))
        shutil.rmtree(tmp_path / ".studio")
        assert studio.library.entry(made.id) is None
        assert studio.library.is_to_be_scanned
        studio.library.rescan()
        await studio._ledger.ensure([ran, waits])
        assert studio.library.entry(made.id) is not None
        async with opened(fake, tmp_path) as other:
            await other.welcome(HERE)
            assert not other.board(HERE).unfinished
            assert [job.id for job in other.library.jobs.unfinished()] == [ran.id, waits.id]
        fake.release()
        await until(waits, Phase.FINISHED)
        await written(studio, waits, Stage.SAVED)
