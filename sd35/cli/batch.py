"""What `generate` is asked for on the command line: prompts, what holds for all of them, and what becomes of them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sd35.cli.messages import plain, reason
from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, Wish, draw_seed, problems
from sd35.core.sizes import parse_ratio

__all__ = ["Order", "read_prompts"]

STANDARD_INPUT: Final = Path("-")

ASK: Final = "`python -m sd35 space` says what a Space accepts."


@dataclass(frozen=True, slots=True)
class Order:
    """Pictures that are asked for: each prompt `count` times, otherwise all as the `wish` says.

    Attributes:
        folder: where they are saved.
        has_previews: whether previews are saved, too.
        goes_on: whether the next one is made after one has failed.

    Raises:
        InvalidRequestError: no Space could make them.

    """

    prompts: tuple[str, ...]
    wish: Wish
    count: int
    folder: Path
    has_previews: bool = False
    goes_on: bool = False

    def __post_init__(self) -> None:
        wish = self.wish
        for number in (wish.width, wish.height, wish.num_inference_steps, wish.seed):
            if number is not None and not 0 <= number < 2**63:
                raise InvalidRequestError(
                    "A size, a number of steps and a seed are numbers from 0 to 2^63."
                )
        if wish.aspect_ratio is not None:
            try:
                parse_ratio(wish.aspect_ratio)
            except ValueError as error:
                raise InvalidRequestError(str(error)) from error

    def requests(self, limits: Limits) -> list[GenerationRequest]:
        """Return the requests to a Space with these limits, in their order.

        Raises:
            InvalidRequestError: one of them lies outside the limits; none is to be sent.

        """
        return [request for prompt in self.prompts for request in self._all(prompt, limits)]

    def _all(self, prompt: str, limits: Limits) -> Iterator[GenerationRequest]:
        try:
            first = replace(self.wish, prompt=prompt).on(limits)
        except InvalidRequestError as error:
            raise InvalidRequestError(error.happened, ASK) from error
        found = " ".join(problem.message for problem in problems(first, limits))
        if found:
            raise InvalidRequestError(
                found if len(self.prompts) == 1 else f"“{plain(prompt)[:40]}”: {found}", ASK
            )
        for number in range(self.count):
            seed = (
                draw_seed(limits)
                if self.wish.seed is None
                else _seed_after(first.seed, number, limits)
            )
            yield replace(first, seed=seed)


def _seed_after(seed: int, number: int, limits: Limits) -> int:
    """The seed that is `number` after this one; after the Space's largest comes its smallest."""
    span = limits.seed or PUBLIC_LIMITS.seed
    assert span is not None
    low, high = round(span.minimum), round(span.maximum)
    return low + (seed - low + number) % (high - low + 1)


def read_prompts(prompt: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the prompt that was typed, or those in the file: one a line; `-` is the standard input.

    Raises:
        InvalidRequestError: there is none, or the file can't be read.

    """
    if prompt is not None and file is not None:
        raise InvalidRequestError("Give a prompt, or a file with --prompts, not both.")
    if file is not None:
        return _lines(file)
    if prompt is None:
        raise InvalidRequestError("Describe a picture, or give a file with --prompts.")
    if not prompt.strip():
        raise InvalidRequestError("Describe the picture first: the prompt is empty.")
    return (prompt,)


def _lines(file: Path) -> tuple[str, ...]:
    name = "the standard input" if file == STANDARD_INPUT else plain(file)
    try:
        text = _read(file).decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(
            f"The prompts can't be read from {name}: {reason(error)}."
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequestError(
            f"The prompts can't be read: {name} isn't UTF-8 in line {line}."
        ) from error
    lines = (line.strip() for line in text.split("\n"))
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise InvalidRequestError(f"There is no prompt in {name}.")
    return prompts


def _read(file: Path) -> bytes:
    if file != STANDARD_INPUT:
        return file.read_bytes()
    return sys.stdin.buffer.read() if sys.stdin is not None else b""
