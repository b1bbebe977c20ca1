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
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.jobs.service import JobService, SpaceConfig
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.ui.create.queue_actions import run_action
from tests.app_server import studio_config
from tests.fakes import FakeSpace

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20
SINGLE_JOB_LIMITS = UsageLimits(max_concurrent=1)
QUOTA = "error: You have exceeded your free GPU quota (60s requested vs. 34s left). Try again in 0:00:{:02}"
ANN = Visitor("user:ann", "user:ann")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@asynccontextmanager
async def open_service(
    fake: FakeSpace,
    folder: Path,
    limits: UsageLimits = SINGLE_JOB_LIMITS,
    idle_timeout: float | None = None,
) -> AsyncIterator[JobService]:
    studio = JobService(
        SpaceConfig(fake.address),
        _fail_demo,
        studio_config(folder, limits, idle_timeout=idle_timeout),
    )
    await studio.get_space()
    yield studio
    await studio.aclose()
    studio.library.close()


@pytest.fixture
async def studio(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[JobService]:
    async with open_service(fake, tmp_path) as studio:
        yield studio


async def _fail_demo() -> str:
    raise AssertionError("an explicit choice never falls back")


def make_request(prompt: str, seed: int = 7) -> GenerationRequest:
    return GenerationRequest(prompt, width=512, height=512, seed=seed, randomize_seed=False)


async def wait_for_status(job: Job, *phases: JobStatus) -> Job:
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := job.state.value).status not in phases:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return job


async def wait_for_record(studio: JobService, job: Job, stage: JobStatus) -> JobRecord:
    """What is written down of a job, as soon as it is that."""
    with anyio.fail_after(LIMIT_SECONDS):
        while (
            record := JobRepository(studio.library).get(job.id)
        ) is None or record.status is not stage:
            await anyio.lowlevel.checkpoint()
    return record


async def start_running_job(
    fake: FakeSpace, studio: JobService, visitor: Visitor = LOCAL_VISITOR
) -> Job:
    """A job that runs until it is released."""
    fake.hold()
    job = await studio.submit(make_request("wait: "), visitor)
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    return await wait_for_status(job, JobStatus.RUNNING)


def job_prompts(jobs: list[Job]) -> list[str]:
    return [job.state.value.request.prompt for job in jobs]


async def test_a_job_is_written_down_at_each_step(fake: FakeSpace, studio: JobService) -> None:
    """What was asked for, or what became of it, isn't written down, or with another seed than the one that is used."""
    first = await start_running_job(fake, studio)
    second = await studio.submit(replace(make_request("a cat"), randomize_seed=True))
    record = await wait_for_record(studio, second, JobStatus.PENDING)
    assert (record.request, record.original_request.randomize_seed) == (
        second.state.value.request,
        True,
    )
    assert (await wait_for_record(studio, first, JobStatus.RUNNING)).started_at is not None
    fake.release()
    await wait_for_status(second, JobStatus.COMPLETED)
    saved = await wait_for_record(studio, second, JobStatus.COMPLETED)
    entry = studio.library.get(saved.picture_id or "")
    assert entry is not None
    assert (entry.record.seed, entry.record.prompt) == (record.request.seed, "a cat")
    failed = await studio.submit(make_request("error: no"))
    assert (
        await wait_for_record(studio, failed, JobStatus.FAILED)
    ).error_message == "The Space says: no."


async def test_what_can_not_be_written_down_is_not_sent(fake: FakeSpace, tmp_path: Path) -> None:
    """A picture is asked for, and paid for, though nobody would know of it after a crash."""
    async with open_service(fake, tmp_path) as studio:
        studio.library.close()
        with pytest.raises(LibraryError):
            await studio.submit(make_request("a cat"))
        assert not studio.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_after_the_program_was_ended(fake: FakeSpace, tmp_path: Path) -> None:
    """What ran is sent a second time unasked, or can't be run again with its seed; or what waited is forgotten."""
    async with open_service(fake, tmp_path) as first_service:
        running_job, queued_job = (
            await start_running_job(fake, first_service),
            await first_service.submit(make_request("a cat", 8)),
        )
        assert first_service.visitor_queue(LOCAL_VISITOR).running_jobs == [running_job]
    fake.release()
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        await studio.restore_session(LOCAL_VISITOR)
        queue = studio.visitor_queue(LOCAL_VISITOR)
        assert [job.id for job in queue.failed_jobs] == [running_job.id]
        assert [job.id for job in queue.pending_jobs] == [queued_job.id]
        assert queue.failed_jobs[0].state.value.status is JobStatus.INTERRUPTED
        assert not queue.is_active, "it waits until somebody says so"
        new = await studio.submit(make_request("a dog"))
        await wait_for_status(new, JobStatus.COMPLETED)
        retried_job = await studio.retry(queue.failed_jobs[0], LOCAL_VISITOR)
        assert retried_job.state.value.request == running_job.state.value.request
        assert not queue.failed_jobs
        await wait_for_status(retried_job, JobStatus.COMPLETED)
        [pending_job] = queue.pending_jobs
        await studio.resume(LOCAL_VISITOR)
        await wait_for_status(pending_job, JobStatus.COMPLETED)
        assert pending_job.state.value.request.seed == 8


async def test_nothing_is_run_again_twice(fake: FakeSpace, tmp_path: Path) -> None:
    """Two pages run the same job again, at once or one after the other, and it costs its quota twice."""
    async with open_service(fake, tmp_path) as studio:
        job = await wait_for_status(
            await studio.submit(make_request("silent", 8)), JobStatus.FAILED
        )
        new, duplicate = await asyncio.gather(
            studio.retry(job, LOCAL_VISITOR), studio.retry(job, LOCAL_VISITOR)
        )
        assert new is duplicate
        assert (new.state.value.request, new.original_request) == (
            job.state.value.request,
            job.state.value.request,
        )
        await wait_for_status(new, JobStatus.FAILED)
        await wait_for_record(studio, new, JobStatus.FAILED)
        assert await run_action(studio, LOCAL_VISITOR, "retry", job.id, "") == new.id
        failed_jobs = JobRepository(studio.library).search(parse_query("is:failed")).jobs
        assert [failed_job.id for failed_job in failed_jobs] == [new.id], (
            "the library offers it once more"
        )
        await studio.dismiss(new)
        third = await wait_for_status(await studio.retry(new, LOCAL_VISITOR), JobStatus.FAILED)
        await wait_for_record(studio, third, JobStatus.FAILED)
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        assert [
            failed_job.id for failed_job in studio.visitor_queue(LOCAL_VISITOR).failed_jobs
        ] == [third.id]
        with pytest.raises(InvalidRequestError, match="already retried"):
            await run_action(studio, LOCAL_VISITOR, "retry", job.id, "")
        assert sum(JobRepository(studio.library).count_by_status().values()) == 3


async def test_all_are_run_again_from_two_pages(fake: FakeSpace, studio: JobService) -> None:
    """Run all again, pressed in two pages at once, makes each picture twice."""
    for prompt in ("silent", "silent"):
        await wait_for_status(await studio.submit(make_request(prompt)), JobStatus.FAILED)
    await start_running_job(fake, studio)
    await asyncio.gather(
        run_action(studio, LOCAL_VISITOR, "retry-all", "", ""),
        run_action(studio, LOCAL_VISITOR, "retry-all", "", ""),
    )
    assert len(studio.visitor_queue(LOCAL_VISITOR).pending_jobs) == 2
    fake.release()


async def test_what_another_program_has_run_again(fake: FakeSpace, tmp_path: Path) -> None:
    """Of two programs on one library, each runs the same job again; or one stays with what it can't run again."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
    fake.release()
    async with (
        open_service(fake, tmp_path) as second_service,
        open_service(fake, tmp_path) as third_service,
    ):
        for studio in (second_service, third_service):
            await studio.restore_session(LOCAL_VISITOR)
        await run_action(second_service, LOCAL_VISITOR, "retry-all", "", "")
        await run_action(third_service, LOCAL_VISITOR, "retry-all", "", "")
        assert not third_service.visitor_queue(LOCAL_VISITOR).failed_jobs
        assert not third_service.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_what_has_its_picture_is_not_run_again(fake: FakeSpace, studio: JobService) -> None:
    """A page that still shows as interrupted what was found to have its picture has it made a second time."""
    job = await wait_for_status(await studio.submit(make_request("a cat")), JobStatus.COMPLETED)
    assert await run_action(studio, LOCAL_VISITOR, "retry", job.id, "") == f"={job.id}"
    assert not studio.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_two_programs_on_one_library(fake: FakeSpace, tmp_path: Path) -> None:
    """A second program takes what the first one is doing for interrupted, or does it a second time."""
    async with open_service(fake, tmp_path) as first_service:
        job, waits = (
            await start_running_job(fake, first_service),
            await first_service.submit(make_request("a cat")),
        )
        async with open_service(fake, tmp_path) as second_service:
            await second_service.restore_session(LOCAL_VISITOR)
            assert not second_service.visitor_queue(LOCAL_VISITOR).open_jobs
            assert not second_service.visitor_queue(LOCAL_VISITOR).failed_jobs
            fake.release()
            await wait_for_status(waits, JobStatus.COMPLETED)
            loaded_job = await second_service.find_job(job.id, LOCAL_VISITOR)
            assert loaded_job is not None
            assert loaded_job.state.value.result is not None, "its pictures are there for both"


async def test_a_program_s_job_is_not_taken_up(fake: FakeSpace, tmp_path: Path) -> None:
    """A script that has gone with the program has its pictures made all the same, for nobody."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
        job = await first_service.submit(make_request("a cat"), is_api_call=True)
    fake.release()
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        assert not studio.visitor_queue(LOCAL_VISITOR).pending_jobs
        assert (await wait_for_record(studio, job, JobStatus.INTERRUPTED)).is_api_call


async def test_everybody_s_jobs_come_back_to_them_alone(fake: FakeSpace, tmp_path: Path) -> None:
    """After a restart, a visitor finds another's jobs, or not their own."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
        job = await first_service.submit(make_request("a cat"), ANN)
    fake.release()
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        assert not studio.visitor_queue(LOCAL_VISITOR).pending_jobs
        await studio.restore_session(ANN)
        [pending_job] = studio.visitor_queue(ANN).pending_jobs
        assert pending_job.id == job.id
        assert studio.get_job(job.id, LOCAL_VISITOR) is None
        await studio.resume(ANN)
        await wait_for_status(pending_job, JobStatus.COMPLETED)
        assert await studio.find_job(job.id, Visitor("user:bob", "user:bob")) is None


async def test_the_queue_s_order(fake: FakeSpace, studio: JobService) -> None:
    """What waits can't be put before something else, the line doesn't heed it, or a restart forgets it."""
    first = await start_running_job(fake, studio)
    jobs = [await studio.submit(make_request(name)) for name in "abcd"]
    await studio.queues.move(jobs[3], -2)
    await studio.queues.move(jobs[0], 9)
    await studio.queues.move(first, 1)  # it is past that
    assert job_prompts(studio.visitor_queue(LOCAL_VISITOR).pending_jobs) == ["d", "b", "c", "a"]
    saved_order = [
        record.request.prompt
        for record in JobRepository(studio.library).list_unfinished(owner="")
        if record.id != first.id
    ]
    assert saved_order == ["d", "b", "c", "a"]
    jobs[1].cancel()
    fake.release()
    for job in jobs:
        await wait_for_status(job, JobStatus.COMPLETED, JobStatus.CANCELLED)
    start_order = sorted(
        (job.state.value.started_at or 0, job.state.value.request.prompt) for job in jobs
    )
    assert [name for _, name in start_order] == ["b", "d", "c", "a"], "b has never begun"
    assert jobs[1].state.value.status is JobStatus.CANCELLED


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_so_many_at_once(fake: FakeSpace, tmp_path: Path, at_once: int) -> None:
    """More are sent to the Space at the same time than was said."""
    async with open_service(fake, tmp_path, UsageLimits(max_concurrent=at_once)) as studio:
        await start_running_job(fake, studio)
        for name in "abc":
            await studio.submit(make_request(f"wait: {name}"))
        with anyio.fail_after(LIMIT_SECONDS):
            while len(studio.visitor_queue(LOCAL_VISITOR).running_jobs) < at_once:
                await studio.visitor_queue(LOCAL_VISITOR).revision.wait_for_change(
                    studio.visitor_queue(LOCAL_VISITOR).revision.value, LIMIT_SECONDS
                )
        await anyio.lowlevel.checkpoint()
        assert len(studio.visitor_queue(LOCAL_VISITOR).running_jobs) == at_once
        fake.release()


async def test_a_quota_pauses_the_queue_until_its_time(
    fake: FakeSpace, studio: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole queue is burnt at a Space that has said when to come back; or it doesn't go on then."""
    monkeypatch.setattr("sd35.jobs.queues.MIN_PAUSE_SECONDS", 0.0)
    first, second = (
        await studio.submit(make_request(QUOTA.format(2))),
        await studio.submit(make_request("a cat")),
    )
    started_at = time.monotonic()
    await wait_for_status(first, JobStatus.CONNECTING, JobStatus.RUNNING)
    await wait_for_status(first, JobStatus.PENDING)
    queue = studio.visitor_queue(LOCAL_VISITOR)
    assert queue.pause is not None
    assert queue.pause.resumes_at is not None
    assert isinstance(first.state.value.quota_error, QuotaError)
    assert second.state.value.status is JobStatus.PENDING
    assert (await wait_for_record(studio, first, JobStatus.PENDING)).retry_at is not None
    await wait_for_status(first, JobStatus.CONNECTING, JobStatus.RUNNING)
    assert time.monotonic() - started_at > 1
    await wait_for_status(first, JobStatus.PENDING)  # refused again
    first.cancel()
    assert second.state.value.status is JobStatus.PENDING
    await studio.resume(LOCAL_VISITOR)
    await wait_for_status(second, JobStatus.COMPLETED)
    assert queue.pause is None


async def test_a_quota_without_a_time_holds_the_rest(fake: FakeSpace, studio: JobService) -> None:
    """Without a time to come back at, the rest of the queue is burnt; or what is asked for anew isn't tried."""
    first = await start_running_job(fake, studio)
    rejected_job = await studio.submit(make_request("error: You have exceeded your GPU quota"))
    held_job = await studio.submit(make_request("a cat"))
    fake.release()
    await wait_for_status(rejected_job, JobStatus.FAILED)
    await wait_for_status(first, JobStatus.COMPLETED)
    assert held_job.state.value.is_held
    assert not studio.visitor_queue(LOCAL_VISITOR).is_active
    await wait_for_status(await studio.submit(make_request("a dog")), JobStatus.COMPLETED)
    await studio.resume(LOCAL_VISITOR)
    await wait_for_status(held_job, JobStatus.COMPLETED)


async def test_a_program_is_told_of_the_quota_at_once(fake: FakeSpace, studio: JobService) -> None:
    """A script that waits for its picture hangs until the quota returns."""
    for _ in range(2):  # the second one comes into the pause
        job = await studio.submit(make_request(QUOTA.format(59)), is_api_call=True)
        waits = await studio.submit(make_request("a cat"))
        await wait_for_status(job, JobStatus.FAILED)
        assert isinstance(job.state.value.error, QuotaError)
        assert waits.state.value.status is JobStatus.PENDING


async def test_nobody_looks(fake: FakeSpace, tmp_path: Path) -> None:
    """With a limit to what is made for nobody, it goes on all the same; or it is lost, or ends while somebody looks."""
    async with open_service(fake, tmp_path, idle_timeout=0.2) as studio:
        queue = studio.visitor_queue(LOCAL_VISITOR)
        with queue.track_watcher():
            job, waits = (
                await start_running_job(fake, studio),
                await studio.submit(make_request("a cat")),
            )
            await anyio.sleep(0.3)  # the limit itself is what is tested
            assert job.state.value.status is JobStatus.RUNNING
        await wait_for_status(job, JobStatus.CANCELLED)
        assert waits.state.value.is_held
        fake.release()
        await studio.resume(LOCAL_VISITOR)
        with queue.track_watcher():
            await wait_for_status(waits, JobStatus.COMPLETED)


async def test_a_picture_whose_job_was_not_written_to_its_end(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """A program that was killed after a picture was saved says that it was interrupted, and makes it once more."""
    async with open_service(fake, tmp_path) as first_service:
        job = await wait_for_status(
            await first_service.submit(make_request("a cat")), JobStatus.COMPLETED
        )
        await wait_for_record(first_service, job, JobStatus.COMPLETED)
    library = Library.open(tmp_path)
    JobRepository(library).update(job.id, status=JobStatus.RUNNING, picture_id=None)
    library.close()
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        assert not studio.visitor_queue(LOCAL_VISITOR).failed_jobs
        assert (await wait_for_record(studio, job, JobStatus.COMPLETED)).picture_id == job.id


async def test_a_quota_that_two_run_into(fake: FakeSpace, tmp_path: Path) -> None:
    """Two that are refused at the same time send each other back to the Space, again and again."""
    async with open_service(fake, tmp_path, UsageLimits(max_concurrent=2)) as studio:
        jobs = [await studio.submit(make_request(QUOTA.format(59))) for _ in range(4)]
        quota_error_ids: set[int] = set()
        with anyio.move_on_after(1.0):  # in which there would be dozens
            while True:
                revision = studio.visitor_queue(LOCAL_VISITOR).revision
                await revision.wait_for_change(revision.value, LIMIT_SECONDS)
                quota_error_ids |= {
                    id(job.state.value.quota_error)
                    for job in jobs
                    if job.state.value.quota_error is not None
                }
        assert all(job.state.value.status is JobStatus.PENDING for job in jobs)
        assert len(quota_error_ids) == 2


async def test_asking_in_parallel(fake: FakeSpace, tmp_path: Path) -> None:
    """A visitor who asks for many at the same moment gets more into the line than may wait."""
    async with open_service(fake, tmp_path, UsageLimits(max_queued=3, max_concurrent=1)) as studio:
        await start_running_job(fake, studio, ANN)
        results = await asyncio.gather(
            *(studio.submit(make_request("a cat"), ANN) for _ in range(9)), return_exceptions=True
        )
        assert sum(isinstance(result, Job) for result in results) == 3
        fake.release()


async def test_who_leaves_while_it_is_written_down(fake: FakeSpace, studio: JobService) -> None:
    """A job whose caller has left in its first moment waits for ever, for nobody."""
    await start_running_job(fake, studio)
    submit_calls = asyncio.ensure_future(studio.submit(make_request("a cat"), is_api_call=True))
    await anyio.lowlevel.checkpoint()
    submit_calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit_calls
    with anyio.fail_after(LIMIT_SECONDS):
        while len(JobRepository(studio.library).list_unfinished()) != 1:
            await anyio.lowlevel.checkpoint()
    await studio.restore_session(LOCAL_VISITOR)
    assert not studio.visitor_queue(LOCAL_VISITOR).pending_jobs
    fake.release()


async def test_a_stop_that_nobody_had_asked_for_is_told_after_a_restart(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """What was stopped for want of a looker can't be run again after a restart."""
    async with open_service(fake, tmp_path, idle_timeout=0.1) as first_service:
        with first_service.visitor_queue(LOCAL_VISITOR).track_watcher():
            job = await start_running_job(fake, first_service)
        await wait_for_status(job, JobStatus.CANCELLED)
        await wait_for_record(first_service, job, JobStatus.CANCELLED)
    fake.release()
    async with open_service(fake, tmp_path) as studio:
        await studio.restore_session(LOCAL_VISITOR)
        assert [
            failed_job.id for failed_job in studio.visitor_queue(LOCAL_VISITOR).failed_jobs
        ] == [job.id]


async def test_a_picture_without_a_job_can_be_looked_at(fake: FakeSpace, tmp_path: Path) -> None:
    """After the index was made anew, or of an imported picture, the page says that it is no longer available."""
    async with open_service(fake, tmp_path) as first_service:
        job = await wait_for_status(
            await first_service.submit(make_request("a cat")), JobStatus.COMPLETED
        )
    (tmp_path / ".studio" / "library.sqlite3").unlink()
    async with open_service(fake, tmp_path) as studio:
        studio.library.rescan()
        loaded_job = await studio.find_job(job.id, LOCAL_VISITOR)
        assert loaded_job is not None
        assert loaded_job.state.value.result is not None
        assert loaded_job.state.value.request == job.state.value.request
        assert await studio.find_job(job.id, ANN) is None


async def test_an_index_that_is_taken_away_while_the_program_runs(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """After somebody has deleted the index, pictures, or what waits, are gone; or another program takes it over."""
    async with open_service(fake, tmp_path) as studio:
        completed_job = await wait_for_status(
            await studio.submit(make_request("a cat")), JobStatus.COMPLETED
        )
        completed_run, waits = (
            await start_running_job(fake, studio),
            await studio.submit(make_request("a dog")),
        )
        shutil.rmtree(tmp_path / ".studio")
        assert studio.library.get(completed_job.id) is None
        assert studio.library.needs_rescan
        studio.library.rescan()
        for job in (completed_run, waits):
            await studio._store.update(job)
        assert studio.library.get(completed_job.id) is not None
        async with open_service(fake, tmp_path) as second_service:
            await second_service.restore_session(LOCAL_VISITOR)
            assert not second_service.visitor_queue(LOCAL_VISITOR).open_jobs
            assert [job.id for job in JobRepository(second_service.library).list_unfinished()] == [
                completed_run.id,
                waits.id,
            ]
        fake.release()
        await wait_for_status(waits, JobStatus.COMPLETED)
        await wait_for_record(studio, waits, JobStatus.COMPLETED)
