"""A prompt that goes to the model, and what it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from sd35.prompts.styles import Style, apply_styles

__all__ = ["ResolvedPrompt", "resolve_prompt"]


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
    origin = [("Template", template)] if template else []
    if styles:
        # As Fooocus names them; the sources of both prompts, to change the style of an image.
        origin += [("Styles", ", ".join(style.name for style in styles))]
        origin += [("Base prompt", prompt), ("Base negative", negative_prompt)]
    styled_prompt, styled_negative = apply_styles(prompt, negative_prompt, styles)
    return ResolvedPrompt(
        styled_prompt, styled_negative, tuple(pair for pair in origin if pair[1].strip())
    )
