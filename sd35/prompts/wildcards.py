"""Wildcards: lists of values in the files of a folder, each under a name with slashes."""

import codecs
import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import translate
from pathlib import Path
from typing import Any, Final

import yaml

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import TemplateError
from sd35.core.text import one_line

__all__ = ["NO_WILDCARDS", "SHIPPED_WILDCARDS", "WildcardFolders"]

SHIPPED_WILDCARDS: Final = Path(__file__).parent.parent.parent / "assets" / "wildcards"

MAX_FILES: Final = 20_000
MAX_TEXT_BYTES: Final = 10_000_000
MAX_TREE_BYTES: Final = 2_000_000  # of YAML and JSON
MAX_TREE_DEPTH: Final = 20
MAX_VALUES: Final = 200_000  # of one wildcard, which may be several files
MAX_PATTERN_STARS: Final = 5  # a pattern of many takes exponential time

_GLOB: Final = re.compile(r"[*?\[]")


class WildcardFolders:
    """The wildcards of some folders; those of a later folder replace others of their name.

    A text file has a value in each line, without those that begin with `#`. YAML and JSON files
    have lists in a tree of names, below the folder that they are in.

    Attributes:
        problems: sentences about files that can't be used.
    """

    def __init__(self, *folders: Path | str) -> None:
        self._sources: dict[str, Path | tuple[str, ...]] = {}
        self._values: dict[str, tuple[str, ...]] = {}
        self.problems: list[str] = []
        for folder in folders:
            self._sources |= self._scan(Path(folder))

    @property
    def names(self) -> list[str]:
        """Names of all wildcards, in order."""
        return sorted(self._sources)

    def values(self, pattern: str) -> tuple[str, ...]:
        """Return the values of all wildcards that match a pattern, each once.

        Raises:
            TemplateError: there is no such wildcard, or it has no values.
        """
        if pattern not in self._values:
            self._values[pattern] = self._find_values(pattern)
        return self._values[pattern]

    def _find_values(self, pattern: str) -> tuple[str, ...]:
        names = self._matching_names(pattern)
        if not names:
            raise TemplateError(
                f"There is no wildcard “{one_line(pattern)}”", remedy=self._suggestion(pattern)
            )
        values = dict.fromkeys(value for name in names for value in self._read(name))
        if not values:
            raise TemplateError(f"The wildcard “{one_line(pattern)}” has no values")
        if len(values) > MAX_VALUES:
            raise TemplateError(f"The wildcard “{pattern}” has more than {MAX_VALUES:,} values")
        return tuple(values)

    def _matching_names(self, pattern: str) -> list[str]:
        if not _GLOB.search(pattern):
            return [pattern] if pattern in self._sources else []
        if pattern.count("*") > MAX_PATTERN_STARS:
            raise TemplateError(f"A wildcard has up to {MAX_PATTERN_STARS} stars")
        try:
            expression = re.compile(translate(pattern))
        except re.error as error:
            raise TemplateError(f"The pattern “{pattern}” isn't valid") from error
        return [name for name in self.names if expression.match(name)]

    def _suggestion(self, pattern: str) -> str:
        matches = difflib.get_close_matches(pattern, self.names, n=3)
        if matches:
            return f"Did you mean {' or '.join(f'__{name}__' for name in matches)}?"
        return "Write \\_ for an underscore." if self._sources else "Add a folder of wildcards."

    def _read(self, name: str) -> tuple[str, ...]:
        source = self._sources[name]
        return _parse_lines(self._read_text(source)) if isinstance(source, Path) else source

    def _read_text(self, path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            self._report(path, os_error_text(error))
            return ""
        if len(data) > max_bytes:
            self._report(path, f"larger than {max_bytes / 1e6:.0f} MB")
            return ""
        # Windows' Notepad calls UTF-16 “Unicode”.
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            return data.decode("utf-16" if is_utf16 else "utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("latin-1")

    def _report(self, path: Path, reason: str) -> None:
        self.problems.append(f"Couldn't use {one_line(path)}: {one_line(reason)}.")

    def _scan(self, folder: Path) -> dict[str, Path | tuple[str, ...]]:
        sources: dict[str, Path | tuple[str, ...]] = {}
        for count, path in enumerate(_walk(folder)):
            if count >= MAX_FILES:
                self._report(folder, f"only the first {MAX_FILES:,} files were read")
                break
            name = path.relative_to(folder).with_suffix("").as_posix()
            if path.suffix.lower() == ".txt":
                sources[name] = path
            else:
                prefix, _, _ = name.rpartition("/")
                lists = _list_values(self._read_tree(path), prefix)
                sources |= {key: values for key, values in lists if values}
        return sources

    def _read_tree(self, path: Path) -> object:
        text = self._read_text(path, MAX_TREE_BYTES)
        try:
            if path.suffix.lower() == ".json":
                return json.loads(text) if text else None
            _check_yaml(text)
            # The events have no aliases, and so no value that is there a million times.
            return yaml.load(text, Loader=_YAML_LOADER)  # noqa: S506  # it is a safe one
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            problem = str(getattr(error, "problem", None) or error)
            self._report(path, problem[:200] or "not valid")
            return None


NO_WILDCARDS: Final = WildcardFolders()

_YAML_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_yaml(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_YAML_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases aren't supported")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_TREE_DEPTH:
            raise ValueError(f"nested more than {MAX_TREE_DEPTH} deep")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files with values in a folder, in order; links and hidden files aren't followed."""
    # A link may lead in a circle, or out of a folder that visitors' templates can name.
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            is_known = path.suffix.lower() in {".txt", ".yaml", ".yml", ".json"}
            if is_known and not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _parse_lines(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.split("\n"))
    return tuple(line for line in lines if line and not line.startswith("#"))


def _list_values(
    tree: object, prefix: str, depth: int = 0
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and the values of each list in a tree of names."""
    if isinstance(tree, Mapping) and depth <= MAX_TREE_DEPTH:
        for key, value in tree.items():
            name = str(key).strip()
            yield from _list_values(value, f"{prefix}/{name}" if prefix else name, depth + 1)
    elif isinstance(tree, list) and prefix:
        yield prefix, tuple(_scalars(tree))


def _scalars(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value).strip()
            if text:
                yield text
