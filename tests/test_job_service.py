"""The job service: jobs from the request to the saved image, at real servers."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from aiohttp import web
from gradio.context import LocalContext

from sd35.client import StopOutcome, Timeouts
from sd35.core.errors import (
    InvalidRequestError,
    LibraryError,
    QuotaError,
    SD35Error,
    UnreachableError,
    UsageLimitError,
)
from sd35.core.origin import PlannedRequest, RequestOrigin
from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job, JobResult, JobState
from sd35.jobs.limits import UsageLimits
from sd35.jobs.provenance import space_label
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.jobs.runner import MAX_PREVIEW_BYTES
from sd35.jobs.scheduler import Scheduler
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import ConnectionState, SpaceConfig
from sd35.library import database
from sd35.library.query import parse_query
from sd35.server.launch import free_port
from sd35.space.server import DemoSpace
from tests.app_server import studio_config
from tests.fakes import FakeSpace
from tests.impostor import (
    FINISHED,
    PREVIEW,
    message_bytes,
    respond_events,
    serve_fake_gradio,
    start_event_stream,
)
from tests.library_fixtures import add_picture
from tests.test_picture import encode_picture, png_without_palette

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20

PNG = encode_picture("PNG")

MAX_JOBS = 50


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=False)
    yield space
    space.close()


@pytest.fixture
async def service(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[JobService]:
    service = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    yield service
    await service.aclose()


async def _fail_demo(*_: object) -> str:
    raise AssertionError("an explicit choice never falls back")


async def wait_for_end(job: Job) -> JobState:
    with anyio.fail_after(LIMIT_SECONDS):
        while not (state := job.state.value).status.is_final or state.is_saving:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return state


def is_resolved(service: JobService) -> bool:
    return service.connection.value.is_resolved


def job_status(job: Job) -> JobStatus:
    return job.state.value.status


def make_request(prompt: str, *, seed: int | None = None) -> GenerationRequest:
    return GenerationRequest(
        prompt, width=512, height=512, seed=seed or 0, randomize_seed=seed is None
    )


async def test_image_is_saved_with_seed_and_prompt_in_its_name(
    service: JobService, tmp_path: Path
) -> None:
    """The image is saved as the Space sent it; its name tells the seed and the prompt."""
    state = await wait_for_end(
        await service.submit(make_request("A cat, “sleeping”/../../etc", seed=7))
    )
    assert state.status is JobStatus.COMPLETED
    assert state.result is not None
    assert state.result.seed == 7
    assert state.result.path is not None
    picture = open_picture(state.result.path.read_bytes())
    assert (picture.format, picture.width, picture.height) == (
        state.result.format,
        state.result.width,
        state.result.height,
    )
    assert len(picture.data) == state.result.size_bytes
    assert state.result.path.is_relative_to(tmp_path)
    assert state.result.path.name.endswith("-7-a-cat-sleeping-etc.webp")


async def test_image_is_shown_before_it_is_saved(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are served before they are saved, under an address that stays; they share commits."""
    statements: list[str] = []
    original_connect = database._connect

    def connect(path: Path) -> Connection:
        connection = original_connect(path)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(database, "_connect", connect)
    monkeypatch.setattr("sd35.jobs.results.FETCH_SECONDS", 0.0)
    service = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    with service._result_saver._save_lock:  # as a slow disk would
        jobs = [await service.submit(make_request(f"number {index}")) for index in range(9)]
        shown_results = [await _wait_for_result(job) for job in jobs]
        assert all(
            job.is_saving and result.path is None
            for job, result in zip(jobs, shown_results, strict=True)
        )
        contents = [_served_content(service, result) for result in shown_results]
        assert all(isinstance(content, bytes) for content in contents)
        assert service.visitor_queue(LOCAL_VISITOR).is_active
        statements.clear()
    for job, shown_result, content in zip(jobs, shown_results, contents, strict=True):
        result = (await wait_for_end(job)).result
        assert result is not None
        assert result.url_path == shown_result.url_path
        with anyio.fail_after(LIMIT_SECONDS):
            while isinstance(path := _served_content(service, result), bytes):
                await anyio.lowlevel.checkpoint()
        assert path == result.path
        assert path.read_bytes() == content
        assert service.library.get(job.id) is not None
    assert statements.count("COMMIT") < len(jobs)
    await service.aclose()
    assert {stored_job(service, job).status for job in jobs} == {JobStatus.COMPLETED}


async def _wait_for_result(job: Job) -> JobResult:
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := job.state.value).result is None:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return state.result


def _served_content(service: JobService, result: JobResult) -> Path | bytes:
    artifact = service.find_artifact(result.url_path)
    assert artifact is not None
    return artifact.content


async def test_elapsed_time_excludes_the_wait() -> None:
    """The elapsed time of a job that ran doesn't count the wait in the queue."""
    job_state = JobState(make_request("a cat"), JobStatus.COMPLETED, created_at=1, ended_at=8)
    assert job_state.elapsed_seconds == 7
    assert replace(job_state, started_at=5).elapsed_seconds == 3


async def test_a_set_stays_a_set_in_the_library(service: JobService) -> None:
    origin = RequestOrigin(
        prompt_sources=(("Template", "a {red|blue} fox"),), axes=(("Steps", "20"),)
    )
    planned = [
        PlannedRequest(make_request("a fox", seed=1), origin),
        PlannedRequest(make_request("a fox", seed=2)),
    ]
    jobs = await service.submit_set(planned, idempotency_key="press")
    for job in jobs:
        await wait_for_end(job)
    repeated_jobs = await service.submit_set(planned, idempotency_key="press")
    assert [job.id for job in repeated_jobs] == [job.id for job in jobs]
    [first, second] = jobs
    page = service.library.search(parse_query(f"set:{first.id}"))
    records = {entry.id: entry.metadata for entry in page.entries}
    assert records.keys() == {first.id, second.id}
    assert records[first.id].axes == origin.axes
    assert records[first.id].extra[:1] == origin.prompt_sources
    assert [(records[job.id].set_index, records[job.id].set_size) for job in jobs] == [
        (0, 2),
        (1, 2),
    ]


async def test_a_set_beyond_a_limit_starts_no_job(fake: FakeSpace, tmp_path: Path) -> None:
    config = replace(studio_config(tmp_path), usage_limits=UsageLimits(per_hour=3, max_queued=5))
    service = JobService(SpaceConfig(fake.address), _fail_demo, config)
    visitor = Visitor("ada", "ada")
    planned = [PlannedRequest(make_request("a fox"))]
    with pytest.raises(UsageLimitError, match="6 images at once"):
        await service.submit_set(planned * 6, visitor)
    with pytest.raises(UsageLimitError, match="3 more images this hour"):
        await service.submit_set(planned * 4, visitor)
    assert service.visitor_queue(visitor).open_jobs == []
    remaining = service.remaining_quota(visitor)
    assert remaining is not None
    assert remaining.remaining == 3
    await service.aclose()


async def test_random_seed_is_drawn_before_submission(service: JobService) -> None:
    """Each random seed is another one, and known from the job."""
    states = [await wait_for_end(await service.submit(make_request("a cat"))) for _ in range(3)]
    seeds = {state.result.seed for state in states if state.result}
    assert len(seeds) == 3
    assert seeds == {state.request.seed for state in states}


async def test_watcher_sees_previews_and_progress(fake: FakeSpace, service: JobService) -> None:
    """A watcher sees the preview and the step of a running job."""
    fake.hold()
    job = await service.submit(make_request("wait: "))
    with anyio.fail_after(LIMIT_SECONDS):
        while job.state.value.preview is None or job.state.value.progress is None:
            await job.state.wait_for_change(job.state.value, LIMIT_SECONDS)
    state = job.state.value
    assert state.status is JobStatus.RUNNING
    assert state.preview is not None
    assert state.preview.data_url.startswith("data:image/webp;base64,")
    fake.release()
    state = await wait_for_end(job)
    assert state.result is not None
    assert state.preview is None, "its memory is let go"


async def test_cancelling_a_running_job_ends_the_run(fake: FakeSpace, service: JobService) -> None:
    """Cancelling ends the run at the Space, and the outcome says so."""
    fake.hold()
    job = await service.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    while (state := job.state.value).status is not JobStatus.RUNNING:
        await job.state.wait_for_change(state, LIMIT_SECONDS)
    job.cancel()
    assert job_status(job) is JobStatus.CANCELLING
    state = await wait_for_end(job)
    assert (state.status, state.cancel_outcome) == (JobStatus.CANCELLED, StopOutcome.ENDED)
    fake.release()


async def start_plain_run(
    plain: FakeSpace, folder: Path, timeouts: Timeouts | None = None
) -> tuple[JobService, Job]:
    """Return a service with one slot, and a job that runs until the Space is released."""
    config = studio_config(folder, UsageLimits(max_concurrent=1))
    service = JobService(SpaceConfig(plain.address), _fail_demo, config, timeouts)
    plain.hold()
    job = await service.submit(make_request("wait: "))
    assert await asyncio.to_thread(plain.run_started.wait, LIMIT_SECONDS)
    while (state := job.state.value).status is not JobStatus.RUNNING:
        await job.state.wait_for_change(state, LIMIT_SECONDS)
    return service, job


def spy(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[object]:
    """Let a method work as before, and return a list that grows with each call of it."""
    calls: list[object] = []
    method = getattr(owner, name)

    def record(*args: object) -> object:
        calls.append(args)
        return method(*args)

    monkeypatch.setattr(owner, name, record)
    return calls


async def test_time_left_comes_from_the_library(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any run there is no estimate; then for a job, for those behind it, and for all."""
    config = studio_config(tmp_path, UsageLimits(max_concurrent=1))
    service = JobService(SpaceConfig(fake.address), _fail_demo, config)
    estimates = service.estimates
    request = GenerationRequest("a", width=32, height=24, num_inference_steps=4)
    try:
        space = await service.get_space()
        assert estimates.run_seconds(request) is None
        fields: dict[str, Any] = {
            "model": space.model,
            "num_inference_steps": 4,
            "guidance_scale": 4.5,
        }
        add_picture(service.library, 0, space=space_label(space), took_seconds=20.0, **fields)
        add_picture(service.library, 1, space="demo Space", took_seconds=1.0, **fields)
        await estimates.load()
        assert estimates.run_seconds(request) == 20
        assert estimates.run_seconds(request, 3) == 60
        fake.hold()
        jobs = [await service.submit(make_request("wait: ")) for _ in range(3)]
        assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
        while (state := jobs[0].state.value).status is not JobStatus.RUNNING:
            await jobs[0].state.wait_for_change(state, LIMIT_SECONDS)
        seconds = [estimates.remaining_seconds(job) for job in jobs]
        assert seconds == sorted(value for value in seconds if value), (
            "each one waits for the others"
        )
        assert seconds[2] == pytest.approx(estimates.queue_seconds(LOCAL_VISITOR), abs=1)
        jobs[2].set_held(is_held=True)
        service.visitor_queue(LOCAL_VISITOR).pause_error = QuotaError("No quota.")
        assert estimates.queue_seconds(LOCAL_VISITOR) is None
        orders = spy(monkeypatch, Scheduler, "scheduling_order")
        held_job = await service.submit(make_request("held"))
        held_job.set_held(is_held=True)
        orders.clear()
        assert [estimates.remaining_seconds(held_job) for _ in range(100)] == [None] * 100
        assert len(orders) <= 2, "each look at a held job was a new forecast"
        fake.release()
        assert (await wait_for_end(jobs[0])).status is JobStatus.COMPLETED
        assert estimates.remaining_seconds(jobs[0]) is None
    finally:
        await service.aclose()


async def wait_for_followed_run(job: Job) -> JobState:
    """Return the state of a cancelled job whose run has ended."""
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := job.state.value).is_followed or state.is_saving:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return state


def stored_job(service: JobService, job: Job) -> JobRecord:
    record = JobRepository(service.library).get(job.id)
    assert record is not None
    return record


async def test_run_that_cannot_be_cancelled_is_followed(plain: FakeSpace, tmp_path: Path) -> None:
    """A run that the Space can't cancel frees its slot at once, and its image is saved."""
    service, job = await start_plain_run(plain, tmp_path)
    next_job = await service.submit(make_request("a cat"))
    queue = service.visitor_queue(LOCAL_VISITOR)
    job.cancel()
    state = job.state.value
    assert (state.status, state.is_followed) == (JobStatus.CANCELLED, True)
    assert state.cancel_outcome is StopOutcome.MAY_FINISH
    assert queue.followed_jobs == [job]
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := next_job.state.value).status is not JobStatus.QUEUED_REMOTELY:
            await next_job.state.wait_for_change(state, LIMIT_SECONDS)
    assert stored_job(service, job).status is JobStatus.CANCELLED
    plain.release()
    state = await wait_for_followed_run(job)
    assert (state.status, state.is_late) == (JobStatus.COMPLETED, True)
    assert state.result is not None
    assert service.library.get(job.id) is not None
    assert not (await wait_for_end(next_job)).is_late
    assert queue.completed_count == 2
    with anyio.fail_after(LIMIT_SECONDS):
        while stored_job(service, job).status is not JobStatus.COMPLETED:
            await anyio.lowlevel.checkpoint()
    await service.aclose()


async def test_followed_run_can_be_waited_for_again(plain: FakeSpace, tmp_path: Path) -> None:
    """A run that is still followed is waited for again, as if it hadn't been stopped."""
    service, job = await start_plain_run(plain, tmp_path)
    assert not await service.keep_waiting(job), "it wasn't cancelled"
    for _ in range(2):
        job.cancel()
        assert await service.keep_waiting(job)
        assert job_status(job) is JobStatus.RUNNING
    assert stored_job(service, job).status is JobStatus.RUNNING
    plain.release()
    state = await wait_for_end(job)
    assert (state.status, state.is_late) == (JobStatus.COMPLETED, False)
    await service.aclose()


@pytest.mark.parametrize("is_closing", [True, False], ids=["shutdown", "silence"])
async def test_followed_run_without_an_image_stays_cancelled(
    plain: FakeSpace, tmp_path: Path, *, is_closing: bool
) -> None:
    """A shutdown and the client's limits end the following, and the job stays cancelled."""
    limits = Timeouts() if is_closing else Timeouts(no_news=0.3, silence=0.3)
    service, job = await start_plain_run(plain, tmp_path, limits)
    job.cancel()
    if is_closing:
        await service.aclose()
    state = await wait_for_followed_run(job)
    assert (state.status, state.error) == (JobStatus.CANCELLED, None)
    assert not await service.keep_waiting(job)
    await service.aclose()
    assert stored_job(service, job).status is JobStatus.CANCELLED
    plain.release()
    assert await asyncio.to_thread(plain.finished_runs.acquire, timeout=LIMIT_SECONDS)


async def test_job_cancelled_at_once_is_never_sent(service: JobService) -> None:
    """A job that is cancelled in its first moment never reaches the Space."""
    job = await service.submit(make_request("a cat"))
    job.cancel()
    state = await wait_for_end(job)
    assert (state.status, state.cancel_outcome) == (JobStatus.CANCELLED, None)


async def test_job_of_a_read_only_library_is_never_sent(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job isn't sent if its image couldn't be saved, and the error says so."""
    monkeypatch.setattr(service.library, "is_read_only", True)
    with pytest.raises(LibraryError, match="read-only"):
        await service.submit(make_request("a cat"))
    assert not service.visitor_queue(LOCAL_VISITOR).open_jobs


async def test_failed_download_is_retried(tmp_path: Path) -> None:
    """An image that is finished isn't lost because its download failed once."""
    requested_paths = []

    async def file(request: web.Request) -> web.Response:
        if "file=" in request.path:  # gradio_client asks for a heartbeat, too
            requested_paths.append(request.path)
        return web.Response(status=503) if len(requested_paths) == 1 else web.Response(body=PNG)

    completed_message = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }
    async with serve_fake_gradio(file=file, data=respond_events(completed_message)) as address:
        service = JobService(SpaceConfig(address), _fail_demo, studio_config(tmp_path))
        state = await wait_for_end(await service.submit(make_request("a cat")))
        await service.aclose()
    assert state.result is not None
    assert state.result.path is not None
    assert (
        open_picture(state.result.path.read_bytes()).image.tobytes()
        == open_picture(PNG).image.tobytes()
    )
    assert len(requested_paths) == 2


async def test_broken_preview_costs_no_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A preview that can't be decoded is skipped, and the image still comes."""
    caplog.set_level(logging.INFO)
    broken_preview = png_without_palette()
    assert len(broken_preview) > MAX_PREVIEW_BYTES

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=PNG if request.path == "/a.png" else broken_preview)

    async def data(request: web.Request) -> web.StreamResponse:
        response = await start_event_stream(request)
        await response.write(message_bytes(PREVIEW | {"output": {"data": ["/b.png", 7]}}))
        with anyio.fail_after(LIMIT_SECONDS):
            while "Skipped a preview" not in caplog.text:  # noqa: ASYNC110  # a log has no event
                await anyio.sleep(0.01)
        await response.write(message_bytes(FINISHED | {"output": {"data": ["/a.png", 7]}}))
        return response

    async with serve_fake_gradio(file=file, data=data) as address:
        service = JobService(SpaceConfig(address), _fail_demo, studio_config(tmp_path))
        state = await wait_for_end(await service.submit(make_request("a cat")))
        await service.aclose()
    assert state.status is JobStatus.COMPLETED, state.error


async def test_cancelling_while_downloading_keeps_the_image(tmp_path: Path) -> None:
    """Cancelling a job whose image is being downloaded doesn't lose the image."""
    is_requested = anyio.Event()

    async def file(_: web.Request) -> web.Response:
        is_requested.set()
        await anyio.sleep(0.05)
        return web.Response(body=PNG)

    completed_message = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }
    async with serve_fake_gradio(file=file, data=respond_events(completed_message)) as address:
        service = JobService(SpaceConfig(address), _fail_demo, studio_config(tmp_path))
        job = await service.submit(make_request("a cat"))
        await is_requested.wait()
        job.cancel()
        assert (await wait_for_end(job)).result is not None
        await service.aclose()


async def test_lost_space_is_reconnected(tmp_path: Path) -> None:
    """A Space that is gone is reported, and connected again once it is back."""
    port = free_port()
    async with serve_fake_gradio(port=port) as address:
        service = JobService(
            SpaceConfig(address), _fail_demo, studio_config(tmp_path), Timeouts(outage=0.1)
        )
        await service.get_space()
    state = await wait_for_end(await service.submit(make_request("a cat")))
    assert isinstance(state.error, UnreachableError)
    assert service.connection.value.error is state.error
    completed_message = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=PNG)

    async with serve_fake_gradio(port=port, data=respond_events(completed_message), file=file):
        assert (await wait_for_end(await service.submit(make_request("a cat")))).result is not None
        await service.aclose()


async def test_error_of_the_space_is_in_the_state(service: JobService) -> None:
    """The error of the Space is in the state of the failed job."""
    state = await wait_for_end(
        await service.submit(make_request("error: You have exceeded your GPU quota"))
    )
    assert state.status is JobStatus.FAILED
    assert isinstance(state.error, QuotaError)


async def test_request_beyond_the_limits_of_the_space_fails(service: JobService) -> None:
    """A request that the Space would refuse fails with a clear error."""
    state = await wait_for_end(await service.submit(GenerationRequest("a cat", width=4096)))
    assert isinstance(state.error, InvalidRequestError)


async def test_oldest_jobs_are_evicted(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished jobs stay in memory until there are too many."""
    monkeypatch.setattr("sd35.jobs.registry.MAX_JOBS", MAX_JOBS)
    jobs = [await service.submit(make_request("")) for _ in range(MAX_JOBS + 5)]
    for job in jobs:
        await wait_for_end(job)
    last = await service.submit(make_request(""))
    assert service.get_job(last.id) is last
    assert service.get_job(jobs[0].id) is None
    assert sum(service.get_job(job.id) is not None for job in jobs) < MAX_JOBS
    await wait_for_end(last)


async def test_unsaved_image_is_kept_in_memory_until_it_is_saved(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that can't be saved is served from memory, and saved as soon as that is possible."""
    monkeypatch.setattr("sd35.jobs.runner.SAVE_RETRY_INTERVAL", 0.05)
    service = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    day = tmp_path / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    day.write_bytes(b"")  # no folder can be made there
    job = await service.submit(make_request("a cat"))
    result = (await wait_for_end(job)).result
    assert result is not None
    assert result.path is None
    assert result.save_error
    artifact = service.artifacts.find(result.url_path)
    assert artifact is not None
    assert isinstance(artifact.content, bytes)
    assert open_picture(artifact.content).width == result.width
    day.unlink()
    with anyio.fail_after(LIMIT_SECONDS):
        while (state := job.state.value).result is result:
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    assert state.result is not None
    assert state.result.path is not None, "it is tried again"
    assert state.result.path.is_file()
    await service.aclose()


async def test_evicted_images_are_deleted_from_a_temporary_library(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eviction deletes files from a temporary library only."""
    monkeypatch.setattr("sd35.jobs.registry.MAX_PICTURE_BYTES", 0)
    for is_lasting in (False, True):
        folder = tmp_path / str(is_lasting)
        service = JobService(
            SpaceConfig(fake.address),
            _fail_demo,
            replace(studio_config(folder), is_persistent=is_lasting),
        )
        first = (await wait_for_end(await service.submit(make_request("a cat")))).result
        await wait_for_end(await service.submit(make_request("a cat")))
        assert first is not None
        assert first.path is not None
        with anyio.fail_after(LIMIT_SECONDS):
            while first.path.exists() is not is_lasting:
                await anyio.lowlevel.checkpoint()
        assert (service.artifacts.find(first.url_path) is None) is not is_lasting
        await service.aclose()


async def test_visitor_quota_counts_jobs_that_reached_the_space(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """A visitor's job that was never sent is given back, and no token outlives its job."""
    service = JobService(
        SpaceConfig(fake.address),
        _fail_demo,
        studio_config(tmp_path, UsageLimits(per_hour=3, max_concurrent=1)),
    )
    fake.hold()
    ann, bob = (
        Visitor(f"user:{name}", f"user:{name}", token=f"hf_{name}") for name in ("ann", "bob")
    )
    first = await service.submit(make_request("wait: "), ann)
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    second = await service.submit(make_request("a cat"), bob)
    await second.state.wait_for_change(second.state.value, LIMIT_SECONDS)
    assert (job_status(second), second.state.value.queue_length) == (JobStatus.PENDING, 1)
    quota = service.remaining_quota(bob)
    assert quota is not None
    assert (quota.remaining, quota.queued_count) == (2, 1)
    second.cancel()
    assert (await wait_for_end(second)).cancel_outcome is None, "nothing was sent"
    assert service.get_job(first.id, bob) is None
    assert service.get_job(first.id, ann) is first
    fake.release()
    await wait_for_end(first)
    assert first.identity is second.identity is None
    await anyio.lowlevel.checkpoint()
    quota = service.remaining_quota(bob)
    assert quota is not None
    assert quota.remaining == 3, "what cost nothing is given back"
    await service.aclose()


async def test_auto_falls_back_to_the_demo_space(fake: FakeSpace, tmp_path: Path) -> None:
    """Without a network, `auto` uses the demo Space, and says why."""
    started = []

    async def start_demo(*_: object) -> str:
        started.append(1)
        return fake.address

    service = JobService(
        SpaceConfig("auto", hub="http://127.0.0.1:1"), start_demo, studio_config(tmp_path)
    )
    assert not is_resolved(service)
    state = await wait_for_end(await service.submit(make_request("a cat")))
    assert state.result is not None
    assert isinstance(service.connection.value.fallback_reason, UnreachableError)
    service.connect()
    assert is_resolved(service), "it isn't looked for again unasked"
    service.connect(force=True)
    assert not is_resolved(service)
    assert (await wait_for_end(await service.submit(make_request("a cat")))).result is not None
    assert started == [1, 1]
    await service.aclose()


async def test_demo_space_can_be_started_from_a_gradio_listener(tmp_path: Path) -> None:
    """The demo Space can be built even if a page's listener is the first to need it."""
    demo_space = DemoSpace()

    async def start_demo(*_: object) -> str:
        return await anyio.to_thread.run_sync(demo_space.start)

    service = JobService(SpaceConfig("demo"), start_demo, studio_config(tmp_path))
    listening = LocalContext.in_event_listener.set(True)
    try:
        assert (await service.get_space()).contract.is_demo
    finally:
        LocalContext.in_event_listener.reset(listening)
        await service.aclose()
        demo_space.close()


async def test_explicit_space_never_falls_back(tmp_path: Path) -> None:
    """A Space that was named is never replaced by another, and is tried anew by each job."""
    space_config = SpaceConfig("http://127.0.0.1:1/")
    service = JobService(space_config, _fail_demo, studio_config(tmp_path), Timeouts(outage=0.1))
    for _ in range(2):
        state = await wait_for_end(await service.submit(make_request("a cat")))
        assert isinstance(state.error, UnreachableError)
        assert service.connection.value.space is None
    await service.aclose()


async def test_another_space_takes_the_jobs_that_were_not_sent(
    fake: FakeSpace, plain: FakeSpace, tmp_path: Path
) -> None:
    """A running job stays at its Space, pending ones go on; a bad choice changes nothing."""
    fake.hold()
    config = studio_config(tmp_path, UsageLimits(max_concurrent=1))
    service = JobService(SpaceConfig(fake.address), _fail_demo, config)
    resolved: list[ConnectionState] = []
    service.space_connector.on_resolved = resolved.append
    running_job = await service.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    pending_job = await service.submit(make_request("a cat"))
    connection = service.connection.value
    for target in ("http://127.0.0.1:1/", f"{plain.address}nothing/"):
        with pytest.raises(SD35Error):
            await service.switch_space(target, LOCAL_VISITOR)
        assert service.connection.value is connection
    await service.switch_space(plain.address, LOCAL_VISITOR)
    assert resolved[-1] is service.connection.value, "new pages begin with it"
    assert job_status(running_job) is JobStatus.RUNNING
    fake.release()
    spaces = []
    for job in (running_job, pending_job):
        state = await wait_for_end(job)
        assert state.result is not None
        assert state.space is not None
        spaces.append(state.space.address)
    assert spaces == [fake.address, plain.address]
    await service.aclose()


async def test_a_local_model_waits_for_the_end_of_the_former_one(
    fake: FakeSpace, plain: FakeSpace, tmp_path: Path
) -> None:
    """Two models are never in memory, no running job is lost, and the last model leaves it, too."""
    events: list[str] = []

    async def start_space(target: str, _: object) -> str:
        events.append(target)
        return {"local:large": fake.address, "local:medium": plain.address}[target]

    async def stop_local() -> None:
        if events[-1] != "stop":
            events.append("stop")

    fake.hold()
    service = JobService(SpaceConfig("local:large"), start_space, studio_config(tmp_path))
    service.space_connector.stop_local = stop_local
    job = await service.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    await service.switch_space("local:medium", LOCAL_VISITOR)
    while service.connection.value.waiting_event is None:
        await service.connection.wait_for_change(service.connection.value, LIMIT_SECONDS)
    assert events == ["local:large"]
    fake.release()
    assert (await wait_for_end(job)).result is not None
    assert (await service.get_space()).address == plain.address
    assert events == ["local:large", "local:medium"]
    await service.switch_space(fake.address, LOCAL_VISITOR)
    with anyio.fail_after(LIMIT_SECONDS):
        while events != ["local:large", "local:medium", "stop"]:
            await anyio.lowlevel.checkpoint()
    await service.aclose()


@pytest.mark.parametrize(
    ("target", "token", "login"),
    [
        ("https://named.example/", "named", ("ann", "password")),
        ("owner/name", "hub", None),
        ("https://owner-name.hf.space/", "hub", None),
        ("https://other.example/", None, None),
        ("https://evilhf.space/", None, None),
        ("demo", None, None),
        ("local:large", None, None),
    ],
)
def test_secrets_go_only_where_they_were_meant_for(
    target: str, token: str | None, login: tuple[str, str] | None
) -> None:
    """A token or login that was named for one Space goes to no other that is chosen later."""
    named = SpaceConfig(
        "https://named.example/", "named", login=("ann", "password"), hub_token="hub"
    )
    config = named.for_space(target)
    assert (config.target, config.token, config.login) == (target, token, login)


async def test_closing_interrupts_running_jobs(fake: FakeSpace, tmp_path: Path) -> None:
    """Closing the service interrupts the running jobs."""
    fake.hold()
    service = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    job = await service.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    await service.aclose()
    assert job.state.value.status is JobStatus.INTERRUPTED
    fake.release()
