"""Prompts and options of `generate`, and the requests built from them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, RequestOptions, is_random_seed, random_seed
from sd35.core.text import one_line

__all__ = ["Batch", "read_prompts"]

STANDARD_INPUT: Final = Path("-")

LIMITS_HINT: Final = "Run `python -m sd35 space` to see what the Space accepts."


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to generate: `count` of each prompt, all with the same other options."""

    prompts: tuple[str, ...]
    options: RequestOptions
    count: int
    folder: Path
    saves_previews: bool = False
    keep_going: bool = False

    def requests(self, limits: Limits) -> list[GenerationRequest]:
        """Return the requests to a Space with these limits, in order."""
        # A list: a mistake in the last prompt is found before the first image costs its quota.
        return [
            request
            for prompt in self.prompts
            for request in self._requests_for_prompt(prompt, limits)
        ]

    def _requests_for_prompt(self, prompt: str, limits: Limits) -> Iterator[GenerationRequest]:
        try:
            base_request = replace(self.options, prompt=prompt).resolve(limits)
        except InvalidRequestError as error:
            prefix = "" if len(self.prompts) == 1 else f"“{one_line(prompt)[:40]}”: "
            raise InvalidRequestError(f"{prefix}{error.happened}", LIMITS_HINT) from error
        # One seed for each image: with the same one, --count would make the same image again.
        is_random = is_random_seed(self.options.seed)
        for offset in range(self.count):
            seed = _seed_after(base_request.seed, offset, limits)
            yield replace(base_request, seed=random_seed(limits) if is_random else seed)


def _seed_after(seed: int, offset: int, limits: Limits) -> int:
    """Return the seed `offset` after this one; the Space's smallest follows its largest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    minimum = round(seed_range.minimum)
    seed_count = round(seed_range.maximum) - minimum + 1
    return minimum + (seed - minimum + offset) % seed_count


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
