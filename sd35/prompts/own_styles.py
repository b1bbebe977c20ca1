"""The user's own styles, in a file that may also be edited by hand."""

import json
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from sd35.core.atomic_files import atomic_write, write_errors
from sd35.core.errors import FieldError, InvalidRequestError
from sd35.prompts.styles import (
    MAX_NAME_LENGTH,
    MAX_STYLES,
    MAX_TEXT_LENGTH,
    PLACEHOLDER,
    Style,
    plain_text,
    read_styles_file,
)

__all__ = ["OwnStyles", "words_from_prompt"]

_TEXT_FIELDS: Final = ("prompt", "negative_prompt")


class OwnStyles:
    """File of the user's own styles.

    Whatever else somebody has written into it stays there, also a style that replaces one of the
    reserved names, which new styles can't have.
    """

    def __init__(self, file: Path, reserved_names: Iterable[str] = ()) -> None:
        self._file = file
        self._reserved_keys = frozenset(name.casefold() for name in reserved_names)
        # Two pages may save at the same time.
        self._lock = threading.Lock()

    def styles(self) -> tuple[Style, ...]:
        """Return the styles in the order of the file.

        Raises:
            InvalidRequestError: the file can't be read, or isn't a list of styles.
        """
        return read_styles_file(self._file)[1].styles

    def check(self, style: Style, former_name: str = "") -> Style:
        """Return a style as it would be saved.

        Raises:
            InvalidRequestError: a value isn't valid, then with its `FieldError`; or the file can't
                be read.
        """
        style = _checked(style)
        _, book = read_styles_file(self._file)
        self._check_name(style, former_name, {own.name.casefold() for own in book.styles})
        return style

    def save(self, style: Style, former_name: str = "", index: int | None = None) -> Style:
        """Add a style, or replace the one of the former name; return it as it was saved.

        A new one is inserted at `index`, or else it becomes the last one.

        Raises:
            InvalidRequestError: see `check`.
            WriteError: the file can't be written.
        """
        style = _checked(style)
        former_key = former_name.casefold()
        with self._changed_entries() as entries:
            keys = list(map(_key, entries))
            self._check_name(style, former_name, keys)
            # What a form doesn't have, such as a group, stays as it is.
            items = asdict(style).items()
            values = {field: value for field, value in items if value or field in _TEXT_FIELDS}
            if former_key in keys:
                former_index = keys.index(former_key)
                entries[former_index] = {**entries[former_index], **values}
            elif len(entries) >= MAX_STYLES:
                raise InvalidRequestError(f"You already have {MAX_STYLES:,} styles.", "")
            else:
                last = len(entries)
                entries.insert(last if index is None else min(max(index, 0), last), values)
        return style

    def _check_name(self, style: Style, former_name: str, keys: Collection[str]) -> None:
        key = style.name.casefold()
        former_key = former_name.casefold()
        if key == former_key and former_key in keys:
            return
        if key in keys:
            raise _field_error("name", f"You already have a style “{style.name}”.")
        if key in self._reserved_keys:
            raise _field_error("name", f"“{style.name}” is a style of this program.")

    def delete(self, name: str) -> tuple[Style, int] | None:
        """Delete a style, and return it and its place in the list; `None` if it is gone already.

        Raises:
            InvalidRequestError: the file can't be read.
            WriteError: the file can't be written.
        """
        key = name.casefold()
        with self._changed_entries() as entries:
            keys = list(map(_key, entries))
            if key not in keys:
                return None
            index = keys.index(key)
            style = self.styles()[index]
            del entries[index]
        return style, index

    @contextmanager
    def _changed_entries(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the entries of the file, which is written afterwards if they were changed."""
        with self._lock:
            # A file that isn't valid has to be repaired first: it may be the work of hours.
            tree, _ = read_styles_file(self._file)
            entries = tree.setdefault("styles", [])
            former_entries = list(entries)
            yield entries
            if entries == former_entries:
                return
            text = json.dumps(tree, ensure_ascii=False, indent=2)
            with write_errors("the style"):
                atomic_write(self._file, f"{text}\n".encode("utf-8", "replace"))


def words_from_prompt(prompt: str, subject: str = "") -> str:
    """Return the words of a style in a prompt, without its subject.

    An unknown subject is guessed: most often it comes first, up to a comma.
    """
    if subject and subject in prompt:
        return prompt.replace(subject, PLACEHOLDER, 1)
    subject, comma, rest = plain_text(prompt).partition(",")
    return f"{PLACEHOLDER},{rest}" if comma and rest.strip() else f"{PLACEHOLDER}, {subject}"


def _key(entry: dict[str, Any]) -> str:
    return plain_text(str(entry.get("name"))).casefold()


def _checked(style: Style) -> Style:
    name = plain_text(style.name)
    if not name:
        raise _field_error("name", "Give the style a name.")
    if len(name) > MAX_NAME_LENGTH:
        raise _field_error("name", f"A name has up to {MAX_NAME_LENGTH} characters.")
    # The record of an image lists the names of its styles with commas.
    if "," in name:
        raise _field_error("name", "A name can't have commas.")
    texts = {field: plain_text(getattr(style, field)) for field in _TEXT_FIELDS}
    for field, text in texts.items():
        if len(text) > MAX_TEXT_LENGTH:
            raise _field_error(field, f"Use up to {MAX_TEXT_LENGTH:,} characters.")
    if not texts["negative_prompt"] and texts["prompt"] in {"", PLACEHOLDER}:
        raise _field_error("prompt", "Add the words that make the style.")
    return replace(style, name=name, **texts)


def _field_error(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "", field_errors=(FieldError(field, message),))
