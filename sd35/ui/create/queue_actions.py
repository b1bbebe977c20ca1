"""The actions of the buttons in the queue and in the panel."""

from contextlib import suppress

from sd35.core.errors import InvalidRequestError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.ui.create.live_view import PIN_PREFIX

__all__ = ["run_action"]

MAX_RESTORED_JOBS = 1000


async def run_action(
    job_service: JobService, visitor: Visitor, action: object, job_id: object, focus: str
) -> str:
    """Run an action on a job, or on the one in focus if `job_id` is empty; return the new focus.

    For `restore`, `job_id` is the ids of all jobs to put back, with spaces between them.

    Unknown actions and jobs of others are ignored: `action` and `job_id` come from a browser.

    Raises:
        SD35Error: the action isn't possible; the message says why.
    """
    focused_id = focus.removeprefix(PIN_PREFIX)
    target_id = job_id if isinstance(job_id, str) and job_id else focused_id
    job = await job_service.find_job(target_id, visitor)
    queue = job_service.visitor_queue(visitor, target_id)
    match action:
        case "resume":
            await job_service.resume(visitor, focused_id)
            return ""
        case "retry-all":
            await _retry_all(job_service, visitor, queue)
            return ""
        case "restore":
            await _restore(job_service, visitor, queue, tuple(target_id.split()))
        case "dismiss-all":
            await _dismiss_all(job_service, queue)
        case "clear-queue" | "stop-all":
            _clear(queue, stops_running=action == "stop-all")
        case "retry" if job is not None and job.state.value.status.is_final:
            return await _retry(job_service, visitor, queue, job, focused_id)
        case "select" if job is not None:
            return _selected(job)
        case str() if job is not None:
            if _is_removal(action, job, queue):
                queue.add_removal([job])
            await _run_on_job(job_service, action, job, queue)
    return focus


async def _dismiss_all(job_service: JobService, queue: VisitorQueue) -> None:
    failed_jobs = queue.failed_jobs
    queue.add_removal(failed_jobs)
    for job in failed_jobs:
        await job_service.dismiss(job)


def _clear(queue: VisitorQueue, *, stops_running: bool) -> None:
    # Pending jobs first: stopping a running one would start the next of them.
    pending_jobs = queue.pending_jobs
    running_jobs = queue.running_jobs if stops_running else []
    queue.add_removal(pending_jobs)
    for job in [*pending_jobs, *running_jobs]:
        job.cancel()


def _is_removal(action: str, job: Job, queue: VisitorQueue) -> bool:
    return action == "dismiss" or (action == "stop" and job in queue.pending_jobs)


async def _restore(
    job_service: JobService, visitor: Visitor, queue: VisitorQueue, job_ids: tuple[str, ...]
) -> None:
    for job_id in job_ids[:MAX_RESTORED_JOBS]:
        job = job_service.get_job(job_id, visitor)
        if job is not None:
            await job_service.restore(job, visitor)
    queue.forget_removal(job_ids)


async def _run_on_job(job_service: JobService, action: str, job: Job, queue: VisitorQueue) -> None:
    match action:
        case "stop":
            job.cancel()
        case "keep-waiting":
            await job_service.keep_waiting(job)
        case "move-to-top":
            await job_service.queues.move(job, -len(queue.pending_jobs))
        case "move-up":
            await job_service.queues.move(job, -1)
        case "move-down":
            await job_service.queues.move(job, 1)
        case "dismiss":
            await job_service.dismiss(job)


def _selected(job: Job) -> str:
    """Return the focus on a job that a visitor has selected; a running one needs no pin."""
    return f"{PIN_PREFIX}{job.id}" if job.state.value.status.is_final else job.id


async def _retry(
    job_service: JobService, visitor: Visitor, queue: VisitorQueue, job: Job, focused_id: str
) -> str:
    if job.state.value.result is not None:
        # A rescan of the library has found the image of a job that seemed to be interrupted.
        return _selected(job)
    new_job = await job_service.retry(job, visitor)
    return focused_id if queue.running_jobs else new_job.id


async def _retry_all(job_service: JobService, visitor: Visitor, queue: VisitorQueue) -> None:
    for job in reversed(queue.failed_jobs):  # oldest first
        # Another process on the same library may have retried it.
        with suppress(InvalidRequestError):
            await job_service.retry(job, visitor)
