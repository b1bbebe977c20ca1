"""Queues of visitors: recording, restart, retry, order, quota and idle timeout."""

import asyncio
import gc
import shutil
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
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
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import SpaceConfig
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.ui.create.focus import LIVE, Focus
from sd35.ui.create.queue_actions import run_action
from tests.app_server import studio_config
from tests.fakes import FakeSpace

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20
SINGLE_JOB_LIMITS = UsageLimits(max_concurrent=1)
QUOTA = (
    "error: You have exceeded your free GPU quota (60s requested vs. 34s left)."
    " Try again in 0:00:{:02}"
)
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
    service = JobService(
        SpaceConfig(fake.address),
        _fail_demo,
        studio_config(folder, limits, idle_timeout=idle_timeout),
    )
    await service.get_space()
    yield service
    await service.aclose()
    service.library.close()


@pytest.fixture
async def service(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[JobService]:
    async with open_service(fake, tmp_path) as service:
        yield service


async def _fail_demo(*_: object) -> str:
    raise AssertionError("an explicit choice never falls back")


def make_request(prompt: str, seed: int = 7) -> GenerationRequest:
    return GenerationRequest(prompt, width=512, height=512, seed=seed, randomize_seed=False)


async def wait_for_status(job: Job, *statuses: JobStatus) -> Job:
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := job.state.value).status not in statuses or state.is_saving:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return job


async def wait_for_record(service: JobService, job: Job, status: JobStatus) -> JobRecord:
    """Return the record of a job as soon as it has this status."""
    with anyio.fail_after(LIMIT_SECONDS):
        while (
            record := JobRepository(service.library).get(job.id)
        ) is None or record.status is not status:
            await anyio.lowlevel.checkpoint()
    return record


async def start_running_job(
    fake: FakeSpace, service: JobService, visitor: Visitor = LOCAL_VISITOR
) -> Job:
    """Return a job that runs until the Space is released."""
    fake.hold()
    job = await service.submit(make_request("wait: "), visitor)
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    return await wait_for_status(job, JobStatus.RUNNING)


def job_prompts(jobs: list[Job]) -> list[str]:
    return [job.state.value.request.prompt for job in jobs]


async def test_job_is_recorded_at_each_step(fake: FakeSpace, service: JobService) -> None:
    """The record has the request with the seed that is used, and each status."""
    first = await start_running_job(fake, service)
    second = await service.submit(replace(make_request("a cat"), randomize_seed=True))
    record = await wait_for_record(service, second, JobStatus.PENDING)
    assert (record.request, record.original_request.randomize_seed) == (
        second.state.value.request,
        True,
    )
    assert (await wait_for_record(service, first, JobStatus.RUNNING)).started_at is not None
    fake.release()
    await wait_for_status(second, JobStatus.COMPLETED)
    saved = await wait_for_record(service, second, JobStatus.COMPLETED)
    entry = service.library.get(saved.picture_id or "")
    assert entry is not None
    assert (entry.metadata.seed, entry.metadata.prompt) == (record.request.seed, "a cat")
    failed = await service.submit(make_request("error: no"))
    assert (
        await wait_for_record(service, failed, JobStatus.FAILED)
    ).error_message == "The Space says: no."


async def test_job_that_cannot_be_recorded_is_never_sent(fake: FakeSpace, tmp_path: Path) -> None:
    """A job that can't be recorded never reaches the Space."""
    async with open_service(fake, tmp_path) as service:
        service.library.close()
        with pytest.raises(LibraryError):
            await service.submit(make_request("a cat"))
        assert not service.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_jobs_survive_a_restart(fake: FakeSpace, tmp_path: Path) -> None:
    """A restart interrupts the running job, which can be retried, and holds the pending one."""
    async with open_service(fake, tmp_path) as first_service:
        running_job = await start_running_job(fake, first_service)
        queued_job = await first_service.submit(make_request("a cat", 8))
        assert first_service.visitor_queue(LOCAL_VISITOR).running_jobs == [running_job]
    fake.release()
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        await service.restore_session(LOCAL_VISITOR)
        queue = service.visitor_queue(LOCAL_VISITOR)
        assert [job.id for job in queue.failed_jobs] == [running_job.id]
        assert [job.id for job in queue.pending_jobs] == [queued_job.id]
        assert queue.failed_jobs[0].state.value.status is JobStatus.INTERRUPTED
        assert not queue.is_active, "pending jobs are held"
        new = await service.submit(make_request("a dog"))
        await wait_for_status(new, JobStatus.COMPLETED)
        retried_job = await service.retry(queue.failed_jobs[0], LOCAL_VISITOR)
        assert retried_job.state.value.request == running_job.state.value.request
        assert not queue.failed_jobs
        await wait_for_status(retried_job, JobStatus.COMPLETED)
        [pending_job] = queue.pending_jobs
        await service.resume(LOCAL_VISITOR)
        await wait_for_status(pending_job, JobStatus.COMPLETED)
        assert pending_job.state.value.request.seed == 8


async def test_job_in_the_queue_of_the_space_survives_a_restart(
    fake: FakeSpace, service: JobService, tmp_path: Path
) -> None:
    """A job that a shutdown removed from the Space's queue is pending again, not interrupted."""
    await start_running_job(fake, service)
    folder = tmp_path / "other"
    async with open_service(fake, folder) as first_service:
        queued_job = await first_service.submit(make_request("a cat"))
        await wait_for_status(queued_job, JobStatus.QUEUED_REMOTELY)
    fake.release()
    async with open_service(fake, folder) as second_service:
        await second_service.restore_session(LOCAL_VISITOR)
        pending_jobs = second_service.visitor_queue(LOCAL_VISITOR).pending_jobs
        assert [job.id for job in pending_jobs] == [queued_job.id]


async def test_job_is_retried_only_once(fake: FakeSpace, tmp_path: Path) -> None:
    """Two retries of one job lead to one new job, at once, later or after a restart."""
    async with open_service(fake, tmp_path) as service:
        job = await wait_for_status(
            await service.submit(make_request("silent", 8)), JobStatus.FAILED
        )
        new, duplicate = await asyncio.gather(
            service.retry(job, LOCAL_VISITOR), service.retry(job, LOCAL_VISITOR)
        )
        assert new is duplicate
        assert (new.state.value.request, new.original_request) == (
            job.state.value.request,
            job.state.value.request,
        )
        await wait_for_status(new, JobStatus.FAILED)
        await wait_for_record(service, new, JobStatus.FAILED)
        assert await run_action(service, LOCAL_VISITOR, "retry", job.id, LIVE) == Focus(new.id)
        failed_jobs = JobRepository(service.library).search(parse_query("is:failed")).jobs
        assert [failed_job.id for failed_job in failed_jobs] == [new.id], (
            "the library still lists the old job"
        )
        await service.dismiss(new)
        third = await wait_for_status(await service.retry(new, LOCAL_VISITOR), JobStatus.FAILED)
        await wait_for_record(service, third, JobStatus.FAILED)
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        assert [
            failed_job.id for failed_job in service.visitor_queue(LOCAL_VISITOR).failed_jobs
        ] == [third.id]
        with pytest.raises(InvalidRequestError, match="already retried"):
            await run_action(service, LOCAL_VISITOR, "retry", job.id, LIVE)
        assert sum(JobRepository(service.library).count_by_status().values()) == 3


async def test_retry_all_from_two_pages_retries_each_job_once(
    fake: FakeSpace, service: JobService
) -> None:
    """Retry all, pressed in two pages at once, submits each job once."""
    for prompt in ("silent", "silent"):
        await wait_for_status(await service.submit(make_request(prompt)), JobStatus.FAILED)
    await start_running_job(fake, service)
    await asyncio.gather(
        run_action(service, LOCAL_VISITOR, "retry-all", "", LIVE),
        run_action(service, LOCAL_VISITOR, "retry-all", "", LIVE),
    )
    assert len(service.visitor_queue(LOCAL_VISITOR).pending_jobs) == 2
    fake.release()


async def test_job_retried_by_another_program_disappears(fake: FakeSpace, tmp_path: Path) -> None:
    """A job that another program on the library has retried isn't shown any more."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
    fake.release()
    async with (
        open_service(fake, tmp_path) as second_service,
        open_service(fake, tmp_path) as third_service,
    ):
        for service in (second_service, third_service):
            await service.restore_session(LOCAL_VISITOR)
        await run_action(second_service, LOCAL_VISITOR, "retry-all", "", LIVE)
        await run_action(third_service, LOCAL_VISITOR, "retry-all", "", LIVE)
        assert not third_service.visitor_queue(LOCAL_VISITOR).failed_jobs
        assert not third_service.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_removal_is_undone_once_and_in_place(fake: FakeSpace, service: JobService) -> None:
    """Removed and dismissed jobs return to their places, even if Undo was pressed twice."""
    failed = await wait_for_status(await service.submit(make_request("silent")), JobStatus.FAILED)
    await start_running_job(fake, service)
    prompts = ["a cat", "a dog", "a fish"]
    jobs = [await service.submit(make_request(prompt)) for prompt in prompts]
    queue = service.visitor_queue(LOCAL_VISITOR)
    for action, job in (("stop", jobs[1]), ("clear-queue", jobs[0]), ("dismiss", failed)):
        await run_action(service, LOCAL_VISITOR, action, job.id, LIVE)
        removed_ids = " ".join(queue.latest_removal)
        assert removed_ids
        for _ in range(2):
            await run_action(service, LOCAL_VISITOR, "restore", removed_ids, LIVE)
        pending = [pending.state.value.request.prompt for pending in queue.pending_jobs]
        assert pending == prompts
        assert not queue.latest_removal
    assert queue.failed_jobs == [failed]
    removed = queue.pending_jobs[:2]
    for job in [*removed, removed[1]]:  # the last call is a repeated one, whose answer was lost
        await run_action(service, LOCAL_VISITOR, "stop", job.id, LIVE)
    for job in reversed(removed):
        assert queue.latest_removal == (job.id,)
        await run_action(service, LOCAL_VISITOR, "restore", job.id, LIVE)
    assert [job.state.value.request.prompt for job in queue.pending_jobs] == prompts
    await run_action(service, LOCAL_VISITOR, ["clear-queue"], "", LIVE)  # not a text: ignored
    await run_action(service, LOCAL_VISITOR, "clear-queue", "", LIVE)
    fake.release()


async def test_job_with_an_image_is_not_retried(fake: FakeSpace, service: JobService) -> None:
    """A job whose image exists is shown instead of retried."""
    job = await wait_for_status(await service.submit(make_request("a cat")), JobStatus.COMPLETED)
    assert await run_action(service, LOCAL_VISITOR, "retry", job.id, LIVE) == Focus.image(job.id)
    assert not service.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_running_jobs_of_another_program_are_left_alone(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """The jobs of a program that runs are neither interrupted nor adopted by another one."""
    async with open_service(fake, tmp_path) as first_service:
        job = await start_running_job(fake, first_service)
        waits = await first_service.submit(make_request("a cat"))
        async with open_service(fake, tmp_path) as second_service:
            await second_service.restore_session(LOCAL_VISITOR)
            assert not second_service.visitor_queue(LOCAL_VISITOR).open_jobs
            assert not second_service.visitor_queue(LOCAL_VISITOR).failed_jobs
            fake.release()
            await wait_for_status(waits, JobStatus.COMPLETED)
            loaded_job = await second_service.find_job(job.id, LOCAL_VISITOR)
            assert loaded_job is not None
            assert loaded_job.state.value.result is not None, "both programs have the image"


async def test_api_call_is_not_resumed(fake: FakeSpace, tmp_path: Path) -> None:
    """An API call ends with the program that it was made to."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
        job = await first_service.submit(make_request("a cat"), is_api_call=True)
    fake.release()
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        assert not service.visitor_queue(LOCAL_VISITOR).pending_jobs
        assert (await wait_for_record(service, job, JobStatus.INTERRUPTED)).is_api_call


async def test_jobs_are_restored_for_their_owner_alone(fake: FakeSpace, tmp_path: Path) -> None:
    """After a restart, each visitor finds their own jobs and nobody else's."""
    async with open_service(fake, tmp_path) as first_service:
        await start_running_job(fake, first_service)
        job = await first_service.submit(make_request("a cat"), ANN)
    fake.release()
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        assert not service.visitor_queue(LOCAL_VISITOR).pending_jobs
        await service.restore_session(ANN)
        [pending_job] = service.visitor_queue(ANN).pending_jobs
        assert pending_job.id == job.id
        assert service.get_job(job.id, LOCAL_VISITOR) is None
        await service.resume(ANN)
        await wait_for_status(pending_job, JobStatus.COMPLETED)
        assert await service.find_job(job.id, Visitor("user:bob", "user:bob")) is None


async def test_pending_jobs_can_be_reordered(fake: FakeSpace, service: JobService) -> None:
    """Moved jobs run in their new order, which is recorded."""
    first = await start_running_job(fake, service)
    jobs = [await service.submit(make_request(name)) for name in "abcd"]
    await service.queues.move(jobs[3], -2)
    await service.queues.move(jobs[0], 9)
    await service.queues.move(first, 1)  # it runs already
    assert job_prompts(service.visitor_queue(LOCAL_VISITOR).pending_jobs) == ["d", "b", "c", "a"]
    saved_order = [
        record.request.prompt
        for record in JobRepository(service.library).list_unfinished(owner="")
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
    assert [name for _, name in start_order] == ["b", "d", "c", "a"], "b has never started"
    assert jobs[1].state.value.status is JobStatus.CANCELLED


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_concurrency_limit_holds_at_the_space(
    fake: FakeSpace, tmp_path: Path, at_once: int
) -> None:
    """As many jobs run at the Space as allowed, and no more."""
    async with open_service(fake, tmp_path, UsageLimits(max_concurrent=at_once)) as service:
        await start_running_job(fake, service)
        for name in "abc":
            await service.submit(make_request(f"wait: {name}"))
        with anyio.fail_after(LIMIT_SECONDS):
            while len(service.visitor_queue(LOCAL_VISITOR).running_jobs) < at_once:
                await service.visitor_queue(LOCAL_VISITOR).revision.wait_for_change(
                    service.visitor_queue(LOCAL_VISITOR).revision.value, LIMIT_SECONDS
                )
        await anyio.lowlevel.checkpoint()
        assert len(service.visitor_queue(LOCAL_VISITOR).running_jobs) == at_once
        fake.release()


async def test_quota_error_pauses_the_queue_until_the_quota_resets(
    fake: FakeSpace, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota error with a time pauses the queue until then."""
    monkeypatch.setattr("sd35.jobs.queues.MIN_PAUSE_SECONDS", 0.0)
    first = await service.submit(make_request(QUOTA.format(2)))
    second = await service.submit(make_request("a cat"))
    started_at = time.monotonic()
    await wait_for_status(first, JobStatus.CONNECTING, JobStatus.RUNNING)
    await wait_for_status(first, JobStatus.PENDING)
    queue = service.visitor_queue(LOCAL_VISITOR)
    assert queue.pause_error is not None
    assert queue.pause_error.retry_at is not None
    assert isinstance(first.state.value.pause_error, QuotaError)
    assert second.state.value.status is JobStatus.PENDING
    assert (await wait_for_record(service, first, JobStatus.PENDING)).retry_at is not None
    await wait_for_status(first, JobStatus.CONNECTING, JobStatus.RUNNING)
    assert time.monotonic() - started_at > 1
    await wait_for_status(first, JobStatus.PENDING)  # refused again
    first.cancel()
    assert second.state.value.status is JobStatus.PENDING
    await service.resume(LOCAL_VISITOR)
    await wait_for_status(second, JobStatus.COMPLETED)
    assert queue.pause_error is None


async def test_quota_error_without_a_time_holds_pending_jobs(
    fake: FakeSpace, service: JobService
) -> None:
    """A quota error without a time holds the pending jobs; a new one is tried."""
    first = await start_running_job(fake, service)
    rejected_job = await service.submit(make_request("error: You have exceeded your GPU quota"))
    held_job = await service.submit(make_request("a cat"))
    fake.release()
    await wait_for_status(rejected_job, JobStatus.FAILED)
    await wait_for_status(first, JobStatus.COMPLETED)
    assert held_job.state.value.is_held
    assert not service.visitor_queue(LOCAL_VISITOR).is_active
    await wait_for_status(await service.submit(make_request("a dog")), JobStatus.COMPLETED)
    await service.resume(LOCAL_VISITOR)
    await wait_for_status(held_job, JobStatus.COMPLETED)


async def test_api_call_fails_at_once_without_quota(fake: FakeSpace, service: JobService) -> None:
    """An API call gets the quota error instead of waiting."""
    for _ in range(2):  # the second one comes into the pause
        job = await service.submit(make_request(QUOTA.format(59)), is_api_call=True)
        waits = await service.submit(make_request("a cat"))
        await wait_for_status(job, JobStatus.FAILED)
        assert isinstance(job.state.value.error, QuotaError)
        assert waits.state.value.status is JobStatus.PENDING


async def test_unwatched_jobs_are_stopped(fake: FakeSpace, tmp_path: Path) -> None:
    """Without an open page, jobs are stopped after the idle timeout, and can be resumed."""
    async with open_service(fake, tmp_path, idle_timeout=0.2) as service:
        queue = service.visitor_queue(LOCAL_VISITOR)
        with queue.track_watcher():
            job = await start_running_job(fake, service)
            waits = await service.submit(make_request("a cat"))
            await anyio.sleep(0.3)  # the limit itself is what is tested
            assert job.state.value.status is JobStatus.RUNNING
        await wait_for_status(job, JobStatus.CANCELLED)
        assert waits.state.value.is_held
        fake.release()
        await service.resume(LOCAL_VISITOR)
        with queue.track_watcher():
            await wait_for_status(waits, JobStatus.COMPLETED)


async def test_saved_image_completes_its_job_after_a_crash(fake: FakeSpace, tmp_path: Path) -> None:
    """A job whose image was saved before a crash is completed, not interrupted."""
    async with open_service(fake, tmp_path) as first_service:
        job = await wait_for_status(
            await first_service.submit(make_request("a cat")), JobStatus.COMPLETED
        )
        await wait_for_record(first_service, job, JobStatus.COMPLETED)
    library = Library.open(tmp_path)
    JobRepository(library).update(job.id, status=JobStatus.RUNNING, picture_id=None)
    library.close()
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        assert not service.visitor_queue(LOCAL_VISITOR).failed_jobs
        assert (await wait_for_record(service, job, JobStatus.COMPLETED)).picture_id == job.id


async def test_two_quota_errors_at_once_pause_once(fake: FakeSpace, tmp_path: Path) -> None:
    """Two jobs that get a quota error at the same time don't resume each other."""
    async with open_service(fake, tmp_path, UsageLimits(max_concurrent=2)) as service:
        jobs = [await service.submit(make_request(QUOTA.format(59))) for _ in range(4)]
        quota_error_ids: set[int] = set()

        async def collect_until(count: int) -> None:
            revision = service.visitor_queue(LOCAL_VISITOR).revision
            while True:
                current = revision.value
                errors = [job.state.value.pause_error for job in jobs]
                quota_error_ids.update(id(error) for error in errors if error is not None)
                if len(quota_error_ids) >= count:
                    return
                await revision.wait_for_change(current, LIMIT_SECONDS)

        with anyio.fail_after(LIMIT_SECONDS):
            await collect_until(2)
        with anyio.move_on_after(0.3):  # in which there would be a dozen more
            await collect_until(3)
        assert all(job.status is JobStatus.PENDING for job in jobs)
        assert len(quota_error_ids) == 2


async def test_queue_limit_holds_for_parallel_submissions(fake: FakeSpace, tmp_path: Path) -> None:
    """Parallel submissions don't exceed the queue limit."""
    async with open_service(fake, tmp_path, UsageLimits(max_queued=3, max_concurrent=1)) as service:
        await start_running_job(fake, service, ANN)
        results = await asyncio.gather(
            *(service.submit(make_request("a cat"), ANN) for _ in range(9)), return_exceptions=True
        )
        assert sum(isinstance(result, Job) for result in results) == 3
        fake.release()


async def test_job_abandoned_while_recorded_is_cancelled(
    fake: FakeSpace, service: JobService
) -> None:
    """A job whose caller leaves while it is recorded is cancelled."""
    await start_running_job(fake, service)
    submit_calls = asyncio.ensure_future(service.submit(make_request("a cat"), is_api_call=True))
    await anyio.lowlevel.checkpoint()
    submit_calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit_calls
    with anyio.fail_after(LIMIT_SECONDS):
        while len(JobRepository(service.library).list_unfinished()) != 1:
            await anyio.lowlevel.checkpoint()
    await service.restore_session(LOCAL_VISITOR)
    assert not service.visitor_queue(LOCAL_VISITOR).pending_jobs
    fake.release()


async def test_unwatched_job_can_be_retried_after_a_restart(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """A job that was stopped because no page was open is listed after a restart."""
    async with open_service(fake, tmp_path, idle_timeout=0.1) as first_service:
        with first_service.visitor_queue(LOCAL_VISITOR).track_watcher():
            job = await start_running_job(fake, first_service)
        await wait_for_status(job, JobStatus.CANCELLED)
        await wait_for_record(first_service, job, JobStatus.CANCELLED)
    fake.release()
    async with open_service(fake, tmp_path) as service:
        await service.restore_session(LOCAL_VISITOR)
        assert [
            failed_job.id for failed_job in service.visitor_queue(LOCAL_VISITOR).failed_jobs
        ] == [job.id]


async def test_image_without_a_job_can_be_opened(fake: FakeSpace, tmp_path: Path) -> None:
    """An image whose job is unknown opens as a completed job."""
    async with open_service(fake, tmp_path) as first_service:
        job = await wait_for_status(
            await first_service.submit(make_request("a cat")), JobStatus.COMPLETED
        )
    (tmp_path / ".studio" / "library.sqlite3").unlink()
    async with open_service(fake, tmp_path) as service:
        service.library.rescan()
        loaded_job = await service.find_job(job.id, LOCAL_VISITOR)
        assert loaded_job is not None
        assert loaded_job.state.value.result is not None
        assert loaded_job.state.value.request == job.state.value.request
        assert await service.find_job(job.id, ANN) is None


async def test_jobs_survive_the_deletion_of_the_index(fake: FakeSpace, tmp_path: Path) -> None:
    """After the index was deleted, the jobs in memory are recorded again."""
    async with open_service(fake, tmp_path) as service:
        completed_job = await wait_for_status(
            await service.submit(make_request("a cat")), JobStatus.COMPLETED
        )
        completed_run = await start_running_job(fake, service)
        waits = await service.submit(make_request("a dog"))
        shutil.rmtree(tmp_path / ".studio")
        assert service.library.get(completed_job.id) is None
        assert service.library.needs_rescan
        service.library.rescan()
        for job in (completed_run, waits):
            await service._store.update(job)
        assert service.library.get(completed_job.id) is not None
        async with open_service(fake, tmp_path) as second_service:
            await second_service.restore_session(LOCAL_VISITOR)
            assert not second_service.visitor_queue(LOCAL_VISITOR).open_jobs
            assert [job.id for job in JobRepository(second_service.library).list_unfinished()] == [
                completed_run.id,
                waits.id,
            ]
        fake.release()
        await wait_for_status(waits, JobStatus.COMPLETED)
        await wait_for_record(service, waits, JobStatus.COMPLETED)


async def test_page_that_polls_leaves_nothing_of_its_requests(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """While a page counts as open because it polls, its requests aren't kept in memory."""
    request_var: ContextVar[type] = ContextVar("request")

    def poll(service: JobService) -> weakref.ref[type]:
        request = type("Request", (), {})
        request_var.set(request)
        service.visitor_queue(ANN).lease_watcher(LIMIT_SECONDS)
        return weakref.ref(request)

    async with open_service(fake, tmp_path) as service:
        reference = copy_context().run(poll, service)
        gc.collect()
        assert reference() is None
        assert service.visitor_queue(ANN).watcher_count == 1
