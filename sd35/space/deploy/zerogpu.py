"""Checks of a Space for ZeroGPU, GPUs that Hugging Face lends run by run.

The versions are those of https://huggingface.co/docs/hub/spaces-zerogpu (August 2026).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from sd35.space.deploy.card import SpaceProblem
from sd35.space.deploy.files import SpaceFile

__all__ = ["zerogpu_problems"]

_HARDWARE: Final = "zero-a10g"
_PYTHON_VERSIONS: Final = ("3.12.12", "3.10.13")
_TORCH_VERSIONS: Final = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
_OLDEST_GRADIO: Final = 4

_IMPORT_PATTERN: Final = re.compile(rb"^\s*(?:import|from) spaces\b", re.MULTILINE)

# Of the machine that installs the requirements, whatever this one is.
_ENVIRONMENT: Final = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "python_version": "3.12",
    "python_full_version": "3.12.12",
}


def zerogpu_problems(
    card: Mapping[str, Any], requirements: Sequence[Requirement], files: Sequence[SpaceFile]
) -> Iterator[SpaceProblem]:
    """Yield what ZeroGPU would refuse, if that is the hardware that the card suggests.

    Raises:
        OSError: a file can't be read.
    """
    if card.get("suggested_hardware") != _HARDWARE:
        return
    python = card.get("python_version")
    # Anything else than a text is a problem of the card itself.
    if isinstance(python, str) and not any(
        version == python or version.startswith(f"{python}.") for version in _PYTHON_VERSIONS
    ):
        yield SpaceProblem(
            f"README.md: python_version is {python}, but ZeroGPU has Python "
            f"{' and '.join(_PYTHON_VERSIONS)}.",
            'Write "3.12".',
        )
    gradio = re.match(r"\d+", str(card.get("sdk_version")))
    if gradio is not None and int(gradio[0]) < _OLDEST_GRADIO:
        yield SpaceProblem(
            f"README.md: sdk_version is {card['sdk_version']}, but ZeroGPU needs Gradio "
            f"{_OLDEST_GRADIO} or later.",
            "Use a newer version.",
        )
    yield from _torch_problems(requirements)
    sources = (file.source for file in files if file.path.endswith(".py"))
    if not any(_IMPORT_PATTERN.search(source.read_bytes()) for source in sources):
        yield SpaceProblem(
            "README.md: suggested_hardware is zero-a10g, but no file imports spaces.",
            "ZeroGPU starts a program only if it has a function with @spaces.GPU.",
        )


def _torch_problems(requirements: Sequence[Requirement]) -> Iterator[SpaceProblem]:
    for requirement in requirements:
        if canonicalize_name(requirement.name) != "torch":
            continue
        if requirement.marker is not None and not requirement.marker.evaluate(_ENVIRONMENT):
            continue
        # Without the build: 2.11.0+cu128 is 2.11.0.
        specifiers = SpecifierSet(re.sub(r"\+[\w.]+", "", str(requirement.specifier)))
        if not any(specifiers.contains(version) for version in _TORCH_VERSIONS):
            yield SpaceProblem(
                f"requirements.txt: torch{requirement.specifier} excludes all versions that "
                f"ZeroGPU supports: {', '.join(_TORCH_VERSIONS)}.",
                "Write torch>=2.8,<2.12, or leave it out.",
            )
