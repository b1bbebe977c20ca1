"""What a page shows of a visitor's jobs, moment by moment: the one in focus, the queue, and the newest pictures."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import Board
from sd35.jobs.service import Studio
from sd35.library.layout import owner_key
from sd35.library.query import parse_query
from sd35.ui.create import job_view, queue_view

__all__ = ["PINNED", "Frame", "View"]

PINNED = "="
"""Before the id of a job that is looked at on purpose, whatever runs meanwhile."""

RECENT = 8

Frame = tuple[Any, ...]
"""What one moment shows: image, panel, focus, download, queue, recent. The fewer outputs, the cheaper a frame."""


@dataclass(slots=True)
class View:
    """One page's look at a visitor's jobs.

    Attributes:
        focus: the id of the job that the page shows, perhaps pinned.

    """

    studio: Studio
    visitor: Visitor
    focus: str
    _asked: str = ""
    _found: Job | None = None
    _recent: str = ""
    _recent_of: int | None = field(default=None)

    @property
    def board(self) -> Board:
        """All of this visitor's jobs."""
        return self.studio.board(self.visitor, self.focus.removeprefix(PINNED))

    async def frame(self) -> Frame:
        """Return what is to be shown now."""
        asked = self.focus.removeprefix(PINNED)
        job = await self._focused(asked)
        if job is None:
            panel = job_view.lost_job() if asked else job_view.idle()
            return (
                gr.skip(),
                panel,
                "",
                None,
                queue_view.queue(self.board, None),
                await self._newest(),
            )
        self.focus = f"{PINNED}{job.id}" if self.focus.startswith(PINNED) else job.id
        state = job.state.value
        image = job_view.image(state)
        return (
            # What was there stays until there is something new: nobody loses sight of the last
            # picture.
            gr.skip() if image is None else image,
            job_view.job(state, None if self.board.pause is None else self.board.pause.refusal),
            self.focus,
            job_view.download(state),
            queue_view.queue(self.board, job),
            await self._newest(),
        )

    async def _focused(self, asked: str) -> Job | None:
        """The job that is looked at; when it has ended, the one that runs, or will."""
        if asked != self._asked:
            self._asked, self._found = asked, None
            with suppress(LibraryError):
                self._found = await self.studio.find(asked, self.visitor) if asked else None
        job, board = self._found, self.board
        if job is not None and (
            self.focus.startswith(PINNED) or not job.state.value.phase.is_final
        ):
            return job
        ready = [*board.running, *(each for each in board.waiting if not each.state.value.is_held)]
        return ready[0] if ready else job

    async def _newest(self) -> str:
        """The strip of the newest pictures; it is read again when there is a new one."""
        if self.visitor.owner is not None and self._recent_of != self.board.done:
            self._recent_of = self.board.done
            try:
                library, key = self.studio.library, owner_key(self.visitor.owner)
                page = await anyio.to_thread.run_sync(
                    lambda: library.page(parse_query(""), key, limit=RECENT)
                )
            except LibraryError:
                return self._recent
            self._recent = queue_view.recent(page.entries)
        return self._recent
