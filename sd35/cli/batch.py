"""Prompts and options of `generate`, and the requests built from them."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError, TemplateError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, RequestOptions, is_random_seed, random_seed
from sd35.core.text import one_line, pluralize
from sd35.prompts.resolved import ResolvedPrompt, resolve_prompt
from sd35.prompts.styles import Style
from sd35.prompts.templates import MAX_COUNT, Template
from sd35.prompts.wildcards import SHIPPED_WILDCARDS, WildcardFolders

__all__ = [
    "ALL_COMBINATIONS",
    "MAX_IMAGES",
    "Batch",
    "BatchItem",
    "PromptSource",
    "SeedPolicy",
    "parse_sources",
    "read_prompts",
]

STANDARD_INPUT: Final = Path("-")

MAX_IMAGES: Final = 10_000  # of one command
ALL_COMBINATIONS: Final = -1

LIMITS_HINT: Final = "Run `python -m sd35 space` to see what the Space accepts."


class SeedPolicy(StrEnum):
    """How the seeds of a prompt's images follow one another."""

    RANDOM = "random"
    FIXED = "fixed"
    INCREMENT = "increment"


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A prompt as it was entered, with its template if it is one."""

    text: str
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One image of a batch, and the names and values of its prompt's origin for the record."""

    request: GenerationRequest
    origin: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to generate: `count` of each prompt, all with the same other options.

    A template makes a random prompt for each image; with `combinations`, it makes up to so many of
    its prompts in order, and `count` images of each.
    """

    sources: tuple[PromptSource, ...]
    options: RequestOptions
    count: int
    folder: Path = Path()
    saves_previews: bool = False
    keep_going: bool = False
    seed_policy: SeedPolicy | None = None
    styles: tuple[Style, ...] = ()
    combinations: int | None = None

    def __post_init__(self) -> None:
        """Check that there are no more images than anybody means.

        Raises:
            InvalidRequestError: there are, or an option has no effect.
        """
        if self.combinations is not None and not any(source.template for source in self.sources):
            raise InvalidRequestError("No prompt is a template, so there are no --combinations.")
        if self.seed_policy is SeedPolicy.RANDOM and not is_random_seed(self.options.seed):
            raise InvalidRequestError("Use either --seed or --seeds random, not both.")
        if self.total > MAX_IMAGES:
            number = f"{self.total:,}" if self.total < MAX_COUNT else f"{MAX_COUNT:,} or more"
            raise InvalidRequestError(
                f"That would be {number} images; the limit is {MAX_IMAGES:,}.",
                "Make fewer, such as with --combinations 100.",
            )

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self._prompt_count(source) for source in self.sources) * self.count

    @property
    def summary(self) -> str:
        """What will be made, such as `12 images: 4 prompts × 3.`; empty for one plain image."""
        prompts = sum(self._prompt_count(source) for source in self.sources)
        parts = f"{pluralize(prompts, 'prompt')} × {self.count:,}"
        total = pluralize(self.total, "image")
        text = f"{total}: {parts}" if prompts > 1 and self.count > 1 else total
        templates = [source.template for source in self.sources if source.template]
        if len(templates) == 1 and templates[0].count > 1:
            count = templates[0].count
            number = f"{count:,}" if count < MAX_COUNT else f"{MAX_COUNT:,} or more"
            order = "random" if self.combinations is None else "the first"
            if self.combinations is None or self._prompt_count(self.sources[0]) < count:
                return f"{text}, {order} ones of the template's {number} combinations."
            return f"{text}, all combinations of the template."
        return f"{text}." if self.total > 1 else ""

    def items(self, limits: Limits) -> list[BatchItem]:
        """Return the images, in order, as requests to a Space with these limits."""
        # A list: a mistake in the last prompt is found before the first image costs its quota.
        return [item for source in self.sources for item in self._source_items(source, limits)]

    def _prompt_count(self, source: PromptSource) -> int:
        if source.template is None or self.combinations is None:
            return 1
        if self.combinations == ALL_COMBINATIONS:
            return source.template.count
        return min(source.template.count, self.combinations)

    def _source_items(self, source: PromptSource, limits: Limits) -> Iterator[BatchItem]:
        # Its prompt is replaced: only the seed counts, and it is drawn once.
        first_seed = self._resolve("x", "", limits).seed
        policy = self.seed_policy or (
            SeedPolicy.RANDOM if is_random_seed(self.options.seed) else SeedPolicy.INCREMENT
        )
        offset = 0
        for text in self._combinations(source):
            for _ in range(self.count):
                following_seed = _seed_after(first_seed, offset, limits)
                offset += 1
                seed = random_seed(limits) if policy is SeedPolicy.RANDOM else following_seed
                if text is None:
                    assert source.template is not None
                    # With one seed for all images, their prompts still differ.
                    prompt_seed = following_seed if policy is SeedPolicy.FIXED else seed
                    prompt = source.template.sample(prompt_seed)
                else:
                    prompt = text
                resolved = self._style(prompt, source, limits)
                request = self._resolve(resolved.prompt, resolved.negative_prompt, limits)
                image_seed = first_seed if policy is SeedPolicy.FIXED else seed
                yield BatchItem(replace(request, seed=image_seed), resolved.origin)

    def _combinations(self, source: PromptSource) -> Iterator[str | None]:
        """Yield the prompts of a source; `None` for a random one of its template."""
        if source.template is None:
            yield source.text
        elif self.combinations is None:
            yield None
        else:
            yield from islice(source.template.combinations(), self._prompt_count(source))

    def _style(self, prompt: str, source: PromptSource, limits: Limits) -> ResolvedPrompt:
        negative_prompt = self.options.negative_prompt
        template = source.text if source.template is not None else ""
        resolved = resolve_prompt(prompt, negative_prompt, self.styles, template)
        # A style is no reason to refuse a Space; the user's own negative prompt is.
        negative = resolved.negative_prompt if limits.negative_prompt else negative_prompt
        return replace(resolved, negative_prompt=negative)

    def _resolve(self, prompt: str, negative_prompt: str, limits: Limits) -> GenerationRequest:
        options = replace(self.options, prompt=prompt, negative_prompt=negative_prompt)
        try:
            return options.resolve(limits)
        except InvalidRequestError as error:
            prefix = "" if len(self.sources) == 1 else f"“{one_line(prompt)[:40]}”: "
            raise InvalidRequestError(f"{prefix}{error.happened}", LIMITS_HINT) from error


def _seed_after(seed: int, offset: int, limits: Limits) -> int:
    """Return the seed `offset` after this one; the Space's smallest follows its largest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    minimum = round(seed_range.minimum)
    seed_count = round(seed_range.maximum) - minimum + 1
    return minimum + (seed - minimum + offset) % seed_count


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
    # Not splitlines(), which also splits at U+2028 and at form feeds, within a prompt.
    lines = (line.strip() for line in text.split("\n"))
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise InvalidRequestError(f"No prompts in {source_name}.")
    return prompts


def _read_bytes(file: Path) -> bytes:
    if file != STANDARD_INPUT:
        return file.read_bytes()
    return sys.stdin.buffer.read() if sys.stdin is not None else b""
