"""The files that `hf upload` sends from a folder, and problems with them.

It sends every file, tracked by git or not, except `.git` and what the `.gitignore` at the top
excludes. `.gitignore` files in subfolders don't count.

If the folder has programs that import this one, but no copy of it, the modules that they need are
sent along.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from sd35.space.deploy.card import SpaceProblem
from sd35.space.deploy.modules import PROGRAM_FOLDER, find_modules

__all__ = ["SpaceFile", "copy_files", "file_problems", "list_files"]

# The Hub's git refuses larger files outside of its store for large ones (Git LFS, Xet).
MAX_BYTES: Final = 10_000_000

# Copies of the program have to contain them.
_LEGAL_FILES: Final = ("LICENSE", "NOTICE")

# Tokens have 34 letters and digits today; shorter ones are examples in a text.
_TOKEN_PATTERN: Final = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")

_JUNK_PATTERN: Final = re.compile(
    r"(?:[^/]+/)*?(?:__pycache__|\.?venv|\.env|\.cache|\.\w+_cache|\.DS_Store|node_modules"
    r"|users\.txt)(?:/|$)"
)


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """File to send.

    Attributes:
        path: in the Space, in POSIX form.
        source: its place on this machine.
    """

    path: str
    size_bytes: int
    source: Path


def list_files(folder: Path) -> list[SpaceFile]:
    """Return the files to send, sorted by path.

    Raises:
        OSError: the folder or its `.gitignore` can't be read.
    """
    gitignore = folder / ".gitignore"
    text = gitignore.read_text(encoding="utf-8", errors="replace") if gitignore.is_file() else ""
    rules = GitIgnoreSpec.from_lines(text.splitlines())
    files = {file.path: file for file in (*_program_files(folder), *_walk(folder, rules))}
    return [files[path] for path in sorted(files)]


def _program_files(folder: Path) -> Iterator[SpaceFile]:
    """Yield the files of this program that a folder lacks."""
    sources = list(find_modules(folder.glob("*.py")))
    if not sources or (folder / sources[0].relative_to(PROGRAM_FOLDER)).is_file():
        return
    sources += filter(Path.is_file, (PROGRAM_FOLDER / name for name in _LEGAL_FILES))
    for source in sources:
        path = source.relative_to(PROGRAM_FOLDER).as_posix()
        yield SpaceFile(path, source.stat().st_size, source)


def copy_files(files: Sequence[SpaceFile], folder: Path) -> None:
    """Copy the files to a new folder, as they will be in the Space.

    Raises:
        OSError: a file can't be copied, or something is in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target)


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
                yield SpaceFile(path.as_posix(), (top / path).stat().st_size, top / path)


def _raise_error(error: OSError) -> None:
    raise error


def file_problems(files: Sequence[SpaceFile]) -> Iterator[SpaceProblem]:
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
            yield from _token_problems(file)


def _token_problems(file: SpaceFile) -> Iterator[SpaceProblem]:
    data = file.source.read_bytes()
    match = _TOKEN_PATTERN.search(data)
    if match:
        line = data.count(b"\n", 0, match.start()) + 1
        yield SpaceProblem(
            f"{file.path}: line {line} seems to contain a Hugging Face token.",
            "Remove and revoke it. Use a secret in the Space's settings instead.",
        )
