"""The live part of the page: the stage, the visitor's queue and the recent images."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.origin import MAX_SET_SIZE
from sd35.core.picture import Picture
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.query import Filter, Query
from sd35.library.repository import Entry
from sd35.server.file_data import FILE_DATA_META, file_data
from sd35.ui.create import job_panel, queue_view, set_panel, space_view
from sd35.ui.create.focus import Focus
from sd35.ui.create.stage_view import Cell, Stage, different_words, stage_json

__all__ = ["JobView", "LiveUpdate"]

MAX_RECENT: Final = 24

PREVIEW_INTERVAL: Final = 0.5
"""Seconds between two previews of a cell: a browser decodes those of all cells."""

Result = TypeVar("Result")


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
    stage: Any

    @classmethod
    def unchanged(cls) -> "LiveUpdate":
        """Return an update that changes nothing."""
        # A new dict for each output, because Gradio empties the ones that it gets.
        return cls(*(gr.skip() for _ in cls._fields))

    @classmethod
    def of_panel(cls, panel: str) -> "LiveUpdate":
        """Return an update that changes the panel alone."""
        return cls.unchanged()._replace(panel=panel)


@dataclass(slots=True)
class _SentPreviews:
    """The previews that a page has got, and when."""

    _latest: dict[str, tuple[Picture, float]] = field(default_factory=dict)

    def select_new(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Return the new previews that are due, as data URLs by the ids of their jobs."""
        previews = {}
        now = time.monotonic()
        for cell in cells:
            preview = None if cell.state is None else cell.state.preview
            if preview is None:
                continue
            sent_preview, sent_at = self._latest.get(cell.id, (None, 0.0))
            if preview is not sent_preview and now - sent_at >= PREVIEW_INTERVAL:
                self._latest[cell.id] = preview, now
                previews[cell.id] = preview.data_url
        return previews


@dataclass(slots=True)
class JobView:
    """One page's view of a visitor's jobs.

    Attributes:
        is_sheet: the page got the contact sheet of a set last.
    """

    job_service: JobService
    visitor: Visitor
    focus: Focus
    is_sheet: bool = False
    _job_id: str = ""
    _job: Job | None = None
    _recent_entries: Sequence[Entry] = ()
    _recent_key: object = None
    _recent_html: str = ""
    _recent_html_key: object = None
    _entries: Sequence[Entry] = ()
    _entries_key: object = None
    _sent_previews: _SentPreviews = field(default_factory=_SentPreviews)

    @property
    def visitor_queue(self) -> VisitorQueue:
        """All jobs of this visitor."""
        return self.job_service.visitor_queue(self.visitor, self.focus.job_id)

    async def render(self) -> LiveUpdate:
        """Return what the page shows now."""
        await self._read_recent_entries()
        job = await self._find_focused_job()
        cells = [] if job is None else await self._read_cells(job)
        limits_text = space_view.limits_text(self.job_service.connection.value)
        estimates = self.job_service.estimates
        times = queue_view.QueueTimes(
            estimates.queue_seconds(self.visitor), estimates.remaining_seconds
        )
        queue_html = queue_view.queue_panel(self.visitor_queue, job, limits_text, times)
        recent_html = self._recent_pictures(frozenset(cell.id for cell in cells))
        if job is None:
            panel = job_panel.missing_panel() if self.focus.job_id else job_panel.idle_panel()
            self.focus = Focus()
            return LiveUpdate(
                gr.skip(), panel, "", None, queue_html, recent_html, stage_json(Stage(), {})
            )
        self.focus = Focus(job.id, self.focus.is_pinned, self.focus.shows_set)
        state = job.state.value
        stage = self._stage(job, cells)
        shows_image = stage.mode == "image"
        self.is_sheet = not shows_image and len(cells) > 1
        return LiveUpdate(
            _image_value(state) if shows_image else gr.skip(),
            self._panel(job, cells),
            str(self.focus),
            None if state.result is None else file_data(state.result),
            queue_html,
            recent_html,
            stage_json(stage, {} if shows_image else self._sent_previews.select_new(cells)),
        )

    def _recent_pictures(self, shown_ids: frozenset[str]) -> str:
        """Return the recent images, which seldom change."""
        key = self._recent_key, shown_ids
        if key != self._recent_html_key:
            self._recent_html_key = key
            self._recent_html = queue_view.recent_pictures(self._recent_entries, shown_ids)
        return self._recent_html

    def _shows_set(self, cells: Sequence[Cell]) -> bool:
        return len(cells) > 1 and (self.focus.shows_set or not self.focus.is_pinned)

    def _stage(self, job: Job, cells: Sequence[Cell]) -> Stage:
        state = job.state.value
        # Without a preview there is a place of the image's true shape.
        has_image = state.preview is not None or state.result is not None
        shows_set = self._shows_set(cells)
        in_view = {cell.id for cell in cells}
        return Stage(
            cells,
            job.id,
            mode="image" if has_image and not shows_set else "sheet",
            shows_set=shows_set,
            is_behind=self.focus.is_pinned
            and any(
                other.id not in in_view and not other.state.value.is_held
                for other in self.visitor_queue.open_jobs
            ),
            remaining=self.job_service.estimates.remaining_seconds,
        )

    def _panel(self, job: Job, cells: Sequence[Cell]) -> str:
        pause_error = self.visitor_queue.pause_error
        if self._shows_set(cells):
            remaining_seconds = self._remaining_seconds(cells)
            return set_panel.set_panel(cells, pause_error, remaining_seconds)
        entry = next((cell.entry for cell in cells if cell.id == job.id), None)
        prompt = different_words(job.state.value.request.prompt, cells)
        actions = job_panel.ImageActions(
            has_library=self.visitor.owner is not None,
            is_starred=entry is not None and entry.metadata.is_starred,
            can_save_style=self.visitor is LOCAL_VISITOR,
        )
        return job_panel.job_panel(job.id, job.state.value, pause_error, prompt, actions)

    def _remaining_seconds(self, cells: Sequence[Cell]) -> float | None:
        """Return how long it takes until all images are there; `None` if that isn't known."""
        jobs = [cell.job for cell in cells if cell.job and not cell.job.status.is_final]
        times = [self.job_service.estimates.remaining_seconds(job) for job in jobs]
        known_times = [seconds for seconds in times if seconds is not None]
        return max(known_times) if known_times and len(known_times) == len(times) else None

    async def _find_focused_job(self) -> Job | None:
        """Return the job in focus, or once that has ended, the running or next one.

        Without any, the newest image of the library.
        """
        job = await self._find_job(self.focus.job_id)
        if job is not None and (self.focus.is_pinned or not job.state.value.status.is_final):
            return job
        open_jobs = self.visitor_queue.open_jobs
        next_job = next((other for other in open_jobs if not other.state.value.is_held), None)
        is_newest = job is not None and not self._is_older(job)
        if next_job is not None or is_newest or self.focus.is_pinned:
            return next_job or job
        return await self._find_job(self._recent_entries[0].id) if self._recent_entries else job

    def _is_older(self, job: Job) -> bool:
        """Return whether the library has newer images than that of this job."""
        entries = self._recent_entries
        return job.state.value.is_saved and bool(entries) and entries[0].id != job.id

    async def _find_job(self, job_id: str) -> Job | None:
        if job_id != self._job_id:
            self._job_id = job_id
            self._job = None
            with suppress(LibraryError):
                self._job = await self.job_service.find_job(job_id, self.visitor)
        is_deleted = self._job is not None and await self._is_deleted(self._job)
        return None if is_deleted else self._job

    async def _is_deleted(self, job: Job) -> bool:
        """Return whether the job's image was saved, and has been moved to the trash since."""
        if not job.state.value.is_saved or self.visitor.owner is None:
            return False
        entries = await self._read_entries(job)
        return entries is not None and all(entry.id != job.id for entry in entries)

    async def _read_cells(self, job: Job) -> list[Cell]:
        """Return the places of the set that a job is in, or that of the job alone."""
        entries = await self._read_entries(job)
        set_id = job.origin.set_id
        if not set_id:
            return [Cell(0, job, next(iter(entries or ()), None))]
        jobs = self.visitor_queue.jobs_of_set(set_id) | {job.origin.set_index: job}
        entries_by_index = {entry.metadata.set_index: entry for entry in entries or ()}
        cells = []
        for index in range(min(job.origin.set_size, MAX_SET_SIZE)):
            member = jobs.get(index)
            entry = entries_by_index.get(index)
            is_saved = member is not None and member.state.value.is_saved
            is_deleted = is_saved and entries is not None and entry is None
            cells.append(Cell(index, member, entry, is_deleted=is_deleted))
        return cells

    async def _read_entries(self, job: Job) -> Sequence[Entry] | None:
        """Return the images of a job's set in the library, or its own; `None` if it can't tell."""
        if self.visitor.owner is None:
            return None
        set_id = job.origin.set_id
        key = (set_id or job.id, self._library_version)
        if key != self._entries_key:
            owner = owner_key(self.visitor.owner)
            library = self.job_service.library
            query = Query(filters=(Filter("set", (set_id,)),))

            def read() -> Sequence[Entry]:
                if set_id:
                    return library.search(query, owner, limit=MAX_SET_SIZE).entries
                entry = library.get(job.id, owner)
                return () if entry is None or entry.is_trashed else (entry,)

            entries = await _read(read)
            if entries is None:
                return None
            self._entries = entries
            self._entries_key = key
        return self._entries

    async def _read_recent_entries(self) -> None:
        """Read the recent images; the library is queried only after a change."""
        if self.visitor.owner is None or self._recent_key == self._library_version:
            return
        key = owner_key(self.visitor.owner)
        library = self.job_service.library
        entries = await _read(lambda: library.search(Query(), key, limit=MAX_RECENT).entries)
        if entries is not None:
            self._recent_entries = entries
            self._recent_key = self._library_version

    @property
    def _library_version(self) -> tuple[int, int]:
        return self.visitor_queue.saved_count, self.job_service.library.change_count


async def _read(operation: Callable[[], Result]) -> Result | None:
    """Return what an operation reads in a thread; `None` if the library can't be read."""
    try:
        return await anyio.to_thread.run_sync(operation)
    except LibraryError:
        return None


def _image_value(state: JobState) -> dict[str, Any]:
    """Return the image's file, or the preview's bytes as they came from the Space."""
    if state.result is not None:
        return file_data(state.result)
    assert state.preview is not None
    # As a data URL the preview needs neither a file on disk nor another request.
    url = state.preview.data_url
    return {"path": None, "url": url, "orig_name": "preview.jpg", "meta": FILE_DATA_META}
