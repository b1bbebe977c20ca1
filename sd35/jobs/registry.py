"""The jobs that this program has in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from sd35.client import SpaceClient
from sd35.jobs.artifacts import ArtifactStore
from sd35.jobs.job import Job
from sd35.jobs.queues import QueueRegistry
from sd35.jobs.record import JobStatus
from sd35.jobs.results import ResultSaver

__all__ = ["JobRegistry"]

MAX_JOBS = 1000
MAX_PICTURE_BYTES = 1 << 30  # of a temporary library; the oldest images are deleted first


class JobRegistry:
    """Registry of the jobs in memory. The oldest ones that have ended are evicted."""

    def __init__(
        self, queues: QueueRegistry, artifacts: ArtifactStore, result_saver: ResultSaver
    ) -> None:
        self._queues = queues
        self._artifacts = artifacts
        self._result_saver = result_saver
        self._jobs: dict[str, Job] = {}
        self._reserved_keys: dict[str, str] = {}

    @property
    def jobs(self) -> list[Job]:
        """All jobs, the oldest first."""
        return list(self._jobs.values())

    @property
    def unfinished_jobs(self) -> list[Job]:
        """The jobs that are pending, running, or still followed."""
        return [job for job in self._jobs.values() if not _has_ended(job)]

    def get(self, job_id: object) -> Job | None:
        """Return a job by its id, which may be anything that a browser sent."""
        return self._jobs.get(job_id) if isinstance(job_id, str) else None

    def is_known(self, job_id: str) -> bool:
        """Return whether a job is in memory, or about to be."""
        return job_id in self._jobs or job_id in self._reserved_keys

    @contextmanager
    def reserve(self, job: Job) -> Iterator[None]:
        """Count the job as known and queued while it is being recorded."""
        # Without that, a page that is opened at this moment would find the record and restore the
        # job a second time, and parallel requests would exceed the limit of the queue.
        self._reserved_keys[job.id] = job.queue_entry.rate_limit_key
        try:
            yield
        finally:
            del self._reserved_keys[job.id]

    def reserved_count(self, rate_limit_key: str | None = None) -> int:
        """Return the number of reservations, of one visitor or of all."""
        keys = self._reserved_keys.values()
        return len(keys) if rate_limit_key is None else sum(key == rate_limit_key for key in keys)

    def count(self, status: JobStatus) -> int:
        """Return the number of jobs with this status."""
        return sum(job.status is status for job in self._jobs.values())

    def spaces_in_use(self) -> set[SpaceClient | None]:
        """Return the Spaces that unfinished jobs use."""
        return {job.state.value.space for job in self.unfinished_jobs}

    def add(self, job: Job) -> None:
        """Add a job to the registry and to its visitor's queue."""
        self._jobs[job.id] = job
        self._queues.add(job)

    def remove(self, job: Job) -> None:
        """Remove a job and its artifacts. Its record stays: `JobRecovery` can load it again."""
        del self._jobs[job.id]
        self._queues.remove(job)
        self._artifacts.remove_job(job.id)

    def evict(self, *, limits_bytes: bool) -> list[str]:
        """Remove the oldest finished jobs beyond `MAX_JOBS`, and return their ids.

        `limits_bytes` applies `MAX_PICTURE_BYTES`, too.
        """
        if len(self._jobs) < MAX_JOBS and not limits_bytes:
            return []
        # An image that couldn't be saved yet is in memory alone: its job stays.
        evictable = [
            job
            for job in self._jobs.values()
            if _has_ended(job) and not self._result_saver.has_unsaved(job)
        ]
        total_bytes = sum(job.state.value.size_bytes for job in evictable)
        evicted_ids = []
        for job in evictable:
            has_room = not limits_bytes or total_bytes <= MAX_PICTURE_BYTES
            if len(self._jobs) < MAX_JOBS and has_room:
                break
            total_bytes -= job.state.value.size_bytes
            self.remove(job)
            evicted_ids.append(job.id)
        return evicted_ids


def _has_ended(job: Job) -> bool:
    return job.status.is_final and not job.state.value.is_followed
