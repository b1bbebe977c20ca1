"""A picture's bytes: what they are, whether they are safe to open, and a smaller copy for a preview."""

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from sd35.core.errors import PictureError, PictureTooLargeError
from sd35.core.request import GenerationRequest

__all__ = ["MAX_PIXELS", "Picture", "open_picture", "shrink"]

MAX_PIXELS = 64_000_000
"""More than any Space here makes; what claims to be larger is taken for a decompression bomb."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
)
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


@dataclass(frozen=True)
class Picture:
    """A picture as it came: `data` is untouched, `format` is PNG, JPEG or WEBP, sizes are in pixels.

    Of one that was made for a request, `request` is that, and `seed` the one that the Space says it
    used, or else the one that was asked for; `None` where neither is known.
    """

    data: bytes
    format: str
    width: int
    height: int
    seed: int | None = None
    request: GenerationRequest | None = None

    def __repr__(self) -> str:
        return f"<Picture {self.format} {self.width}×{self.height}, {len(self.data)} bytes, seed {self.seed}>"

    @cached_property
    def image(self) -> Image.Image:
        """The picture, decoded by Pillow.

        Raises:
            PictureError: its data is damaged.

        """
        try:
            image = Image.open(io.BytesIO(self.data), formats=[self.format])
            image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PictureError("The Space sent a damaged picture.") from error
        return image

    def save(self, path: str | Path) -> None:
        """Write `data`, untouched, to a file."""
        Path(path).write_bytes(self.data)

    @property
    def mime_type(self) -> str:
        """The media type of `data`."""
        return f"image/{self.format.lower()}"

    @property
    def suffix(self) -> str:
        """The usual ending of a file that holds `data`, with the dot."""
        return _SUFFIXES[self.format]

    @cached_property
    def data_url(self) -> str:
        """`data` as a URL that a browser shows without another request."""
        return f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def open_picture(data: bytes) -> Picture:
    """Say what these bytes are, having read only the header.

    Raises:
        PictureTooLargeError: they claim more than `MAX_PIXELS`.
        PictureError: they aren't a PNG, JPEG or WebP that Pillow can open, or were cut off.

    """
    image_format = next(
        (name for signature, name in _SIGNATURES if data.startswith(signature)), None
    )
    if image_format is None:
        raise PictureError("The Space sent something that is not a PNG, JPEG or WebP picture.")
    width, height = _read_size(data, image_format)
    if width * height > MAX_PIXELS:
        raise PictureTooLargeError(
            f"The Space sent a picture of {width} × {height} pixels, too large to be safe to open."
        )
    if not _is_complete(data, image_format):
        raise PictureError("The Space sent a picture that was cut off.")
    return Picture(data, image_format, width, height)


def _is_complete(data: bytes, image_format: str) -> bool:
    """Whether the end of the picture is there, as its format marks it; programs may append something to it."""
    match image_format:
        case "PNG":
            return data.endswith(b"IEND\xaeB`\x82") or b"IEND" in data[-4096:]
        case "JPEG":
            return data.endswith(b"\xff\xd9") or b"\xff\xd9" in data[-4096:]
        case _:
            return len(data) >= int.from_bytes(data[4:8], "little") + 8


def _read_size(data: bytes, image_format: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=[image_format]) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError("The Space sent a damaged picture.") from error


def shrink(picture: Picture, longest_side: int) -> Picture:
    """Return the picture as a JPEG of at most `longest_side` pixels: for a preview, never for what is kept.

    Raises:
        PictureError: the picture's data is damaged.

    """
    try:
        with Image.open(io.BytesIO(picture.data), formats=[picture.format]) as image:
            image.draft("RGB", (longest_side, longest_side))
            resized_image = image.convert("RGB")
        resized_image.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError) as error:
        raise PictureError("The Space sent a damaged preview.") from error
    buffer = io.BytesIO()
    resized_image.save(buffer, "JPEG", quality=80)
    return Picture(buffer.getvalue(), "JPEG", *resized_image.size)
