"""Styles: words that are put around a prompt, and presets of negative prompts."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.text import one_line

__all__ = [
    "NO_STYLES",
    "SHIPPED_STYLES",
    "NegativePreset",
    "Style",
    "StyleBook",
    "apply_styles",
    "join_negatives",
    "load_styles",
    "plain_text",
    "read_styles_file",
]

SHIPPED_STYLES: Final = Path(__file__).parent.parent.parent / "assets" / "styles.json"

MAX_BYTES: Final = 1_000_000
MAX_STYLES: Final = 1000
MAX_NAME_LENGTH: Final = 60
MAX_TEXT_LENGTH: Final = 2000

PLACEHOLDER: Final = "{prompt}"

_THUMBNAIL_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Style:
    """Words for a prompt, with `{prompt}` where the prompt goes, and for a negative prompt.

    Attributes:
        thumbnail: key of its thumbnail, a file's name without suffix; empty without one.
    """

    name: str
    prompt: str
    negative_prompt: str = ""
    group: str = ""
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class NegativePreset:
    """Words for a negative prompt under a name."""

    name: str
    negative_prompt: str


@dataclass(frozen=True, slots=True)
class StyleBook:
    """Styles and negative presets, in the order in which they are shown."""

    styles: tuple[Style, ...] = ()
    negative_presets: tuple[NegativePreset, ...] = ()

    def find(self, names: Iterable[str]) -> tuple[Style, ...]:
        """Return the styles of these names, in any case.

        Raises:
            InvalidRequestError: there is no such style.
        """
        styles = {style.name.casefold(): style for style in self.styles}
        return tuple(self._find(name, styles) for name in dict.fromkeys(names))

    def find_preset(self, name: str) -> NegativePreset:
        """Return the negative preset of this name, in any case.

        Raises:
            InvalidRequestError: there is no such preset.
        """
        key = " ".join(name.split()).casefold()
        for preset in self.negative_presets:
            if preset.name.casefold() == key:
                return preset
        names = ", ".join(preset.name for preset in self.negative_presets)
        raise InvalidRequestError(
            f"There is no negative preset “{one_line(name)[:60]}”.", f"Use one of {names}."
        )

    def _find(self, name: str, styles: dict[str, Style]) -> Style:
        key = " ".join(name.split()).casefold()
        if key in styles:
            return styles[key]
        matches = [name for name in styles if key and key in name][:3]
        matches = matches or difflib.get_close_matches(key, styles, n=3)
        suggestion = " or ".join(f"“{styles[match].name}”" for match in matches)
        raise InvalidRequestError(
            f"There is no style “{one_line(name)}”.",
            f"Did you mean {suggestion}?" if suggestion else None,
        )


NO_STYLES: Final = StyleBook()


def apply_styles(prompt: str, negative_prompt: str, styles: Sequence[Style]) -> tuple[str, str]:
    """Return a prompt and a negative prompt with the words of styles, in order."""
    for style in styles:
        text = style.prompt
        if PLACEHOLDER in text:
            prompt = text.replace(PLACEHOLDER, _inner_text(prompt, text))
        else:
            prompt = ", ".join(filter(None, (prompt, text)))
    return prompt, join_negatives(negative_prompt, *(style.negative_prompt for style in styles))


def join_negatives(negative_prompt: str, *others: str) -> str:
    """Return a negative prompt with the words of others, each of them once: many avoid the same."""
    joined = negative_prompt.strip()
    phrases = {phrase.strip().casefold() for phrase in joined.split(",")} | {""}
    for phrase in ",".join(others).split(","):
        if phrase.strip().casefold() not in phrases:
            phrases.add(phrase.strip().casefold())
            joined += f", {phrase.strip()}"
    return joined.removeprefix(", ")


def _inner_text(prompt: str, style_text: str) -> str:
    """Return a prompt as it is within the words of a style: it may have those of another one."""
    is_inside = not style_text.startswith(PLACEHOLDER)
    return f"a{prompt[1:]}" if is_inside and prompt.startswith(("A ", "An ")) else prompt


def load_styles(*files: Path | str) -> StyleBook:
    """Return the styles of files that exist; those of a later file replace others of their name.

    Raises:
        InvalidRequestError: a file can't be read, or isn't a list of styles.
    """
    styles: dict[str, Style] = {}
    presets: dict[str, NegativePreset] = {}
    for file in files:
        _, book = read_styles_file(Path(file))
        styles |= {style.name.casefold(): style for style in book.styles}
        presets |= {preset.name.casefold(): preset for preset in book.negative_presets}
    return StyleBook(tuple(styles.values()), tuple(presets.values()))


def read_styles_file(file: Path) -> tuple[dict[str, Any], StyleBook]:
    """Return the JSON object in a file, and its styles; both are empty without the file.

    Raises:
        InvalidRequestError: the file can't be read, or isn't a list of styles.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        tree = _parse_tree(data)
        return tree, _parse_book(tree)
    except FileNotFoundError:
        return {}, StyleBook()
    except OSError as error:
        raise _file_error(file, os_error_text(error)) from error
    except json.JSONDecodeError as error:
        raise _file_error(file, f"line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _file_error(file, str(error)) from error


def _file_error(file: Path, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"Couldn't read styles from {one_line(file)}: {one_line(reason)}.")


def _parse_tree(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES / 1e6:.0f} MB")
    tree = json.loads(data.decode("utf-8-sig"))
    if not isinstance(tree, dict):
        raise ValueError('it has no "styles"')  # noqa: TRY004  # the file's fault, not a caller's
    return tree


def _parse_book(tree: dict[str, Any]) -> StyleBook:
    return StyleBook(
        tuple(_parse_style(entry) for entry in _entries(tree, "styles")),
        tuple(_parse_preset(entry) for entry in _entries(tree, "negative_presets")),
    )


def _entries(tree: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = tree.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f'"{key}" isn\'t a list of objects')
    if len(entries) > MAX_STYLES:
        raise ValueError(f'"{key}" has more than {MAX_STYLES:,} entries')
    return entries


def _parse_style(entry: dict[str, Any]) -> Style:
    name = _parse_name(entry)
    keys = ("prompt", "negative_prompt", "group")
    texts = {key: _parse_text(entry, name, key) for key in keys}
    style = Style(name, **texts, thumbnail=_parse_thumbnail(entry.get("thumbnail")))
    if not style.prompt and not style.negative_prompt:
        raise ValueError(f"the style “{name}” has no words")
    return style


def _parse_thumbnail(value: object) -> str:
    # It becomes a part of addresses and paths.
    is_key = isinstance(value, str) and _THUMBNAIL_PATTERN.fullmatch(value) is not None
    return str(value) if is_key else ""


def _parse_preset(entry: dict[str, Any]) -> NegativePreset:
    name = _parse_name(entry)
    return NegativePreset(name, _parse_text(entry, name, "negative_prompt"))


def _parse_name(entry: dict[str, Any]) -> str:
    name = entry.get("name")
    # The record of an image lists the names of its styles with commas.
    if not isinstance(name, str) or not name.strip() or "," in name or len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"each entry needs a name of up to {MAX_NAME_LENGTH} characters, without commas"
        )
    return plain_text(name)


def _parse_text(entry: dict[str, Any], name: str, key: str) -> str:
    text = entry.get(key, "")
    if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH:
        raise ValueError(
            f'"{key}" of “{name}” isn\'t a text of up to {MAX_TEXT_LENGTH:,} characters'
        )
    return plain_text(text)


def plain_text(text: str) -> str:
    """Return a text on one line."""
    # JSON may have halves of characters, which can't be sent to a browser.
    return " ".join(text.encode("utf-8", "replace").decode().split())
