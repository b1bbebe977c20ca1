"""What one visitor has asked for, as their pages watch it: what runs, what waits, what came to no good end."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sd35.errors import QuotaError
from sd35.job import Job, JobState, Phase
from sd35.latest import Latest

__all__ = ["Board", "News", "Pause"]

MAX_TROUBLES = 50


@dataclass(frozen=True, slots=True)
class News:
    """How often something has changed, and how often something that nobody should wait for."""

    changes: int = 0
    urgent: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing of a visitor's is sent for a while, or until they say so: the quota is used up."""

    refusal: QuotaError
    until: dt.datetime | None


class Board:
    """The jobs of one visitor. Belongs to one event loop.

    Attributes:
        news: changes with each of the jobs, to be watched.
        watchers: how many pages look.
        looks: how many have ever begun to.
        done: how many pictures have come, and how many jobs have failed (`bad`), since the program was started.
        repeats: of a job's id, the job that it was run again as.

    """

    def __init__(self, on_unwatched: Callable[["Board"], None] = lambda _: None) -> None:
        self._jobs: dict[str, Job] = {}
        self._dismissed: set[str] = set()
        self._on_unwatched = on_unwatched
        self.news = Latest(News())
        self._pause: Pause | None = None
        self.watchers = 0
        self.looks = 0
        self.done = 0
        self.bad = 0
        self.repeats: dict[str, Job] = {}

    @property
    def pause(self) -> Pause | None:
        """Why none of them is begun, if that is so."""
        is_over = self._pause is not None and self._pause.until is not None and self._pause.until <= _now()
        return None if is_over else self._pause

    @pause.setter
    def pause(self, pause: Pause | None) -> None:
        self._pause = pause

    def add(self, job: Job) -> None:
        """Take a job up."""
        self._jobs[job.id] = job
        job.on_change = self._changed
        self.change()

    def forget(self, job: Job) -> None:
        """Know nothing of the job any more."""
        if self._jobs.pop(job.id, None) is not None:
            self._dismissed.discard(job.id)
            self.repeats.pop(job.id, None)
            self.change()

    def is_dismissed(self, job: Job) -> bool:
        """Whether it was said here that a job isn't to be spoken of."""
        return job.id in self._dismissed

    def dismiss(self, job: Job) -> None:
        """Don't speak of a job any more that has ended."""
        if job.state.value.phase.is_final:
            self._dismissed.add(job.id)
            self.change()

    def undismiss(self, job: Job) -> None:
        """Speak of a job again."""
        self._dismissed.discard(job.id)
        self.change()

    def change(self) -> None:
        """Tell those who watch that something has changed."""
        news = self.news.value
        self.news.set(News(news.changes + 1, news.urgent + 1))

    def _changed(self, old: JobState, new: JobState) -> None:
        news = self.news.value
        is_urgent = new.is_urgent_after(old)
        if new.phase is Phase.RUNNING and self._pause is not None and self._pause.until is None:
            self._pause = None  # the Space has taken one after all
        if new.phase.is_final and not old.phase.is_final:
            self.done += new.phase is Phase.FINISHED
            self.bad += new.phase in {Phase.FAILED, Phase.INTERRUPTED}
        self.news.set(News(news.changes + 1, news.urgent + is_urgent))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count as one who looks while the block lasts."""
        self.watchers += 1
        self.looks += 1
        try:
            yield
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._on_unwatched(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this visitor's is remembered."""
        return not self._jobs

    @property
    def unfinished(self) -> list[Job]:
        """What runs, and after that what waits, as it will have its turn."""
        jobs = (job for job in self._jobs.values() if not job.state.value.phase.is_final)
        return sorted(jobs, key=lambda job: (_waits(job), job.ticket.position))

    @property
    def running(self) -> list[Job]:
        """What has had its turn."""
        return [job for job in self.unfinished if not _waits(job)]

    @property
    def waiting(self) -> list[Job]:
        """What waits for its turn."""
        return [job for job in self.unfinished if _waits(job)]

    @property
    def troubles(self) -> list[Job]:
        """What has failed, was interrupted, or stopped unasked, the newest first; not what a program had asked for."""
        found = (job for job in reversed(self._jobs.values()) if _is_trouble(job) and job.id not in self._dismissed)
        return [job for job, _ in zip(found, range(MAX_TROUBLES), strict=False)]

    @property
    def is_at_work(self) -> bool:
        """Whether something will happen by itself."""
        return any(not job.state.value.is_held for job in self.unfinished)


def _waits(job: Job) -> bool:
    """Whether it has not been called yet."""
    return job.state.value.phase is Phase.WAITING and not job.ticket.called.is_set()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _is_trouble(job: Job) -> bool:
    state = job.state.value
    is_bad = state.phase in {Phase.FAILED, Phase.INTERRUPTED} or (state.phase is Phase.STOPPED and state.reason != "")
    return is_bad and not job.by_program
