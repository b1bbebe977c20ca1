"""The sheet of a set in the library: its images, and its jobs without one."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.library.sheet import Sheet, SheetCell, SheetMember, SheetPicture, build_sheet

__all__ = ["LibrarySheet", "load_sheet"]

_NOTES: Final = {
    JobStatus.PENDING: "Queued",
    JobStatus.RUNNING: "Running",
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Stopped",
    JobStatus.INTERRUPTED: "Interrupted",
}


@dataclass(frozen=True, slots=True)
class LibrarySheet:
    """The sheet of a set, and the entries of its images by their IDs."""

    set_id: str
    sheet: Sheet
    entries: dict[str, Entry]


def load_sheet(library: Library, set_id: str, owner: str | None = None) -> LibrarySheet | None:
    """Return the sheet of an owner's set; `None` if there is no such set.

    Raises:
        LibraryError: the index can't be used.
    """
    entries = library.list_set(set_id, owner)
    jobs = JobRepository(library).list_set(set_id, owner)
    if not entries and not jobs:
        return None
    visible = [entry for entry in entries if not entry.is_trashed and not entry.is_missing]
    hidden = [entry for entry in entries if entry.is_trashed or entry.is_missing]
    # In this order: of the members with one number, the first counts.
    members = [
        *(_picture_member(library, entry) for entry in visible),
        *_job_members(jobs),
        *(_hidden_member(entry) for entry in hidden),
    ]
    sizes = [
        *(entry.metadata.set_size or 1 for entry in entries),
        *(job.origin.set_size for job in jobs),
    ]
    sheet = build_sheet(members, max(sizes))
    return LibrarySheet(set_id, sheet, {entry.id: entry for entry in visible})


def _picture_member(library: Library, entry: Entry) -> SheetMember:
    picture = SheetPicture(
        name=PurePosixPath(entry.path).name,
        metadata=entry.metadata,
        width=entry.width,
        height=entry.height,
        read=partial(library.read_bytes, entry.id, entry.owner),
    )
    return _member(entry, SheetCell(picture=picture))


def _hidden_member(entry: Entry) -> SheetMember:
    return _member(entry, SheetCell(note="Deleted" if entry.is_trashed else "File missing"))


def _member(entry: Entry, cell: SheetCell) -> SheetMember:
    return SheetMember(cell, entry.metadata.set_index or 0, entry.metadata.axes)


def _job_members(jobs: tuple[JobRecord, ...]) -> Iterator[SheetMember]:
    for job in jobs:
        note = _NOTES.get(job.status)
        if note is None:  # completed: its image is in the library, or was deleted for good
            continue
        cell = SheetCell(
            note=note,
            detail=f"{job.error_message} {job.error_remedy}".strip(),
            job_id=job.id if job.status.is_final else "",
            is_pending=not job.status.is_final,
        )
        yield SheetMember(cell, job.origin.set_index, job.origin.axes)
