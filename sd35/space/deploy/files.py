"""The files of a folder that `hf upload` sends, and those that it shouldn't.

It sends every file, whether git knows it or not, but for `.git` and what the `.gitignore` at the
top leaves out.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from sd35.space.deploy.card import Problem

__all__ = ["SpaceFile", "file_problems", "list_files"]

MAX_BYTES: Final = 10_000_000
"""Of a plain file in the Hub's git; what is larger goes to its store of large files."""

_TOKEN: Final = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")

_JUNK: Final = re.compile(
    r"(?:[^/]+/)*?(?:__pycache__|\.?venv|\.env|\.cache|\.\w+_cache|\.DS_Store|node_modules|users\.txt)(?:/|$)"
)


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """A file that is sent: its path from the top of the folder, with `/` between the parts."""

    path: str
    size_bytes: int


def list_files(folder: Path) -> list[SpaceFile]:
    """Return the files that are sent of this folder, in their order.

    Raises:
        OSError: the folder, or its `.gitignore`, can't be read.

    """
    ignored = folder / ".gitignore"
    rules = GitIgnoreSpec.from_lines(_text_of(ignored).splitlines() if ignored.is_file() else ())
    return sorted(_walk(folder, rules), key=lambda file: file.path)


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _walk(top: Path, rules: GitIgnoreSpec) -> Iterator[SpaceFile]:
    for here, folders, names in os.walk(top, onerror=_raise):
        inside = Path(here).relative_to(top)
        folders[:] = [
            name
            for name in folders
            if name != ".git" and not rules.match_file(f"{(inside / name).as_posix()}/")
        ]
        for name in names:
            path = inside / name
            if name != ".git" and not rules.match_file(path.as_posix()) and (top / path).is_file():
                yield SpaceFile(path.as_posix(), (top / path).stat().st_size)


def _raise(error: OSError) -> None:
    raise error


def file_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[Problem]:
    """Yield what is among these files, and shouldn't be.

    Raises:
        OSError: a file can't be read.

    """
    junk = {match[0].rstrip("/") for file in files if (match := _JUNK.match(file.path))}
    for name in sorted(junk):
        yield Problem(
            f"{name}: it would be sent, and is no part of the program.", "Add it to .gitignore."
        )
    for file in files:
        if file.size_bytes > MAX_BYTES:
            yield Problem(
                f"{file.path}: it has {file.size_bytes / 1e6:.1f} MB, and the Hub takes a plain file up to 10 MB.",
                "Take it out, or add it to .gitignore.",
            )
        elif not _JUNK.match(file.path):
            yield from _token_problems(folder, file.path)


def _token_problems(folder: Path, path: str) -> Iterator[Problem]:
    data = (folder / path).read_bytes()
    token = _TOKEN.search(data)
    if token:
        line = data.count(b"\n", 0, token.start()) + 1
        yield Problem(
            f"{path}: line {line} holds what looks like a Hugging Face token.",
            "Take it out, revoke it, and make it a secret in the Space's settings instead.",
        )
