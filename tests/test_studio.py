"""The studio: jobs from the request to the kept picture, on real servers."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from aiohttp import web
from gradio.context import LocalContext

from sd35.client import StopOutcome, Timeouts
from sd35.core.errors import InvalidRequestError, QuotaError, UnreachableError
from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.service import JobService, SpaceConfig
from sd35.server.launch import free_port
from sd35.space.server import DemoSpace
from tests.app_server import studio_config
from tests.fakes import FakeSpace
from tests.impostor import respond_events, serve_fake_gradio
from tests.test_picture import encode_picture

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20

PNG = encode_picture("PNG")

MAX_JOBS = 50


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture
async def studio(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[JobService]:
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    yield studio
    await studio.aclose()


async def _fail_demo() -> str:
    raise AssertionError("an explicit choice never falls back")


async def wait_for_end(job: Job) -> JobState:
    with anyio.fail_after(LIMIT_SECONDS):
        while not job.state.value.status.is_final:
            await job.state.wait_for_change(job.state.value, LIMIT_SECONDS)
    return job.state.value


def is_resolved(studio: JobService) -> bool:
    return studio.connection.value.is_resolved


def job_status(job: Job) -> JobStatus:
    return job.state.value.status


def make_request(prompt: str, *, seed: int | None = None) -> GenerationRequest:
    return GenerationRequest(
        prompt, width=512, height=512, seed=seed or 0, randomize_seed=seed is None
    )


async def test_a_picture_is_kept_as_it_came(studio: JobService, tmp_path: Path) -> None:
    """The picture is not kept, or not under a name that says what it is, or with another seed."""
    state = await wait_for_end(
        await studio.submit(make_request("A cat, “sleeping”/../../etc", seed=7))
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


async def test_what_a_picture_took() -> None:
    """A picture is said to have taken as long as it waited for others."""
    job_state = JobState(make_request("a cat"), JobStatus.COMPLETED, created_at=1, ended_at=8)
    assert job_state.elapsed_seconds == 7
    assert replace(job_state, started_at=5).elapsed_seconds == 3


async def test_a_prompt_without_a_letter_for_a_name(studio: JobService) -> None:
    """A picture whose prompt has nothing for a file's name gets one that begins with a dash, as options do."""
    state = await wait_for_end(await studio.submit(make_request("猫", seed=7)))
    assert state.result is not None
    assert re.fullmatch(r"\d{6}-7(-\S+)?\.webp", state.result.name)


async def test_random_seeds_are_drawn_here_and_told(studio: JobService) -> None:
    """With a random seed, it is not known which one made the picture, or all pictures are the same."""
    states = [await wait_for_end(await studio.submit(make_request("a cat"))) for _ in range(3)]
    seeds = {state.result.seed for state in states if state.result}
    assert len(seeds) == 3
    assert seeds == {state.request.seed for state in states}


async def test_previews_and_steps_are_seen_on_the_way(fake: FakeSpace, studio: JobService) -> None:
    """Who watches a job doesn't see its preview and its step."""
    fake.hold()
    job = await studio.submit(make_request("wait: "))
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


async def test_stopping_a_running_job(fake: FakeSpace, studio: JobService) -> None:
    """Stop doesn't end the run at the Space, or doesn't say what it did."""
    fake.hold()
    job = await studio.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    while (state := job.state.value).status is not JobStatus.RUNNING:
        await job.state.wait_for_change(state, LIMIT_SECONDS)
    job.cancel()
    assert job_status(job) is JobStatus.CANCELLING
    state = await wait_for_end(job)
    assert (state.status, state.cancel_outcome) == (JobStatus.CANCELLED, StopOutcome.ENDED)
    fake.release()


async def test_stopping_before_anything_was_sent(studio: JobService) -> None:
    """A job that is stopped in its first moment is sent all the same, or never ends."""
    job = await studio.submit(make_request("a cat"))
    job.cancel()
    state = await wait_for_end(job)
    assert (state.status, state.cancel_outcome) == (JobStatus.CANCELLED, None)


async def test_a_download_that_fails_once(tmp_path: Path) -> None:
    """A finished picture, which cost a person's quota, is lost because its download failed once."""
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
        studio = JobService(SpaceConfig(address), _fail_demo, studio_config(tmp_path))
        state = await wait_for_end(await studio.submit(make_request("a cat")))
        await studio.aclose()
    assert state.result is not None
    assert state.result.path is not None
    assert (
        open_picture(state.result.path.read_bytes()).image.tobytes()
        == open_picture(PNG).image.tobytes()
    )
    assert len(requested_paths) == 2


async def test_a_stop_after_the_end_keeps_the_picture(tmp_path: Path) -> None:
    """Who presses Stop in the moment in which the picture is finished loses it."""
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
        studio = JobService(SpaceConfig(address), _fail_demo, studio_config(tmp_path))
        job = await studio.submit(make_request("a cat"))
        await is_requested.wait()
        job.cancel()
        assert (await wait_for_end(job)).result is not None
        await studio.aclose()


async def test_a_space_that_is_gone_is_looked_for_again(tmp_path: Path) -> None:
    """The status line says ready over a Space that has gone, and a Space that comes back is never found."""
    port = free_port()
    async with serve_fake_gradio(port=port) as address:
        studio = JobService(
            SpaceConfig(address), _fail_demo, studio_config(tmp_path), Timeouts(attempts=1)
        )
        await studio.get_space()
    state = await wait_for_end(await studio.submit(make_request("a cat")))
    assert isinstance(state.error, UnreachableError)
    assert studio.connection.value.error is state.error
    completed_message = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=PNG)

    async with serve_fake_gradio(port=port, data=respond_events(completed_message), file=file):
        assert (await wait_for_end(await studio.submit(make_request("a cat")))).result is not None
        await studio.aclose()


async def test_a_refusal_ends_the_job_with_its_reason(studio: JobService) -> None:
    """What the Space says is lost between the client and who watches."""
    state = await wait_for_end(
        await studio.submit(make_request("error: You have exceeded your GPU quota"))
    )
    assert state.status is JobStatus.FAILED
    assert isinstance(state.error, QuotaError)


async def test_what_the_space_would_refuse_is_not_sent(studio: JobService) -> None:
    """A request checked against the assumed limits alone reaches a Space with others."""
    state = await wait_for_end(await studio.submit(GenerationRequest("a cat", width=4096)))
    assert isinstance(state.error, InvalidRequestError)


async def test_jobs_are_remembered_but_not_for_ever(
    studio: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job can't be watched again, or the finished ones fill the memory."""
    monkeypatch.setattr("sd35.jobs.registry.MAX_JOBS", MAX_JOBS)
    jobs = [await studio.submit(make_request("")) for _ in range(MAX_JOBS + 5)]
    for job in jobs:
        await wait_for_end(job)
    last = await studio.submit(make_request(""))
    assert studio.get_job(last.id) is last
    assert studio.get_job(jobs[0].id) is None
    assert sum(studio.get_job(job.id) is not None for job in jobs) < MAX_JOBS
    await wait_for_end(last)


async def test_a_disk_that_takes_nothing(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished picture, which cost a person's quota, is lost because it can't be written."""
    monkeypatch.setattr("sd35.jobs.runner.SAVE_RETRY_INTERVAL", 0.05)
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    day = tmp_path / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    day.write_bytes(b"")  # no folder can be made there
    job = await studio.submit(make_request("a cat"))
    result = (await wait_for_end(job)).result
    assert result is not None
    assert result.path is None
    assert result.save_error
    artifact = studio.artifacts.find(result.url_path)
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
    await studio.aclose()


async def test_what_is_forgotten_leaves_no_file(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that nobody can see any more fill the disk; or those that were meant to last are deleted."""
    monkeypatch.setattr("sd35.jobs.registry.MAX_PICTURE_BYTES", 0)
    for is_lasting in (False, True):
        folder = tmp_path / str(is_lasting)
        studio = JobService(
            SpaceConfig(fake.address),
            _fail_demo,
            replace(studio_config(folder), is_persistent=is_lasting),
        )
        first = (await wait_for_end(await studio.submit(make_request("a cat")))).result
        await wait_for_end(await studio.submit(make_request("a cat")))
        assert first is not None
        assert first.path is not None
        with anyio.fail_after(LIMIT_SECONDS):
            while first.path.exists() is not is_lasting:
                await anyio.lowlevel.checkpoint()
        assert (studio.artifacts.find(first.url_path) is None) is not is_lasting
        await studio.aclose()


async def test_visitors_wait_for_their_turn_and_their_tokens_do_not(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """Visitors' pictures are all asked for at once, whatever was said; or a token is kept when it has served."""
    studio = JobService(
        SpaceConfig(fake.address),
        _fail_demo,
        studio_config(tmp_path, UsageLimits(per_hour=3, max_concurrent=1)),
    )
    fake.hold()
    ann, bob = (
        Visitor(f"user:{name}", f"user:{name}", token=f"hf_{name}") for name in ("ann", "bob")
    )
    first = await studio.submit(make_request("wait: "), ann)
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    second = await studio.submit(make_request("a cat"), bob)
    await second.state.wait_for_change(second.state.value, LIMIT_SECONDS)
    assert (job_status(second), second.state.value.queue_length) == (JobStatus.PENDING, 1)
    quota = studio.remaining_quota(bob)
    assert quota is not None
    assert (quota.remaining, quota.queued_count) == (2, 1)
    second.cancel()
    assert (await wait_for_end(second)).cancel_outcome is None, "nothing was sent"
    assert studio.get_job(first.id, bob) is None
    assert studio.get_job(first.id, ann) is first
    fake.release()
    await wait_for_end(first)
    assert first.identity is second.identity is None
    await anyio.lowlevel.checkpoint()
    quota = studio.remaining_quota(bob)
    assert quota is not None
    assert quota.remaining == 3, "what cost nothing is given back"
    await studio.aclose()


async def test_auto_falls_back_to_the_demo_and_says_why(fake: FakeSpace, tmp_path: Path) -> None:
    """Without a network, nothing can be made; or the stand-in isn't owned up to."""
    started = []

    async def start_demo() -> str:
        started.append(1)
        return fake.address

    studio = JobService(
        SpaceConfig("auto", hub="http://127.0.0.1:1"), start_demo, studio_config(tmp_path)
    )
    assert not is_resolved(studio)
    state = await wait_for_end(await studio.submit(make_request("a cat")))
    assert state.result is not None
    assert isinstance(studio.connection.value.fallback_reason, UnreachableError)
    studio.connect()
    assert is_resolved(studio), "it isn't looked for again unasked"
    studio.connect(force=True)
    assert not is_resolved(studio)
    assert (await wait_for_end(await studio.submit(make_request("a cat")))).result is not None
    assert started == [1, 1]
    await studio.aclose()


async def test_the_demo_space_can_be_started_from_a_listener(tmp_path: Path) -> None:
    """When a page's listener is the first to need the demo Space, it can't be built: Gradio thinks of an update."""
    demo_space = DemoSpace()

    async def start_demo() -> str:
        return await anyio.to_thread.run_sync(demo_space.start)

    studio = JobService(SpaceConfig("demo"), start_demo, studio_config(tmp_path))
    listening = LocalContext.in_event_listener.set(True)
    try:
        assert (await studio.get_space()).contract.is_demo
    finally:
        LocalContext.in_event_listener.reset(listening)
        await studio.aclose()
        demo_space.close()


async def test_an_explicit_choice_never_falls_back(tmp_path: Path) -> None:
    """A person who names a Space gets another one's pictures; or it isn't looked for again at the next try."""
    studio = JobService(SpaceConfig("http://127.0.0.1:1/"), _fail_demo, studio_config(tmp_path))
    for _ in range(2):
        state = await wait_for_end(await studio.submit(make_request("a cat")))
        assert isinstance(state.error, UnreachableError)
        assert studio.connection.value.space is None
    await studio.aclose()


async def test_closing_stops_what_runs(fake: FakeSpace, tmp_path: Path) -> None:
    """When the program ends, its runs go on at the Space."""
    fake.hold()
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    job = await studio.submit(make_request("wait: "))
    assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
    await studio.aclose()
    assert job.state.value.status is JobStatus.INTERRUPTED
    fake.release()
