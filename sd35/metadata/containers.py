"""The texts that a picture's file carries, and a file with others: PNG, JPEG and WebP. Pure; no pixel is decoded.

What is read may have been made by anybody, and may be a skeleton: a file whose image data was left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sd35.errors import PictureError
from sd35.metadata import jpeg, png, webp
from sd35.metadata.png import INFOTEXT_KEY, RECORD_KEY

__all__ = ["INFOTEXT_KEY", "RECORD_KEY", "Texts", "embed", "read_texts"]


@dataclass(frozen=True, slots=True)
class Texts:
    """What a file says of its picture.

    Attributes:
        texts: by name. Of a PNG's text chunks it is their keyword. Of EXIF, in any file, it is `UserComment`,
            `ImageDescription`, `Make`, `Model`, `Software`, `MakerNote`, or `Tag0100` to `Tag010D`. `Comment` and `XMP`
            are a JPEG's, `XMP` a WebP's too. `RECORD_KEY` is our own record, whatever the file.
        size: the picture's, in pixels, where the header tells it.

    """

    texts: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None


def read_texts(data: bytes) -> Texts:
    """Return all text that a file carries; of a damaged one, what can be read; of what is no picture, nothing."""
    if data.startswith(png.SIGNATURE):
        return Texts(*png.read_png(data))
    if data.startswith(jpeg.SIGNATURE):
        return Texts(*jpeg.read_jpeg(data))
    if webp.is_webp(data):
        return Texts(*webp.read_webp(data))
    return Texts()


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
