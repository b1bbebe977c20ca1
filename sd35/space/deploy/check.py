"""Checks of a folder before it is uploaded as a Space to Hugging Face."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from sd35.space.deploy.card import SpaceProblem, SpaceProblemError, card_problems, read_card
from sd35.space.deploy.files import SpaceFile, file_problems
from sd35.space.deploy.modules import PROGRAM_FOLDER
from sd35.space.deploy.zerogpu import zerogpu_problems

__all__ = ["find_problems"]

_COMMENT_PATTERN = re.compile(r"(?:^|\s)#.*")
_LOCAL_FILE_PATTERN = re.compile(r"\.{0,2}/|file:|[^:]*\.(?:whl|zip|tar\.gz)$")
_MISSING_FILE = "it doesn't exist, or .gitignore excludes it"


def find_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[SpaceProblem]:
    """Yield the problems that these files would have on the Hub.

    Raises:
        OSError: a file can't be read.
    """
    paths = {file.path for file in files}
    texts = {}
    for name in ("README.md", "requirements.txt"):
        if name in paths:
            # Undecodable bytes show up as problems of the lines they are in.
            texts[name] = (folder / name).read_text(encoding="utf-8", errors="replace")
        else:
            yield SpaceProblem(f"{name}: {_MISSING_FILE}.", "Use the complete folder.")
    card: Mapping[str, Any] = {}
    try:
        card = read_card(folder / "README.md") if "README.md" in texts else {}
    except SpaceProblemError as error:
        yield error.problem
    problems = card_problems(card) if card else {}
    yield from problems.values()
    requirements = texts.get("requirements.txt", "")
    yield from _requirement_problems(requirements)
    yield from _gradio_problems(requirements, card)
    yield from _python_problems(_read_project(folder, files), card)
    yield from zerogpu_problems(card, list(_requirements(requirements)), files)
    if card and "app_file" not in problems:
        yield from _app_problems(folder, card["app_file"], paths)
    yield from file_problems(files)


def _requirement_lines(text: str) -> list[str]:
    return [_COMMENT_PATTERN.sub("", line).strip() for line in text.splitlines()]


def _requirement_problems(text: str) -> Iterator[SpaceProblem]:
    for line_number, line in enumerate(_requirement_lines(text), 1):
        reason = _rejection_reason(line) if line else None
        if reason:
            message = f"requirements.txt: line {line_number} {reason}."
            yield SpaceProblem(message, "Use a package name with versions only.")


def _rejection_reason(line: str) -> str | None:
    """Return why the Hub can't install a requirement; `None` if it can.

    The Hub's builder installs from the public index, in a layer that holds requirements.txt alone.
    """
    if line.startswith("-"):
        option = re.split(r"[\s=]", line)[0]
        if option in {"-r", "--requirement", "-c", "--constraint"}:
            return "refers to another file, which the Hub's builder doesn't have"
        if option in {"-e", "--editable"}:
            return "installs a folder, which the Hub's builder doesn't have"
        return f"has an option ({option}), but a Space installs from the public package index"
    try:
        source = Requirement(line).url or ""
    except InvalidRequirement:
        if not _LOCAL_FILE_PATTERN.match(line):
            return "isn't a package with its versions"
        source = line  # pip takes a bare path, which no requirement specifier is
    is_local = _LOCAL_FILE_PATTERN.match(source) is not None
    return "refers to a file, which the Hub's builder doesn't have" if is_local else None


def _requirements(text: str) -> Iterator[Requirement]:
    """Yield the requirements that can be read; the others are reported as problems."""
    for line in _requirement_lines(text):
        with suppress(InvalidRequirement):
            yield Requirement(line)


def _gradio_problems(text: str, card: Mapping[str, Any]) -> Iterator[SpaceProblem]:
    """Yield where requirements and card disagree on Gradio: the Hub installs both together."""
    version = _release_version(card.get("sdk_version"))
    for requirement in _requirements(text):
        if canonicalize_name(requirement.name) != "gradio":
            continue
        if version is not None and not requirement.specifier.contains(version):
            yield SpaceProblem(
                f"requirements.txt: gradio{requirement.specifier} excludes {version}, which is "
                "sdk_version in README.md.",
                "Change one of them: the Hub installs both together.",
            )
        if card.get("hf_oauth") is True and "oauth" not in requirement.extras:
            yield SpaceProblem(
                "requirements.txt: gradio lacks the extra oauth, but README.md has hf_oauth: true.",
                "Write gradio[oauth]. Only the Hub adds the extra automatically.",
            )


def _read_project(folder: Path, files: Sequence[SpaceFile]) -> str:
    """Return the pyproject.toml of the program in these files; empty if there is none."""
    is_elsewhere = any(not file.source.is_relative_to(folder) for file in files)
    path = (PROGRAM_FOLDER if is_elsewhere else folder) / "pyproject.toml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _python_problems(pyproject: str, card: Mapping[str, Any]) -> Iterator[SpaceProblem]:
    try:
        project = tomllib.loads(pyproject).get("project", {})
        supported_versions = SpecifierSet(str(project.get("requires-python", "")))
    except (tomllib.TOMLDecodeError, InvalidSpecifier, AttributeError):
        yield SpaceProblem("pyproject.toml: requires-python isn't valid.", "Correct it.")
        return
    version = _release_version(card.get("python_version"))
    if version is not None and not supported_versions.contains(version):
        yield SpaceProblem(
            f"README.md: python_version is {version}, but pyproject.toml requires "
            f"{supported_versions}.",
            "Change one of them.",
        )


def _release_version(value: object) -> Version | None:
    """Return a release version; `None` for anything else, which `card_problems` reports."""
    try:
        # YAML reads an unquoted 3.10 as the number 3.1.
        version = Version(value) if isinstance(value, str) else None
    except InvalidVersion:
        return None
    return None if version is None or version.is_prerelease else version


def _app_problems(folder: Path, app_file: str, paths: set[str]) -> Iterator[SpaceProblem]:
    if app_file not in paths:
        yield SpaceProblem(
            f"{app_file}: {_MISSING_FILE}.",
            "Set app_file in README.md to the file that starts the program.",
        )
        return
    try:
        tree = ast.parse((folder / app_file).read_bytes())
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        yield SpaceProblem(f"{app_file}: line {line} isn't valid Python.", "Correct it.")
        return
    if "demo" not in _global_names(tree):
        # `gradio app.py`, which reloads on changes, looks for this name.
        yield SpaceProblem(f"{app_file}: it doesn't define demo.", "Assign the page to demo.")


def _global_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module assigns at its top level, also within `if` and `with`."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
