"""The images of one press or command: their prompts, templates, styles and seeds.

The page, the command line and programs plan their images here, before the first one is requested.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from sd35.core.errors import InvalidRequestError, PromptError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.origin import MAX_SET_SIZE, PlannedRequest, RequestOrigin
from sd35.core.request import GenerationRequest, RequestOptions, is_random_seed, random_seed
from sd35.core.seed import parse_whole_number
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.resolution import Budget, WildcardSource
from sd35.prompts.resolved import ResolvedPrompt, resolve_prompt
from sd35.prompts.styles import Style, StyleBook
from sd35.prompts.templates import MAX_COUNT, Template
from sd35.prompts.wildcards import NO_WILDCARDS

__all__ = [
    "ALL_COMBINATIONS",
    "BatchOptions",
    "Plan",
    "PromptSource",
    "SeedPolicy",
    "parse_batch_options",
    "plan_requests",
    "prompt_spans",
    "split_prompts",
]

ALL_COMBINATIONS: Final = -1

MAX_PLAN_WORK: Final = 150_000  # evaluated parts of all templates of a press: a third of a second
MAX_PER_PROMPT: Final = 8  # images on the page

_MAX_STYLES: Final = 20
_MAX_STYLE_CHARACTERS: Final = 100


class SeedPolicy(StrEnum):
    """How the seeds of images follow one another."""

    RANDOM = "random"
    FIXED = "fixed"
    INCREMENT = "increment"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How many images a press makes of which prompts.

    Attributes:
        count: images per prompt.
        one_per_line: whether each line is a prompt of its own.
        seeds: how seeds follow one another if the first one is given.
        combinations: whether a template makes all its prompts, instead of a random one per image.
        is_literal: whether no prompt is a template.
        styles: names of styles for all prompts.
    """

    count: int = 1
    one_per_line: bool = False
    seeds: SeedPolicy = SeedPolicy.INCREMENT
    combinations: bool = False
    is_literal: bool = False
    styles: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the options as JSON, which `parse_batch_options` reads back."""
        return json.dumps(asdict(self))


def parse_batch_options(text: object) -> BatchOptions:
    """Return the options in a JSON object; whatever is missing or invalid has its default."""
    try:
        payload = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        return BatchOptions()
    count = payload.get("count")
    is_fixed = payload.get("seeds") == SeedPolicy.FIXED
    return BatchOptions(
        count=count if type(count) is int and 1 <= count <= MAX_PER_PROMPT else 1,
        one_per_line=payload.get("one_per_line") is True,
        seeds=SeedPolicy.FIXED if is_fixed else SeedPolicy.INCREMENT,
        combinations=payload.get("combinations") is True,
        is_literal=payload.get("is_literal") is True,
        styles=_parse_names(payload.get("styles")),
    )


def _parse_names(value: Any) -> tuple[str, ...]:  # noqa: ANN401  # anything in JSON
    names = value[:_MAX_STYLES] if isinstance(value, list) else []
    return tuple(
        name for name in names if isinstance(name, str) and len(name) <= _MAX_STYLE_CHARACTERS
    )


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A prompt as it was entered, with its template if it is one."""

    text: str
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Images to generate: `count` of each prompt, all with the same other options.

    A template makes a random prompt for each image; with `combinations`, it makes up to so many of
    its prompts in order, and `count` images of each.

    Attributes:
        seed_policy: by default, seeds are incremented if one is given, else random.
        restarts_seeds: whether each prompt begins with the same seed again.
        max_images: more are refused, because nobody means them.
    """

    sources: tuple[PromptSource, ...]
    options: RequestOptions
    count: int = 1
    seed_policy: SeedPolicy | None = None
    styles: tuple[Style, ...] = ()
    combinations: int | None = None
    restarts_seeds: bool = False
    max_images: int = MAX_SET_SIZE

    @property
    def prompt_count(self) -> int:
        """Number of prompts, of which there are `count` images each."""
        return sum(self._prompt_count(source) for source in self.sources)

    @property
    def total(self) -> int:
        """Number of images."""
        return self.prompt_count * self.count

    def check_total(self, remedy: str = "") -> None:
        """Check that there are no more images than anybody means.

        Raises:
            InvalidRequestError: there are.
        """
        _check_total(self.total, self.max_images, remedy)

    @property
    def policy(self) -> SeedPolicy:
        """How seeds follow one another."""
        if self.seed_policy is not None:
            return self.seed_policy
        is_random = is_random_seed(self.options.seed)
        return SeedPolicy.RANDOM if is_random else SeedPolicy.INCREMENT

    def requests(self, limits: Limits, draw: int | None = None) -> list[PlannedRequest]:
        """Return the images, in order, as requests to a Space with these limits.

        With a `draw`, a number, random seeds are the same again for the same number.

        Raises:
            PromptError: one of several prompts isn't valid.
            InvalidRequestError: an option isn't valid, or the only prompt, or there are too many.
        """
        self.check_total()
        # A list: a mistake in the last prompt is found before the first image costs its quota.
        return list(_Planner(self, limits, draw).requests())

    def _prompt_count(self, source: PromptSource) -> int:
        if source.template is None or self.combinations is None:
            return 1
        if self.combinations == ALL_COMBINATIONS:
            return source.template.count
        return min(source.template.count, self.combinations)

    def texts(self, source: PromptSource) -> Iterator[str | None]:
        """Yield the prompts of a source; `None` for a random one of its template."""
        if source.template is None:
            yield source.text
        elif self.combinations is None:
            yield None
        else:
            yield from islice(source.template.combinations(), self._prompt_count(source))


class _Planner:
    """Maker of the requests of a plan, once."""

    def __init__(self, plan: Plan, limits: Limits, draw: int | None) -> None:
        self._plan = plan
        self._limits = limits
        self._draw = draw
        self._draw_count = 0

    def requests(self) -> Iterator[PlannedRequest]:
        """Yield the requests in order."""
        offset = 0
        first_seed = self._first_seed()
        for index, source in enumerate(self._plan.sources):
            if self._plan.restarts_seeds and offset:
                offset = 0
                first_seed = self._first_seed()
            for text in self._plan.texts(source):
                for number in range(self._plan.count):
                    following_seed = _seed_after(first_seed, offset, self._limits)
                    try:
                        yield self._request(source, text, number, (first_seed, following_seed))
                    except InvalidRequestError as error:
                        raise self._prompt_error(index, error) from error
                    offset += 1

    def _prompt_error(self, index: int, error: InvalidRequestError) -> InvalidRequestError:
        sources = self._plan.sources
        return error if len(sources) == 1 else PromptError.of(index, sources[index].text, error)

    def _request(
        self, source: PromptSource, text: str | None, number: int, seeds: tuple[int, int]
    ) -> PlannedRequest:
        first_seed, following_seed = seeds
        policy = self._plan.policy
        seed = self._random_seed() if policy is SeedPolicy.RANDOM else following_seed
        if text is None:
            assert source.template is not None
            # With one seed for all images, their prompts still differ.
            prompt_seed = following_seed if policy is SeedPolicy.FIXED else seed
            text = source.template.sample(prompt_seed, number)
        resolved = self._style(text, source)
        request = self._resolve(resolved.prompt, resolved.negative_prompt)
        image_seed = first_seed if policy is SeedPolicy.FIXED else seed
        origin = RequestOrigin(prompt_sources=resolved.origin)
        return PlannedRequest(replace(request, seed=image_seed), origin)

    def _first_seed(self) -> int:
        seed = self._plan.options.seed
        # One that isn't valid is refused with the rest of the request.
        return self._random_seed() if is_random_seed(seed) else parse_whole_number(seed) or 0

    def _random_seed(self) -> int:
        if self._draw is None:
            return random_seed(self._limits)
        self._draw_count += 1
        text = f"{self._draw} {self._draw_count}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return _seed_after(0, number, self._limits)

    def _style(self, prompt: str, source: PromptSource) -> ResolvedPrompt:
        negative_prompt = self._plan.options.negative_prompt
        template = source.text if source.template is not None else ""
        resolved = resolve_prompt(prompt, negative_prompt, self._plan.styles, template)
        # A style is no reason to refuse a Space; the user's own negative prompt is.
        negative = resolved.negative_prompt if self._limits.negative_prompt else negative_prompt
        return replace(resolved, negative_prompt=negative)

    def _resolve(self, prompt: str, negative_prompt: str) -> GenerationRequest:
        options = replace(self._plan.options, prompt=prompt, negative_prompt=negative_prompt)
        return options.resolve(self._limits)


def _check_total(total: int, limit: int, remedy: str = "") -> None:
    if total > limit:
        number = f"{total:,}" if total < MAX_COUNT else f"{MAX_COUNT:,} or more"
        raise InvalidRequestError(f"That would be {number} images; the limit is {limit:,}.", remedy)


def _seed_after(seed: int, offset: int, limits: Limits) -> int:
    """Return the seed `offset` after this one; the Space's smallest follows its largest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    minimum = round(seed_range.minimum)
    seed_count = round(seed_range.maximum) - minimum + 1
    return minimum + (seed - minimum + offset) % seed_count


def split_prompts(text: str) -> tuple[str, ...]:
    """Return the prompts in the lines of a text; empty lines and those with `#` are left out."""
    return tuple(prompt for _, prompt in prompt_spans(text, one_per_line=True))


def prompt_spans(text: str, *, one_per_line: bool) -> list[tuple[int, str]]:
    """Return the prompts in a text, each with the index of its first character."""
    if not one_per_line:
        return [(len(text) - len(text.lstrip()), text.strip())]
    spans = []
    start = 0
    # Not splitlines(), which also splits at U+2028 and at form feeds, within a prompt.
    for line in text.split("\n"):
        prompt = line.strip()
        if prompt and not prompt.startswith("#"):
            spans.append((start + line.index(prompt), prompt))
        start += len(line) + 1
    return spans


def plan_requests(
    options: RequestOptions,
    batch: BatchOptions,
    style_book: StyleBook,
    wildcards: WildcardSource = NO_WILDCARDS,
) -> Plan:
    """Return the plan of a prompt, or of the prompts in its lines, for a page or a program.

    Raises:
        PromptError: one of several prompts isn't a valid template.
        TemplateError: the only prompt isn't.
        InvalidRequestError: there is no such style, or there are too many images.
    """
    spans = prompt_spans(options.prompt, one_per_line=batch.one_per_line)
    prompts = [prompt for _, prompt in spans]
    _check_total(len(prompts) * batch.count, MAX_SET_SIZE)  # before each is parsed
    plan = Plan(
        _parse_sources(prompts or [""], batch, wildcards),
        options,
        batch.count,
        None if is_random_seed(options.seed) else batch.seeds,
        style_book.find(batch.styles),
        ALL_COMBINATIONS if batch.combinations else None,
    )
    plan.check_total()
    return plan


def _parse_sources(
    prompts: Sequence[str], batch: BatchOptions, wildcards: WildcardSource
) -> tuple[PromptSource, ...]:
    if batch.is_literal:
        return tuple(map(PromptSource, prompts))
    sources = []
    budget = Budget(MAX_PLAN_WORK)
    for index, prompt in enumerate(prompts):
        try:
            template = None
            if has_template_syntax(prompt):
                template = Template(prompt, wildcards, budget)
            sources.append(PromptSource(prompt, template))
        except InvalidRequestError as error:
            if len(prompts) == 1:
                raise
            raise PromptError.of(index, prompt, error) from error
    return tuple(sources)
