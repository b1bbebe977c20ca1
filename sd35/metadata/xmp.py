"""XMP packets: reading their texts, and writing this program's JSON without touching anything else.

The JSON is a property in a namespace of its own. ExifTool, Exiv2 and Adobe's toolkit keep
properties that they don't know when they change others, but refuse to write a file whose maker note
they don't know. They write a property as an element or as an attribute, whichever they prefer.
"""

import html
import re

__all__ = ["merge_xmp", "read_xmp", "read_xmp_properties"]

# By the name that EXIF has for it. Prefixes are free in XML, but programs use these.
_PROPERTIES = {
    "UserComment": b"exif:UserComment",
    "ImageDescription": b"dc:description",
    "DateTimeOriginal": b"exif:DateTimeOriginal",
    "CreateDate": b"xmp:CreateDate",
}
_TAG_PATTERN = re.compile(r"<[^<>]*+>")

_NAMESPACE = "urn:sd35-studio:1.0/"
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>\n'
    '<?xpacket end="w"?>'
).encode()

# Patterns, not an XML parser: everything else must stay byte for byte, and a parser would have to
# be kept from expanding entities.
_PREFIX_PATTERN = re.compile(
    rb"""xmlns:([\w.\-]{1,40})\s*+=\s*+["']%s["']""" % re.escape(_NAMESPACE.encode())
)
_RDF_END_PATTERN = re.compile(rb"</([\w.\-]{1,40}):RDF\s*+>")
_ABOUT_PATTERN = re.compile(rb"""\s([\w.\-]{1,40}:about\s*+=\s*+(?:"[^"<]*"|'[^'<]*'))""")


def read_xmp(packet: bytes) -> str:
    """Return this program's JSON in a packet; empty if there is none."""
    span = _find_value(packet)
    return html.unescape(packet[slice(*span)].decode("utf-8", "replace")) if span else ""


def read_xmp_properties(packet: bytes) -> dict[str, str]:
    """Return texts that other programs put there, by the names that EXIF has for them.

    Draw Things has its settings in XMP.
    """
    texts = {name: _read_property(packet, key) for name, key in _PROPERTIES.items()}
    return {name: text for name, text in texts.items() if text}


def _read_property(packet: bytes, key: bytes) -> str:
    """Return the text of an element or an attribute; empty if there is none."""
    start = packet.find(b"<%s>" % key)
    end = packet.find(b"</%s>" % key, start)
    if start < 0:
        start = packet.find(b' %s="' % key)
        end = packet.find(b'"', start + len(key) + 3)
        start += len(key) + 3 if start >= 0 else 0
    if not 0 <= start < end:
        return ""
    # A text that may be in several languages is the first item of a list.
    text = packet[start:end].decode("utf-8", "replace")
    return html.unescape(_TAG_PATTERN.sub("", text)).strip()


def merge_xmp(packet: bytes, metadata_json: str) -> bytes | None:
    """Return a packet with this JSON in place of an earlier one; empty `packet` makes a new one.

    `None` if the packet holds no RDF in UTF-8, so that nothing can be added.
    """
    # Exiv2 makes a space of each control character and of each character given by its number.
    escaped_json = html.escape(metadata_json).replace("&#x27;", "&apos;")
    value = escaped_json.replace("\x7f", "\\u007f").encode("utf-8", "replace")
    span = _find_value(packet)
    if span:
        return packet[: span[0]] + value + packet[span[1] :]
    packet = packet or _PACKET
    rdf_ends = list(_RDF_END_PATTERN.finditer(packet))
    if not rdf_ends:
        return None
    rdf = rdf_ends[-1][1]
    # All descriptions of a packet must be about the same: Adobe's toolkit rejects others.
    about_match = _ABOUT_PATTERN.search(packet)
    about = about_match[1] if about_match else rdf + b':about=""'
    namespace = _NAMESPACE.encode()
    description = b'<%s:Description %s xmlns:sd35="%s" sd35:record="%s"/>'
    position = rdf_ends[-1].start()
    new_bytes = description % (rdf, about, namespace, value)
    return packet[:position] + new_bytes + packet[position:]


def _find_value(packet: bytes) -> tuple[int, int] | None:
    """Return the range of the escaped JSON in a packet."""
    prefix_match = _PREFIX_PATTERN.search(packet)
    if prefix_match is None:
        return None
    name = re.escape(prefix_match[1]) + b":record"
    pattern = (
        rb"""<%s(?:\s[^<>]*+)?>([^<]*+)</%s\s*+>|\s%s\s*+=\s*+(?:"([^"<]*+)"|'([^'<]*+)')"""
        % (name, name, name)
    )
    match = re.search(pattern, packet)
    return match.span(match.lastindex or 0) if match else None
