"""The live part of the page: the job in focus, the visitor's queue and the recent images."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.query import parse_query
from sd35.server.file_data import FILE_DATA_META, file_data
from sd35.ui.create import job_panel, queue_view, space_view

__all__ = ["PIN_PREFIX", "JobView", "LiveUpdate"]

PIN_PREFIX = "="
"""Marks the id of a job that stays in focus whatever else runs: the visitor selected it."""

MAX_RECENT = 8


class LiveUpdate(NamedTuple):
    """Values of the live outputs at one moment, in the order of `CreateTab.live_outputs`.

    Gradio serializes all outputs of each update, so there are only those that are needed.
    """

    image: Any
    panel: Any
    focus: Any
    download: Any
    queue: Any
    recent: Any

    @classmethod
    def of_panel(cls, panel: str) -> "LiveUpdate":
        """Return an update that changes the panel alone."""
        return cls(gr.skip(), panel, gr.skip(), gr.skip(), gr.skip(), gr.skip())


@dataclass(slots=True)
class JobView:
    """One page's view of a visitor's jobs.

    Attributes:
        focus: id of the job that the page shows, after `PIN_PREFIX` if the visitor selected it.
    """

    job_service: JobService
    visitor: Visitor
    focus: str
    _job_id: str = ""
    _job: Job | None = None
    _recent_html: str = ""
    _recent_version: int | None = None

    @property
    def job_id(self) -> str:
        """The id of the job in focus."""
        return self.focus.removeprefix(PIN_PREFIX)

    @property
    def visitor_queue(self) -> VisitorQueue:
        """All jobs of this visitor."""
        return self.job_service.visitor_queue(self.visitor, self.job_id)

    async def render(self, *, has_recent: bool = True) -> LiveUpdate:
        """Return what the page shows now; without `has_recent`, the recent images stay."""
        job = await self._find_focused_job()
        limits_text = space_view.limits_text(self.job_service.connection.value)
        estimates = self.job_service.estimates
        times = queue_view.QueueTimes(
            estimates.queue_seconds(self.visitor), estimates.remaining_seconds
        )
        queue_html = queue_view.queue_panel(self.visitor_queue, job, limits_text, times)
        recent_html = await self._recent_pictures() if has_recent else gr.skip()
        if job is None:
            panel = job_panel.missing_panel() if self.job_id else job_panel.idle_panel()
            return LiveUpdate(gr.skip(), panel, "", None, queue_html, recent_html)
        is_pinned = self.focus.startswith(PIN_PREFIX)
        self.focus = f"{PIN_PREFIX}{job.id}" if is_pinned else job.id
        state = job.state.value
        return LiveUpdate(
            _image_value(state),
            job_panel.job_panel(job.id, state, self.visitor_queue.pause_error),
            self.focus,
            None if state.result is None else file_data(state.result),
            queue_html,
            recent_html,
        )

    async def _find_focused_job(self) -> Job | None:
        """Return the job in focus, or once that has ended, the running or next one."""
        job_id = self.job_id
        if job_id != self._job_id:
            self._job_id = job_id
            self._job = None
            with suppress(LibraryError):
                self._job = await self.job_service.find_job(job_id, self.visitor)
        job = self._job
        is_pinned = self.focus.startswith(PIN_PREFIX)
        if job is not None and (is_pinned or not job.state.value.status.is_final):
            return job
        open_jobs = self.visitor_queue.open_jobs
        return next((open_job for open_job in open_jobs if not open_job.state.value.is_held), job)

    async def _recent_pictures(self) -> str:
        """Return the strip of recent images; the library is queried only for a new image."""
        version = self.visitor_queue.saved_count
        if self.visitor.owner is None or self._recent_version == version:
            return self._recent_html
        self._recent_version = version
        key = owner_key(self.visitor.owner)
        with suppress(LibraryError):
            page = await anyio.to_thread.run_sync(
                lambda: self.job_service.library.search(parse_query(""), key, limit=MAX_RECENT)
            )
            self._recent_html = queue_view.recent_pictures(page.entries)
        return self._recent_html


def _image_value(state: JobState) -> dict[str, Any]:
    """Return the image's file, or the preview's bytes as they came from the Space."""
    if state.result is not None:
        return file_data(state.result)
    if state.preview is None:
        skip: dict[str, Any] = gr.skip()  # the previous image stays in sight
        return skip
    # As a data URL the preview needs neither a file on disk nor another request.
    url = state.preview.data_url
    return {"path": None, "url": url, "orig_name": "preview.jpg", "meta": FILE_DATA_META}
