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
from sd35.jobs.job import Job, JobState, Phase
from sd35.jobs.limits import Caps
from sd35.jobs.service import SpaceChoice, Studio
from sd35.server.launch import free_port
from sd35.space.server import DemoSpace
from tests.fakes import FakeSpace
from tests.impostor import impostor, sending
from tests.serving import house
from tests.test_picture import encoded

pytestmark = pytest.mark.anyio

LIMIT = 20

PNG = encoded("PNG")

MAX_JOBS = 50


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture
async def studio(fake: FakeSpace, tmp_path: Path) -> AsyncIterator[Studio]:
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    yield studio
    await studio.aclose()


async def _no_demo() -> str:
    raise AssertionError("an explicit choice never falls back")


async def end_of(job: Job) -> JobState:
    with anyio.fail_after(LIMIT):
        while not job.state.value.phase.is_final:
            await job.state.wait_for_change(job.state.value, LIMIT)
    return job.state.value


def is_settled(studio: Studio) -> bool:
    return studio.connection.value.is_settled


def phase_of(job: Job) -> Phase:
    return job.state.value.phase


def asking(prompt: str, *, seed: int | None = None) -> GenerationRequest:
    return GenerationRequest(
        prompt, width=512, height=512, seed=seed or 0, randomize_seed=seed is None
    )


async def test_a_picture_is_kept_as_it_came(studio: Studio, tmp_path: Path) -> None:
    """The picture is not kept, or not under a name that says what it is, or with another seed."""
    state = await end_of(await studio.submit(asking("A cat, “sleeping”/../../etc", seed=7)))
    assert state.phase is Phase.FINISHED
    assert state.made is not None
    assert state.made.seed == 7
    assert state.made.path is not None
    kept = open_picture(state.made.path.read_bytes())
    assert (kept.format, kept.width, kept.height) == (
        state.made.format,
        state.made.width,
        state.made.height,
    )
    assert len(kept.data) == state.made.size_bytes
    assert state.made.path.is_relative_to(tmp_path)
    assert state.made.path.name.endswith("-7-a-cat-sleeping-etc.webp")


async def test_what_a_picture_took() -> None:
    """A picture is said to have taken as long as it waited for others."""
    waiting = JobState(asking("a cat"), Phase.FINISHED, created_at=1, ended_at=8)
    assert waiting.elapsed_seconds == 7
    assert replace(waiting, started_at=5).elapsed_seconds == 3


async def test_a_prompt_without_a_letter_for_a_name(studio: Studio) -> None:
    """A picture whose prompt has nothing for a file's name gets one that begins with a dash, as options do."""
    state = await end_of(await studio.submit(asking("猫", seed=7)))
    assert state.made is not None
    assert re.fullmatch(r"\d{6}-7(-\S+)?\.webp", state.made.name)


async def test_random_seeds_are_drawn_here_and_told(studio: Studio) -> None:
    """With a random seed, it is not known which one made the picture, or all pictures are the same."""
    states = [await end_of(await studio.submit(asking("a cat"))) for _ in range(3)]
    seeds = {state.made.seed for state in states if state.made}
    assert len(seeds) == 3
    assert seeds == {state.request.seed for state in states}


async def test_previews_and_steps_are_seen_on_the_way(fake: FakeSpace, studio: Studio) -> None:
    """Who watches a job doesn't see its preview and its step."""
    fake.hold()
    job = await studio.submit(asking("wait: "))
    with anyio.fail_after(LIMIT):
        while job.state.value.preview is None or job.state.value.progress is None:
            await job.state.wait_for_change(job.state.value, LIMIT)
    state = job.state.value
    assert state.phase is Phase.RUNNING
    assert state.preview is not None
    assert state.preview.data_url.startswith("data:image/webp;base64,")
    fake.release()
    state = await end_of(job)
    assert state.made is not None
    assert state.preview is None, "its memory is let go"


async def test_stopping_a_running_job(fake: FakeSpace, studio: Studio) -> None:
    """Stop doesn't end the run at the Space, or doesn't say what it did."""
    fake.hold()
    job = await studio.submit(asking("wait: "))
    assert await asyncio.to_thread(fake.running.wait, LIMIT)
    while (state := job.state.value).phase is not Phase.RUNNING:
        await job.state.wait_for_change(state, LIMIT)
    job.stop()
    assert phase_of(job) is Phase.STOPPING
    state = await end_of(job)
    assert (state.phase, state.stopped) == (Phase.STOPPED, StopOutcome.ENDED)
    fake.release()


async def test_stopping_before_anything_was_sent(studio: Studio) -> None:
    """A job that is stopped in its first moment is sent all the same, or never ends."""
    job = await studio.submit(asking("a cat"))
    job.stop()
    state = await end_of(job)
    assert (state.phase, state.stopped) == (Phase.STOPPED, None)


async def test_a_download_that_fails_once(tmp_path: Path) -> None:
    """A finished picture, which cost a person's quota, is lost because its download failed once."""
    asked = []

    async def file(request: web.Request) -> web.Response:
        if "file=" in request.path:  # gradio_client asks for a heartbeat, too
            asked.append(request.path)
        return web.Response(status=503) if len(asked) == 1 else web.Response(body=PNG)

    done = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }
    async with impostor(file=file, data=sending(done)) as address:
        studio = Studio(SpaceChoice(address), _no_demo, house(tmp_path))
        state = await end_of(await studio.submit(asking("a cat")))
        await studio.aclose()
    assert state.made is not None
    assert state.made.path is not None
    assert (
        open_picture(state.made.path.read_bytes()).image.tobytes()
        == open_picture(PNG).image.tobytes()
    )
    assert len(asked) == 2


async def test_a_stop_after_the_end_keeps_the_picture(tmp_path: Path) -> None:
    """Who presses Stop in the moment in which the picture is finished loses it."""
    asked = anyio.Event()

    async def file(_: web.Request) -> web.Response:
        asked.set()
        await anyio.sleep(0.05)
        return web.Response(body=PNG)

    done = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }
    async with impostor(file=file, data=sending(done)) as address:
        studio = Studio(SpaceChoice(address), _no_demo, house(tmp_path))
        job = await studio.submit(asking("a cat"))
        await asked.wait()
        job.stop()
        assert (await end_of(job)).made is not None
        await studio.aclose()


async def test_a_space_that_is_gone_is_looked_for_again(tmp_path: Path) -> None:
    """The status line says ready over a Space that has gone, and a Space that comes back is never found."""
    port = free_port()
    async with impostor(port=port) as address:
        studio = Studio(SpaceChoice(address), _no_demo, house(tmp_path), Timeouts(attempts=1))
        await studio.connected()
    state = await end_of(await studio.submit(asking("a cat")))
    assert isinstance(state.error, UnreachableError)
    assert studio.connection.value.error is state.error
    done = {
        "msg": "process_completed",
        "success": True,
        "output": {"data": [{"path": "/a.png"}, 7]},
    }

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=PNG)

    async with impostor(port=port, data=sending(done), file=file):
        assert (await end_of(await studio.submit(asking("a cat")))).made is not None
        await studio.aclose()


async def test_a_refusal_ends_the_job_with_its_reason(studio: Studio) -> None:
    """What the Space says is lost between the client and who watches."""
    state = await end_of(await studio.submit(asking("error: You have exceeded your GPU quota")))
    assert state.phase is Phase.FAILED
    assert isinstance(state.error, QuotaError)


async def test_what_the_space_would_refuse_is_not_sent(studio: Studio) -> None:
    """A request checked against the assumed limits alone reaches a Space with others."""
    state = await end_of(await studio.submit(GenerationRequest("a cat", width=4096)))
    assert isinstance(state.error, InvalidRequestError)


async def test_jobs_are_remembered_but_not_for_ever(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job can't be watched again, or the finished ones fill the memory."""
    monkeypatch.setattr("sd35.jobs.service.MAX_JOBS", MAX_JOBS)
    jobs = [await studio.submit(asking("")) for _ in range(MAX_JOBS + 5)]
    for job in jobs:
        await end_of(job)
    last = await studio.submit(asking(""))
    assert studio.job(last.id) is last
    assert studio.job(jobs[0].id) is None
    assert sum(studio.job(job.id) is not None for job in jobs) < MAX_JOBS
    await end_of(last)


async def test_a_disk_that_takes_nothing(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished picture, which cost a person's quota, is lost because it can't be written."""
    monkeypatch.setattr("sd35.jobs.service.SAVE_AGAIN_SECONDS", 0.05)
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    day = tmp_path / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    day.write_bytes(b"")  # no folder can be made there
    job = await studio.submit(asking("a cat"))
    made = (await end_of(job)).made
    assert made is not None
    assert made.path is None
    assert made.unwritten
    kept = studio.kept.find(made.served_as)
    assert kept is not None
    assert isinstance(kept.content, bytes)
    assert open_picture(kept.content).width == made.width
    day.unlink()
    with anyio.fail_after(LIMIT):
        while (state := job.state.value).made is made:
            await job.state.wait_for_change(state, LIMIT)
    assert state.made is not None
    assert state.made.path is not None, "it is tried again"
    assert state.made.path.is_file()
    await studio.aclose()


async def test_what_is_forgotten_leaves_no_file(
    fake: FakeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that nobody can see any more fill the disk; or those that were meant to last are deleted."""
    monkeypatch.setattr("sd35.jobs.service.MAX_PICTURE_BYTES", 0)
    for is_lasting in (False, True):
        folder = tmp_path / str(is_lasting)
        studio = Studio(
            SpaceChoice(fake.address), _no_demo, replace(house(folder), is_lasting=is_lasting)
        )
        first = (await end_of(await studio.submit(asking("a cat")))).made
        await end_of(await studio.submit(asking("a cat")))
        assert first is not None
        assert first.path is not None
        with anyio.fail_after(LIMIT):
            while first.path.exists() is not is_lasting:
                await anyio.lowlevel.checkpoint()
        assert (studio.kept.find(first.served_as) is None) is not is_lasting
        await studio.aclose()


async def test_visitors_wait_for_their_turn_and_their_tokens_do_not(
    fake: FakeSpace, tmp_path: Path
) -> None:
    """Visitors' pictures are all asked for at once, whatever was said; or a token is kept when it has served."""
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path, Caps(hourly=3, at_once=1)))
    fake.hold()
    ann, bob = (
        Visitor(f"user:{name}", f"user:{name}", token=f"hf_{name}") for name in ("ann", "bob")
    )
    first = await studio.submit(asking("wait: "), ann)
    assert await asyncio.to_thread(fake.running.wait, LIMIT)
    second = await studio.submit(asking("a cat"), bob)
    await second.state.wait_for_change(second.state.value, LIMIT)
    assert (phase_of(second), second.state.value.in_line) == (Phase.WAITING, 1)
    left = studio.left(bob)
    assert left is not None
    assert (left.pictures, left.waiting) == (2, 1)
    second.stop()
    assert (await end_of(second)).stopped is None, "nothing was sent"
    assert studio.job(first.id, bob) is None
    assert studio.job(first.id, ann) is first
    fake.release()
    await end_of(first)
    assert first._identity is second._identity is None
    await anyio.lowlevel.checkpoint()
    left = studio.left(bob)
    assert left is not None
    assert left.pictures == 3, "what cost nothing is given back"
    await studio.aclose()


async def test_auto_falls_back_to_the_demo_and_says_why(fake: FakeSpace, tmp_path: Path) -> None:
    """Without a network, nothing can be made; or the stand-in isn't owned up to."""
    started = []

    async def start_demo() -> str:
        started.append(1)
        return fake.address

    studio = Studio(SpaceChoice("auto", hub="http://127.0.0.1:1"), start_demo, house(tmp_path))
    assert not is_settled(studio)
    state = await end_of(await studio.submit(asking("a cat")))
    assert state.made is not None
    assert isinstance(studio.connection.value.fallback, UnreachableError)
    studio.connect()
    assert is_settled(studio), "it isn't looked for again unasked"
    studio.connect(again=True)
    assert not is_settled(studio)
    assert (await end_of(await studio.submit(asking("a cat")))).made is not None
    assert started == [1, 1]
    await studio.aclose()


async def test_the_demo_space_can_be_started_from_a_listener(tmp_path: Path) -> None:
    """When a page's listener is the first to need the demo Space, it can't be built: Gradio thinks of an update."""
    demo_space = DemoSpace()

    async def start_demo() -> str:
        return await anyio.to_thread.run_sync(demo_space.start)

    studio = Studio(SpaceChoice("demo"), start_demo, house(tmp_path))
    listening = LocalContext.in_event_listener.set(True)
    try:
        assert (await studio.connected()).contract.is_demo
    finally:
        LocalContext.in_event_listener.reset(listening)
        await studio.aclose()
        demo_space.close()


async def test_an_explicit_choice_never_falls_back(tmp_path: Path) -> None:
    """A person who names a Space gets another one's pictures; or it isn't looked for again at the next try."""
    studio = Studio(SpaceChoice("http://127.0.0.1:1/"), _no_demo, house(tmp_path))
    for _ in range(2):
        state = await end_of(await studio.submit(asking("a cat")))
        assert isinstance(state.error, UnreachableError)
        assert studio.connection.value.space is None
    await studio.aclose()


async def test_closing_stops_what_runs(fake: FakeSpace, tmp_path: Path) -> None:
    """When the program ends, its runs go on at the Space."""
    fake.hold()
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    job = await studio.submit(asking("wait: "))
    assert await asyncio.to_thread(fake.running.wait, LIMIT)
    await studio.aclose()
    assert job.state.value.phase is Phase.INTERRUPTED
    fake.release()
