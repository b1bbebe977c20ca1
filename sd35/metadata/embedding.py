"""A record into a picture's file, and out of one: our own, or another program's. Pure.

Ours goes in twice: as an infotext, for other programs, and as it is, for this one, whatever the prompt holds. What
another program has written stays as that wrote it: an infotext of ours would say less.
"""

from sd35.errors import PictureError
from sd35.metadata.containers import RECORD_KEY, Texts, embed, read_texts
from sd35.metadata.foreign import read_foreign
from sd35.metadata.infotext import write_infotext
from sd35.metadata.record import OURS, Record, read_record

__all__ = ["embed_record", "read_picture", "record_in"]


def embed_record(data: bytes, record: Record) -> bytes:
    """Return the picture's file with this record in it, in place of a former one; pixels and all else are as they were.

    Of a picture that another program has made and says so in the file, that stays, too.

    Raises:
        PictureError: it isn't a PNG, JPEG or WebP, is damaged, or was cut off.

    """
    read = read_texts(data)
    if read.size is None:
        raise PictureError("This isn't a PNG, a JPEG or a WebP that says its size.", "")
    is_ours_to_tell = record.tool == OURS or (record.prompt != "" and read_foreign(read.texts) is None)
    return embed(data, write_infotext(record, *read.size) if is_ours_to_tell else None, record.as_json())


def read_picture(data: bytes) -> Record | None:
    """Return what a picture's file says of it; `None` where that is nothing. A skeleton of the file will do.

    Our own record wins; every value is checked, for anybody may have written it.
    """
    return record_in(read_texts(data))


def record_in(read: Texts) -> Record | None:
    """Return what these texts of a picture's file say of it, as `read_picture` does."""
    ours = read_record(read.texts.get(RECORD_KEY, ""))
    return read_foreign(read.texts) if ours is None else ours
