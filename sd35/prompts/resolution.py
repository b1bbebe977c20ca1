"""The parts of a template in their context: options of choices, values of variables, and limits."""

from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

from cachetools import LRUCache, cached

from sd35.core.errors import TemplateError
from sd35.prompts.nodes import (
    Assignment,
    Bounds,
    Choice,
    Literal,
    Option,
    Sequence,
    Variable,
    Wildcard,
)
from sd35.prompts.parser import parse_value

__all__ = ["Budget", "Frame", "Resolver", "Selection", "WildcardSource"]

MAX_DEPTH: Final = 50  # of choices, variables and wildcards in one another
MAX_PICKS: Final = 50
MAX_VARIABLES: Final = 200
MAX_CACHED_VALUES: Final = 200_000  # of wildcards, parsed: some 50 MB


class WildcardSource(Protocol):
    """Source of the values of wildcards."""

    def values(self, pattern: str) -> tuple[str, ...]:
        """Return the values of all wildcards that match a pattern; raise TemplateError if none."""


class Budget:
    """Work that is left for one result; a template may be small and its results endless.

    With a `total`, the work is also taken off that one, which many results share.
    """

    def __init__(self, limit: int, total: "Budget | None" = None) -> None:
        self._limit = limit
        self._remaining = limit
        self._total = total

    def spend(self, amount: int = 1) -> None:
        """Take off work, or raise a TemplateError if it is used up."""
        self._remaining -= amount
        if self._remaining < 0:
            raise TemplateError("The template is too complex.", remedy="Use fewer nested parts.")
        if self._total is not None:
            self._total.spend(amount)

    def renew(self) -> None:
        """Begin anew, for the next result."""
        self._remaining = self._limit


@dataclass(frozen=True, slots=True, eq=False)
class _Binding:
    """Value of a variable, and the binding that it hides."""

    name: str
    value: Sequence
    hidden: "_Binding | None"


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Variables that are set; a scope hides its parent's variable of the same name."""

    parent: "Scope | None" = None
    name: str = ""
    binding: _Binding | None = None
    size: int = 0

    def find(self, name: str) -> _Binding | None:
        """Return the binding of a variable."""
        scope: Scope | None = self
        while scope is not None:
            if scope.name == name:
                return scope.binding
            scope = scope.parent
        return None

    def with_binding(self, name: str, binding: _Binding | None) -> "Scope":
        """Return a scope in which the variable has this binding."""
        if self.size >= MAX_VARIABLES:
            raise TemplateError(f"A template sets up to {MAX_VARIABLES} variables at once.")
        return Scope(self, name, binding, self.size + 1)


ROOT_SCOPE: Final = Scope()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where a part of a template is evaluated: its variables, and the wildcards that it is in."""

    scope: Scope = ROOT_SCOPE
    wildcards: tuple[str, ...] = ()
    depth: int = 0

    def bind(self, name: str, value: Sequence) -> "Frame":
        """Return a frame in which a variable has this value."""
        binding = _Binding(name, value, self.scope.find(name))
        return Frame(self.scope.with_binding(name, binding), self.wildcards, self.depth)

    def bind_text(self, name: str, text: str) -> "Frame":
        """Return a frame in which a variable has been evaluated."""
        return self.bind(name, (Literal(text),))

    def assigns(self, assignment: Assignment) -> bool:
        """Return whether an assignment has an effect here."""
        return not assignment.is_default or self.scope.find(assignment.name) is None

    def error(self, message: str, position: int, remedy: str = "") -> TemplateError:
        """Return an error at a position, which counts in the value of the innermost wildcard."""
        if not self.wildcards:
            return TemplateError(message, position, remedy)
        prefix = f"In the wildcard “{self.wildcards[-1]}”: "
        return TemplateError(f"{prefix}{message[:1].lower()}{message[1:]}", remedy=remedy)

    def deeper(self) -> "Frame":
        """Return the frame of a part within this one."""
        if self.depth >= MAX_DEPTH:
            raise TemplateError(f"The template is nested more than {MAX_DEPTH} deep.")
        return Frame(self.scope, self.wildcards, self.depth + 1)

    def inside(self, wildcard: Wildcard) -> "Frame":
        """Return the frame of a wildcard's values."""
        if wildcard.pattern in self.wildcards:
            cycle = " → ".join((*self.wildcards, wildcard.pattern))
            raise TemplateError(f"These wildcards contain one another: {cycle}.")
        wildcards = (*self.wildcards, wildcard.pattern)
        frame = Frame(self.scope, wildcards, self.deeper().depth)
        for argument in wildcard.arguments:
            frame = frame.bind(argument.name, argument.value)
        return frame


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Options of which a number from `lower` to `upper` is chosen, and where they are evaluated."""

    options: tuple[Option, ...]
    lower: int
    upper: int
    separator: str
    frame: Frame


class Resolver:
    """Resolver of choices, wildcards and variables."""

    def __init__(self, wildcards: WildcardSource) -> None:
        self._wildcards = wildcards
        self._options: dict[str, tuple[Option, ...]] = {}

    def selection(self, node: Choice | Wildcard, frame: Frame) -> Selection:
        """Return the options of a choice, or of a wildcard.

        A choice of one wildcard chooses among its values: `{2$$__color__}` is two colors.
        """
        if isinstance(node, Wildcard):
            options = self._wildcard_options(node, frame)
            return _select(node.position, options, Bounds(), frame, frame.inside(node))
        match node.options:
            case (Option(sequence=(Wildcard() as wildcard,)),):
                options = self._wildcard_options(wildcard, frame)
                return _select(node.position, options, node.bounds, frame, frame.inside(wildcard))
            case options:
                return _select(node.position, options, node.bounds, frame, frame.deeper())

    def variable(self, node: Variable, frame: Frame) -> tuple[Sequence, Frame]:
        """Return the value of a variable, and where it is evaluated."""
        binding = frame.scope.find(node.name)
        if binding is None:
            if node.default is None:
                remedy = f"Set it with ${{{node.name}=…}}, or give a default: ${{{node.name}:…}}."
                raise frame.error(f"The variable “{node.name}” isn't set", node.position, remedy)
            return node.default, frame.deeper()
        # In the value of a variable, its name means the one before: ${a=${a}, big}.
        scope = frame.scope.with_binding(node.name, binding.hidden)
        return binding.value, Frame(scope, frame.wildcards, frame.deeper().depth)

    def _wildcard_options(self, node: Wildcard, frame: Frame) -> tuple[Option, ...]:
        options = self._options.get(node.pattern)
        if options is None:
            try:
                values = self._wildcards.values(node.pattern)
            except TemplateError as error:
                raise frame.error(error.message, node.position, error.remedy) from error
            options = _parse_wildcard_values(node.pattern, values)
            self._options[node.pattern] = options
        return options


def _select(
    position: int,
    options: tuple[Option, ...],
    bounds: Bounds,
    frame: Frame,
    inner_frame: Frame,
) -> Selection:
    options = tuple(option for option in options if option.weight > 0)
    if not options:
        raise frame.error("All options have a weight of 0", position)
    count = len(options)
    lower = min(1 if bounds.lower is None else bounds.lower, count)
    upper = min(count if bounds.upper is None else bounds.upper, count)
    if max(lower, upper) > MAX_PICKS:
        raise frame.error(f"A choice takes up to {MAX_PICKS} options", position)
    lower, upper = sorted((lower, upper))
    return Selection(options, lower, upper, bounds.separator, inner_frame)


# While somebody types, the same lists are needed again and again, and some have 100,000 values.
@cached(LRUCache(MAX_CACHED_VALUES, getsizeof=len), lock=Lock())
def _parse_wildcard_values(pattern: str, values: tuple[str, ...]) -> tuple[Option, ...]:
    return tuple(_parse_wildcard_value(value, pattern) for value in values)


def _parse_wildcard_value(value: str, pattern: str) -> Option:
    try:
        return parse_value(value)
    except TemplateError as error:
        raise TemplateError(
            f"In the wildcard “{pattern}”, “{value[:60]}”: {error.message}",
            remedy=error.remedy,
        ) from error
