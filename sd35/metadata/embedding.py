"""Metadata in image files: read from any tool's, and embedded without changing anything else.

This program embeds its metadata twice: as JSON, which holds every prompt exactly, and as infotext
for other programs. What another program wrote is never replaced: our infotext would say less.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sd35.core.errors import PictureError
from sd35.core.picture import Picture
from sd35.metadata import jpeg, png, webp
from sd35.metadata.budget import Budget, BudgetExceededError
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import THIS_TOOL, GenerationMetadata, metadata_from_json
from sd35.metadata.png import JSON_KEY
from sd35.metadata.readers import read_tool_metadata

__all__ = [
    "EmbeddedTexts",
    "embed_metadata",
    "embed_or_original",
    "embed_texts",
    "metadata_from_texts",
    "read_metadata",
    "read_texts",
]


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """Texts in an image file.

    Attributes:
        texts: by key: the keyword of a PNG text chunk; `UserComment`, `ImageDescription`, `Make`,
            `Model`, `Software`, `MakerNote`, dates or `Tag0100` to `Tag010D` of EXIF, some of them
            from XMP as well; `Comment` of a JPEG; `JSON_KEY` for this program's JSON in any format.
        size: width and height in pixels, if the header holds them.
        orientation: how EXIF says that the pixels are stored: 1 (upright) to 8.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    orientation: int = 1


def read_texts(data: bytes) -> EmbeddedTexts:
    """Return all texts in a file, as far as it is readable; none for other formats."""
    if data.startswith(png.SIGNATURE):
        return EmbeddedTexts(*png.read_png(data))
    if data.startswith(jpeg.SIGNATURE):
        return EmbeddedTexts(*jpeg.read_jpeg(data))
    if webp.is_webp(data):
        return EmbeddedTexts(*webp.read_webp(data))
    return EmbeddedTexts()


def embed_texts(data: bytes, infotext: str | None, metadata_json: str) -> bytes:
    """Return the file with this infotext and JSON in place of earlier ones; the rest is unchanged.

    `None` keeps what the file has in place of the infotext.

    Raises:
        PictureError: the file isn't a PNG, JPEG or WebP, is damaged, or incomplete.
    """
    if data.startswith(png.SIGNATURE):
        return png.embed_png(data, infotext, metadata_json)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.embed_jpeg(data, infotext, metadata_json)
    if webp.is_webp(data):
        return webp.embed_webp(data, infotext, metadata_json)
    raise PictureError("Only PNG, JPEG and WebP files can hold metadata.", "")


def embed_metadata(data: bytes, metadata: GenerationMetadata) -> bytes:
    """Return the file with this metadata in place of an earlier one; pixels are unchanged.

    Raises:
        PictureError: the file isn't a PNG, JPEG or WebP, is damaged, or incomplete.
    """
    embedded = read_texts(data)
    if embedded.size is None:
        raise PictureError("This isn't a PNG, JPEG or WebP file with a readable size.", "")
    is_own = metadata.tool == THIS_TOOL
    infotext = None
    # Only this program's images, and those in which no tool left anything readable.
    if is_own or (metadata.prompt and read_tool_metadata(embedded.texts) is None):
        infotext = write_infotext(metadata, *embedded.size)
    return embed_texts(data, infotext, metadata.to_json())


def embed_or_original(picture: Picture, metadata: GenerationMetadata) -> Picture:
    """Return the picture with embedded metadata, or unchanged if its file can't carry any."""
    try:
        return replace(picture, data=embed_metadata(picture.data, metadata))
    except PictureError:
        return picture


def read_metadata(data: bytes) -> GenerationMetadata | None:
    """Return the metadata in a file; `None` if there is none. The image data may be missing."""
    return metadata_from_texts(read_texts(data))


def metadata_from_texts(embedded: EmbeddedTexts) -> GenerationMetadata | None:
    """Return the metadata in the texts of a file: this program's own, or else another tool's.

    `None` if there is none, or reading it would take more than a `Budget`.
    """
    budget = Budget()
    metadata_json = embedded.texts.get(JSON_KEY, "")
    try:
        budget.spend_on_json(metadata_json)
    except BudgetExceededError:
        return None
    own = metadata_from_json(metadata_json)
    return read_tool_metadata(embedded.texts, budget) if own is None else own.truncated()
