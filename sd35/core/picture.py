"""The bytes of an image: their format, whether they are safe to open, and smaller copies."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image, PngImagePlugin

from sd35.core.errors import PictureError, PictureTooLargeError
from sd35.core.picture_header import read_plain_size
from sd35.core.request import GenerationRequest

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "decoding_errors",
    "open_image",
    "open_picture",
    "open_preview",
    "shrink",
]

# More than any Space makes. A small file can claim a size that takes gigabytes to decode.
MAX_PIXELS = 64_000_000

# Pillow reads each chunk of a PNG and each segment of a JPEG by itself. A file of a few bytes each
# would take minutes.
MAX_READS = 500_000

# It also unpacks every colour profile, of up to 1 MB; a PNG has one. More are random bytes.
MAX_COLOR_PROFILES = 16

# It refuses an image with a compressed text that is longer than this, by default 1 MB: the workflow
# of a ComfyUI graph of 2,000 nodes is longer.
PngImagePlugin.MAX_TEXT_CHUNK = 8 << 20

# From a JPEG it parses EXIF and lists of further images (MPF), whose entries may all refer to the
# same bytes: 60 KB would take 300 MB. It also joins the EXIF of all segments, in quadratic time.
_PARSED_SEGMENT = re.compile(rb"(?s)(\xff[\xe1\xe2]..)(?:Exif(?=\0)|MPF\0)")

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),  # also the container of WAV and AVI, which the decoder refuses
)
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


@dataclass(frozen=True)
class Picture:
    """An image with its original bytes; `format` is PNG, JPEG or WEBP, sizes are in pixels.

    `seed` is the one that the Space reported, or else the requested one.
    """

    data: bytes
    format: str
    width: int
    height: int
    seed: int | None = None
    request: GenerationRequest | None = None

    def __repr__(self) -> str:
        size = f"{self.width}×{self.height}, {len(self.data)} bytes"
        return f"<Picture {self.format} {size}, seed {self.seed}>"

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image.

        Raises:
            PictureError: the data is damaged.
        """
        with decoding_errors():
            image = open_image(self.data, self.format)
            # Image.open only reads the header. Damage further on would show up much later.
            image.load()
        return image

    def save(self, path: str | Path) -> None:
        """Write the original bytes to a file."""
        Path(path).write_bytes(self.data)

    @property
    def mime_type(self) -> str:
        """The media type of `data`."""
        return f"image/{self.format.lower()}"

    @property
    def suffix(self) -> str:
        """The usual suffix of a file with `data`, including the dot."""
        return _SUFFIXES[self.format]

    @cached_property
    def data_url(self) -> str:
        """The bytes as a `data:` URL, which a browser shows without another request."""
        return f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def open_picture(data: bytes) -> Picture:
    """Return these bytes as a picture, after a check of the header and of the end.

    Raises:
        PictureTooLargeError: the header claims more than `MAX_PIXELS`.
        PictureError: they aren't a complete PNG, JPEG or WebP.
    """
    image_format = _find_format(data)
    if image_format is None:
        raise PictureError("The Space sent something other than a PNG, JPEG or WebP image.")
    with decoding_errors(), open_image(data, image_format) as image:
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureTooLargeError(
            f"The Space sent an image of {width} × {height} px, which is too large to open safely."
        )
    if not _is_complete(data, image_format):
        raise PictureError("The Space sent an incomplete image.")
    return Picture(data, image_format, width, height)


def open_preview(data: bytes) -> Picture | None:
    """Return these bytes as a picture if their header is a usual one, without a decoder.

    `None`: it takes `open_picture` to tell. What this accepts is for a browser, not for a decoder.
    """
    image_format = _find_format(data)
    size = None if image_format is None else read_plain_size(data, image_format)
    if image_format is None or size is None or not 0 < size[0] * size[1] <= MAX_PIXELS:
        return None
    return Picture(data, image_format, *size) if _is_complete(data, image_format) else None


def _find_format(data: bytes) -> str | None:
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def _is_complete(data: bytes, image_format: str) -> bool:
    """Return whether the end marker of the format is there."""
    # Near the end, not at it: some tools append bytes, which every decoder ignores.
    match image_format:
        case "PNG":
            return data.endswith(b"IEND\xaeB`\x82") or b"IEND" in data[-4096:]
        case "JPEG":
            return data.endswith(b"\xff\xd9") or b"\xff\xd9" in data[-4096:]
        case _:
            # A RIFF file has no end marker, but its size at the beginning.
            return len(data) >= int.from_bytes(data[4:8], "little") + 8


def open_image(data: bytes, image_format: str) -> Image.Image:
    """Return the image of these bytes, of which only the header is read; see `decoding_errors`."""
    if data.count(b"iCCP") > MAX_COLOR_PROFILES:
        raise PictureError("The Space sent a damaged image.")
    if image_format == "JPEG":
        data = _PARSED_SEGMENT.sub(rb"\1hide", data)
    # Only this decoder: Pillow would try dozens, some with a history of exploits.
    return Image.open(_LimitedReader(data), formats=[image_format])


class _LimitedReader(io.BytesIO):
    """Bytes that can be read `MAX_READS` times."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._read_count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._read_count += 1
        if self._read_count > MAX_READS:
            raise ValueError("the image has too many parts")
        return super().read(size)


@contextmanager
def decoding_errors(message: str = "The Space sent a damaged image.") -> Iterator[None]:
    """Raise a PictureError with this message for whatever a decoder raises on hostile bytes."""
    try:
        yield
    except PictureError:
        raise
    # Pillow documents none of it. A palette that is missing fails an assertion, for example, and
    # damage may as well ask for more memory than there is, or be an error of struct or zlib.
    except Exception as error:
        raise PictureError(message) from error


def shrink(picture: Picture, longest_side: int) -> Picture:
    """Return a copy as a JPEG of at most `longest_side` pixels, for previews.

    Raises:
        PictureError: the data is damaged.
    """
    with decoding_errors("The Space sent a damaged preview."):
        with open_image(picture.data, picture.format) as image:
            # Lets libjpeg decode at a half, quarter or eighth of the size, several times faster.
            image.draft("RGB", (longest_side, longest_side))
            resized_image = image.convert("RGB")
        resized_image.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        # Pillow would copy a JPEG's comment.
        resized_image.save(buffer, "JPEG", quality=80, comment=b"")
    return Picture(buffer.getvalue(), "JPEG", *resized_image.size)
