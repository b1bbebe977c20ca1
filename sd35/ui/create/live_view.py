"""What a page shows of a visitor's jobs, moment by moment: the one in focus, the queue, and the newest pictures."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.query import parse_query
from sd35.ui.create import job_view, queue_view

__all__ = ["PIN_PREFIX", "JobView", "PageUpdate"]

PIN_PREFIX = "="
"""Before the id of a job that is looked at on purpose, whatever runs meanwhile."""

MAX_RECENT = 8

PageUpdate = tuple[Any, ...]
"""What one moment shows: image, panel, focus, download, queue, recent. The fewer outputs, the cheaper a frame."""


@dataclass(slots=True)
class JobView:
    """One page's look at a visitor's jobs.

    Attributes:
        focus: the id of the job that the page shows, perhaps pinned.

    """

    job_service: JobService
    visitor: Visitor
    focus: str
    _job_id: str = ""
    _job: Job | None = None
    _recent_html: str = ""
    _recent_version: int | None = field(default=None)

    @property
    def visitor_queue(self) -> VisitorQueue:
        """All of this visitor's jobs."""
        return self.job_service.visitor_queue(self.visitor, self.focus.removeprefix(PIN_PREFIX))

    async def render(self) -> PageUpdate:
        """Return what is to be shown now."""
        job_id = self.focus.removeprefix(PIN_PREFIX)
        job = await self._find_focused_job(job_id)
        if job is None:
            panel = job_view.job_not_found() if job_id else job_view.idle_panel()
            return (
                gr.skip(),
                panel,
                "",
                None,
                queue_view.queue_panel(self.visitor_queue, None),
                await self._recent_pictures(),
            )
        self.focus = f"{PIN_PREFIX}{job.id}" if self.focus.startswith(PIN_PREFIX) else job.id
        state = job.state.value
        image = job_view.image_value(state)
        return (
            # What was there stays until there is something new: nobody loses sight of the last
            # picture.
            gr.skip() if image is None else image,
            job_view.job_panel(
                state,
                None if self.visitor_queue.pause is None else self.visitor_queue.pause.quota_error,
            ),
            self.focus,
            job_view.download_value(state),
            queue_view.queue_panel(self.visitor_queue, job),
            await self._recent_pictures(),
        )

    async def _find_focused_job(self, job_id: str) -> Job | None:
        """The job that is looked at; when it has ended, the one that runs, or will."""
        if job_id != self._job_id:
            self._job_id, self._job = job_id, None
            with suppress(LibraryError):
                self._job = (
                    await self.job_service.find_job(job_id, self.visitor) if job_id else None
                )
        job, visitor_queue = self._job, self.visitor_queue
        if job is not None and (
            self.focus.startswith(PIN_PREFIX) or not job.state.value.status.is_final
        ):
            return job
        active_jobs = [
            *visitor_queue.running_jobs,
            *(
                pending_job
                for pending_job in visitor_queue.pending_jobs
                if not pending_job.state.value.is_held
            ),
        ]
        return active_jobs[0] if active_jobs else job

    async def _recent_pictures(self) -> str:
        """The strip of the newest pictures; it is read again when there is a new one."""
        if (
            self.visitor.owner is not None
            and self._recent_version != self.visitor_queue.completed_count
        ):
            self._recent_version = self.visitor_queue.completed_count
            try:
                library, key = self.job_service.library, owner_key(self.visitor.owner)
                page = await anyio.to_thread.run_sync(
                    lambda: library.search(parse_query(""), key, limit=MAX_RECENT)
                )
            except LibraryError:
                return self._recent_html
            self._recent_html = queue_view.recent_pictures(page.entries)
        return self._recent_html
