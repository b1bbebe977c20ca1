"""Checks of a Space's card: the YAML settings at the top of README.md.

The Hub checks a card when it is pushed; these are its rules, offline, from
https://huggingface.co/docs/hub/spaces-config-reference.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from huggingface_hub import SpaceHardware, metadata_load
from pydantic import ConfigDict, Field, ValidationError, create_model

__all__ = ["SpaceProblem", "SpaceProblemError", "card_problems", "read_card"]


@dataclass(frozen=True, slots=True)
class SpaceProblem:
    """Problem with a file of a Space, and what to do about it, each as a sentence."""

    message: str
    remedy: str


class SpaceProblemError(Exception):
    """Error for a required file that can't be used at all."""

    def __init__(self, message: str, remedy: str) -> None:
        self.problem = SpaceProblem(message, remedy)
        super().__init__(message)


# Each with the reason. The Hub itself requires fewer.
_REQUIRED = {
    "title": "the Hub shows it",
    "sdk": "the Hub starts nothing without it",
    "sdk_version": "each build takes the newest Gradio without it",
    "python_version": "the Hub takes Python 3.10 without it",
    "app_file": "the Hub starts this file",
}

_MAX_SHOWN_CHARACTERS = 40

_PICTOGRAPH = (
    "[©®‼⁉™ℹ↔-↪⌚-⏿Ⓜ▪-◾☀-➿⤴⤵⬅-⭕〰〽㊗㊙\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
    "[\ufe0f\U0001f3fb-\U0001f3ff]?"  # in color, or with a skin tone
)
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
_KEYCAP = "[0-9#*]\ufe0f?\u20e3"
# A zero-width joiner binds several pictographs to one emoji.
_EMOJI = f"^({_PICTOGRAPH}(\u200d{_PICTOGRAPH})*|{_FLAG}|{_KEYCAP})$"

_SCOPES = (
    "openid|profile|email|read-billing|read-repos|contribute-repos|write-repos|"
    "manage-repos|read-mcp|inference-api|jobs|webhooks|write-discussions"
)
_LICENSES = (
    r"apache-2.0|mit|openrail|bigscience-openrail-m|creativeml-openrail-m|"
    r"bigscience-bloom-rail-1.0|bigcode-openrail-m|afl-3.0|artistic-2.0|bsl-1.0|bsd|"
    r"bsd-2-clause|bsd-3-clause|bsd-3-clause-clear|c-uda|cc|cc0-1.0|cc-by-2.0|cc-by-2.5|"
    r"cc-by-3.0|cc-by-4.0|cc-by-sa-3.0|cc-by-sa-4.0|cc-by-nc-2.0|cc-by-nc-3.0|"
    r"cc-by-nc-4.0|cc-by-nd-4.0|cc-by-nc-nd-3.0|cc-by-nc-nd-4.0|cc-by-nc-sa-2.0|"
    r"cc-by-nc-sa-3.0|cc-by-nc-sa-4.0|cdla-sharing-1.0|cdla-permissive-1.0|"
    r"cdla-permissive-2.0|wtfpl|ecl-2.0|epl-1.0|epl-2.0|etalab-2.0|eupl-1.1|eupl-1.2|"
    r"agpl-3.0|gfdl|gpl|gpl-2.0|gpl-3.0|lgpl|lgpl-2.1|lgpl-3.0|isc|h-research|"
    r"intel-research|lppl-1.3c|ms-pl|apple-ascl|apple-amlr|mpl-2.0|odc-by|odbl|"
    r"openmdw-1.0|openrail\+\+|osl-3.0|postgresql|ofl-1.1|ncsa|unlicense|zlib|pddl|"
    r"lgpl-lr|deepfloyd-if-license|fair-noncommercial-research-license|llama2|llama3|"
    r"llama3.1|llama3.2|llama3.3|llama4|grok2-community|gemma|unknown|other"
)

_HARDWARE = "|".join(hardware.value for hardware in SpaceHardware)

_Color = Literal["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Repository = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
_Scope = Annotated[str, Field(pattern=f"^({_SCOPES})$")]
_Isolation = Annotated[str, Field(pattern="^[a-z-]+$")]
_IsolationHeader = Literal[
    "cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"
]


def _field(kind: object, expected: str, **constraints: Any) -> Any:  # noqa: ANN401  # pydantic's
    # Without a value a field is left out; YAML's null isn't the same, and is an error.
    return kind, Field(default=None, description=expected, **constraints)


_FIELDS: Final[dict[str, Any]] = {
    "title": _field(str, "a text of at most 100 characters", min_length=1, max_length=100),
    "emoji": _field(str, "one emoji", pattern=_EMOJI),
    "colorFrom": _field(_Color, "red, yellow, green, blue, indigo, purple, pink or gray"),
    "colorTo": _field(_Color, "red, yellow, green, blue, indigo, purple, pink or gray"),
    # The Hub knows other SDKs, but this program needs Gradio's.
    "sdk": _field(Literal["gradio"], "gradio"),
    "sdk_version": _field(str, "a release number such as 6.31.0", pattern=r"^\d+\.\d+\.\d+$"),
    # Without quotes, YAML reads 3.10 as the number 3.1.
    "python_version": _field(
        str, 'a version in quotes, such as "3.11"', pattern=r"^3(\.\d+){1,2}$"
    ),
    "app_file": _field(str, "the name of a Python file beside README.md", pattern=r"^[\w.-]+\.py$"),
    "short_description": _field(
        str, "a text of at most 60 characters", min_length=1, max_length=60
    ),
    "license": _field(
        str, "an identifier from the Hub's list, such as mit", pattern=f"^({_LICENSES})$"
    ),
    "license_name": _field(
        str, "an identifier in lower case, such as my-license-1.0", pattern=r"^[a-z0-9.-]+$"
    ),
    "license_link": _field(
        str, "LICENSE, LICENSE.md or a URL", pattern=r"^(LICENSE(\.md)?|https?://\S+)$"
    ),
    "models": _field(list[_Repository], "a list of names such as owner/name"),
    "datasets": _field(list[_Repository], "a list of names such as owner/name"),
    "tags": _field(list[_Text], "a list of words"),
    "thumbnail": _field(str, "a URL that begins with https://", pattern=r"^https://\S+$"),
    "pinned": _field(bool, "true or false"),
    "fullWidth": _field(bool, "true or false"),
    "header": _field(Literal["default", "mini"], "default or mini"),
    "disable_embedding": _field(bool, "true or false"),
    "hf_oauth": _field(bool, "true or false"),
    "hf_oauth_scopes": _field(list[_Scope], f"a list of scopes: {_SCOPES.replace('|', ', ')}"),
    "hf_oauth_expiration_minutes": _field(int, "an integer from 1 to 43200", ge=1, le=43200),
    "hf_oauth_authorized_org": _field(_Text | list[_Text], "an organization, or a list of them"),
    "startup_duration_timeout": _field(
        str, "a duration such as 30m or 1h", pattern=r"^[1-9]\d*[smhd]$"
    ),
    "suggested_hardware": _field(
        str, f"a flavor: {_HARDWARE.replace('|', ', ')}", pattern=f"^({_HARDWARE})$"
    ),
    "base_path": _field(str, "a path that begins with /", pattern=r"^/\S*$"),
    "custom_headers": _field(
        dict[_IsolationHeader, _Isolation], "cross-origin-… headers with lower-case values"
    ),
    "preload_from_hub": _field(list[_Text], "a list of repositories, each with optional files"),
    "duplicated_from": _field(_Repository, "owner/name"),
}
_Card: Any = create_model("_Card", __config__=ConfigDict(strict=True, extra="forbid"), **_FIELDS)


def read_card(path: Path) -> Mapping[str, Any]:
    """Return the fields of the card in a README file.

    Raises:
        SpaceProblemError: there is no card, or it isn't valid YAML.
        OSError: the file can't be read.
    """
    try:
        card = metadata_load(path)
    except UnicodeDecodeError as error:
        raise SpaceProblemError(f"{path.name}: it isn't UTF-8.", "Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
        mark = getattr(error, "problem_mark", None)
        location = f"line {mark.line + 2}" if mark else "the card"
        raise SpaceProblemError(
            f"{path.name}: {location} isn't valid YAML.",
            "Write it as name: value, or quote the value.",
        ) from error
    if not card:
        raise SpaceProblemError(
            f"{path.name}: there is no card.",
            "Add the settings at the very top, between two lines ---.",
        )
    # PyYAML takes the last of two equal names; the Hub refuses them.
    front_matter = path.read_text(encoding="utf-8").partition("\n---")[0]
    counts = Counter(re.findall(r"^([\w-]+):", front_matter, re.MULTILINE))
    duplicates = [name for name, count in counts.items() if count > 1]
    if duplicates:
        raise SpaceProblemError(
            f"{path.name}: {duplicates[0]} occurs twice.", "Remove one of them."
        )
    return {str(name): value for name, value in card.items()}


def card_problems(card: Mapping[str, Any]) -> dict[str, SpaceProblem]:
    """Return what the Hub would refuse or misunderstand in a card, by field."""
    problems = {
        name: SpaceProblem(f"README.md: {name} is missing.", f"Add it: {reason}.")
        for name, reason in _REQUIRED.items()
        if name not in card
    }
    if card.get("license") == "other":
        for name in ("license_name", "license_link"):
            if name not in card:
                problems[name] = SpaceProblem(
                    f"README.md: license is other, but {name} is missing.",
                    "Add it: the Hub shows the name, and links the text.",
                )
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        for name in (str(details["loc"][0]) for details in error.errors()):
            problems.setdefault(name, _field_problem(name, card[name]))
    return problems


def _field_problem(name: str, value: object) -> SpaceProblem:
    if name in _FIELDS:
        expected = _Card.model_fields[name].description
        return SpaceProblem(
            f"README.md: {name} is {_format_value(value)}.", f"It must be {expected}."
        )
    matches = get_close_matches(name, _FIELDS, n=1)
    remedy = f"Did you mean {matches[0]}?" if matches else "Remove it."
    return SpaceProblem(f"README.md: {name} is not a setting of a Gradio Space.", remedy)


def _format_value(value: object) -> str:
    if value in (None, ""):
        return "empty"
    text = f"“{value}”" if isinstance(value, str) else json.dumps(value, default=str)
    if len(text) > _MAX_SHOWN_CHARACTERS:
        return f"{text[:_MAX_SHOWN_CHARACTERS]}… ({len(text)} characters)"
    return text
