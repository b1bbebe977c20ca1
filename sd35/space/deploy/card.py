"""A Space's card: the YAML at the top of README.md, against what the Hub takes. No I/O."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import yaml

__all__ = [
    "FIELDS",
    "REQUIRED",
    "Field",
    "SpaceProblem",
    "SpaceProblemError",
    "card_problems",
    "read_card",
]


@dataclass(frozen=True, slots=True)
class SpaceProblem:
    """One thing that is amiss: `happened` says what and where, and `remedy` what to do, each as a sentence."""

    message: str
    remedy: str


class SpaceProblemError(Exception):
    """A file that is needed can't be used at all; `problem` says why."""

    def __init__(self, message: str, remedy: str) -> None:
        self.problem = SpaceProblem(message, remedy)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Field:
    """What a field may be: `wanted` says it in words, after “it must be”."""

    expected: str
    accepts: Callable[[object], bool]


def _text(limit: int = 1000) -> Field:
    return Field(
        f"a text of at most {limit} characters",
        lambda value: isinstance(value, str) and 0 < len(value) <= limit,
    )


def _matching(pattern: str, expected: str) -> Field:
    full_match = re.compile(pattern, re.ASCII).fullmatch
    return Field(expected, lambda value: isinstance(value, str) and full_match(value) is not None)


def _one_of(*names: str) -> Field:
    expected = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return Field(expected, lambda value: isinstance(value, str) and value in names)


def _list_of(field: Field, expected: str) -> Field:
    return Field(expected, lambda value: isinstance(value, list) and all(map(field.accepts, value)))


def _integer(low: int, high: int) -> Field:
    # `true` is a number for Python, and isn't one for the Hub
    return Field(
        f"a whole number from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
    )


def _is_valid_headers(value: object) -> bool:
    names = {
        "cross-origin-embedder-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
    }
    return isinstance(value, dict) and all(
        name in names and isinstance(policy, str) and policy.islower()
        for name, policy in value.items()
    )


def _emoji() -> Field:
    # Pictographs; in one emoji a zero-width joiner may bind several, each with a tone or the mark
    # for “in colour”.
    ranges = "©®‼⁉™ℹ↔-↪⌚-⏿Ⓜ▪-◾☀-➿⤴⤵⬅-⭕〰〽㊗㊙\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
    pictograph = f"[{ranges}][\ufe0f\U0001f3fb-\U0001f3ff]?"
    flag = "[\U0001f1e6-\U0001f1ff]{2}"
    return _matching(
        f"{pictograph}(?:\u200d{pictograph})*|{flag}|[0-9#*]\ufe0f?\u20e3", "one emoji"
    )


_BOOLEAN: Final = Field("true or false", lambda value: isinstance(value, bool))
_COLOUR: Final = _one_of("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_REPOSITORIES: Final = _list_of(
    _matching(r"[\w.-]+(?:/[\w.-]+)?", ""), "a list of names such as owner/name"
)
_SCOPES: Final = _one_of(
    *(
        "openid",
        "profile",
        "email",
        "read-billing",
        "read-repos",
        "contribute-repos",
        "write-repos",
        "manage-repos",
    ),
    *("read-mcp", "inference-api", "jobs", "webhooks", "write-discussions"),
)
_LICENCE: Final = _one_of(
    *"""
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other
    """.split()  # noqa: SIM905  # as a list it would be a page
)

FIELDS: Final[Mapping[str, Field]] = {
    "title": _text(100),
    "emoji": _emoji(),
    "colorFrom": _COLOUR,
    "colorTo": _COLOUR,
    "sdk": _one_of("gradio"),  # the Hub knows others; this program is none of theirs
    "sdk_version": _matching(r"\d+\.\d+\.\d+", "the number of a release, such as 6.31.0"),
    "python_version": _matching(r"3\.\d+(?:\.\d+)?", 'a version in quotes, such as "3.11"'),
    "app_file": _matching(r"[\w.-]+\.py", "the name of a Python file beside README.md"),
    "short_description": _text(60),
    "license": Field("an identifier of the Hub's list, such as mit", _LICENCE.accepts),
    "license_name": _text(),
    "license_link": _text(),
    "models": _REPOSITORIES,
    "datasets": _REPOSITORIES,
    "tags": _list_of(_text(), "a list of words"),
    "thumbnail": _matching(r"https://\S+", "an address that begins with https://"),
    "pinned": _BOOLEAN,
    "fullWidth": _BOOLEAN,
    "header": _one_of("default", "mini"),
    "disable_embedding": _BOOLEAN,
    "hf_oauth": _BOOLEAN,
    "hf_oauth_scopes": _list_of(_SCOPES, f"a list of scopes: {_SCOPES.expected}"),
    "hf_oauth_expiration_minutes": _integer(1, 43200),
    "hf_oauth_authorized_org": Field(
        "an organization, or a list of them",
        lambda value: _text().accepts(value) or _list_of(_text(), "").accepts(value),
    ),
    "startup_duration_timeout": _matching(r"[1-9]\d*[smhd]", "a length of time, such as 30m or 1h"),
    "suggested_hardware": _matching(r"[a-z0-9-]+", "a kind of hardware, such as cpu-basic"),
    "base_path": _matching(r"/\S*", "a path that begins with /"),
    "custom_headers": Field(
        "cross-origin-… headers and their values, in small letters", _is_valid_headers
    ),
    "preload_from_hub": _list_of(
        _text(), "a list of repositories, each with its files if not all are meant"
    ),
    "duplicated_from": _matching(r"[\w.-]+/[\w.-]+", "owner/name"),
}
"""Those that a Gradio Space may have. `suggested_storage`, for one, isn't heeded any more."""

REQUIRED: Final[Mapping[str, str]] = {
    "title": "the Hub shows it",
    "sdk": "without it the Hub doesn't start anything",
    "sdk_version": "without it each build takes the newest Gradio",
    "python_version": "without it the Hub takes Python 3.10",
    "app_file": "it says what the Hub starts",
}
"""The fields that can't be left out here, each with the reason."""


_FRONT_MATTER_PATTERN = re.compile(r"\A---\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)

_MAX_VALUE_LENGTH = 40
"""Letters of a value that are shown."""


def read_card(readme: str) -> Mapping[str, Any]:
    """Return the fields of the card.

    Raises:
        ProblemError: there is no card, or it isn't what the Hub could read.

    """
    front_matter = _FRONT_MATTER_PATTERN.match(readme)
    if front_matter is None:
        raise _card_error(
            "it doesn't begin with a Space's settings.",
            "Put them at the very top, between two lines ---.",
        )
    try:
        root = yaml.compose(front_matter[1], yaml.SafeLoader)
        card = yaml.safe_load(front_matter[1])
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        mark = getattr(error, "problem_mark", None)
        location = f"line {mark.line + 2}" if mark else "a value"
        raise _card_error(
            f"{location} of the settings can't be read as YAML.", "Mend it, or put it in quotes."
        ) from error
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise _card_error(
            "the settings aren't names with values.", "Write each as a line such as sdk: gradio."
        )
    name, count = Counter(str(name.value) for name, _ in root.value).most_common(1)[0]
    if count > 1:  # PyYAML takes the last one; the Hub refuses them
        raise _card_error(f"{name} is there {count} times.", "Leave one of them.")
    return {str(name): value for name, value in card.items()}


def _card_error(message: str, remedy: str) -> SpaceProblemError:
    return SpaceProblemError(f"README.md: {message}", remedy)


def card_problems(card: Mapping[str, Any]) -> Iterator[SpaceProblem]:
    """Yield what the Hub would refuse, or take for something else than is meant."""
    for name, reason in REQUIRED.items():
        if name not in card:
            yield SpaceProblem(f"README.md: {name} is missing.", f"Add it; {reason}.")
    for name, value in card.items():
        if name not in FIELDS:
            yield _unknown_field(name)
        elif not FIELDS[name].accepts(value):
            yield SpaceProblem(
                f"README.md: {name} is {_format_value(value)}.",
                f"It must be {FIELDS[name].expected}.",
            )


def _unknown_field(name: str) -> SpaceProblem:
    close_matches = get_close_matches(name, FIELDS, n=1)
    remedy = (
        f"Is {close_matches[0]} meant? If not, take it out." if close_matches else "Take it out."
    )
    return SpaceProblem(
        f"README.md: {name} is no setting that the Hub knows of a Gradio Space.", remedy
    )


def _format_value(value: object) -> str:
    if isinstance(value, str):
        text = (
            f"“{value}”"
            if len(value) <= _MAX_VALUE_LENGTH
            else f"“{value[:_MAX_VALUE_LENGTH]}…”, {len(value)} characters"
        )
        return text if value else "empty"
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "empty"}[value]
    return (
        f"the number {value}"
        if isinstance(value, int | float)
        else f"{value!r:.{_MAX_VALUE_LENGTH}}"
    )
