"""Tool that wrote an infotext, by its version: AUTOMATIC1111 and most of its forks name none."""

import re
from collections.abc import Mapping
from typing import Final

from sd35.metadata.parsing import MAX_VALUE_LENGTH

__all__ = ["parse_tool"]

_DEFAULT_TOOL: Final = "AUTOMATIC1111"

# First match. EasyReforge and reForge append AUTOMATIC1111's version to Forge's.
_FORMS: Final = (
    ("Forge Classic", re.compile(r"(?:forge[ -]?)?classic[ -]*(?P<version>.*)", re.IGNORECASE)),
    ("Forge Neo", re.compile(r"(?:forge[ -]?)?neo[ -]*(?P<version>.*)", re.IGNORECASE)),
    ("EasyReforge", re.compile(r"(?P<version>f\d+(?:\.\d+)+-v.*)")),
    ("reForge", re.compile(r"(?P<version>f\d+(?:\.\d+)+v\d+-v.*)")),
    ("Forge", re.compile(r"(?P<version>fv?\d[\w.+\-]*)")),
    (_DEFAULT_TOOL, re.compile(r"(?P<version>v?\d[\w.+\-]*|[0-9a-f]{7,40})")),
)
_NAMED_VERSION: Final = re.compile(r"(?P<name>[^\W\d].*?)(?:\s+(?P<version>v?\d\S*))?", re.DOTALL)
# By name in lower case, as people and tools spell them.
_SPELLINGS: Final = {
    "forge": "Forge",
    "reforge": "reForge",
    "sd.next": "SD.Next",
    "sdnext": "SD.Next",
    "vlad mandic": "SD.Next",
    "comfyui": "ComfyUI",
    "fooocus": "Fooocus",
}


def parse_tool(values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the tool and its version, as `GenerationMetadata.versions` holds it.

    `values` are the parameters by key in lower case, without spaces.
    """
    if not values:
        return "", {}
    version = values.get("version", "")[:200].strip()
    app = values.get("app", "")[:MAX_VALUE_LENGTH].strip()
    if app or "parser" in values:  # SD.Next
        tool, version_number = app or "SD.Next", version
    elif version:
        tool, version_number = _split_version(version)
    else:
        # Civitai names itself nowhere else.
        tool = "Civitai" if "civitairesources" in values else _DEFAULT_TOOL
        version_number = ""
    tool = _SPELLINGS.get(tool.lower(), tool)
    return tool, {tool: version_number} if version_number else {}


def _split_version(version: str) -> tuple[str, str]:
    """Return the tool's name and its version number."""
    for tool, pattern in _FORMS:
        match = pattern.fullmatch(version)
        if match:
            return tool, match["version"]
    match = _NAMED_VERSION.fullmatch(version)
    return (version, "") if match is None else (match["name"], match["version"] or "")
