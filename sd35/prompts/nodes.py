"""A template as a tree: the parts of its text, in order.

The syntax is that of sd-dynamic-prompts, as its syntax guide documents it.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "Assignment",
    "Bounds",
    "Choice",
    "Literal",
    "Node",
    "Option",
    "Order",
    "Sequence",
    "Variable",
    "Wildcard",
]


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stays as it is."""

    text: str


class Order(Enum):
    """Sampler of a choice: which options the images of a set get, one after another.

    `CYCLE` is the next option for each image; `COMBINATIONS` also combines with the others of its
    kind.
    """

    RANDOM = "~"
    CYCLE = "@"
    COMBINATIONS = "!"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many options a choice takes, `2-3$$ and $$`; `None` is the least or the most possible."""

    lower: int | None = 1
    upper: int | None = 1
    separator: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One option of a choice, with its relative weight: `0.5::fox`."""

    weight: float
    sequence: "Sequence"


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Choice between options: `{fox|hare}`. Positions are indexes into the template."""

    options: tuple[Option, ...]
    bounds: Bounds
    position: int
    order: Order = Order.RANDOM


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Variable with its value, for the rest of the sequence: `${color={red|blue}}`.

    An immediate one (`=!`) is evaluated once, others at each use. A default (`?=`) replaces none.
    """

    name: str
    value: "Sequence"
    is_immediate: bool = False
    is_default: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Wildcard:
    """Choice between the values of files, with variables for them: `__season(place=sea)__`."""

    pattern: str
    arguments: tuple[Assignment, ...]
    position: int
    order: Order = Order.RANDOM


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """Value of a variable, or else its default: `${color:red}`."""

    name: str
    default: "Sequence | None"
    position: int


Node = Literal | Choice | Wildcard | Assignment | Variable
Sequence = tuple[Node, ...]
