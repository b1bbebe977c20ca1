"""What `generate` is asked for on the command line: prompts, what holds for all of them, and what becomes of them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sd35.cli.messages import one_line, os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, RequestOptions, random_seed
from sd35.core.sizes import parse_ratio

__all__ = ["Batch", "read_prompts"]

STANDARD_INPUT: Final = Path("-")

SPACE_HINT: Final = "`python -m sd35 space` says what a Space accepts."


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures that are asked for: each prompt `count` times, otherwise all as the `wish` says.

    Attributes:
        folder: where they are saved.
        has_previews: whether previews are saved, too.
        goes_on: whether the next one is made after one has failed.

    Raises:
        InvalidRequestError: no Space could make them.

    """

    prompts: tuple[str, ...]
    request_options: RequestOptions
    count: int
    folder: Path
    has_previews: bool = False
    keep_going: bool = False

    def __post_init__(self) -> None:
        request_options = self.request_options
        for value in (
            request_options.width,
            request_options.height,
            request_options.num_inference_steps,
            request_options.seed,
        ):
            if value is not None and not 0 <= value < 2**63:
                raise InvalidRequestError(
                    "A size, a number of steps and a seed are numbers from 0 to 2^63."
                )
        if request_options.aspect_ratio is not None:
            try:
                parse_ratio(request_options.aspect_ratio)
            except ValueError as error:
                raise InvalidRequestError(str(error)) from error

    def requests(self, limits: Limits) -> list[GenerationRequest]:
        """Return the requests to a Space with these limits, in their order.

        Raises:
            InvalidRequestError: one of them lies outside the limits; none is to be sent.

        """
        return [
            request
            for prompt in self.prompts
            for request in self._requests_for_prompt(prompt, limits)
        ]

    def _requests_for_prompt(self, prompt: str, limits: Limits) -> Iterator[GenerationRequest]:
        try:
            base_request = replace(self.request_options, prompt=prompt).resolve(limits)
        except InvalidRequestError as error:
            prefix = "" if len(self.prompts) == 1 else f"“{one_line(prompt)[:40]}”: "
            raise InvalidRequestError(f"{prefix}{error.happened}", SPACE_HINT) from error
        for offset in range(self.count):
            seed = (
                random_seed(limits)
                if self.request_options.seed is None
                else _seed_after(base_request.seed, offset, limits)
            )
            yield replace(base_request, seed=seed)


def _seed_after(seed: int, offset: int, limits: Limits) -> int:
    """The seed that is `number` after this one; after the Space's largest comes its smallest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    minimum, maximum = round(seed_range.minimum), round(seed_range.maximum)
    return minimum + (seed - minimum + offset) % (maximum - minimum + 1)


def read_prompts(prompt: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the prompt that was typed, or those in the file: one a line; `-` is the standard input.

    Raises:
        InvalidRequestError: there is none, or the file can't be read.

    """
    if prompt is not None and file is not None:
        raise InvalidRequestError("Give a prompt, or a file with --prompts, not both.")
    if file is not None:
        return _read_prompt_lines(file)
    if prompt is None:
        raise InvalidRequestError("Describe a picture, or give a file with --prompts.")
    if not prompt.strip():
        raise InvalidRequestError("Enter a prompt.")
    return (prompt,)


def _read_prompt_lines(file: Path) -> tuple[str, ...]:
    source_name = "the standard input" if file == STANDARD_INPUT else one_line(file)
    try:
        text = _read_bytes(file).decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(
            f"The prompts can't be read from {source_name}: {os_error_text(error)}."
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequestError(
            f"The prompts can't be read: {source_name} isn't UTF-8 in line {line}."
        ) from error
    lines = (line.strip() for line in text.split("\n"))
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise InvalidRequestError(f"There is no prompt in {source_name}.")
    return prompts


def _read_bytes(file: Path) -> bytes:
    if file != STANDARD_INPUT:
        return file.read_bytes()
    return sys.stdin.buffer.read() if sys.stdin is not None else b""
