"""What a Space installs: requirements.txt and the versions of Gradio and Python, against each other. No I/O.

The Hub installs all of requirements.txt together with `gradio[oauth,mcp]==` the card's `sdk_version`, and its builder
sees no other file of the repository while it does so.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from sd35.publish.problem import Problem

__all__ = ["gradio_problems", "python_problems", "requirement_problems"]

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
            yield Problem(f"requirements.txt: line {number} {reason}.", "Name a package and its versions alone.")


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
    return "names a file, which isn't there yet while the Hub installs" if _FILE.match(source) else ""


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
        wanted = SpecifierSet(str(tomllib.loads(pyproject).get("project", {}).get("requires-python", "")))
    except (tomllib.TOMLDecodeError, InvalidSpecifier, AttributeError):
        yield Problem("pyproject.toml: requires-python can't be read.", "Mend it.")
        return
    version = _version(card.get("python_version"))
    if version is not None and not wanted.contains(version):
        yield Problem(
            f"README.md: python_version is {version}, and pyproject.toml wants {wanted}.", "Change one of them."
        )


def _version(value: object) -> Version | None:
    """Return the version of a release; of what is none, the card's own check speaks."""
    try:
        version = Version(value) if isinstance(value, str) else None
    except InvalidVersion:
        return None
    return None if version is None or version.is_prerelease else version
