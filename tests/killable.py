"""Programs to kill: job services that do everything at once, and report what was confirmed.

Each is forked from a process that has imported everything, so that hundreds of them take seconds.
"""

import asyncio
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from sd35.client import Timeouts
from sd35.core import awake
from sd35.core.errors import InvalidRequestError
from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.service import JobService, JobServiceConfig
from sd35.jobs.space_connection import SpaceConfig
from sd35.jobs.tasks import BackgroundTasks
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.metadata.model import GenerationMetadata, new_id
from tests.impostor import (
    FINISHED,
    PICTURE,
    PREVIEW,
    QUEUED,
    STARTED,
    message_bytes,
    serve_fake_gradio,
    start_event_stream,
)
from tests.library_fixtures import encode_picture

FORK_CONTEXT = multiprocessing.get_context("forkserver")
FORK_CONTEXT.set_forkserver_preload(["__main__", "tests.killable"])

_TASKS = BackgroundTasks()

VISITORS = (LOCAL_VISITOR, Visitor("user:ann", "user:ann"))
MAX_UNFINISHED = 8
LIMIT_SECONDS = 20.0
PAGE_LIMIT = 30
"""Number of images among which one is chosen."""


class Space:
    """Fake Space that takes some milliseconds per image, and counts the requests.

    Attributes:
        address: its URL.
        prompt_counts: the number of requests of each prompt.
        run_started: set while a run with the prompt `wait` waits for `resume_run`.

    """

    def __init__(self) -> None:
        self.address = ""
        self.prompt_counts: Counter[str] = Counter()
        self.run_started, self.resume_run = threading.Event(), threading.Event()
        self._joined: dict[str, tuple[str, int]] = {}
        self._rng = random.Random(1)  # noqa: S311  # no secrets

    @contextmanager
    def serve(self) -> Iterator["Space"]:
        """Serve in another thread while the block lasts."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(
                serve_fake_gradio(join=self._join, data=self._data)
            ) as address,
        ):
            self.address = address
            yield self

    async def _join(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        prompt, _, seed, *_ = payload["data"]
        self.prompt_counts[prompt] += 1
        self._joined[payload["session_hash"]] = prompt, seed
        return web.json_response({"event_id": "e"})

    async def _data(self, request: web.Request) -> web.StreamResponse:
        prompt, seed = self._joined.pop(request.query["session_hash"])
        response: web.StreamResponse = web.Response()
        with suppress(ConnectionResetError):  # the client was killed
            response = await start_event_stream(request)
            await response.write(
                b"".join(message_bytes(message) for message in (QUEUED, STARTED, PREVIEW))
            )
            if prompt == "wait":
                self.run_started.set()
                await anyio.to_thread.run_sync(
                    self.resume_run.wait, LIMIT_SECONDS, abandon_on_cancel=True
                )
            await anyio.sleep(self._rng.random() * 0.02)
            await response.write(message_bytes(FINISHED | {"output": {"data": [PICTURE, seed]}}))
        return response


class Program:
    """Process that reports messages through a pipe, which outlive it.

    Args:
        target: called with its end of the pipe and with `args`.

    """

    def __init__(self, target: Callable[..., None], *args: object) -> None:
        self._pipe_reader, child_pipe = FORK_CONTEXT.Pipe(duplex=False)
        self._process = FORK_CONTEXT.Process(
            target=_report_failures, args=(child_pipe, target, *args), daemon=True
        )
        self._process.start()
        child_pipe.close()
        self.messages: list[Any] = []

    def listen(self, lines: int, seconds: float) -> None:
        """Wait for a number of messages, for at most so many seconds."""
        end = time.monotonic() + seconds
        with suppress(EOFError):
            while len(self.messages) < lines and self._pipe_reader.poll(
                max(0.0, end - time.monotonic())
            ):
                self.messages.append(self._pipe_reader.recv())

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend it while the block lasts, as Ctrl+Z does."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def wait(self) -> list[Any]:
        """Wait for its end, and return all messages."""
        return self.kill(LIMIT_SECONDS)

    def kill(self, after_seconds: float = 0.0) -> list[Any]:
        """Kill it, and return all messages."""
        self._process.join(after_seconds)
        self._process.kill()
        self._process.join()
        self.listen(sys.maxsize, 0)
        self._pipe_reader.close()
        return self.messages


def _report_failures(pipe: Connection, target: Callable[..., None], *args: object) -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        target(pipe, *args)
        pipe.send(["done"])
    except BaseException:
        pipe.send(["failed", traceback.format_exc()])
        raise


def run_studio(event_pipe: Connection, folder: Path, address: str, seed: int) -> None:
    """Run a job service that does all that it can, until it is killed."""
    asyncio.run(_run_studio(folder, address, event_pipe, seed))


def wait_for_image(event_pipe: Connection, folder: Path, address: str, seconds: float) -> None:
    """Run one job at a Space that may be silent for so many seconds."""
    awake.TICK_SECONDS = seconds / 20
    awake.MAX_GAP_SECONDS = seconds / 4
    limits = Timeouts(silence=seconds, no_news=seconds, run=seconds, fetch=seconds, retry_after=0)
    asyncio.run(_wait_for_image(folder, address, event_pipe, limits))


async def _wait_for_image(
    folder: Path, address: str, event_pipe: Connection, limits: Timeouts
) -> None:
    config = JobServiceConfig(folder, Library.open(folder))
    service = JobService(SpaceConfig(address), fail_demo, config, limits)
    job = await service.submit(GenerationRequest("wait", width=512, height=512))
    while not (state := job.state.value).status.is_final:
        if state.status is JobStatus.RUNNING:
            event_pipe.send(["running"])
        await job.state.wait_for_change(state, LIMIT_SECONDS)
    event_pipe.send([state.status.value, str(state.error)])
    await service.aclose()


def import_and_export(_: Connection, folder: Path, source: Path, target: Path) -> None:
    """Import a folder into a library, and export the library."""
    with Library.open(folder) as library:
        if source.exists():
            library.import_from(source, "")
        library.export(target)


def stage_image(event_pipe: Connection, folder: Path) -> None:
    """Stage an image in a library, and wait to be killed."""
    with Library.open(folder) as library:
        picture = open_picture(encode_picture(1))
        staged = library.stage(picture, GenerationMetadata(prompt="a cat"), "")
        event_pipe.send(staged.inspected.metadata.id)
        threading.Event().wait()


async def fail_demo(*_: object) -> str:
    """Fail, since a service with an explicit Space never needs the demo Space."""
    raise AssertionError("an explicit choice never falls back")


async def _run_studio(folder: Path, address: str, event_pipe: Connection, seed: int) -> None:
    library = Library.open(folder)
    service = JobService(
        SpaceConfig(address),
        fail_demo,
        JobServiceConfig(folder, library, usage_limits=UsageLimits(max_concurrent=2)),
    )
    for visitor in VISITORS:
        await service.restore_session(visitor)
        pending = [
            [job.id, job.state.value.is_held] for job in service.visitor_queue(visitor).pending_jobs
        ]
        event_pipe.send(["restored", owner_key(visitor.owner), pending])
    async with anyio.create_task_group() as group:
        for index, action in enumerate(
            (
                _submit,
                _submit,
                _reorder,
                _retry_or_cancel,
                _edit_metadata,
                _edit_metadata,
                _trash_or_restore,
            )
        ):
            group.start_soon(
                _repeat,
                action,
                service,
                event_pipe,
                random.Random(seed * 100 + index),  # noqa: S311  # no secrets
            )


_Action = Callable[[JobService, Connection, random.Random], Awaitable[None]]


async def _repeat(
    action: _Action, service: JobService, event_pipe: Connection, rng: random.Random
) -> None:
    while True:
        await anyio.sleep(rng.random() * 0.005)
        await action(service, event_pipe, rng)


async def _submit(service: JobService, event_pipe: Connection, rng: random.Random) -> None:
    visitor = rng.choice(VISITORS)
    if len(service.visitor_queue(visitor).open_jobs) >= MAX_UNFINISHED:
        await service.resume(visitor)
        return
    request = GenerationRequest(f"number {new_id()}", width=512, height=512)
    job = await service.submit(request, visitor, is_api_call=rng.random() < 0.1)
    event_pipe.send(
        [
            "submitted",
            job.id,
            owner_key(visitor.owner),
            request.prompt,
            job.state.value.request.seed,
        ]
    )
    _TASKS.start(_report_image(job, event_pipe))


async def _report_image(job: Job, event_pipe: Connection) -> None:
    """Report that the image of a job can be seen, saved or not."""
    while (state := job.state.value).result is None and not state.status.is_final:
        await job.state.wait_for_change(state, LIMIT_SECONDS)
    if state.result is not None:
        event_pipe.send(["shown", job.id])


async def _reorder(service: JobService, _: Connection, rng: random.Random) -> None:
    pending = service.visitor_queue(rng.choice(VISITORS)).pending_jobs
    if pending:
        await service.queues.move(rng.choice(pending), rng.choice([-5, -1, 1, 5]))


async def _retry_or_cancel(service: JobService, event_pipe: Connection, rng: random.Random) -> None:
    visitor = rng.choice(VISITORS)
    queue = service.visitor_queue(visitor)
    if queue.failed_jobs and rng.random() < 0.5:
        job = rng.choice(queue.failed_jobs)
        try:
            new = await service.retry(job, visitor)
        except InvalidRequestError:  # the other program has retried it
            return
        request = new.state.value.request
        event_pipe.send(
            ["submitted", new.id, owner_key(visitor.owner), request.prompt, request.seed]
        )
    elif queue.open_jobs and rng.random() < 0.2:
        rng.choice(queue.open_jobs).cancel()


async def _edit_metadata(service: JobService, event_pipe: Connection, rng: random.Random) -> None:
    library = service.library
    id_ = await _random_picture_id(library, "", rng)
    if id_ is None:
        return
    if rng.random() < 0.3:
        await _run_in_thread(library.star, [id_], None, is_starred=rng.random() < 0.5)
    elif rng.random() < 0.2:
        await _run_in_thread(library.thumbnail, id_)
    else:
        tag = f"tag{rng.getrandbits(60)}"
        if await _run_in_thread(library.tag, [id_], None, [tag]):
            event_pipe.send(["tagged", id_, tag])


async def _trash_or_restore(service: JobService, _: Connection, rng: random.Random) -> None:
    library = service.library
    id_ = await _random_picture_id(library, rng.choice(["", "is:trash"]), rng)
    if id_ is not None:
        await _run_in_thread(rng.choice([library.trash, library.restore]), [id_], None)


async def _random_picture_id(library: Library, query: str, rng: random.Random) -> str | None:
    page = await _run_in_thread(library.search, parse_query(query), limit=PAGE_LIMIT)
    return rng.choice(page.entries).id if page.entries else None


# The arguments are those of any function.
async def _run_in_thread(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
