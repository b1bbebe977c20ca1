"""Background tasks that end with the program."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from sd35.jobs.job import Job
from sd35.jobs.record import JobStatus

__all__ = ["BackgroundTasks", "create_isolated_task"]


def create_isolated_task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task with an empty context."""
    # Gradio marks its listeners in a context variable, which tasks inherit. There, it takes each
    # new component for an update of the page, so the demo Space couldn't build its Blocks.
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())


class BackgroundTasks:
    """Tasks of one event loop, some of which run a job."""

    def __init__(self) -> None:
        # asyncio holds only weak references: without this dict, a task could be garbage-collected.
        self._jobs_by_task: dict[asyncio.Task[None], Job | None] = {}

    def start(self, coroutine: Coroutine[Any, Any, None], job: Job | None = None) -> None:
        """Start a task; `job` is the one that it runs."""
        task = create_isolated_task(coroutine)
        self._jobs_by_task[task] = job
        task.add_done_callback(self._jobs_by_task.pop)

    async def aclose(self, timeout_seconds: float) -> None:
        """Abort the running jobs, and keep the pending ones for the next start."""
        for task, job in list(self._jobs_by_task.items()):
            is_done = job is not None and job.status is JobStatus.COMPLETED
            if job is None or job.status is JobStatus.PENDING or (is_done and not job.is_saving):
                task.cancel()
            else:
                job.abort()
        if self._jobs_by_task:
            _, unfinished = await asyncio.wait(self._jobs_by_task, timeout=timeout_seconds)
            for task in unfinished:
                task.cancel()
