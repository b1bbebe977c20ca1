"""The actions of the buttons in the queue and in the panel."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import anyio.to_thread

from sd35.core.errors import InvalidRequestError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.ui.create.focus import LIVE, Focus

__all__ = ["run_action"]

MAX_RESTORED_JOBS: Final = 1000

# By how many places a job moves back in the queue.
_MOVES: Final = {"move-to-top": -sys.maxsize, "move-up": -1, "move-down": 1}


async def run_action(
    job_service: JobService, visitor: Visitor, action: object, job_id: object, focus: Focus
) -> Focus:
    """Run an action on a job, or on the one in focus if `job_id` is empty; return the new focus.

    For `restore` and `restore-images`, `job_id` is the ids of all that is to be put back, with
    spaces between them.

    Unknown actions and jobs of others are ignored: `action` and `job_id` come from a browser.

    Raises:
        SD35Error: the action isn't possible; the message says why.
    """
    if not isinstance(action, str):
        return focus
    target_id = job_id if isinstance(job_id, str) and job_id else focus.job_id
    job = await job_service.find_job(target_id, visitor)
    queue = job_service.visitor_queue(visitor, target_id)
    if action in {"live", "select", "show-set"}:
        return _select(action, job, queue)
    match action:
        case "resume":
            await job_service.resume(visitor, focus.job_id)
            return LIVE
        case "retry-all":
            await _retry(job_service, visitor, reversed(queue.failed_jobs))  # oldest first
            return LIVE
        case "restore":
            await _restore(job_service, visitor, queue, tuple(target_id.split()))
        case "restore-images":
            await _restore_images(job_service, visitor, target_id.split())
        case "dismiss-all":
            await _dismiss_all(job_service, queue)
        case "clear-queue" | "stop-all":
            _clear(queue, stops_running=action == "stop-all")
        case _ if job is not None:
            return await _run_on_job(job_service, visitor, action, job, focus)
    return focus


def _select(action: str, job: Job | None, queue: VisitorQueue) -> Focus:
    if job is None or action == "live":
        return LIVE
    return Focus.image(job.id) if action == "select" else _set_focus(job, queue)


def _set_focus(job: Job, queue: VisitorQueue) -> Focus:
    """Return the focus on a job's set; the one that is being made needs no pin."""
    members = queue.jobs_of_set(job.origin.set_id).values()
    is_live = any(not member.status.is_final for member in members)
    return Focus(job.id) if is_live else Focus.whole_set(job.id)


async def _change_image(job_service: JobService, visitor: Visitor, action: str, job: Job) -> None:
    """Star an image of the visitor, or move it to the trash."""
    if visitor.owner is None:
        return
    owner = owner_key(visitor.owner)
    library = job_service.library
    if action == "trash":
        await anyio.to_thread.run_sync(library.trash, [job.id], owner)
    else:
        is_starred = action == "star"
        await anyio.to_thread.run_sync(lambda: library.star([job.id], owner, is_starred=is_starred))
    job_service.visitor_queue(visitor).notify()  # for the visitor's other pages


async def _restore_images(job_service: JobService, visitor: Visitor, ids: list[str]) -> None:
    if visitor.owner is not None:
        owner = owner_key(visitor.owner)
        restore = job_service.library.restore
        await anyio.to_thread.run_sync(restore, ids[:MAX_RESTORED_JOBS], owner)


async def _dismiss_all(job_service: JobService, queue: VisitorQueue) -> None:
    failed_jobs = queue.failed_jobs
    queue.add_removal(failed_jobs)
    for job in failed_jobs:
        await job_service.dismiss(job)


def _clear(queue: VisitorQueue, *, stops_running: bool) -> None:
    _cancel(queue, [*queue.pending_jobs, *(queue.running_jobs if stops_running else [])])


def _cancel(queue: VisitorQueue, jobs: Sequence[Job]) -> None:
    """Cancel jobs, of which the pending ones can be put back."""
    pending_jobs = queue.pending_jobs
    queue.add_removal(job for job in jobs if job in pending_jobs)
    # Pending jobs first: stopping a running one would start the next of them.
    for job in sorted(jobs, key=lambda job: job not in pending_jobs):
        job.cancel()


async def _restore(
    job_service: JobService, visitor: Visitor, queue: VisitorQueue, job_ids: tuple[str, ...]
) -> None:
    for job_id in job_ids[:MAX_RESTORED_JOBS]:
        job = job_service.get_job(job_id, visitor)
        if job is not None:
            await job_service.restore(job, visitor)
    queue.forget_removal(job_ids)


async def _run_on_job(
    job_service: JobService, visitor: Visitor, action: str, job: Job, focus: Focus
) -> Focus:
    queue = job_service.visitor_queue(visitor, job.id)
    match action:
        case "retry" if job.status.is_final:
            return await _retry_one(job_service, visitor, queue, job, focus)
        case "retry-set":
            await _retry(job_service, visitor, _missing_jobs(job, queue))
        case "star" | "unstar" | "trash":
            await _change_image(job_service, visitor, action, job)
            return LIVE if action == "trash" and not focus.shows_set else focus
        case "stop" | "stop-set":
            _cancel(queue, [job] if action == "stop" else _set_of(job, queue))
        case "dismiss":
            queue.add_removal([job])
            await job_service.dismiss(job)
        case "keep-waiting":
            await job_service.keep_waiting(job)
        case _ if action in _MOVES:
            await job_service.queues.move(job, _MOVES[action])
    return focus


def _set_of(job: Job, queue: VisitorQueue) -> list[Job]:
    set_id = job.origin.set_id
    return list(queue.jobs_of_set(set_id).values()) if set_id else [job]


def _missing_jobs(job: Job, queue: VisitorQueue) -> list[Job]:
    """Return the jobs of a set that ended without an image, in the order of their places."""
    return [
        member
        for member in sorted(_set_of(job, queue), key=lambda other: other.origin.set_index)
        if member.status.is_final
        and member.state.value.result is None
        and not member.state.value.is_followed  # its image may still come
    ]


async def _retry_one(
    job_service: JobService, visitor: Visitor, queue: VisitorQueue, job: Job, focus: Focus
) -> Focus:
    if job.state.value.result is not None:
        # A rescan of the library has found the image of a job that seemed to be interrupted.
        return Focus.image(job.id)
    new_job = await job_service.retry(job, visitor)
    return focus if queue.running_jobs else Focus(new_job.id)


async def _retry(job_service: JobService, visitor: Visitor, jobs: Iterable[Job]) -> None:
    for job in jobs:
        # Another process on the same library may have retried it.
        with suppress(InvalidRequestError):
            await job_service.retry(job, visitor)
