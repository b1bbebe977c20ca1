"""Axes of a grid of images: a kind of setting, and its values, which are entered as text.

They are written as in AUTOMATIC1111's X/Y/Z plot: with commas between, and in quotes if a value has
a comma itself (`""` is an empty value). Numbers may also be ranges: `1-5`, `20-40 (+10)` with a
step, or `1-10 [4]` with a number of values.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from sd35.core.errors import InvalidRequestError
from sd35.core.seed import MAX_SEED, RANDOM_SEED, parse_whole_number
from sd35.core.sizes import Size, parse_ratio
from sd35.core.text import one_line
from sd35.prompts.styles import Style, StyleBook

__all__ = [
    "ALL_STYLES",
    "MAX_AXIS_VALUES",
    "MAX_TEXT_CHARACTERS",
    "NO_STYLE",
    "Axis",
    "AxisKind",
    "AxisValue",
    "parse_axis",
]

MAX_AXIS_VALUES: Final = 100
MAX_TEXT_CHARACTERS: Final = 20_000
MAX_VALUE_CHARACTERS: Final = 2_000

ALL_STYLES: Final = "all"
NO_STYLE: Final = "none"

_EMPTY_LABEL: Final = "(nothing)"

# A value in quotes, in which two quotes stand for one; or the text up to a comma or a line's end.
_VALUE: Final = re.compile(
    r"""[ \t]*(?:"(?P<quoted>(?:[^"]|"")*)"[ \t]*(?=[,\n]|\Z)|(?P<plain>[^,\n]*))(?:[,\n]|\Z)"""
)
_NUMBER: Final = r"[-+]?\d{1,20}(?:\.\d{1,10})?"
_RANGE: Final = re.compile(
    rf"(?P<start>{_NUMBER})\s*[-–]\s*(?P<end>{_NUMBER})\s*"
    rf"(?:\(\s*(?P<step>{_NUMBER})\s*\)|\[\s*(?P<count>\d{{1,4}})\s*\])?",
    re.ASCII,
)
_DECIMAL: Final = re.compile(_NUMBER, re.ASCII)
_SIZE: Final = re.compile(
    r"(?P<width>\d{1,5})\s*[x×*]\s*(?P<height>\d{1,5})", re.ASCII | re.IGNORECASE
)


class AxisKind(StrEnum):
    """Setting that differs along an axis."""

    PROMPT = "prompt"
    STYLE = "style"
    SEED = "seed"
    STEPS = "steps"
    GUIDANCE = "guidance"
    SIZE = "size"

    @property
    def label(self) -> str:
        """The name of the setting, for people and for the record of an image."""
        return _LABELS[self]


_LABELS: Final = {
    AxisKind.PROMPT: "Prompt part",
    AxisKind.STYLE: "Style",
    AxisKind.SEED: "Seed",
    AxisKind.STEPS: "Steps",
    AxisKind.GUIDANCE: "Guidance scale",
    AxisKind.SIZE: "Size",
}


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One value: its label, and what it is for the kind of its axis.

    Attributes:
        text: of a prompt part, or the aspect ratio of a size.
        number: of a seed, steps or a guidance scale.
        size: in pixels, unless the size is an aspect ratio.
    """

    label: str
    text: str = ""
    number: Decimal = Decimal(0)
    size: Size | None = None
    styles: tuple[Style, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """A kind of setting with its values. Of prompt parts, the others replace the first one."""

    kind: AxisKind
    values: tuple[AxisValue, ...]


def parse_axis(
    kind: AxisKind, text: str, style_book: StyleBook, draw_seed: Callable[[], int]
) -> Axis:
    """Return the axis of these values; each value counts once. A seed of -1 is drawn.

    Raises:
        InvalidRequestError: a value isn't one of this kind, or there are too many, or none.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise _axis_error(kind, f"enter up to {MAX_TEXT_CHARACTERS:,} characters.")
    values: dict[str, AxisValue] = {}
    for entry in _split(kind, text):
        for value in _parse_values(kind, entry, style_book, draw_seed):
            values.setdefault(value.label, value)
            if len(values) > MAX_AXIS_VALUES:
                raise _axis_error(kind, f"enter up to {MAX_AXIS_VALUES} values.")
    if not values:
        raise _axis_error(kind, "enter the values, with commas between them.")
    return Axis(kind, tuple(values.values()))


def _axis_error(kind: AxisKind, message: str, value: str | None = None) -> InvalidRequestError:
    subject = "" if value is None else f" “{one_line(value)[:60]}”"
    return InvalidRequestError(f"{kind.label}{subject}: {message}", "")


def _split(kind: AxisKind, text: str) -> Iterator[str]:
    """Yield the values; an empty one only if it stands in quotes."""
    position = 0
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while position < len(text):
        match = _VALUE.match(text, position)
        assert match is not None  # a plain value may be empty
        position = match.end()
        if match["quoted"] is not None:
            yield match["quoted"].replace('""', '"').strip()
        elif match["plain"].startswith('"'):
            raise _axis_error(kind, "the quotes aren't closed before the comma.", match["plain"])
        elif match["plain"].strip():
            yield match["plain"].strip()


def _parse_values(
    kind: AxisKind, entry: str, style_book: StyleBook, draw_seed: Callable[[], int]
) -> Iterable[AxisValue]:
    if len(entry) > MAX_VALUE_CHARACTERS:
        message = f"enter up to {MAX_VALUE_CHARACTERS:,} characters per value."
        raise _axis_error(kind, message, entry)
    match kind:
        case AxisKind.PROMPT:
            return [AxisValue(one_line(entry) or _EMPTY_LABEL, entry)]
        case AxisKind.STYLE:
            return _parse_styles(entry, style_book)
        case AxisKind.SIZE:
            return [_parse_size(entry)]
        case AxisKind.SEED if parse_whole_number(entry) == RANDOM_SEED:
            return [_number_value(Decimal(draw_seed()))]
        case _:
            return map(_number_value, _parse_numbers(kind, entry))


def _parse_styles(entry: str, style_book: StyleBook) -> Iterator[AxisValue]:
    """Yield the styles of an entry: all, none, one, or several with plus signs between."""
    if entry.casefold() == ALL_STYLES:
        for style in style_book.styles:
            yield AxisValue(style.name, styles=(style,))
        return
    names = {style.name.casefold() for style in style_book.styles}
    if entry.casefold() == NO_STYLE and NO_STYLE not in names:
        yield AxisValue("No style")
        return
    # The name of a style may hold a plus sign itself.
    parts = [entry] if entry.casefold() in names else [part.strip() for part in entry.split("+")]
    styles = style_book.find(parts)
    yield AxisValue(" + ".join(style.name for style in styles), styles=styles)


def _parse_size(entry: str) -> AxisValue:
    match = _SIZE.fullmatch(entry)
    if match is not None:
        size = Size(int(match["width"]), int(match["height"]))
        return AxisValue(str(size), size=size)
    try:
        parse_ratio(entry)
    except ValueError:
        message = "enter a width and a height, such as 1024x768, or an aspect ratio, such as 16:9."
        raise _axis_error(AxisKind.SIZE, message, entry) from None
    return AxisValue("".join(entry.split()), "".join(entry.split()))


def _number_value(number: Decimal) -> AxisValue:
    return AxisValue(f"{number.normalize():f}", number=number)


def _parse_numbers(kind: AxisKind, entry: str) -> list[Decimal]:
    """Return the number of an entry, or those of its range."""
    match = _RANGE.fullmatch(entry)
    if match is not None:
        numbers = _range_numbers(kind, entry, match)
    elif _DECIMAL.fullmatch(entry):
        numbers = [Decimal(entry)]
    else:
        example = "4.5 or 3-6 (+0.5)" if kind is AxisKind.GUIDANCE else "20 or 20-40 (+10)"
        raise _axis_error(kind, f"enter a number or a range, such as {example}.", entry)
    if kind is not AxisKind.GUIDANCE and any(number != int(number) for number in numbers):
        raise _axis_error(kind, "enter whole numbers.", entry)
    if not all(0 <= number <= MAX_SEED for number in numbers):
        raise _axis_error(kind, "the number is out of range.", entry)
    return numbers


def _range_numbers(kind: AxisKind, entry: str, match: re.Match[str]) -> list[Decimal]:
    start = Decimal(match["start"])
    end = Decimal(match["end"])
    if match["count"] is not None:
        count = int(match["count"])
        if not 1 <= count <= MAX_AXIS_VALUES:
            raise _axis_error(kind, f"a range has up to {MAX_AXIS_VALUES} values.", entry)
        interval = (end - start) / max(1, count - 1)
        numbers = [start + index * interval for index in range(count)]
        # As there: of 1-10 [5], the values are 1, 3, 5, 7 and 10.
        digits = Decimal("0.01") if kind is AxisKind.GUIDANCE else Decimal(1)
        return [number // digits * digits for number in numbers]
    step = abs(Decimal(match["step"] or 1))
    if not step:
        raise _axis_error(kind, "the step of a range can't be 0.", entry)
    count = int(abs(end - start) / step) + 1
    if count > MAX_AXIS_VALUES:
        raise _axis_error(
            kind, f"the range has {count:,} values; the limit is {MAX_AXIS_VALUES}.", entry
        )
    return [start + index * (step if end >= start else -step) for index in range(count)]
