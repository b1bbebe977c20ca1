"""Removal of tokens and passwords from the words of a Space, which may repeat what it was sent.

Secrets are those that this process has sent, and whatever looks like one. A Space that wants to
betray a token can: it has the token, and could spell it out. This is about Spaces that repeat their
requests, in an error, a log line or a title, as they came or as some code has encoded them.
"""

import base64
import binascii
import os.path
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import unescape
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Final
from urllib.parse import unquote

from cachetools import LRUCache

__all__ = ["HIDDEN", "contains_secret", "redact", "remember_secrets", "secrets_version"]

HIDDEN: Final = "[hidden]"  # what stands in place of a secret

# Shorter ones would be found in ordinary words. Of all, letters and digits are compared.
MIN_SECRET_CHARACTERS: Final = 4

# So much of the beginning or the end of a secret is hidden, too, and a little more of its middle.
MIN_PART_CHARACTERS: Final = 8
PART_DISTANCE: Final = 4
MAX_PARTS: Final = 64  # of a long secret, in a larger distance

# The secrets that were sent last: visitors bring theirs.
MAX_SECRETS: Final = 500
MAX_SECRET_CHARACTERS: Final = 8192

MAX_DECODINGS: Final = 4  # a text that is escaped more often is hidden as a whole

_AUTHORIZATION_HEADERS: Final = frozenset(
    {"authorization", "x-hf-authorization", "proxy-authorization", "x-ip-token"}
)

_ESCAPE_PATTERN: Final = re.compile(
    r"""
      &(?:\#0*\d{1,7}|\#x0*[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});?
    | (?:%[0-9a-f]{2})+
    | \\(?-i:U)00(?P<wide>(?:0[0-9a-f]|10)[0-9a-f]{4})
    | [\\%]u(?P<unit>[0-9a-f]{4})
    | \\u\{0*(?P<braced>(?:10|[0-9a-f])?[0-9a-f]{1,4})\}
    | \\x(?P<byte>[0-9a-f]{2})
    | \\(?P<octal>[0-3]?[0-7]{1,2})
    """,
    re.IGNORECASE | re.VERBOSE,
)

_SHAPE_PATTERN: Final = re.compile(
    r"""
    # Tokens of Hugging Face; but HF_TOKEN and the names of packages and settings are words.
      (?<![a-z0-9])hf_(?!(?:hub|transfer|endpoint|datasets|inference)(?:_|\b))[\w-]{8,}(?:\.[\w-]+)*
    | (?<![a-z0-9])eyJ[\w-]{10,}(?:\.[\w-]*\w)*            # JSON Web Tokens
    | (?<![a-z0-9])(?:aGZf|ZXlK|QmVhcmVyI)[\w+/-]{8,}=*    # Base64 of these and of `Bearer`
    | \b(?:Bearer|Basic)\s+(?:(?=\S*[\d+/=_])[\w.~+/-]{8,}=*|\w{16,})
    | (?<=://)[^\s/@"'<>]{1,500}(?=@)                      # user and password of an address
    | (?<![a-z])(?:authorization|x[-_]ip[-_]token|cookie)  # headers, as text and as code
      (?:["']\s*,|["']?\s*[:=])\s*(?:b?["'])?(?P<value>[^"'\r\n,}]+)
    """,
    re.IGNORECASE | re.VERBOSE,
)

# A text as it is read: its characters, each with its place in the original, `[start, end)`.
_Reading = list[tuple[str, int, int]]
_Span = tuple[int, int]


class _FormIndex:
    """The forms in which secrets are looked for."""

    def __init__(self) -> None:
        self._short_forms: list[str] = []
        # By a part: a form that has it, and where.
        self._occurrences: dict[str, tuple[str, int]] = {}

    def add(self, forms: Iterable[str]) -> None:
        """Look for these forms, too."""
        for form in forms:
            last = len(form) - MIN_PART_CHARACTERS
            if last < 0:
                self._short_forms.append(form)
                continue
            distance = max(PART_DISTANCE, len(form) // MAX_PARTS)
            for offset in (*range(0, last, distance), last):
                part = form[offset : offset + MIN_PART_CHARACTERS]
                self._occurrences.setdefault(part, (form, offset))

    def find(self, text: str) -> Iterator[_Span]:
        """Yield where a form or a part of one stands in a text, as much of it as does."""
        for form in self._short_forms:
            yield from (match.span() for match in re.finditer(form, text))
        start = 0
        end = 0
        while start + MIN_PART_CHARACTERS <= len(text):
            occurrence = self._occurrences.get(text[start : start + MIN_PART_CHARACTERS])
            if occurrence is None:
                start += 1
                continue
            form, offset = occurrence
            # Not beyond the last end, so that the time stays linear.
            first = start - _common_length(text[end:start][::-1], form[:offset][::-1])
            end = start + _common_length(text[start : start + len(form)], form[offset:])
            yield first, end
            # Forms may overlap in the text, and share parts.
            start = end - MIN_PART_CHARACTERS + 1


def _common_length(text: str, other: str) -> int:
    return len(os.path.commonprefix([text, other]))  # noqa: RUF071  # characters, not paths


class _SecretRegistry:
    """The secrets that were sent.

    Attributes:
        forms: the forms of all of them.
        version: changes with them.
    """

    def __init__(self) -> None:
        self.forms = _FormIndex()
        self.version = 0
        self._forms_by_secret: LRUCache[str, list[str]] = LRUCache(MAX_SECRETS)
        self._lock = Lock()  # each call of the blocking API has a thread of its own

    def add(self, secrets: Iterable[str]) -> None:
        """Add secrets; those that are there already become the last ones to be forgotten."""
        with self._lock:
            for secret in secrets:
                if self._forms_by_secret.get(secret) is None:
                    forms = list(_forms_of(secret))
                    self._forms_by_secret[secret] = forms
                    self.forms.add(forms)
                    self.version += 1
                    if self.version % MAX_SECRETS == 0:
                        self._forget()

    def _forget(self) -> None:
        """Drop the forms of secrets that were forgotten, which costs too much for each of them."""
        self.forms = _FormIndex()
        for forms in self._forms_by_secret.values():
            self.forms.add(forms)


_registry: Final = _SecretRegistry()


def remember_secrets(headers: Mapping[str, str]) -> None:
    """Look for the secrets in these headers of a request from now on."""
    _registry.add(_secrets_in(headers))


def secrets_version() -> int:
    """Return a number that changes with the secrets that are looked for."""
    return _registry.version


def contains_secret(text: str) -> bool:
    """Return whether `redact` would change this text."""
    return bool(_find_secrets(text))


def redact(text: str) -> str:
    """Return the text with `HIDDEN` in place of each secret."""
    parts = []
    position = 0
    for start, end in sorted(_find_secrets(text)):
        if start >= position:
            parts += [text[position:start], HIDDEN]
        position = max(position, end)
    return "".join([*parts, text[position:]])


def _secrets_in(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if len(value) > MAX_SECRET_CHARACTERS:
            continue
        if name.lower() in _AUTHORIZATION_HEADERS:
            scheme, _, credentials = value.rpartition(" ")
            yield credentials
            if scheme.lower() == "basic":
                yield from _split_login(credentials)
        elif name.lower() == "cookie":
            yield from _cookie_values(value)


def _split_login(credentials: str) -> Iterator[str]:
    try:
        login = base64.b64decode(credentials).decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    yield login
    yield login.partition(":")[2]


def _cookie_values(header: str) -> Iterator[str]:
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return
    for cookie in cookies.values():
        yield cookie.value


def _forms_of(secret: str) -> Iterator[str]:
    """Yield a secret as it is looked for: as it is, in hexadecimal and in Base64."""
    data = secret.encode()
    forms = [secret, data.hex()]
    for offset, first in enumerate((0, 2, 3)):
        # In a longer text, it begins at one of three places of Base64's groups of bytes. Its first
        # and last characters depend on what stands beside it.
        encoded = base64.b64encode(bytes(offset) + data).decode()
        forms.append(encoded[first : (offset + len(data)) * 8 // 6])
    for form in forms:
        simplified_form = _text_of(_convert(_reading_of(form), _simplify))
        if len(simplified_form) >= MIN_SECRET_CHARACTERS:
            yield simplified_form


def _find_secrets(text: str) -> list[_Span]:
    spans: list[_Span] = []
    reading = _reading_of(text)
    for _ in range(MAX_DECODINGS + 1):
        visible_reading = _convert(reading, _visible_part)
        spans += _find_shapes(visible_reading)
        spans += _find_forms(_convert(visible_reading, _simplify))
        decoded_reading = _decode(reading)
        if _text_of(decoded_reading) == _text_of(reading):
            return spans
        reading = decoded_reading
    return [(0, len(text))]


def _find_shapes(reading: _Reading) -> Iterator[_Span]:
    for match in _SHAPE_PATTERN.finditer(_text_of(reading)):
        start, end = match.span("value" if match["value"] else 0)
        yield reading[start][1], reading[end - 1][2]


def _find_forms(reading: _Reading) -> Iterator[_Span]:
    text = _text_of(reading)
    for start, end in _registry.forms.find(text):
        yield reading[start][1], reading[end - 1][2]
    for start, end in _registry.forms.find(text[::-1]):
        yield reading[-end][1], reading[-start - 1][2]


def _reading_of(text: str) -> _Reading:
    return [(char, index, index + 1) for index, char in enumerate(text)]


def _text_of(reading: _Reading) -> str:
    return "".join(char for char, _, _ in reading)


def _convert(reading: _Reading, conversion: Callable[[str], str]) -> _Reading:
    return [(new, start, end) for char, start, end in reading for new in conversion(char)]


def _visible_part(char: str) -> str:
    """Return a character in its compatible form; nothing for one that takes no place."""
    if char.isascii() and char.isprintable():
        return char
    takes_place = char.isspace() or unicodedata.category(char)[0] not in "CM"
    return unicodedata.normalize("NFKC", char) if takes_place else ""


def _simplify(char: str) -> str:
    return char.lower() if char.isalnum() else ""


def _decode(reading: _Reading) -> _Reading:
    """Return a text without one level of the escapes of HTML, addresses, JSON and Python."""
    decoded_reading: _Reading = []
    position = 0
    for match in _ESCAPE_PATTERN.finditer(_text_of(reading)):
        decoded_reading += reading[position : match.start()]
        # Hidden as a whole: half an escape is no text.
        span = reading[match.start()][1], reading[match.end() - 1][2]
        decoded_reading += [(char, *span) for char in _decode_escape(match)]
        position = match.end()
    return decoded_reading + reading[position:]


def _decode_escape(match: re.Match[str]) -> str:
    if match["octal"]:
        return chr(int(match["octal"], base=8))
    code = match["unit"] or match["wide"] or match["braced"] or match["byte"]
    if code:
        return chr(int(code, base=16))
    return unescape(match[0]) if match[0].startswith("&") else unquote(match[0])
