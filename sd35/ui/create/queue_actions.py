"""What the buttons of the queue, and of the panel, do."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from sd35.core.errors import InvalidRequestError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.ui.create.live_view import PIN_PREFIX

__all__ = ["run_action"]


@dataclass(frozen=True, slots=True)
class _ActionContext:
    job_service: JobService
    visitor: Visitor
    visitor_queue: VisitorQueue
    job: Job | None
    focus: str


async def run_action(
    job_service: JobService, visitor: Visitor, action: object, job_id: object, focus: str
) -> str:
    """Do what a button says, to the job that it names or else to the one in focus; return what is in focus then.

    What isn't this visitor's, or no longer there, is passed over.

    Raises:
        SD35Error: it can't be done; it says why.

    """
    target_id = job_id if isinstance(job_id, str) and job_id else focus.removeprefix(PIN_PREFIX)
    job = await job_service.find_job(target_id, visitor)
    handler = _ACTIONS.get(action) if isinstance(action, str) else None
    return (
        focus
        if handler is None
        else await handler(
            _ActionContext(
                job_service, visitor, job_service.visitor_queue(visitor, target_id), job, focus
            )
        )
    )


async def _select(context: _ActionContext) -> str:
    if context.job is None:
        return context.focus
    return (
        f"{PIN_PREFIX}{context.job.id}"
        if context.job.state.value.status.is_final
        else context.job.id
    )


async def _cancel(context: _ActionContext) -> str:
    if context.job is not None:
        context.job.cancel()
    return context.focus


async def _cancel_pending(context: _ActionContext) -> str:
    for job in context.visitor_queue.pending_jobs:
        job.cancel()
    return context.focus


async def _cancel_all(context: _ActionContext) -> str:
    for job in [
        *context.visitor_queue.pending_jobs,
        *context.visitor_queue.running_jobs,
    ]:  # else the next one would have its turn
        job.cancel()
    return context.focus


async def _move_up(context: _ActionContext) -> str:
    if context.job is not None:
        await context.job_service.queues.move(context.job, -1)
    return context.focus


async def _move_to_front(context: _ActionContext) -> str:
    if context.job is not None:
        await context.job_service.queues.move(context.job, -len(context.visitor_queue.pending_jobs))
    return context.focus


async def _move_down(context: _ActionContext) -> str:
    if context.job is not None:
        await context.job_service.queues.move(context.job, 1)
    return context.focus


async def _retry(context: _ActionContext) -> str:
    if context.job is None or not context.job.state.value.status.is_final:
        return context.focus
    if context.job.state.value.result is not None:  # its picture was found after all
        return await _select(context)
    new_job = await context.job_service.retry(context.job, context.visitor)
    return (
        new_job.id
        if not context.visitor_queue.running_jobs
        else context.focus.removeprefix(PIN_PREFIX)
    )


async def _retry_all(context: _ActionContext) -> str:
    for job in reversed(context.visitor_queue.failed_jobs):  # the oldest first
        with suppress(InvalidRequestError):  # another program on this library has run it again
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


_ACTIONS: dict[str, Callable[[_ActionContext], Awaitable[str]]] = {
    "look": _select,
    "stop": _cancel,
    "stop-rest": _cancel_pending,
    "stop-all": _cancel_all,
    "first": _move_to_front,
    "up": _move_up,
    "down": _move_down,
    "again": _retry,
    "retry-all": _retry_all,
    "go-on": _resume,
    "dismiss": _dismiss,
    "dismiss-all": _dismiss_all,
}
