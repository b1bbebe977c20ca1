"""Ideas for prompts: examples of what Stable Diffusion 3.5 is good at, and templates."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

import orjson

from sd35.prompts.resolution import WildcardSource
from sd35.prompts.templates import Template

__all__ = ["Example", "Ideas", "shipped_ideas"]

_SHIPPED_IDEAS: Final = Path(__file__).parent.parent.parent / "assets" / "ideas.json"

MAX_SEED: Final = 2**32


@dataclass(frozen=True, slots=True)
class Example:
    """Prompt that shows what its name says."""

    name: str
    prompt: str

    @property
    def thumbnail(self) -> str:
        """The name of the image that the demo painter made of the prompt."""
        return f"examples/{self.name.lower().replace(' ', '-')}"


@dataclass(frozen=True, slots=True)
class Ideas:
    """Examples, and templates that stand for thousands of prompts."""

    examples: tuple[Example, ...]
    templates: tuple[str, ...]

    def draw(self, wildcards: WildcardSource, random: Random) -> str:
        """Return a random prompt."""
        template = Template(random.choice(self.templates), wildcards)
        return template.sample(random.randrange(MAX_SEED))


@cache
def shipped_ideas() -> Ideas:
    """Return the ideas that come with this program."""
    content = orjson.loads(_SHIPPED_IDEAS.read_bytes())
    examples = tuple(Example(**example) for example in content["examples"])
    return Ideas(examples, tuple(content["templates"]))
