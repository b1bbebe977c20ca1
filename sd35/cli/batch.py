"""Prompts and options of `generate`, and what is said of the images that they make."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError, TemplateError
from sd35.core.limits import Limits
from sd35.core.origin import PlannedRequest
from sd35.core.request import is_random_seed
from sd35.core.text import one_line, pluralize
from sd35.prompts.plan import ALL_COMBINATIONS, Plan, PromptSource, SeedPolicy, split_prompts
from sd35.prompts.templates import MAX_COUNT, Template
from sd35.prompts.wildcards import SHIPPED_WILDCARDS, WildcardFolders

__all__ = ["LIMITS_HINT", "MAX_IMAGES", "Batch", "parse_sources", "read_prompts"]

STANDARD_INPUT: Final = Path("-")

MAX_IMAGES: Final = 10_000  # of one command

LIMITS_HINT: Final = "Run `python -m sd35 space` to see what the Space accepts."


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to generate one after another, and where they are saved."""

    plan: Plan
    folder: Path = Path()
    saves_previews: bool = False
    keep_going: bool = False

    def __post_init__(self) -> None:
        """Check the plan.

        Raises:
            InvalidRequestError: an option has no effect, or there are too many images.
        """
        plan = self.plan
        if plan.combinations is not None and not any(source.template for source in plan.sources):
            raise InvalidRequestError("No prompt is a template, so there are no --combinations.")
        if plan.seed_policy is SeedPolicy.RANDOM and not is_random_seed(plan.options.seed):
            raise InvalidRequestError("Use either --seed or --seeds random, not both.")
        plan.check_total("Make fewer, such as with --combinations 100.")

    @property
    def summary(self) -> str:
        """What will be made, such as `12 images: 4 prompts × 3.`; empty for one plain image."""
        plan = self.plan
        parts = f"{pluralize(plan.prompt_count, 'prompt')} × {plan.count:,}"
        total = pluralize(plan.total, "image")
        text = f"{total}: {parts}" if plan.prompt_count > 1 and plan.count > 1 else total
        templates = [source.template for source in plan.sources if source.template]
        if len(templates) == 1 and templates[0].count > 1:
            count = templates[0].count
            number = f"{count:,}" if count < MAX_COUNT else f"{MAX_COUNT:,} or more"
            order = "random" if plan.combinations is None else "the first"
            is_partial = plan.combinations not in {None, ALL_COMBINATIONS}
            if plan.combinations is None or (is_partial and plan.combinations < count):
                return f"{text}, {order} ones of the template's {number} combinations."
            return f"{text}, all combinations of the template."
        return f"{text}." if plan.total > 1 else ""

    def requests(self, limits: Limits) -> list[PlannedRequest]:
        """Return the images, in order, as requests to a Space with these limits.

        Raises:
            InvalidRequestError: the Space can't make one of them.
        """
        try:
            return self.plan.requests(limits)
        except InvalidRequestError as error:
            if not error.field_errors:
                raise
            raise InvalidRequestError(error.happened, LIMITS_HINT) from error


def parse_sources(
    prompts: Sequence[str], are_templates: Sequence[bool], wildcard_folder: Path
) -> tuple[PromptSource, ...]:
    """Return prompts, with the templates of those that are one.

    Raises:
        InvalidRequestError: a template isn't valid.
    """
    wildcards = WildcardFolders(SHIPPED_WILDCARDS, wildcard_folder)
    sources = []
    for prompt, is_template in zip(prompts, are_templates, strict=True):
        if not is_template:
            sources.append(PromptSource(prompt))
            continue
        try:
            sources.append(PromptSource(prompt, Template(prompt, wildcards)))
        except TemplateError as error:
            prefix = "" if len(prompts) == 1 else f"“{one_line(prompt)[:40]}”: "
            remedy = f"{error.remedy} Use --no-template for a prompt with these characters."
            problems = " ".join(wildcards.problems[:3])
            raise InvalidRequestError(
                f"{prefix}{error.happened} {problems}".strip(), remedy.strip()
            ) from error
    return tuple(sources)


def read_prompts(prompt: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the prompt of the command line, or those of a file, one a line."""
    if prompt is not None and file is not None:
        raise InvalidRequestError("Use either a prompt or --prompts, not both.")
    if file is not None:
        return _read_prompt_lines(file)
    if prompt is None:
        raise InvalidRequestError("Enter a prompt, or a file with --prompts.")
    if not prompt.strip():
        raise InvalidRequestError("Enter a prompt.")
    return (prompt,)


def _read_prompt_lines(file: Path) -> tuple[str, ...]:
    source_name = "stdin" if file == STANDARD_INPUT else one_line(file)
    try:
        # Windows editors put a byte order mark first; it would become part of the first prompt.
        text = _read_bytes(file).decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(
            f"Couldn't read prompts from {source_name}: {os_error_text(error)}."
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequestError(
            f"Couldn't read prompts: line {line} of {source_name} isn't UTF-8."
        ) from error
    prompts = split_prompts(text)
    if not prompts:
        raise InvalidRequestError(f"No prompts in {source_name}.")
    return prompts


def _read_bytes(file: Path) -> bytes:
    if file != STANDARD_INPUT:
        return file.read_bytes()
    return sys.stdin.buffer.read() if sys.stdin is not None else b""
