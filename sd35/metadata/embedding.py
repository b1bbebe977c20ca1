"""A record into a picture's file, and out of one: our own, or another program's. Pure.

Ours goes in twice: as an infotext, for other programs, and as it is, for this one, whatever the
    prompt holds. What
another program has written stays as that wrote it: an infotext of ours would say less.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sd35.core.errors import PictureError
from sd35.metadata import jpeg, png, webp
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import THIS_TOOL, GenerationMetadata, metadata_from_json
from sd35.metadata.png import INFOTEXT_KEY, RECORD_KEY
from sd35.metadata.readers import read_foreign

__all__ = [
    "INFOTEXT_KEY",
    "RECORD_KEY",
    "EmbeddedTexts",
    "embed",
    "embed_metadata",
    "metadata_from_texts",
    "read_metadata",
    "read_texts",
]


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """What a file says of its picture.

    Attributes:
        texts: by name. Of a PNG's text chunks it is their keyword. Of EXIF, in any file, it is
            `UserComment`, `ImageDescription`, `Make`, `Model`, `Software`, `MakerNote`, or
            `Tag0100` to `Tag010D`. `Comment` and `XMP` are a JPEG's, `XMP` a WebP's too.
            `RECORD_KEY` is our own record, whatever the file.
        size: the picture's, in pixels, where the header tells it.

    """

    texts: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None


def read_texts(data: bytes) -> EmbeddedTexts:
    """Return all text that a file carries; of a damaged one, what can be read; of what is no picture, nothing."""
    if data.startswith(png.SIGNATURE):
        return EmbeddedTexts(*png.read_png(data))
    if data.startswith(jpeg.SIGNATURE):
        return EmbeddedTexts(*jpeg.read_jpeg(data))
    if webp.is_webp(data):
        return EmbeddedTexts(*webp.read_webp(data))
    return EmbeddedTexts()


def embed(picture_bytes: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with this infotext and this record, in place of former ones; all else is as it was.

    With `None` for the infotext, what is there in its place stays.

    Raises:
        PictureError: it isn't a PNG, JPEG or WebP, is damaged, or was cut off.

    """
    if picture_bytes.startswith(png.SIGNATURE):
        return png.embed_png(picture_bytes, infotext, record_json)
    if picture_bytes.startswith(jpeg.SIGNATURE):
        return jpeg.embed_jpeg(picture_bytes, infotext, record_json)
    if webp.is_webp(picture_bytes):
        return webp.embed_webp(picture_bytes, infotext, record_json)
    raise PictureError("Only a PNG, a JPEG or a WebP can carry what is known of it.", "")


def embed_metadata(data: bytes, record: GenerationMetadata) -> bytes:
    """Return the picture's file with this record in it, in place of a former one; pixels and all else are as they were.

    Of a picture that another program has made and says so in the file, that stays, too.

    Raises:
        PictureError: it isn't a PNG, JPEG or WebP, is damaged, or was cut off.

    """
    embedded = read_texts(data)
    if embedded.size is None:
        raise PictureError("This isn't a PNG, a JPEG or a WebP that says its size.", "")
    should_write_infotext = record.tool == THIS_TOOL or (
        record.prompt != "" and read_foreign(embedded.texts) is None
    )
    return embed(
        data,
        write_infotext(record, *embedded.size) if should_write_infotext else None,
        record.to_json(),
    )


def read_metadata(data: bytes) -> GenerationMetadata | None:
    """Return what a picture's file says of it; `None` where that is nothing. A skeleton of the file will do.

    Our own record wins; every value is checked, for anybody may have written it.
    """
    return metadata_from_texts(read_texts(data))


def metadata_from_texts(embedded: EmbeddedTexts) -> GenerationMetadata | None:
    """Return what these texts of a picture's file say of it, as `read_picture` does."""
    own_record = metadata_from_json(embedded.texts.get(RECORD_KEY, ""))
    return read_foreign(embedded.texts) if own_record is None else own_record
