"""The files that `hf upload` sends from a folder, and problems with them.

It sends every file, tracked by git or not, except `.git` and what the `.gitignore` at the top
excludes. `.gitignore` files in subfolders don't count.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from sd35.space.deploy.card import SpaceProblem

__all__ = ["SpaceFile", "file_problems", "list_files"]

# The Hub's git refuses larger files outside of its store for large ones (Git LFS, Xet).
MAX_BYTES: Final = 10_000_000

# Tokens have 34 letters and digits today; shorter ones are examples in a text.
_TOKEN_PATTERN: Final = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")

_JUNK_PATTERN: Final = re.compile(
    r"(?:[^/]+/)*?(?:__pycache__|\.?venv|\.env|\.cache|\.\w+_cache|\.DS_Store|node_modules"
    r"|users\.txt)(?:/|$)"
)


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """File to send, with its path relative to the folder, in POSIX form."""

    path: str
    size_bytes: int


def list_files(folder: Path) -> list[SpaceFile]:
    """Return the files to send, sorted by path.

    Raises:
        OSError: the folder or its `.gitignore` can't be read.
    """
    gitignore = folder / ".gitignore"
    text = gitignore.read_text(encoding="utf-8", errors="replace") if gitignore.is_file() else ""
    rules = GitIgnoreSpec.from_lines(text.splitlines())
    return sorted(_walk(folder, rules), key=lambda file: file.path)


def _walk(top: Path, rules: GitIgnoreSpec) -> Iterator[SpaceFile]:
    # Without `onerror`, an unreadable folder would be left out silently.
    for directory, folders, names in os.walk(top, onerror=_raise_error):
        relative_dir = Path(directory).relative_to(top)
        # In place: os.walk descends into what is left, so that ignored folders aren't even read.
        folders[:] = [
            name
            for name in folders
            if name != ".git" and not rules.match_file(f"{(relative_dir / name).as_posix()}/")
        ]
        for name in names:
            path = relative_dir / name
            # A worktree has a file named .git; a dangling link is no file.
            if name != ".git" and not rules.match_file(path.as_posix()) and (top / path).is_file():
                yield SpaceFile(path.as_posix(), (top / path).stat().st_size)


def _raise_error(error: OSError) -> None:
    raise error


def file_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[SpaceProblem]:
    """Yield files that should not be sent: large ones, those of tools, and access tokens.

    Raises:
        OSError: a file can't be read.
    """
    junk_paths = {
        match[0].rstrip("/") for file in files if (match := _JUNK_PATTERN.match(file.path))
    }
    for name in sorted(junk_paths):
        yield SpaceProblem(
            f"{name}: it isn't part of the program, but would be uploaded.", "Add it to .gitignore."
        )
    for file in files:
        if file.size_bytes > MAX_BYTES:
            yield SpaceProblem(
                f"{file.path}: it has {file.size_bytes / 1e6:.1f} MB, but the limit is 10 MB.",
                "Remove it, or add it to .gitignore.",
            )
        elif not _JUNK_PATTERN.match(file.path):
            yield from _token_problems(folder, file.path)


def _token_problems(folder: Path, path: str) -> Iterator[SpaceProblem]:
    data = (folder / path).read_bytes()
    match = _TOKEN_PATTERN.search(data)
    if match:
        line = data.count(b"\n", 0, match.start()) + 1
        yield SpaceProblem(
            f"{path}: line {line} seems to contain a Hugging Face token.",
            "Remove and revoke it. Use a secret in the Space's settings instead.",
        )
