"""Finished pictures into the library; and if one can't be written, kept in memory until it can."""

import logging
from dataclasses import replace

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.errors import LibraryError, NotWrittenError
from sd35.files import file_name
from sd35.job import Job, Made
from sd35.kept import Kept, KeptPictures
from sd35.library.folder import owner_key
from sd35.library.pictures import Entry
from sd35.library.record import Record
from sd35.library.shelf import Library
from sd35.picture import Picture, open_picture
from sd35.recording import record_of

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

    async def save(self, job: Job, space: SpaceClient, picture: Picture) -> Made:
        """Keep the picture: in the library, or else in memory, and say why."""
        record = _record(job, space, picture)
        try:
            return await self._save(job, record, picture)
        except (LibraryError, NotWrittenError) as error:
            log.warning("a picture couldn't be written, and is kept in memory: %s", error.happened)
            name = file_name(space.model, record.prompt, picture.seed, picture)
            served_as = self._kept.keep(job.id, Kept(job.owner, name, picture.mime_type, picture.data))
            return _made(record, picture, name, served_as, unwritten=error.happened)

    async def save_again(self, job: Job, space: SpaceClient) -> Made | None:
        """Try once more to write a picture that is kept in memory; `None` if it still can't be."""
        made = job.state.value.made
        kept = None if made is None else self._kept.find(made.served_as)
        if made is None or kept is None or not isinstance(kept.content, bytes):
            return None
        picture = replace(open_picture(kept.content), seed=made.seed)
        try:
            return await self._save(job, _record(job, space, picture), picture)
        except (LibraryError, NotWrittenError):
            return None

    async def _save(self, job: Job, record: Record, picture: Picture) -> Made:
        entry = await anyio.to_thread.run_sync(self._library.add, picture.data, picture, record, owner_key(job.owner))
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


def _record(job: Job, space: SpaceClient, picture: Picture) -> Record:
    state = job.state.value
    return record_of(state.request, picture, space, state.elapsed_seconds, job.id)
