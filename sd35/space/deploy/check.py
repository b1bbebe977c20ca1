"""Whether a folder can be a Space as it is: each question, put to its files."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from sd35.space.deploy.card import FIELDS, SpaceProblem, SpaceProblemError, card_problems, read_card
from sd35.space.deploy.files import SpaceFile, file_problems

__all__ = ["find_problems", "gradio_problems", "python_problems", "requirement_problems"]


_COMMENT_PATTERN = re.compile(r"(?:^|\s)#.*")
_FILE_PATTERN = re.compile(r"\.{0,2}/|file:|[^:]*\.(?:whl|zip|tar\.gz)$")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for line_number, line in enumerate(text.splitlines(), 1):
        requirement_line = _COMMENT_PATTERN.sub("", line).strip()
        if requirement_line:
            yield line_number, requirement_line


def _requirements(text: str) -> Iterator[Requirement]:
    """Yield each package that is asked for; of what can't be read `requirement_problems` speaks."""
    for _, line in _lines(text):
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue


def requirement_problems(text: str) -> Iterator[SpaceProblem]:
    """Yield each line that a Space can't install."""
    for line_number, line in _lines(text):
        reason = _rejection_reason(line)
        if reason:
            yield SpaceProblem(
                f"requirements.txt: line {line_number} {reason}.",
                "Name a package and its versions alone.",
            )


def _rejection_reason(line: str) -> str:
    if line.startswith("-"):
        option = re.split(r"[\s=]", line)[0]
        if option in {"-r", "--requirement", "-c", "--constraint"}:
            return "names another file, and the Hub's builder sees this one alone"
        if option in {"-e", "--editable"}:
            return "installs a folder, which isn't there yet while the Hub installs"
        return f"has an option, {option}: a Space installs from the public package index"
    try:
        source = Requirement(line).url or ""
    except InvalidRequirement:
        if not _FILE_PATTERN.match(line):
            return "isn't a package with its versions"
        source = line
    return (
        "names a file, which isn't there yet while the Hub installs"
        if _FILE_PATTERN.match(source)
        else ""
    )


def gradio_problems(text: str, card: Mapping[str, Any]) -> Iterator[SpaceProblem]:
    """Yield where the requirements and the card don't mean the same Gradio."""
    version = _release_version(card.get("sdk_version"))
    for requirement in _requirements(text):
        if canonicalize_name(requirement.name) != "gradio":
            continue
        if version is not None and not requirement.specifier.contains(version):
            yield SpaceProblem(
                f"requirements.txt: gradio{requirement.specifier} leaves out {version}, the sdk_version of README.md.",
                "Change one of them: the Hub installs both together.",
            )
        if card.get("hf_oauth") is True and "oauth" not in requirement.extras:
            yield SpaceProblem(
                "requirements.txt: gradio is without its extra oauth, and README.md has hf_oauth: true.",
                "Write gradio[oauth]: the Hub adds it by itself, but nothing else does that runs this program.",
            )


def python_problems(pyproject: str, card: Mapping[str, Any]) -> Iterator[SpaceProblem]:
    """Yield where the card's Python isn't one that this program runs on."""
    try:
        supported_versions = SpecifierSet(
            str(tomllib.loads(pyproject).get("project", {}).get("requires-python", ""))
        )
    except (tomllib.TOMLDecodeError, InvalidSpecifier, AttributeError):
        yield SpaceProblem("pyproject.toml: requires-python can't be read.", "Mend it.")
        return
    version = _release_version(card.get("python_version"))
    if version is not None and not supported_versions.contains(version):
        yield SpaceProblem(
            f"README.md: python_version is {version}, and pyproject.toml wants {supported_versions}.",
            "Change one of them.",
        )


def _release_version(value: object) -> Version | None:
    """Return the version of a release; of what is none, the card's own check speaks."""
    try:
        version = Version(value) if isinstance(value, str) else None
    except InvalidVersion:
        return None
    return None if version is None or version.is_prerelease else version


MISSING_FILE: Final = "it isn't there, or .gitignore leaves it out"


def find_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[SpaceProblem]:
    """Yield what the Hub would refuse of these files, and what wouldn't start there.

    Raises:
        OSError: a file can't be read.

    """
    sent_paths = {file.path for file in files}
    texts: dict[str, str] = {}
    card: Mapping[str, Any] = {}
    for name in ("README.md", "requirements.txt", "pyproject.toml"):
        try:
            texts[name] = _read_text(folder / name, is_sent=name in sent_paths)
            if name == "README.md":
                card = read_card(texts[name])
        except SpaceProblemError as error:
            yield error.problem
    yield from card_problems(card) if card else ()
    requirements = texts.get("requirements.txt", "")
    yield from requirement_problems(requirements)
    yield from gradio_problems(requirements, card)
    yield from python_problems(texts.get("pyproject.toml", ""), card)
    yield from _app_problems(folder, card.get("app_file"), sent_paths)
    yield from file_problems(folder, files)


def _read_text(path: Path, *, is_sent: bool) -> str:
    if not is_sent:
        raise SpaceProblemError(
            f"{path.name}: {MISSING_FILE}.", "Give the folder of this program, with all of it."
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpaceProblemError(f"{path.name}: it isn't UTF-8.", "Save it as UTF-8.") from error


def _app_problems(folder: Path, app_file: object, sent_paths: set[str]) -> Iterator[SpaceProblem]:
    if not isinstance(app_file, str) or not FIELDS["app_file"].accepts(app_file):
        return  # which is said already
    if app_file not in sent_paths:
        yield SpaceProblem(
            f"{app_file}: {MISSING_FILE}.",
            "README.md has it as app_file: name the file that starts the program.",
        )
        return
    try:
        tree = ast.parse((folder / app_file).read_bytes())
    except (SyntaxError, ValueError) as error:
        yield SpaceProblem(
            f"{app_file}: line {getattr(error, 'lineno', None) or 1} isn't Python.", "Mend it."
        )
        return
    if "demo" not in _assigned_names(tree):
        yield SpaceProblem(
            f"{app_file}: it defines no demo.",
            "Give the page that name: `gradio app.py` looks for it.",
        )


def _assigned_names(tree: ast.Module) -> Iterator[str]:
    """Yield the variables of a module, and none of its functions' own."""
    definition_types = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for statement in tree.body:
        for node in ast.walk(statement) if not isinstance(statement, definition_types) else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
