"""Names of image files, made of prompts in any script, for any file system."""

import re
import sys
import unicodedata
from typing import Final

from sd35.core.picture import Picture

__all__ = ["file_name", "make_slug"]

MAX_SLUG_CHARACTERS: Final = 70  # the length of model and prompt in a file name
MAX_SLUG_BYTES: Final = 150  # file systems allow 255 for a name, and 灯 has three in UTF-8

_SKIN_TONES: Final = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
# Windows takes them for devices, whatever the suffix.
_DEVICE_NAME: Final = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9¹²³]")


def file_name(model: str, prompt: str, seed: int | None, picture: Picture) -> str:
    """Return a name made of the model, the prompt and the seed, if known."""
    seed_suffix = "" if seed is None else f"-seed-{seed}"
    stem = f"{make_slug(f'{model} {prompt}', MAX_SLUG_CHARACTERS) or 'picture'}{seed_suffix}"
    prefix = "picture-" if _DEVICE_NAME.fullmatch(stem) else ""
    return f"{prefix}{stem}{picture.suffix}"


def make_slug(text: str, max_characters: int) -> str:
    """Return the letters, digits and pictographs of a text in lower case, other ones as dashes.

    It may be empty, and has at most `MAX_SLUG_BYTES`. It neither begins nor ends with a dash.
    """
    # NFC, as macOS may hand names out decomposed. `:` `?` `*` `\\` and the like can't be in a name
    # on Windows, and `..` would be a path.
    chars = unicodedata.normalize("NFC", text[: 4 * max_characters].lower())
    slug = "-".join("".join(map(_name_char, chars)).split())[:max_characters]
    # On Linux, the file system may have an encoding that lacks some of the letters.
    encoding = sys.getfilesystemencoding()
    encoded = slug.encode(encoding, "ignore")[:MAX_SLUG_BYTES]
    return encoded.decode(encoding, "ignore").strip("-")


def _name_char(char: str) -> str:
    """Return a character as it is in a name: itself, a space, or nothing if it is invisible."""
    category = unicodedata.category(char)
    if category == "Cf":  # such as a joiner within a word or an emoji
        return ""
    is_visible = category[0] in "LNM" or category == "So" or char in _SKIN_TONES
    return char if is_visible else " "
