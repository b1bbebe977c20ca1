r"""Templates: one text that stands for many prompts.

The syntax is that of sd-dynamic-prompts: `{red|blue} fox`, `{2$$ and $$snow|night|rain}`,
`{0.8::day|night}`, `__season__`, `${color={red|blue}}`, comments, and `\{` for a brace.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from random import Random
from typing import Final, Protocol

from sd35.core.errors import TemplateError
from sd35.prompts.nodes import (
    Assignment,
    Choice,
    Literal,
    Node,
    Option,
    Order,
    Sequence,
    Variable,
    Wildcard,
)
from sd35.prompts.parser import parse_template
from sd35.prompts.resolution import Budget, Frame, Resolver, Selection, WildcardSource
from sd35.prompts.wildcards import NO_WILDCARDS

__all__ = ["MAX_COUNT", "Template"]

MAX_COUNT: Final = 10**15  # at which counting ends; JavaScript's numbers hold it exactly
MAX_RESULT_CHARACTERS: Final = 100_000
MAX_WORK: Final = 100_000  # evaluated parts, for a count or for one result

CHARACTERS_PER_PART: Final = 2  # that are parsed in the time in which a part is evaluated

# Only these: an ideographic space is part of a prompt in Japanese.
_WHITESPACE: Final = re.compile(r"[ \t\r\n\f\v]+")


class Template:
    """A template, checked as a whole.

    Attributes:
        count: number of combinations, up to `MAX_COUNT`. Two may have the same text.

    Raises:
        TemplateError: the template, or a wildcard that it uses, isn't valid or too complex.
    """

    def __init__(
        self,
        text: str,
        wildcards: WildcardSource = NO_WILDCARDS,
        total_budget: Budget | None = None,
    ) -> None:
        self.text = text
        if total_budget is not None:
            total_budget.spend(len(text) // CHARACTERS_PER_PART)
        self._sequence = parse_template(text)
        self._resolver = Resolver(wildcards)
        self._total_budget = total_budget
        counter = _Counter(self._resolver, Budget(MAX_WORK, total_budget))
        self.count = counter.sequence(self._sequence, Frame())

    def sample(self, seed: int, index: int = 0) -> str:
        """Return a random prompt; the same seed gives the same one.

        The index of the image counts for choices that aren't random, such as `{@red|blue}`.

        Raises:
            TemplateError: the prompt is too long, or takes too much work.
        """
        budget = Budget(MAX_WORK, self._total_budget)
        sampler = _Sampler(self._resolver, Random(seed), budget, index)  # noqa: S311  # no secret
        return _tidy(sampler.sequence(self._sequence, Frame()))

    def combinations(self) -> Iterator[str]:
        """Yield all prompts, in order: the last choice changes first.

        Raises:
            TemplateError: a prompt is too long, or takes too much work.
        """
        enumerator = _Enumerator(self._resolver, Budget(MAX_WORK, self._total_budget))
        for text in enumerator.sequence(self._sequence, Frame()):
            enumerator.budget.renew()
            yield _tidy(text)


def _tidy(text: str) -> str:
    # A template may have line breaks for readability, and an empty option leaves two spaces.
    return _WHITESPACE.sub(" ", text).strip()


class _Counter:
    """Counter of the combinations of a template, which makes none of them."""

    def __init__(self, resolver: Resolver, budget: Budget) -> None:
        self._resolver = resolver
        self._budget = budget
        self._counts: dict[tuple[int | str, int], int] = {}
        self._frames: list[Frame] = []  # keeps the scopes alive whose ids are keys

    def sequence(self, nodes: Sequence, frame: Frame) -> int:
        """Return the number of combinations of a sequence."""
        if not any(not isinstance(node, Literal) for node in nodes):
            return 1
        key = (id(nodes), id(frame.scope))
        if key not in self._counts:
            self._frames.append(frame)
            self._counts[key] = self._count(nodes, frame)
        return self._counts[key]

    def _count(self, nodes: Sequence, frame: Frame) -> int:
        total = 1
        for node in nodes:
            self._budget.spend()
            match node:
                case Assignment() if not frame.assigns(node):
                    pass
                case Assignment(name=name, value=value, is_immediate=True):
                    total *= self.sequence(value, frame.deeper())
                    frame = frame.bind_text(name, "")
                case Assignment(name=name, value=value):
                    frame = frame.bind(name, value)
                case Variable():
                    total *= self.sequence(*self._resolver.variable(node, frame))
                case Wildcard(pattern=pattern, arguments=()):
                    # A large file may be in a template many times.
                    wildcard_key = (pattern, id(frame.scope))
                    if wildcard_key not in self._counts:
                        selection = self._resolver.selection(node, frame)
                        self._counts[wildcard_key] = self._selection(selection)
                    total *= self._counts[wildcard_key]
                case Choice() | Wildcard():
                    total *= self._selection(self._resolver.selection(node, frame))
                case Literal():
                    pass
            total = min(total, MAX_COUNT)
        return total

    def _selection(self, selection: Selection) -> int:
        self._budget.spend(len(selection.options) * selection.upper // 100)
        counts = [self.sequence(option.sequence, selection.frame) for option in selection.options]
        if selection.upper <= 1:
            return sum(counts) if selection.lower else sum(counts) * selection.upper + 1
        # The numbers of ways to choose 0, 1, 2 … options in the order in which they stand.
        ways = [1, *[0] * selection.upper]
        for count in counts:
            for size in range(selection.upper, 0, -1):
                ways[size] = min(ways[size] + ways[size - 1] * count, MAX_COUNT)
        sizes = range(selection.lower, selection.upper + 1)
        return sum(ways[size] * math.factorial(size) for size in sizes)


class _Sampler:
    """Maker of one random result."""

    def __init__(self, resolver: Resolver, random: Random, budget: Budget, index: int) -> None:
        self._resolver = resolver
        self._random = random
        self._budget = budget
        self._index = index
        self._rest = index  # of which each choice that combines with others takes its part

    def sequence(self, nodes: Sequence, frame: Frame) -> str:
        """Return a random result of a sequence."""
        texts: list[str] = []
        for node in nodes:
            self._budget.spend()
            match node:
                case Assignment() if not frame.assigns(node):
                    pass
                case Assignment(name=name, value=value, is_immediate=True):
                    frame = frame.bind_text(name, self.sequence(value, frame.deeper()))
                case Assignment(name=name, value=value):
                    frame = frame.bind(name, value)
                case Variable():
                    texts.append(self.sequence(*self._resolver.variable(node, frame)))
                case Choice() | Wildcard():
                    selection = self._resolver.selection(node, frame)
                    texts.append(self._selection(selection, _order(node)))
                case Literal(text=text):
                    texts.append(text)
        return _checked("".join(texts))

    def _selection(self, selection: Selection, order: Order) -> str:
        self._budget.spend(len(selection.options) * selection.upper // 100)
        options = (
            self._random_options(selection)
            if order is Order.RANDOM
            else self._options_in_order(selection, order)
        )
        texts = [self.sequence(option.sequence, selection.frame) for option in options]
        return selection.separator.join(filter(None, texts))

    def _options_in_order(self, selection: Selection, order: Order) -> Iterator[Option]:
        count = len(selection.options)
        start = self._index
        if order is Order.COMBINATIONS:
            self._rest, start = divmod(self._rest, count)
        for offset in range(selection.lower):
            yield selection.options[(start + offset) % count]

    def _random_options(self, selection: Selection) -> Iterator[Option]:
        size = selection.lower
        if selection.upper > size:
            # Of Random only random() is documented to give the same numbers in every version.
            size += int(self._random.random() * (selection.upper - size + 1))
        options = list(selection.options)
        for _ in range(size):
            yield options.pop(self._pick([option.weight for option in options]))

    def _pick(self, weights: list[float]) -> int:
        """Return the index of a random weight."""
        position = self._random.random() * sum(weights)
        for index, weight in enumerate(weights):
            position -= weight
            if position < 0:
                return index
        return len(weights) - 1  # rounding


def _order(node: Choice | Wildcard) -> Order:
    """Return the order of a choice, or that of the only wildcard in it."""
    match node:
        case Choice(order=Order.RANDOM, options=(Option(sequence=(Wildcard(order=order),)),)):
            return order
        case _:
            return node.order


class _Texts(Protocol):
    """A part of a sequence: a function that yields its texts, each time from the first."""

    def __call__(self) -> Iterator[str]: ...


class _Enumerator:
    """Maker of all results, one after another."""

    def __init__(self, resolver: Resolver, budget: Budget) -> None:
        self._resolver = resolver
        self.budget = budget

    def sequence(self, nodes: Sequence, frame: Frame) -> Iterator[str]:
        """Yield all results of a sequence."""
        for index, node in enumerate(nodes):
            if isinstance(node, Assignment):
                yield from self._assignment(nodes[:index], node, nodes[index + 1 :], frame)
                return
        yield from self._join([partial(self._node, node, frame) for node in nodes], "")

    def _assignment(
        self, before: Sequence, assignment: Assignment, after: Sequence, frame: Frame
    ) -> Iterator[str]:
        for prefix in self.sequence(before, frame):
            for inner_frame in self._frames(assignment, frame):
                for suffix in self.sequence(after, inner_frame):
                    yield _checked(prefix + suffix)

    def _frames(self, assignment: Assignment, frame: Frame) -> Iterator[Frame]:
        """Yield the frame after an assignment, or for an immediate one that of each value."""
        if not frame.assigns(assignment):
            yield frame
        elif assignment.is_immediate:
            for text in self.sequence(assignment.value, frame.deeper()):
                yield frame.bind_text(assignment.name, text)
        else:
            yield frame.bind(assignment.name, assignment.value)

    def _node(self, node: Node, frame: Frame) -> Iterator[str]:
        self.budget.spend()
        match node:
            case Literal(text=text):
                yield text
            case Variable():
                yield from self.sequence(*self._resolver.variable(node, frame))
            case Choice() | Wildcard():
                selection = self._resolver.selection(node, frame)
                for size in range(selection.lower, selection.upper + 1):
                    for options in permutations(selection.options, size):
                        parts: list[_Texts] = [
                            partial(self.sequence, option.sequence, selection.frame)
                            for option in options
                        ]
                        yield from self._join(parts, selection.separator)
            case Assignment():
                raise AssertionError("an assignment isn't a text")

    def _join(self, parts: list[_Texts], separator: str) -> Iterator[str]:
        """Yield each combination of the parts' texts; in halves, as generators nest."""
        self.budget.spend()
        if not parts:
            yield ""
        elif len(parts) == 1:
            yield from parts[0]()
        else:
            middle = len(parts) // 2
            for start in self._join(parts[:middle], separator):
                for end in self._join(parts[middle:], separator):
                    # An empty option needs no separator.
                    yield _checked(separator.join(filter(None, (start, end))))


def _checked(text: str) -> str:
    if len(text) > MAX_RESULT_CHARACTERS:
        raise TemplateError(
            f"A prompt of the template has more than {MAX_RESULT_CHARACTERS:,} characters."
        )
    return text
