"""Outages of a Space: jobs that weren't sent wait, say why, and go on by themselves."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from sd35.client import Timeouts, retry
from sd35.core.errors import AccessDeniedError, IdentityError, SD35Error
from sd35.core.visitor import LOCAL_VISITOR
from sd35.jobs import runner
from sd35.jobs.job import Job, JobState
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import SpaceConfig
from sd35.jobs.status_text import status_line
from sd35.server.launch import free_port
from tests.app_server import studio_config
from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    QUEUED,
    STARTED,
    Handler,
    HandlerSequence,
    make_request,
    respond_events,
    respond_json,
    respond_text,
    serve_fake_gradio,
)

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20
QUEUE_FULL = respond_text(503, '{"detail": "Queue is full. Max size is 1 and size is 1."}')
NO_GPU = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": "No GPU was available after 60s.", "title": "ZeroGPU queue timeout"},
}
NO_IDENTITY = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": "Space app has reached its GPU limit.", "title": "ZeroGPU quota exceeded"},
}


class Space:
    """Space that doesn't take requests during an outage.

    Attributes:
        outage: the answers of the outage, by the names of `serve_fake_gradio`; empty without one.
        run_count: the number of event streams that were answered.
    """

    def __init__(self) -> None:
        self.outage: dict[str, Handler] = {}
        self.run_count = 0

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Serve the Space."""
        answers = {
            "config": respond_json(DESCRIPTION["config"]),
            "join": respond_json({"event_id": "e"}),
            "data": respond_events(QUEUED, STARTED, FINISHED),
        }
        handlers = {name: self._handler(name, answer) for name, answer in answers.items()}
        async with serve_fake_gradio(handlers, port=port) as address:
            yield address

    def _handler(self, name: str, answer: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if name in self.outage:
                return await self.outage[name](request)
            self.run_count += name == "data"
            return await answer(request)

        return handle


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MIN_OUTAGE_DELAY", 0.01)
    monkeypatch.setitem(retry._BACKOFF, "wait_initial", 0.01)
    monkeypatch.setitem(retry._BACKOFF, "wait_jitter", 0.01)


@asynccontextmanager
async def open_service(
    address: str,
    folder: Path,
    timeouts: Timeouts | None = None,
    **config: Any,  # noqa: ANN401  # of SpaceConfig
) -> AsyncIterator[JobService]:
    """Open a service with one slot, which never uses the demo Space."""

    async def fail_demo(*_: object) -> str:
        raise AssertionError("it falls back to the demo Space")

    job_config = studio_config(folder, UsageLimits(max_concurrent=1))
    service = JobService(SpaceConfig(address, **config), fail_demo, job_config, timeouts)
    try:
        yield service
    finally:
        await service.aclose()
        service.library.close()


async def wait_until(job: Job, condition: Callable[[JobState], bool]) -> JobState:
    """Return the first state of a job that meets a condition."""
    with anyio.fail_after(LIMIT_SECONDS):
        while not condition(state := job.state.value):
            await job.state.wait_for_change(state, LIMIT_SECONDS)
    return state


async def wait_for_end(job: Job) -> JobState:
    return await wait_until(job, lambda state: state.status.is_final)


async def wait_for_outage(job: Job) -> JobState:
    """Return the state of a job that waits for the Space."""
    return await wait_until(job, lambda state: state.waiting_event is not None)


async def wait_for_record(service: JobService, job: Job, status: JobStatus) -> JobRecord:
    """Return the record of a job as soon as it has this status."""
    with anyio.fail_after(LIMIT_SECONDS):
        while (
            record := JobRepository(service.library).get(job.id)
        ) is None or record.status is not status:
            await anyio.lowlevel.checkpoint()
    return record


OUTAGES: dict[str, tuple[dict[str, Handler], str]] = {
    "full": ({"join": QUEUE_FULL}, "queue is full"),
    "busy": ({"data": respond_events(QUEUED, STARTED, NO_GPU)}, "No GPU was available"),
    "rate limited": ({"join": respond_text(429)}, "too many requests"),
    "stopped": ({"join": respond_text(503, '{"detail": "Queue is stopped."}')}, "restarting"),
    "stopped while queued": ({"data": respond_events(QUEUED, {"msg": "server_stopped"})}, "stop"),
    "asleep": ({"join": respond_text(503), "config": respond_text(503)}, "starting"),
    "a gateway": (
        {"join": respond_text(530), "data": respond_text(530), "config": respond_text(530)},
        "starting",
    ),
}


@pytest.mark.parametrize(("answers", "reason"), OUTAGES.values(), ids=OUTAGES.keys())
async def test_jobs_wait_for_a_space_that_cannot_take_them(
    answers: dict[str, Handler], reason: str, tmp_path: Path
) -> None:
    """No job fails in an outage: the first says why it waits, and all run after its end."""
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path) as service:
        await service.get_space()
        space.outage = answers
        jobs = [await service.submit(make_request(name)) for name in "abc"]
        state = await wait_for_outage(jobs[0])
        assert reason in status_line(state)
        assert (await wait_for_record(service, jobs[0], JobStatus.PENDING)).started_at is None
        assert [job.status for job in jobs[1:]] == [JobStatus.PENDING] * 2
        space.outage = {}
        for job in jobs:
            assert (await wait_for_end(job)).status is JobStatus.COMPLETED
        assert space.run_count == len(jobs)


@pytest.mark.parametrize("target", ["named", "auto"])
async def test_jobs_wait_for_an_unreachable_space(target: str, tmp_path: Path) -> None:
    """A Space that is gone is waited for, and `auto` never replaces one that it has found."""
    port = free_port()
    hub = respond_json({"host": f"http://127.0.0.1:{port}", "runtime": {"stage": "RUNNING"}})
    space = Space()
    async with AsyncExitStack() as stack:
        hub_address = await stack.enter_async_context(serve_fake_gradio(file=hub))
        address = "auto" if target == "auto" else f"http://127.0.0.1:{port}/"
        service = await stack.enter_async_context(open_service(address, tmp_path, hub=hub_address))
        async with space.serve(port):
            await service.get_space()
        jobs = [await service.submit(make_request(name)) for name in "ab"]
        assert "connection refused" in status_line(await wait_for_outage(jobs[0]))
        service.reconnect()
        with anyio.fail_after(LIMIT_SECONDS):
            while service.connection.value.error is None:
                await service.connection.wait_for_change(service.connection.value, LIMIT_SECONDS)
        jobs.append(await service.submit(make_request("c")))
        async with space.serve(port):
            for job in jobs:
                assert (await wait_for_end(job)).status is JobStatus.COMPLETED


async def test_reconnecting_ends_the_wait(tmp_path: Path) -> None:
    """Neither a long backoff nor a long `Retry-After` keeps a job from being sent again at once."""
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path) as service:
        space.outage = {"join": respond_text(429, Retry_After="1000")}
        jobs = [await service.submit(make_request(name)) for name in "ab"]
        await wait_for_outage(jobs[0])
        space.outage = {}
        jobs[1].cancel()
        service.reconnect()
        assert (await wait_for_end(jobs[0])).status is JobStatus.COMPLETED
        space.outage = {"join": respond_text(429, Retry_After="1000")}
        job = await service.submit(make_request("c"))
        await wait_for_outage(job)
        job.cancel()
        state = await wait_for_end(job)
        assert (state.status, state.cancel_outcome) == (JobStatus.CANCELLED, None)
        assert space.run_count == 1


async def test_impatience_does_not_send_a_job_in_a_rush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses Try now without end makes few requests to the Space."""
    monkeypatch.setattr(retry, "MIN_OUTAGE_DELAY", 2.0)
    join = HandlerSequence(QUEUE_FULL)
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path) as service:
        space.outage = {"join": join}
        job = await service.submit(make_request("a"))
        await wait_for_outage(job)
        for _ in range(100):
            await service.resume(LOCAL_VISITOR)
            await anyio.lowlevel.checkpoint()
        assert join.call_count == 1


async def test_waiting_jobs_survive_a_restart(tmp_path: Path) -> None:
    """A job that waits for the Space isn't interrupted by a restart, but stays in the queue."""
    space = Space()
    async with space.serve() as address:
        async with open_service(address, tmp_path) as service:
            space.outage = {"join": QUEUE_FULL}
            jobs = [await service.submit(make_request(name)) for name in "ab"]
            await wait_for_outage(jobs[0])
        space.outage = {}
        async with open_service(address, tmp_path) as service:
            await service.restore_session(LOCAL_VISITOR)
            restored_jobs = service.visitor_queue(LOCAL_VISITOR).pending_jobs
            assert [job.id for job in restored_jobs] == [job.id for job in jobs]
            await service.resume(LOCAL_VISITOR)
            for job in restored_jobs:
                assert (await wait_for_end(job)).status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("outage", "timeouts", "kind"),
    [
        ({"join": respond_text(401)}, None, AccessDeniedError),
        ({"data": respond_events(QUEUED, STARTED, NO_IDENTITY)}, None, IdentityError),
        ({"join": respond_text(500)}, None, SD35Error),
        ({"join": QUEUE_FULL}, Timeouts(outage=0.3), SD35Error),
    ],
    ids=["no access", "no identity", "error", "limit"],
)
async def test_a_lasting_error_fails_one_job_and_pauses_the_others(
    outage: dict[str, Handler], timeouts: Timeouts | None, kind: type[SD35Error], tmp_path: Path
) -> None:
    """Of jobs that would fail for the same reason, one does; the others wait to be resumed."""
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path, timeouts) as service:
        space.outage = {"join": QUEUE_FULL}
        jobs = [await service.submit(make_request(name)) for name in "abc"]
        space.outage = outage
        state = await wait_for_end(jobs[0])
        assert state.status is JobStatus.FAILED
        assert isinstance(state.error, kind)
        for job in jobs[1:]:
            assert (await wait_until(job, lambda state: state.is_held)).status is JobStatus.PENDING
        assert service.visitor_queue(LOCAL_VISITOR).pause_error is state.error
        space.outage = {}
        await service.resume(LOCAL_VISITOR)
        for job in jobs[1:]:
            assert (await wait_for_end(job)).status is JobStatus.COMPLETED


async def test_a_call_of_a_program_does_not_wait_for_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call gets the error after a shorter time, and pauses nobody's queue."""
    monkeypatch.setattr(runner, "API_OUTAGE_SECONDS", 0.05)
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path) as service:
        space.outage = {"join": QUEUE_FULL}
        call = await service.submit(make_request("a"), is_api_call=True)
        job = await service.submit(make_request("b"))
        assert (await wait_for_end(call)).status is JobStatus.FAILED
        space.outage = {}
        assert (await wait_for_end(job)).status is JobStatus.COMPLETED


async def test_a_run_that_may_have_cost_quota_is_not_repeated(tmp_path: Path) -> None:
    """A run that broke off after it was accepted fails alone."""
    space = Space()
    async with space.serve() as address, open_service(address, tmp_path) as service:
        space.outage = {"data": respond_events(QUEUED, STARTED, truncated_tail=b"")}
        job = await service.submit(make_request("a"))
        waiting_job = await service.submit(make_request("b"))
        assert (await wait_for_end(job)).status is JobStatus.FAILED
        space.outage = {}
        assert not waiting_job.state.value.is_held


@pytest.mark.parametrize(("answers", "reason"), OUTAGES.values(), ids=OUTAGES.keys())
async def test_unsent_jobs_go_to_the_space_that_is_chosen(
    answers: dict[str, Handler], reason: str, tmp_path: Path
) -> None:
    """Jobs that wait for a Space, or for their turn, are made at the one chosen meanwhile."""
    former, chosen = Space(), Space()
    async with (
        former.serve() as address,
        chosen.serve() as chosen_address,
        open_service(address, tmp_path) as service,
    ):
        await service.get_space()
        former.outage = answers
        jobs = [await service.submit(make_request(name)) for name in "ab"]
        assert reason in status_line(await wait_for_outage(jobs[0]))
        await service.switch_space(chosen_address, LOCAL_VISITOR)
        for job in jobs:
            state = await wait_for_end(job)
            assert state.status is JobStatus.COMPLETED
            assert state.space is not None
            assert state.space.address == chosen_address
        assert (former.run_count, chosen.run_count) == (0, len(jobs))
