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

from sd35.space.deploy.card import FIELDS, Problem, ProblemError, card_problems, read_card
from sd35.space.deploy.files import SpaceFile, file_problems

__all__ = ["find_problems", "gradio_problems", "python_problems", "requirement_problems"]


_COMMENT = re.compile(r"(?:^|\s)#.*")
_FILE = re.compile(r"\.{0,2}/|file:|[^:]*\.(?:whl|zip|tar\.gz)$")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = _COMMENT.sub("", line).strip()
        if bare:
            yield number, bare


def _requirements(text: str) -> Iterator[Requirement]:
    """Yield each package that is asked for; of what can't be read `requirement_problems` speaks."""
    for _, line in _lines(text):
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue


def requirement_problems(text: str) -> Iterator[Problem]:
    """Yield each line that a Space can't install."""
    for number, line in _lines(text):
        reason = _refusal(line)
        if reason:
            yield Problem(
                f"requirements.txt: line {number} {reason}.",
                "Name a package and its versions alone.",
            )


def _refusal(line: str) -> str:
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
        if not _FILE.match(line):
            return "isn't a package with its versions"
        source = line
    return (
        "names a file, which isn't there yet while the Hub installs" if _FILE.match(source) else ""
    )


def gradio_problems(text: str, card: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where the requirements and the card don't mean the same Gradio."""
    version = _version(card.get("sdk_version"))
    for asked in _requirements(text):
        if canonicalize_name(asked.name) != "gradio":
            continue
        if version is not None and not asked.specifier.contains(version):
            yield Problem(
                f"requirements.txt: gradio{asked.specifier} leaves out {version}, the sdk_version of README.md.",
                "Change one of them: the Hub installs both together.",
            )
        if card.get("hf_oauth") is True and "oauth" not in asked.extras:
            yield Problem(
                "requirements.txt: gradio is without its extra oauth, and README.md has hf_oauth: true.",
                "Write gradio[oauth]: the Hub adds it by itself, but nothing else does that runs this program.",
            )


def python_problems(pyproject: str, card: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where the card's Python isn't one that this program runs on."""
    try:
        wanted = SpecifierSet(
            str(tomllib.loads(pyproject).get("project", {}).get("requires-python", ""))
        )
    except (tomllib.TOMLDecodeError, InvalidSpecifier, AttributeError):
        yield Problem("pyproject.toml: requires-python can't be read.", "Mend it.")
        return
    version = _version(card.get("python_version"))
    if version is not None and not wanted.contains(version):
        yield Problem(
            f"README.md: python_version is {version}, and pyproject.toml wants {wanted}.",
            "Change one of them.",
        )


def _version(value: object) -> Version | None:
    """Return the version of a release; of what is none, the card's own check speaks."""
    try:
        version = Version(value) if isinstance(value, str) else None
    except InvalidVersion:
        return None
    return None if version is None or version.is_prerelease else version


ABSENT: Final = "it isn't there, or .gitignore leaves it out"


def find_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[Problem]:
    """Yield what the Hub would refuse of these files, and what wouldn't start there.

    Raises:
        OSError: a file can't be read.

    """
    sent = {file.path for file in files}
    texts: dict[str, str] = {}
    card: Mapping[str, Any] = {}
    for name in ("README.md", "requirements.txt", "pyproject.toml"):
        try:
            texts[name] = _read(folder / name, is_sent=name in sent)
            if name == "README.md":
                card = read_card(texts[name])
        except ProblemError as error:
            yield error.problem
    yield from card_problems(card) if card else ()
    requirements = texts.get("requirements.txt", "")
    yield from requirement_problems(requirements)
    yield from gradio_problems(requirements, card)
    yield from python_problems(texts.get("pyproject.toml", ""), card)
    yield from _app_problems(folder, card.get("app_file"), sent)
    yield from file_problems(folder, files)


def _read(path: Path, *, is_sent: bool) -> str:
    if not is_sent:
        raise ProblemError(
            f"{path.name}: {ABSENT}.", "Give the folder of this program, with all of it."
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path.name}: it isn't UTF-8.", "Save it as UTF-8.") from error


def _app_problems(folder: Path, name: object, sent: set[str]) -> Iterator[Problem]:
    if not isinstance(name, str) or not FIELDS["app_file"].takes(name):
        return  # which is said already
    if name not in sent:
        yield Problem(
            f"{name}: {ABSENT}.",
            "README.md has it as app_file: name the file that starts the program.",
        )
        return
    try:
        tree = ast.parse((folder / name).read_bytes())
    except (SyntaxError, ValueError) as error:
        yield Problem(
            f"{name}: line {getattr(error, 'lineno', None) or 1} isn't Python.", "Mend it."
        )
        return
    if "demo" not in _names(tree):
        yield Problem(
            f"{name}: it defines no demo.", "Give the page that name: `gradio app.py` looks for it."
        )


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield the variables of a module, and none of its functions' own."""
    inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for statement in tree.body:
        for node in ast.walk(statement) if not isinstance(statement, inner) else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
