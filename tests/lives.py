"""Programs that are to be killed: studios over a library that do everything at once, and say what was promised them.

Each is forked from a process that has imported everything, so that hundreds of them take seconds.
"""

import asyncio
import logging
import multiprocessing
import random
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

from sd35.core.errors import InvalidRequestError
from sd35.core.request import GenerationRequest
from sd35.core.visitor import HERE, Visitor
from sd35.jobs.limits import Caps
from sd35.jobs.service import House, SpaceChoice, Studio
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.metadata.model import new_id
from tests.impostor import (
    FINISHED,
    PICTURE,
    PREVIEW,
    QUEUED,
    STARTED,
    impostor,
    message_bytes,
    streaming,
)

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "tests.lives"])

VISITORS = (HERE, Visitor("user:ann", "user:ann"))
MOST_UNFINISHED = 8
LIMIT = 20.0
ENOUGH = 30
"""Pictures, among which one is chosen."""


class Space:
    """A Space that takes some milliseconds for a picture, and counts what it is asked for.

    Attributes:
        address: where it is.
        asked: how often for each prompt.
        working: set while it works on a prompt that is `wait`, which it does until `go_on` is set.

    """

    def __init__(self) -> None:
        self.address = ""
        self.asked: Counter[str] = Counter()
        self.working, self.go_on = threading.Event(), threading.Event()
        self._joined: dict[str, tuple[str, int]] = {}
        self._chance = random.Random(1)  # noqa: S311

    @contextmanager
    def served(self) -> Iterator["Space"]:
        """Serve in a thread of its own while the block lasts."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(
                impostor(join=self._join, data=self._data)
            ) as address,
        ):
            self.address = address
            yield self

    async def _join(self, request: web.Request) -> web.StreamResponse:
        told = await request.json()
        prompt, _, seed, *_ = told["data"]
        self.asked[prompt] += 1
        self._joined[told["session_hash"]] = prompt, seed
        return web.json_response({"event_id": "e"})

    async def _data(self, request: web.Request) -> web.StreamResponse:
        prompt, seed = self._joined.pop(request.query["session_hash"])
        response: web.StreamResponse = web.Response()
        with suppress(ConnectionResetError):  # who has asked is dead
            response = await streaming(request)
            await response.write(
                b"".join(message_bytes(message) for message in (QUEUED, STARTED, PREVIEW))
            )
            if prompt == "wait":
                self.working.set()
                await anyio.to_thread.run_sync(self.go_on.wait, LIMIT, abandon_on_cancel=True)
            await anyio.sleep(self._chance.random() * 0.02)
            await response.write(message_bytes(FINISHED | {"output": {"data": [PICTURE, seed]}}))
        return response


class Program:
    """A process that does this, and then says so; killed, all that it had said is still heard.

    Args:
        work: gets its own end of the pipe, and `told`.

    """

    def __init__(self, work: Callable[..., None], *told: object) -> None:
        self._pipe, theirs = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(
            target=_telling_failures, args=(theirs, work, *told), daemon=True
        )
        self._process.start()
        theirs.close()
        self.said: list[Any] = []

    def listen(self, lines: int, seconds: float) -> None:
        """Wait until it has said so much, for so long at most."""
        end = time.monotonic() + seconds
        with suppress(EOFError):
            while len(self.said) < lines and self._pipe.poll(max(0.0, end - time.monotonic())):
                self.said.append(self._pipe.recv())

    def ended(self) -> list[Any]:
        """Wait until it has ended by itself, and return all that it has said."""
        return self.kill(LIMIT)

    def kill(self, after_seconds: float = 0.0) -> list[Any]:
        """Kill it, and return all that it has said."""
        self._process.join(after_seconds)
        self._process.kill()
        self._process.join()
        self.listen(sys.maxsize, 0)
        self._pipe.close()
        return self.said


def _telling_failures(pipe: Connection, work: Callable[..., None], *told: object) -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        work(pipe, *told)
        pipe.send(["done"])
    except BaseException:
        pipe.send(["failed", traceback.format_exc()])
        raise


def lives(diary: Connection, folder: Path, address: str, seed: int) -> None:
    """Be a studio that does all that it can, until it is killed."""
    asyncio.run(_live(folder, address, diary, seed))


def brings(_: Connection, folder: Path, source: Path, target: Path) -> None:
    """Import a folder into a library, and export that."""
    with Library.open(folder) as library:
        if source.exists():
            library.import_from(source, "")
        library.export(target)


async def no_demo() -> str:
    """Of a studio whose Space is told."""
    raise AssertionError("an explicit choice never falls back")


async def _live(folder: Path, address: str, diary: Connection, seed: int) -> None:
    library = Library.open(folder)
    studio = Studio(SpaceChoice(address), no_demo, House(folder, library, caps=Caps(at_once=2)))
    for visitor in VISITORS:
        await studio.welcome(visitor)
        waiting = [[job.id, job.state.value.is_held] for job in studio.board(visitor).waiting]
        diary.send(["left", owner_key(visitor.owner), waiting])
    async with anyio.create_task_group() as group:
        for number, act in enumerate((_ask, _ask, _arrange, _end, _mark, _mark, _throw)):
            group.start_soon(
                _again_and_again, act, studio, diary, random.Random(seed * 100 + number)  # noqa: S311
            )


_Act = Callable[[Studio, Connection, random.Random], Awaitable[None]]


async def _again_and_again(
    act: _Act, studio: Studio, diary: Connection, chance: random.Random
) -> None:
    while True:
        await anyio.sleep(chance.random() * 0.005)
        await act(studio, diary, chance)


async def _ask(studio: Studio, diary: Connection, chance: random.Random) -> None:
    visitor = chance.choice(VISITORS)
    if len(studio.board(visitor).unfinished) >= MOST_UNFINISHED:
        await studio.go_on(visitor)
        return
    request = GenerationRequest(f"number {new_id()}", width=512, height=512)
    job = await studio.submit(request, visitor, by_program=chance.random() < 0.1)
    diary.send(
        ["asked", job.id, owner_key(visitor.owner), request.prompt, job.state.value.request.seed]
    )


async def _arrange(studio: Studio, _: Connection, chance: random.Random) -> None:
    waiting = studio.board(chance.choice(VISITORS)).waiting
    if waiting:
        await studio.queues.move(chance.choice(waiting), chance.choice([-5, -1, 1, 5]))


async def _end(studio: Studio, diary: Connection, chance: random.Random) -> None:
    visitor = chance.choice(VISITORS)
    board = studio.board(visitor)
    if board.troubles and chance.random() < 0.5:
        job = chance.choice(board.troubles)
        try:
            new = await studio.again(job, visitor)
        except InvalidRequestError:  # the other program has done that
            return
        request = new.state.value.request
        diary.send(["asked", new.id, owner_key(visitor.owner), request.prompt, request.seed])
    elif board.unfinished and chance.random() < 0.2:
        chance.choice(board.unfinished).stop()


async def _mark(studio: Studio, diary: Connection, chance: random.Random) -> None:
    library = studio.library
    id_ = await _picture(library, "", chance)
    if id_ is None:
        return
    if chance.random() < 0.3:
        await _in_thread(library.star, [id_], None, is_starred=chance.random() < 0.5)
    elif chance.random() < 0.2:
        await _in_thread(library.thumbnail, id_)
    else:
        tag = f"tag{chance.getrandbits(60)}"
        if await _in_thread(library.tag, [id_], None, [tag]):
            diary.send(["tagged", id_, tag])


async def _throw(studio: Studio, _: Connection, chance: random.Random) -> None:
    library = studio.library
    id_ = await _picture(library, chance.choice(["", "is:trash"]), chance)
    if id_ is not None:
        await _in_thread(chance.choice([library.trash, library.restore]), [id_], None)


async def _picture(library: Library, query: str, chance: random.Random) -> str | None:
    page = await _in_thread(library.page, parse_query(query), limit=ENOUGH)
    return chance.choice(page.entries).id if page.entries else None


async def _in_thread(work: Callable[..., Any], *told: object, **more: object) -> Any:  # noqa: ANN401
    return await anyio.to_thread.run_sync(partial(work, *told, **more))
