"""Finished pictures into the library; and if one can't be written, kept in memory until it can."""

import logging
from dataclasses import replace

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.core.atomic_files import file_name
from sd35.core.errors import LibraryError, NotWrittenError
from sd35.core.picture import Picture, open_picture
from sd35.jobs.artifacts import Kept, KeptPictures
from sd35.jobs.job import Job, Made
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.provenance import record_of
from sd35.library.repository import Entry
from sd35.metadata.model import Record

__all__ = ["Saver"]

log = logging.getLogger(__name__)


class Saver:
    """Puts pictures into the library, and hands them out.

    Args:
        library: where they go.
        kept: hands them out to who has asked for them.

    """

    def __init__(self, library: Library, kept: KeptPictures) -> None:
        self._library = library
        self._kept = kept
        self._unsaved: dict[str, Record] = {}

    async def save(self, job: Job, space: SpaceClient, picture: Picture) -> Made:
        """Keep the picture: in the library, or else in memory, and say why."""
        state = job.state.value
        record = record_of(state.request, picture, space, state.elapsed_seconds, job.id)
        try:
            return await self._save(job, record, picture)
        except NotWrittenError as error:
            self._unsaved[job.id] = record
            unwritten = f"{error.happened} It is tried again."
        except (
            LibraryError
        ) as error:  # the file is there: the next look through the folder finds it
            unwritten = error.happened
        log.warning("a picture isn't kept as it should be: %s", unwritten)
        name = file_name(space.model, record.prompt, picture.seed, picture)
        served_as = self._kept.keep(job.id, Kept(job.owner, name, picture.mime_type, picture.data))
        made = _made(record, picture, name, served_as, unwritten=unwritten)
        return replace(made, is_promised=self.has_unsaved(job))

    def has_unsaved(self, job: Job) -> bool:
        """Whether a picture is kept in memory that is still to be written."""
        return job.id in self._unsaved

    async def save_again(self, job: Job) -> bool:
        """Try once more to write a picture that is kept in memory, and say whether that is over, well or badly."""
        made = job.state.value.made
        kept = None if made is None else self._kept.find(made.served_as)
        if made is None or kept is None or not isinstance(kept.content, bytes):
            del self._unsaved[job.id]
            if made is not None:
                lost = "There was no more room for it in memory, either: it is lost."
                job.saved(replace(made, unwritten=lost, is_promised=False))
            return True
        picture = replace(open_picture(kept.content), seed=made.seed)
        try:
            job.saved(await self._save(job, self._unsaved[job.id], picture))
        except NotWrittenError:
            return False
        except LibraryError as error:
            job.saved(replace(made, unwritten=error.happened, is_promised=False))
        del self._unsaved[job.id]
        return True

    async def _save(self, job: Job, record: Record, picture: Picture) -> Made:
        entry = await anyio.to_thread.run_sync(
            self._library.add, picture.data, picture, record, owner_key(job.owner)
        )
        return self.hand_out(entry, job.owner)

    def hand_out(self, entry: Entry, owner: str | None) -> Made:
        """Hand out a picture of the library's to who has asked for it."""
        path = self._library.path_of(entry)
        mime_type = f"image/{entry.format.lower()}"
        served_as = self._kept.keep(entry.id, Kept(owner, path.name, mime_type, path))
        return Made(
            name=path.name,
            served_as=served_as,
            path=path,
            unwritten="",
            format=entry.format,
            mime_type=mime_type,
            width=entry.width,
            height=entry.height,
            size_bytes=entry.size_bytes,
            seed=entry.record.seed,
            space=entry.record.space,
            is_demo=entry.record.is_demo,
        )


def _made(record: Record, picture: Picture, name: str, served_as: str, *, unwritten: str) -> Made:
    return Made(
        name=name,
        served_as=served_as,
        path=None,
        unwritten=unwritten,
        format=picture.format,
        mime_type=picture.mime_type,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.data),
        seed=picture.seed,
        space=record.space,
        is_demo=record.is_demo,
    )
