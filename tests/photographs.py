"""Photographs of a camera, with private details wherever a file can hold some."""

import binascii
import io
import struct
import zlib
from typing import Final

import piexif  # type: ignore[import-untyped]
from PIL import Image

__all__ = ["PHOTOGRAPH_KINDS", "find_private_details", "take_photograph"]

PHOTOGRAPH_KINDS: Final = ("PNG", "JPEG", "lossy WebP", "lossless WebP")

OWNER: Final = "Anna Lindqvist"
POSITION: Final = ((59, 1), (19, 1), (4523, 100))

# By name; each stands in some place of the file, and may appear in no request.
_PRIVATE_DETAILS: Final = {
    "owner": OWNER.encode(),
    "owner in UTF-16": OWNER.encode("utf-16-le"),
    "position": struct.pack(">6L", *(number for pair in POSITION for number in pair)),
    "position in XMP": b"59,19.754N",
    "position's source": b"HOME-WIFI",
    "camera": b"Lumina",
    "model": b"LX-7700",
    "serial number": b"SN48151623",
    "lens": b"Lumagon 35",
    "date": b"2024:02:29 12:34:56",
    "maker note": b"MAKER-NOTE-PRIVATE",
    "caption": b"Prompt: {birthday in the garden}",
    "comment": b"Seed: basil, Steps: two to the garden of Bo",
    "document": b"anna-private.dng",
    "software": b"LuminaOS",
    "place in IPTC": b"Stockholm-IPTC",
    "preview": b"FPXR-PREVIEW",
}


def _thumbnail() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((80, 60), 80).save(out, "JPEG")
    return out.getvalue()


_THUMBNAIL: Final = _thumbnail()
_THUMBNAIL_PIXELS: Final = _THUMBNAIL[-200:-100]
_XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description exif:GPSLatitude='59,19.754N' "
    b"dc:creator='Anna Lindqvist' exif:UserComment='Steps: 1, Seed: 2'/></rdf:RDF></x:xmpmeta>"
)


def _camera_exif(user_comment: bytes | None) -> bytes:
    """Return an EXIF block of a camera; a user comment replaces the private one."""
    details = _PRIVATE_DETAILS
    block: bytes = piexif.dump(
        {
            "0th": {
                piexif.ImageIFD.Make: details["camera"],
                piexif.ImageIFD.Model: details["model"],
                piexif.ImageIFD.Software: details["software"],
                piexif.ImageIFD.ImageDescription: details["caption"],
                piexif.ImageIFD.DocumentName: details["document"],
                piexif.ImageIFD.Artist: details["owner"],
                piexif.ImageIFD.XPAuthor: details["owner in UTF-16"],
            },
            "Exif": {
                piexif.ExifIFD.UserComment: user_comment or b"ASCII\0\0\0" + details["comment"],
                piexif.ExifIFD.MakerNote: details["maker note"] * 20,
                piexif.ExifIFD.DateTimeOriginal: details["date"],
                piexif.ExifIFD.CameraOwnerName: details["owner"],
                piexif.ExifIFD.BodySerialNumber: details["serial number"],
                piexif.ExifIFD.LensModel: details["lens"],
            },
            "GPS": {
                piexif.GPSIFD.GPSLatitudeRef: "N",
                piexif.GPSIFD.GPSLatitude: POSITION,
                piexif.GPSIFD.GPSProcessingMethod: details["position's source"],
            },
            "1st": {piexif.ImageIFD.Compression: 6},
            "thumbnail": _THUMBNAIL,
        }
    )
    return block


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def _jpeg_segments() -> bytes:
    details = _PRIVATE_DETAILS
    iptc = details["place in IPTC"]
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">L", len(iptc)) + iptc
    extended_xmp = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 40 + _XMP
    return b"".join(
        [
            _segment(0xE0, b"JFXX\0\x10" + _THUMBNAIL),
            _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP),
            _segment(0xE1, extended_xmp),
            _segment(0xE2, b"FPXR\0" + details["preview"]),
            _segment(0xED, resource),
            _segment(0xEF, b"private\0" + details["owner"]),
            _segment(0xFE, details["comment"]),
        ]
    )


def _png_chunks(exif: bytes) -> bytes:
    details = _PRIVATE_DETAILS
    profile = b"\nexif\n%8d\n" % len(exif) + binascii.hexlify(exif)
    return b"".join(
        [
            _chunk(b"tEXt", b"Author\0" + details["owner"]),
            _chunk(b"tEXt", b"Comment\0" + details["comment"]),
            _chunk(b"zTXt", b"Description\0\0" + zlib.compress(details["caption"])),
            _chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
            _chunk(b"tEXt", b"Raw profile type APP1\0" + profile),
            _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP),
            _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")),
        ]
    )


def take_photograph(kind: str, user_comment: bytes | None = None) -> bytes:
    """Return a photograph of one of `PHOTOGRAPH_KINDS`, with a user comment in its EXIF."""
    exif = _camera_exif(user_comment)
    image = Image.effect_noise((96, 64), 60).convert("RGB")
    out = io.BytesIO()
    if kind == "JPEG":
        image.save(out, kind, exif=exif)
        data = out.getvalue()
        return data[:2] + _jpeg_segments() + data[2:]
    if kind == "PNG":
        image.save(out, kind)
        data = out.getvalue()
        return data[:33] + _png_chunks(exif) + data[33:]
    image.save(out, "WEBP", exif=exif, xmp=_XMP, lossless=kind == "lossless WebP")
    return out.getvalue()


def find_private_details(data: bytes) -> list[str]:
    """Return the names of the private details in the data, as they are or in hexadecimal digits."""
    details = {**_PRIVATE_DETAILS, "thumbnail": _THUMBNAIL_PIXELS}
    return [
        name for name, value in details.items() if value in data or binascii.hexlify(value) in data
    ]
