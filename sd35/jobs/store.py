"""What is written down of jobs, in the library: before anything is sent, and whenever they change."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from sd35.client import StopOutcome
from sd35.core.errors import LibraryError, QuotaError, SD35Error
from sd35.core.request import GenerationRequest
from sd35.jobs.job import Job, JobState, Made, Phase
from sd35.jobs.repository import JobRecord, Stage
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry

__all__ = ["Ledger", "state_of", "state_of_picture"]

log = logging.getLogger(__name__)

T = TypeVar("T")

STAGES: Final = {
    Phase.FINISHED: Stage.SAVED,
    Phase.STOPPED: Stage.STOPPED,
    Phase.FAILED: Stage.FAILED,
    Phase.INTERRUPTED: Stage.INTERRUPTED,
}
"""How a job that has ended is written down."""

PHASES: Final = {Stage.WAITING: Phase.WAITING} | {stage: phase for phase, stage in STAGES.items()}


class Ledger:
    """Writes jobs down in worker threads, one change after another.

    Args:
        library: where.

    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)

    async def add(self, job: Job, space: str) -> None:
        """Write down a job that is about to wait for its turn.

        Raises:
            LibraryError: it can't be.

        """
        record = self._record(job, space)
        await self._in_thread(lambda: self._library.jobs.add(record))

    def _record(self, job: Job, space: str) -> JobRecord:
        return JobRecord(
            id=job.id,
            owner=owner_key(job.owner),
            asked=job.asked,
            request=job.state.value.request,
            space=space,
            created_at=time.time(),
            position=job.ticket.position,
            stage=Stage.WAITING,
            runner=self._library.instance,
            by_program=job.by_program,
        )

    async def begun(self, job: Job) -> None:
        """Write down that the job is about to be sent.

        Raises:
            LibraryError: it can't be.

        """
        began = time.time()
        await self._in_thread(
            lambda: self._change(job, stage=Stage.RUNNING, is_held=False, started_at=began)
        )

    async def waits_again(self, job: Job, refusal: QuotaError) -> None:
        """Write down that the job was refused, and waits for another turn."""
        await self._try_to_change(job, stage=Stage.WAITING, started_at=None, **_error(refusal))

    async def ended(self, job: Job) -> None:
        """Write down how the job has ended; not before its picture is on the disk: it would be lost unnoticed."""
        state = job.state.value
        is_saved = state.made is not None and state.made.path is not None
        if state.phase is Phase.FINISHED and not is_saved:
            return
        changes: dict[str, Any] = {
            "stage": STAGES[state.phase],
            "ended_at": time.time(),
            "stopped": "" if state.stopped is None else state.stopped.name,
            "reason": state.reason,
            "picture_id": job.id if is_saved else None,
            **_error(state.error),
        }
        await self._try_to_change(job, **changes)

    async def withdrawn(self, job: Job) -> None:
        """Write down that the job was stopped before it had its place in the line."""
        await self._try_to_change(job, stage=Stage.STOPPED, ended_at=time.time())

    async def is_saved(self, job: Job) -> bool:
        """Whether the job's picture is in the library after all."""
        try:
            record = await self.find(job.id)
        except LibraryError:
            return False
        return record is not None and record.stage is Stage.SAVED

    async def moved(self, jobs: list[Job]) -> None:
        """Write down the jobs' places, and whether they are held."""
        places = [(job.id, job.ticket.position, job.ticket.is_held) for job in jobs]
        if places:
            await self._try(lambda: self._library.jobs.arrange(places))

    async def dismissed(self, job: Job) -> None:
        """Write down that nobody need be told of the job any more."""
        await self._try_to_change(job, is_dismissed=True)

    async def is_dismissed(self, job: Job) -> bool:
        """Whether it is written down that nobody need be told of the job any more.

        Raises:
            LibraryError: the index can't be read.

        """
        record = await self.find(job.id)
        return record is not None and record.is_dismissed

    async def ensure(self, jobs: Sequence[Job]) -> None:
        """Write down those of these jobs that aren't: somebody may have taken the index away."""
        for job in jobs:
            await self._try_to_change(job)

    def _change(self, job: Job, **changes: Any) -> None:  # noqa: ANN401  # the record's own fields
        """Change what is written down of a job; if that is nothing any more, write it down anew."""
        if self._library.jobs.change(job.id, **changes) is None:
            self._library.jobs.add(replace(self._record(job, ""), **changes))

    async def _try_to_change(self, job: Job, **changes: Any) -> None:  # noqa: ANN401
        await self._try(lambda: self._change(job, **changes))

    async def _try(self, work: Callable[[], object]) -> None:
        try:
            await self._in_thread(work)
        except LibraryError as error:  # the job itself goes on
            log.warning("what became of a job couldn't be written down: %s", error.happened)

    async def take_over(self) -> None:
        """Make what was left by programs that are gone this one's, or interrupted.

        Raises:
            LibraryError: it can't be.

        """
        await anyio.to_thread.run_sync(self._library.take_over)  # which may look through the folder

    async def rescan(self) -> None:
        """Notice what has changed in the library's folder since it was last looked through."""
        try:
            await anyio.to_thread.run_sync(self._library.rescan)
        except LibraryError as error:
            log.warning("the library couldn't be looked through: %s", error.happened)

    async def left(self, owner: str | None) -> list[JobRecord]:
        """Return what waits, and what came to no good end, of this owner's.

        Raises:
            LibraryError: the index can't be read.

        """
        jobs, key, runner = self._library.jobs, owner_key(owner), self._library.instance
        records = await self._in_thread(
            lambda: [*jobs.troubles(key), *jobs.unfinished(owner=key, runner=runner)]
        )
        return [record for record in records if not record.by_program]

    async def picture(self, picture_id: str, owner: str | None = None) -> Entry | None:
        """Return what is known of a picture, if there is one; with an owner's key, of theirs.

        Raises:
            LibraryError: the index can't be read.

        """
        return await self._in_thread(lambda: self._library.entry(picture_id, owner))

    async def discard(self, ids: Sequence[str]) -> None:
        """Delete pictures for ever, where they aren't meant to last."""
        try:
            await self._in_thread(lambda: self._library.discard(ids))
        except LibraryError as error:
            log.warning("old pictures couldn't be deleted: %s", error.happened)

    async def find(self, job_id: str) -> JobRecord | None:
        """Return what is written down of a job.

        Raises:
            LibraryError: the index can't be read.

        """
        return await self._in_thread(lambda: self._library.jobs.get(job_id))


def _error(error: SD35Error | None) -> dict[str, Any]:
    if error is None:
        return {"error_kind": "", "error_happened": "", "error_remedy": "", "retry_at": None}
    return {
        "error_kind": error.kind,
        "error_happened": error.happened,
        "error_remedy": error.remedy,
        "retry_at": error.retry_at,
    }


def state_of(record: JobRecord, made: Made | None) -> JobState | None:
    """Return the state of a job that was written down; `None` for one that another program runs, or has no picture."""
    phase = PHASES.get(record.stage)
    if phase is None or (phase is Phase.FINISHED and made is None):
        return None
    shift = time.monotonic() - time.time()
    error = _read_error(record) if phase is Phase.FAILED else None
    is_refused = phase is Phase.WAITING and record.retry_at is not None
    return JobState(
        record.request,
        phase,
        record.created_at + shift,
        is_held=record.is_held and phase is Phase.WAITING,
        reason=record.reason,
        refusal=_refusal(record) if is_refused else None,
        ended_at=None if record.ended_at is None else record.ended_at + shift,
        made=made,
        stopped=StopOutcome.__members__.get(record.stopped),
        error=error,
    )


def state_of_picture(request: GenerationRequest, made: Made) -> JobState:
    """Return the state of a job of which nothing is known but its picture."""
    now = time.monotonic()
    return JobState(request, Phase.FINISHED, now, ended_at=now, made=made)


def _refusal(record: JobRecord) -> QuotaError:
    refusal = QuotaError(record.error_happened, record.error_remedy)
    refusal.retry_at = record.retry_at
    return refusal


def _read_error(record: JobRecord) -> SD35Error:
    error = SD35Error(record.error_happened, record.error_remedy)
    error.kind = record.error_kind
    error.retry_at = record.retry_at
    return error
