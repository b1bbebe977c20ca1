"""A prompt that goes to the model, and what it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sd35.core.origin import BASE_PROMPT_NAME, TEMPLATE_NAME
from sd35.prompts.styles import Style, apply_styles

__all__ = ["ORIGIN_NAMES", "ResolvedPrompt", "resolve_prompt"]

# In records; those of sd-dynamic-prompts and Fooocus, as far as they have the same.
ORIGIN_NAMES: Final = (TEMPLATE_NAME, "Styles", BASE_PROMPT_NAME, "Base negative")


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """Prompt and negative prompt as the model gets them, and their origin for the record."""

    prompt: str
    negative_prompt: str = ""
    origin: tuple[tuple[str, str], ...] = ()


def resolve_prompt(
    prompt: str, negative_prompt: str = "", styles: Sequence[Style] = (), template: str = ""
) -> ResolvedPrompt:
    """Return a prompt with styles, and its origin as names and values for the record.

    With a template, the prompt is one of its results.
    """
    names = ", ".join(style.name for style in styles)
    # The sources of both prompts, to give an image another style.
    sources = (prompt, negative_prompt) if styles else ("", "")
    origin = zip(ORIGIN_NAMES, (template, names, *sources), strict=True)
    styled_prompt, styled_negative = apply_styles(prompt, negative_prompt, styles)
    return ResolvedPrompt(
        styled_prompt, styled_negative, tuple(pair for pair in origin if pair[1].strip())
    )
