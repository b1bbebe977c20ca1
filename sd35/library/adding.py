"""A picture that was just made, into the library: its file first, then the index."""

import datetime as dt
import logging
from dataclasses import replace
from pathlib import Path

from sd35.errors import LibraryError, PictureError
from sd35.files import write_new
from sd35.library.database import Database
from sd35.library.folder import name_for, place_for, stamp_of
from sd35.library.inspecting import Inspected, entry_for, moment_of
from sd35.library.pictures import Entry, put
from sd35.library.unwritten import unwritten
from sd35.metadata.embedding import embed_record
from sd35.metadata.record import Record, new_id
from sd35.picture import Picture

__all__ = ["add_picture"]

log = logging.getLogger(__name__)


def add_picture(root: Path, database: Database, data: bytes, picture: Picture, record: Record, owner: str) -> Entry:
    """Write a picture into the library at `root`; documented at `Library.add`."""
    record = replace(record, id=record.id or new_id(), made_at=record.made_at or dt.datetime.now(dt.UTC))
    made_at = moment_of(record, 0)
    place, name = place_for(owner, made_at), name_for(record, made_at, picture.suffix)
    told = Inspected(replace(picture, data=_with(record, data)), record, tells_id=True)
    with unwritten("The picture"):
        file = write_new(root / place, name, told.picture.data)
        mtime_ns = stamp_of(file.stat())[1]
    entry = entry_for(told, f"{place}/{file.name}", mtime_ns)
    try:
        with database.writing() as connection:
            put(connection, entry, mtime_ns)
    except LibraryError as error:  # the picture itself is saved, and who would try again would have it twice
        log.warning("%s isn't in the index before the folder is looked through: %s", entry.path, error.happened)
    return entry


def _with(record: Record, data: bytes) -> bytes:
    """The file with its record in it; as it came, where it can't carry one: it isn't lost for that."""
    try:
        return embed_record(data, record)
    except PictureError:
        return data
