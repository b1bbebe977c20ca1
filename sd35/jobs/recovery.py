"""Jobs that are only written down: what a program that is gone has left, and what ended long ago."""

from collections.abc import Callable

from sd35.client import Identity
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.record import JobRecord
from sd35.jobs.results import ResultSaver
from sd35.jobs.scheduler import QueueEntry
from sd35.jobs.store import JobStore, state_from_picture, state_from_record
from sd35.library.layout import owner_key
from sd35.library.provenance import request_from_metadata

__all__ = ["JobRecovery"]


class JobRecovery:
    """Makes jobs of what is written down.

    Args:
        ledger: reads it.
        saver: hands out their pictures.
        identity: as whom a visitor's run is asked for.

    """

    def __init__(
        self,
        job_store: JobStore,
        result_saver: ResultSaver,
        identity_for: Callable[[Visitor], Identity | None],
    ) -> None:
        self._job_store = job_store
        self._result_saver = result_saver
        self._identity_for = identity_for

    async def restore_open(self, visitor: Visitor) -> list[Job]:
        """Return this visitor's jobs that came to no good end, or wait; of programs that are gone, too.

        Raises:
            LibraryError: the index can't be read or written.

        """
        await self._job_store.adopt_orphans()
        records = await self._job_store.list_open(visitor.owner)
        states = [(record, state_from_record(record, None)) for record in records]
        return [
            self._build_job(record, state, visitor, visitor.owner)
            for record, state in states
            if state is not None
        ]

    async def find(self, job_id: str, visitor: Visitor) -> Job | None:
        """Return a job of this visitor's, or of nobody's, that has ended.

        Raises:
            LibraryError: the index can't be read.

        """
        record = await self._job_store.find(job_id)
        if record is None:
            return await self._from_picture(job_id, visitor)
        if record.owner not in {owner_key(visitor.owner), owner_key(None)}:
            return None
        owner = None if record.owner == owner_key(None) else visitor.owner
        entry = (
            None
            if record.picture_id is None
            else await self._job_store.find_picture(record.picture_id)
        )
        state = state_from_record(
            record, None if entry is None else self._result_saver.publish(entry, owner)
        )
        return (
            self._build_job(record, state, visitor, owner)
            if state is not None and state.status.is_final
            else None
        )

    async def _from_picture(self, picture_id: str, visitor: Visitor) -> Job | None:
        """A job for a picture whose own isn't known here: it was imported, or the index was made anew."""
        entry = None
        if visitor.owner is not None:
            entry = await self._job_store.find_picture(picture_id, owner_key(visitor.owner))
        if entry is None:
            return None
        request = request_from_metadata(entry.record, entry.width, entry.height)
        state = state_from_picture(request, self._result_saver.publish(entry, visitor.owner))
        return Job(
            id=entry.id,
            original_request=request,
            state=state,
            queue_entry=QueueEntry(visitor.rate_limit_key, 0.0),
            owner=visitor.owner,
        )

    def _build_job(
        self, record: JobRecord, state: JobState, visitor: Visitor, owner: str | None
    ) -> Job:
        return Job(
            id=record.id,
            original_request=record.original_request,
            state=state,
            queue_entry=QueueEntry(visitor.rate_limit_key, record.position, is_held=state.is_held),
            owner=owner,
            identity=None
            if state.status.is_final
            else self._identity_for(visitor),  # it may hold a token
            is_api_call=record.is_api_call,
        )
