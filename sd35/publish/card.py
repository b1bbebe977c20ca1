"""A Space's card: the YAML at the top of README.md, against what the Hub takes. No I/O."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml

from sd35.publish.fields import FIELDS, REQUIRED
from sd35.publish.problem import Problem, ProblemError

__all__ = ["card_problems", "read_card"]

_BLOCK = re.compile(r"\A---\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)

_SHOWN = 40
"""Letters of a value that are shown."""


def read_card(readme: str) -> Mapping[str, Any]:
    """Return the fields of the card.

    Raises:
        ProblemError: there is no card, or it isn't what the Hub could read.

    """
    block = _BLOCK.match(readme)
    if block is None:
        raise _error("it doesn't begin with a Space's settings.", "Put them at the very top, between two lines ---.")
    try:
        root = yaml.compose(block[1], yaml.SafeLoader)
        card = yaml.safe_load(block[1])
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 2}" if mark else "a value"
        raise _error(f"{where} of the settings can't be read as YAML.", "Mend it, or put it in quotes.") from error
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise _error("the settings aren't names with values.", "Write each as a line such as sdk: gradio.")
    name, count = Counter(str(name.value) for name, _ in root.value).most_common(1)[0]
    if count > 1:  # PyYAML takes the last one; the Hub refuses them
        raise _error(f"{name} is there {count} times.", "Leave one of them.")
    return {str(name): value for name, value in card.items()}


def _error(happened: str, remedy: str) -> ProblemError:
    return ProblemError(f"README.md: {happened}", remedy)


def card_problems(card: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what the Hub would refuse, or take for something else than is meant."""
    for name, why in REQUIRED.items():
        if name not in card:
            yield Problem(f"README.md: {name} is missing.", f"Add it; {why}.")
    for name, value in card.items():
        if name not in FIELDS:
            yield _unknown(name)
        elif not FIELDS[name].takes(value):
            yield Problem(f"README.md: {name} is {_shown(value)}.", f"It must be {FIELDS[name].wanted}.")


def _unknown(name: str) -> Problem:
    close = get_close_matches(name, FIELDS, n=1)
    remedy = f"Is {close[0]} meant? If not, take it out." if close else "Take it out."
    return Problem(f"README.md: {name} is no setting that the Hub knows of a Gradio Space.", remedy)


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = f"“{value}”" if len(value) <= _SHOWN else f"“{value[:_SHOWN]}…”, {len(value)} characters"
        return text if value else "empty"
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "empty"}[value]
    return f"the number {value}" if isinstance(value, int | float) else f"{value!r:.{_SHOWN}}"
