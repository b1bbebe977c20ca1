"""What the buttons of the queue, and of the panel, do."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from sd35.core.errors import InvalidRequestError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import Board
from sd35.jobs.service import Studio
from sd35.ui.create.live_view import PINNED

__all__ = ["act"]


@dataclass(frozen=True, slots=True)
class _Asked:
    studio: Studio
    visitor: Visitor
    board: Board
    job: Job | None
    focus: str


async def act(studio: Studio, visitor: Visitor, do: object, job_id: object, focus: str) -> str:
    """Do what a button says, to the job that it names or else to the one in focus; return what is in focus then.

    What isn't this visitor's, or no longer there, is passed over.

    Raises:
        SD35Error: it can't be done; it says why.

    """
    name = job_id if isinstance(job_id, str) and job_id else focus.removeprefix(PINNED)
    job = await studio.find(name, visitor)
    work = _DOES.get(do) if isinstance(do, str) else None
    return (
        focus
        if work is None
        else await work(_Asked(studio, visitor, studio.board(visitor, name), job, focus))
    )


async def _look(asked: _Asked) -> str:
    if asked.job is None:
        return asked.focus
    return f"{PINNED}{asked.job.id}" if asked.job.state.value.phase.is_final else asked.job.id


async def _stop(asked: _Asked) -> str:
    if asked.job is not None:
        asked.job.stop()
    return asked.focus


async def _stop_rest(asked: _Asked) -> str:
    for job in asked.board.waiting:
        job.stop()
    return asked.focus


async def _stop_all(asked: _Asked) -> str:
    for job in [
        *asked.board.waiting,
        *asked.board.running,
    ]:  # else the next one would have its turn
        job.stop()
    return asked.focus


async def _sooner(asked: _Asked) -> str:
    if asked.job is not None:
        await asked.studio.queues.move(asked.job, -1)
    return asked.focus


async def _first(asked: _Asked) -> str:
    if asked.job is not None:
        await asked.studio.queues.move(asked.job, -len(asked.board.waiting))
    return asked.focus


async def _later(asked: _Asked) -> str:
    if asked.job is not None:
        await asked.studio.queues.move(asked.job, 1)
    return asked.focus


async def _again(asked: _Asked) -> str:
    if asked.job is None or not asked.job.state.value.phase.is_final:
        return asked.focus
    if asked.job.state.value.made is not None:  # its picture was found after all
        return await _look(asked)
    new = await asked.studio.again(asked.job, asked.visitor)
    return new.id if not asked.board.running else asked.focus.removeprefix(PINNED)


async def _retry_all(asked: _Asked) -> str:
    for job in reversed(asked.board.troubles):  # the oldest first
        with suppress(InvalidRequestError):  # another program on this library has run it again
            await asked.studio.again(job, asked.visitor)
    return ""


async def _go_on(asked: _Asked) -> str:
    await asked.studio.go_on(asked.visitor, asked.focus.removeprefix(PINNED))
    return ""


async def _dismiss(asked: _Asked) -> str:
    if asked.job is not None:
        await asked.studio.dismiss(asked.job)
    return asked.focus


async def _dismiss_all(asked: _Asked) -> str:
    for job in asked.board.troubles:
        await asked.studio.dismiss(job)
    return asked.focus


_DOES: dict[str, Callable[[_Asked], Awaitable[str]]] = {
    "look": _look,
    "stop": _stop,
    "stop-rest": _stop_rest,
    "stop-all": _stop_all,
    "first": _first,
    "up": _sooner,
    "down": _later,
    "again": _again,
    "retry-all": _retry_all,
    "go-on": _go_on,
    "dismiss": _dismiss,
    "dismiss-all": _dismiss_all,
}
