"""Jobs that are only written down: what a program that is gone has left, and what ended long ago."""

from collections.abc import Callable

from sd35.client import Identity
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.repository import JobRecord
from sd35.jobs.results import Saver
from sd35.jobs.scheduler import Ticket
from sd35.jobs.store import Ledger, state_of, state_of_picture
from sd35.library.layout import owner_key
from sd35.library.provenance import request_of

__all__ = ["Restorer"]


class Restorer:
    """Makes jobs of what is written down.

    Args:
        ledger: reads it.
        saver: hands out their pictures.
        identity: as whom a visitor's run is asked for.

    """

    def __init__(
        self, ledger: Ledger, saver: Saver, identity: Callable[[Visitor], Identity | None]
    ) -> None:
        self._ledger = ledger
        self._saver = saver
        self._identity = identity

    async def left(self, visitor: Visitor) -> list[Job]:
        """Return this visitor's jobs that came to no good end, or wait; of programs that are gone, too.

        Raises:
            LibraryError: the index can't be read or written.

        """
        await self._ledger.take_over()
        records = await self._ledger.left(visitor.owner)
        states = [(record, state_of(record, None)) for record in records]
        return [
            self._job(record, state, visitor, visitor.owner)
            for record, state in states
            if state is not None
        ]

    async def find(self, job_id: str, visitor: Visitor) -> Job | None:
        """Return a job of this visitor's, or of nobody's, that has ended.

        Raises:
            LibraryError: the index can't be read.

        """
        record = await self._ledger.find(job_id)
        if record is None:
            return await self._of_picture(job_id, visitor)
        if record.owner not in {owner_key(visitor.owner), owner_key(None)}:
            return None
        owner = None if record.owner == owner_key(None) else visitor.owner
        entry = None if record.picture_id is None else await self._ledger.picture(record.picture_id)
        state = state_of(record, None if entry is None else self._saver.hand_out(entry, owner))
        return (
            self._job(record, state, visitor, owner)
            if state is not None and state.phase.is_final
            else None
        )

    async def _of_picture(self, picture_id: str, visitor: Visitor) -> Job | None:
        """A job for a picture whose own isn't known here: it was imported, or the index was made anew."""
        entry = None
        if visitor.owner is not None:
            entry = await self._ledger.picture(picture_id, owner_key(visitor.owner))
        if entry is None:
            return None
        request = request_of(entry.record, entry.width, entry.height)
        state = state_of_picture(request, self._saver.hand_out(entry, visitor.owner))
        return Job(
            id=entry.id,
            asked=request,
            state=state,
            ticket=Ticket(visitor.payer, 0.0),
            owner=visitor.owner,
        )

    def _job(self, record: JobRecord, state: JobState, visitor: Visitor, owner: str | None) -> Job:
        return Job(
            id=record.id,
            asked=record.asked,
            state=state,
            ticket=Ticket(visitor.payer, record.position, is_held=state.is_held),
            owner=owner,
            identity=None
            if state.phase.is_final
            else self._identity(visitor),  # it may hold a token
            by_program=record.by_program,
        )
