"""The actions of the buttons in the queue and in the panel."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sd35.core.errors import InvalidRequestError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.ui.create.live_view import PIN_PREFIX

__all__ = ["run_action"]


@dataclass(frozen=True, slots=True)
class _ActionContext:
    """The job service, the visitor, and the job that the action is about."""

    job_service: JobService
    visitor: Visitor
    visitor_queue: VisitorQueue
    job: Job | None
    focus: str


async def run_action(
    job_service: JobService, visitor: Visitor, action: object, job_id: object, focus: str
) -> str:
    """Run an action on a job, or on the one in focus if `job_id` is empty; return the new focus.

    Unknown actions and jobs of others are ignored: `action` and `job_id` come from a browser.

    Raises:
        SD35Error: the action isn't possible; the message says why.

    """
    handler = _ACTIONS.get(action) if isinstance(action, str) else None
    if handler is None:
        return focus
    target_id = job_id if isinstance(job_id, str) and job_id else focus.removeprefix(PIN_PREFIX)
    job = await job_service.find_job(target_id, visitor)
    queue = job_service.visitor_queue(visitor, target_id)
    return await handler(_ActionContext(job_service, visitor, queue, job, focus))


async def _select(context: _ActionContext) -> str:
    if context.job is None:
        return context.focus
    is_final = context.job.state.value.status.is_final
    return f"{PIN_PREFIX}{context.job.id}" if is_final else context.job.id


async def _stop(context: _ActionContext) -> str:
    if context.job is not None:
        context.job.cancel()
    return context.focus


async def _clear_queue(context: _ActionContext) -> str:
    for job in context.visitor_queue.pending_jobs:
        job.cancel()
    return context.focus


async def _stop_all(context: _ActionContext) -> str:
    # Pending jobs first: stopping a running one would start the next of them.
    for job in [*context.visitor_queue.pending_jobs, *context.visitor_queue.running_jobs]:
        job.cancel()
    return context.focus


def _mover(offset: int | None) -> Callable[[_ActionContext], Awaitable[str]]:
    """Return the action that moves a job by `offset` places, or to the top if it is `None`."""

    async def move(context: _ActionContext) -> str:
        places = -len(context.visitor_queue.pending_jobs) if offset is None else offset
        if context.job is not None:
            await context.job_service.queues.move(context.job, places)
        return context.focus

    return move


async def _retry(context: _ActionContext) -> str:
    if context.job is None or not context.job.state.value.status.is_final:
        return context.focus
    if context.job.state.value.result is not None:
        # A rescan of the library has found the image of a job that seemed to be interrupted.
        return await _select(context)
    new_job = await context.job_service.retry(context.job, context.visitor)
    is_idle = not context.visitor_queue.running_jobs
    return new_job.id if is_idle else context.focus.removeprefix(PIN_PREFIX)


async def _retry_all(context: _ActionContext) -> str:
    for job in reversed(context.visitor_queue.failed_jobs):  # oldest first
        # Another process on the same library may have retried it.
        with suppress(InvalidRequestError):
            await context.job_service.retry(job, context.visitor)
    return ""


async def _resume(context: _ActionContext) -> str:
    await context.job_service.resume(context.visitor, context.focus.removeprefix(PIN_PREFIX))
    return ""


async def _dismiss(context: _ActionContext) -> str:
    if context.job is not None:
        await context.job_service.dismiss(context.job)
    return context.focus


async def _dismiss_all(context: _ActionContext) -> str:
    for job in context.visitor_queue.failed_jobs:
        await context.job_service.dismiss(job)
    return context.focus


_ACTIONS: Final[dict[str, Callable[[_ActionContext], Awaitable[str]]]] = {
    "select": _select,
    "stop": _stop,
    "clear-queue": _clear_queue,
    "stop-all": _stop_all,
    "move-to-top": _mover(None),
    "move-up": _mover(-1),
    "move-down": _mover(1),
    "retry": _retry,
    "retry-all": _retry_all,
    "resume": _resume,
    "dismiss": _dismiss,
    "dismiss-all": _dismiss_all,
}
