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
from bisect import bisect
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

# So much of the beginning or the end of a secret is hidden, too.
MIN_PART_CHARACTERS: Final = 8

# The secrets that were sent last: visitors bring theirs.
MAX_SECRETS: Final = 500
MAX_SECRET_CHARACTERS: Final = 8192

MAX_DECODINGS: Final = 4  # a text may be escaped several times

_AUTHORIZATION_HEADERS: Final = frozenset(
    {"authorization", "x-hf-authorization", "proxy-authorization", "x-ip-token"}
)

_ESCAPE_PATTERN: Final = re.compile(
    r"&(?:\#\d{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});?"
    r"|(?:%[0-9a-f]{2})+"
    r"|\\(?:u[0-9a-f]{4}|x[0-9a-f]{2})",
    re.IGNORECASE,
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

    def __init__(self, forms: Iterable[str] = ()) -> None:
        self._forms = sorted(forms)
        self._short_forms = [form for form in self._forms if len(form) < MIN_PART_CHARACTERS]
        self._beginnings = {form[:MIN_PART_CHARACTERS] for form in self._forms}

    def find(self, text: str) -> Iterator[_Span]:
        """Yield where a form or its beginning stands in a text, as much of it as does."""
        for form in self._short_forms:
            yield from (match.span() for match in re.finditer(form, text))
        for start in range(len(text)):
            if text[start : start + MIN_PART_CHARACTERS] in self._beginnings:
                yield start, start + self._common_length(text[start:])

    def _common_length(self, text: str) -> int:
        # In their order, the form that has most in common with the text is one of its neighbours.
        index = bisect(self._forms, text)
        neighbors = self._forms[max(index - 1, 0) : index + 1]
        common_parts = [os.path.commonprefix([form, text]) for form in neighbors]  # noqa: RUF071
        return max(map(len, common_parts))


class _SecretRegistry:
    """The secrets that were sent.

    Attributes:
        forms: the forms of all of them.
        mirrored_forms: the same, from their end to their beginning.
        version: changes with them.
    """

    def __init__(self) -> None:
        self.forms = _FormIndex()
        self.mirrored_forms = _FormIndex()
        self.version = 0
        self._forms_by_secret: LRUCache[str, list[str]] = LRUCache(MAX_SECRETS)
        self._lock = Lock()  # each call of the blocking API has a thread of its own

    def add(self, secrets: Iterable[str]) -> None:
        """Add secrets; those that are there already become the last ones to be forgotten."""
        with self._lock:
            new_secrets = [
                secret for secret in secrets if self._forms_by_secret.get(secret) is None
            ]
            if not new_secrets:
                return
            for secret in new_secrets:
                self._forms_by_secret[secret] = list(_forms_of(secret))
            forms = {form for forms in self._forms_by_secret.values() for form in forms}
            self.forms = _FormIndex(forms)
            self.mirrored_forms = _FormIndex(form[::-1] for form in forms)
            self.version += 1


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
        if _ESCAPE_PATTERN.search(_text_of(reading)) is None:
            break
        reading = _decode(reading)
    return spans


def _find_shapes(reading: _Reading) -> Iterator[_Span]:
    for match in _SHAPE_PATTERN.finditer(_text_of(reading)):
        start, end = match.span("value" if match["value"] else 0)
        yield reading[start][1], reading[end - 1][2]


def _find_forms(reading: _Reading) -> Iterator[_Span]:
    text = _text_of(reading)
    for start, end in _registry.forms.find(text):
        yield reading[start][1], reading[end - 1][2]
    for start, end in _registry.mirrored_forms.find(text[::-1]):
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
        decoded_reading += [(char, *span) for char in _decode_escape(match[0])]
        position = match.end()
    return decoded_reading + reading[position:]


def _decode_escape(escape: str) -> str:
    match escape[0]:
        case "&":
            return unescape(escape)
        case "%":
            return unquote(escape)
        case _:
            return chr(int(escape[2:], base=16))  # noqa: FURB166  # without 0x or 0u
