"""Parser of templates."""

import re
from typing import Final

from sd35.core.errors import TemplateError
from sd35.prompts.nodes import (
    Assignment,
    Bounds,
    Choice,
    Literal,
    Node,
    Option,
    Order,
    Sequence,
    Variable,
    Wildcard,
)

__all__ = ["MAX_TEMPLATE_CHARACTERS", "has_template_syntax", "parse_template", "parse_value"]

MAX_TEMPLATE_CHARACTERS: Final = 50_000
MAX_NESTING: Final = 30
MAX_ASSIGNMENTS: Final = 50  # in one sequence

DEFAULT_SEPARATOR: Final = ", "

_NAME: Final = r"[^\W\d][\w-]{0,99}"
# Without a limit, each "__" of a hostile text would be compared with all of the rest.
_WILDCARD: Final = (
    r"__(?P<pattern>(?![_ ])[^\t-\r{}|$()#\\]{1,200}?)(?<![ ])"
    r"(?P<arguments>\([^()]{0,1000}\))?__(?:(?!_)|(?=__[^\W_]|__[@!~*]))"  # another may follow
)
_TOKEN: Final = re.compile(
    rf"""
    \\(?P<escape>[{{}}|$_#:\\])
    | (?P<comment>^[ \t]*\#[^\n]* | (?<=\s)\#(?=\s|\Z)[^\n]*)
    | \$\{{\s*(?P<assigned>{_NAME})\s*(?P<sign>\??=!?)
    | \$\{{\s*(?P<variable>{_NAME})\s*(?P<default>:|(?=\}}))
    | (?P<dollar>\$\{{)
    | (?P<open>\{{)
    | (?P<close>\}})
    | (?P<bar>\|)
    | {_WILDCARD}
    """,
    re.VERBOSE | re.MULTILINE,
)
# A separator may contain a bar, but no brace and no dollar sign.
_BOUNDS: Final = re.compile(
    r"\s*(?:(?P<exact>\d{1,1000})|(?P<lower>\d{0,1000})-(?P<upper>\d{0,1000}))\s*\$\$"
    r"(?:(?P<separator>[^${}]{0,1000})\$\$)?"
)
_ORDER: Final = re.compile(r"\s*(?P<order>[~@!])")
_WEIGHT: Final = re.compile(r"\s*(?P<weight>\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")
_ARGUMENT: Final = re.compile(rf"\s*(?P<name>{_NAME})\s*=(?P<immediate>!?)")


def has_template_syntax(text: str) -> bool:
    """Return whether a prompt is surely meant as a template.

    Braces alone don't count: `{fox}` stands in prompts of people who know no templates.
    """
    depth = 0
    for token in _TOKEN.finditer(text[:MAX_TEMPLATE_CHARACTERS]):
        match token.lastgroup:
            case "open" if _BOUNDS.match(text, token.end()):
                return True
            case "open":
                depth += 1
            case "close":
                depth -= 1
            case "bar" if depth > 0:
                return True
            case "pattern" | "arguments" | "sign" | "default":
                return True
            case _:
                pass
    return False


def parse_template(text: str) -> Sequence:
    """Return the tree of a template.

    Raises:
        TemplateError: with the position of what is wrong.
    """
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        raise TemplateError(f"A template has up to {MAX_TEMPLATE_CHARACTERS:,} characters.")
    return _Parser(text).parse()


def parse_value(text: str) -> Option:
    """Return the tree of a line in a file of wildcards, with its weight."""
    weight, start = _parse_weight(text, 0)
    sequence = parse_template(text[start:].strip())
    return Option(weight, _strip_end(sequence, is_padded=True))  # before a comment


def _parse_weight(text: str, position: int) -> tuple[float, int]:
    match = _WEIGHT.match(text, position)
    return (1.0, position) if match is None else (float(match["weight"]), match.end())


class _Parser:
    """Parser of one text, which it reads from the left to the right."""

    def __init__(self, text: str, offset: int = 0) -> None:
        self._text = text
        self._offset = offset
        self._position = 0

    def parse(self) -> Sequence:
        sequence, end = self._parse_sequence(depth=0, ends=frozenset())
        assert end is None
        return sequence

    def _parse_sequence(
        self, depth: int, ends: frozenset[str]
    ) -> tuple[Sequence, re.Match[str] | None]:
        """Return the nodes up to one of these kinds of tokens, or to the end of the text."""
        nodes: list[Node] = []
        assignment_count = 0
        while token := _TOKEN.search(self._text, self._position):
            if token.start() > self._position:
                nodes.append(Literal(self._text[self._position : token.start()]))
            self._position = token.end()
            if token.lastgroup in ends:
                return _merge_literals(nodes), token
            nodes.append(self._parse_node(token, depth))
            assignment_count += isinstance(nodes[-1], Assignment)
            if assignment_count > MAX_ASSIGNMENTS:
                message = f"A template sets up to {MAX_ASSIGNMENTS} variables"
                raise self._error(message, token.start())
        nodes.append(Literal(self._text[self._position :]))
        return _merge_literals(nodes), None

    def _parse_node(self, token: re.Match[str], depth: int) -> Node:
        match token.lastgroup:
            case "escape":
                return Literal(token["escape"])
            case "comment":
                return Literal("")
            case "bar":
                return Literal("|")
            case "close":
                hint = r"Write \} for a brace."
                raise self._error("The closing brace has no opening one", token.start(), hint)
            case "dollar":
                hint = r"Write \$ for a dollar sign."
                raise self._error("“${” needs the name of a variable", token.start(), hint)
            case "pattern" | "arguments":
                return self._parse_wildcard(token)
            case _:
                pass
        if depth >= MAX_NESTING:
            raise self._error(f"The braces are nested more than {MAX_NESTING} deep", token.start())
        if token.lastgroup == "open":
            return self._parse_choice(token, depth + 1)
        return self._parse_variable(token, depth + 1)

    def _parse_choice(self, opening: re.Match[str], depth: int) -> Choice:
        order = self._parse_order()
        bounds = self._parse_bounds()
        options: list[Option] = []
        end: re.Match[str] | None = None
        while end is None or end.lastgroup == "bar":
            weight, self._position = _parse_weight(self._text, self._position)
            has_space = self._text[self._position : self._position + 1].isspace()
            sequence, end = self._parse_sequence(depth, frozenset({"bar", "close"}))
            if end is None:
                raise self._unclosed(opening)
            # A space at the end of an option may be meant: "{big |}fox".
            is_padded = bounds is not None or has_space
            sequence = _strip_end(_strip_start(sequence), is_padded=is_padded)
            options.append(Option(weight, sequence))
        position = self._offset + opening.start()
        return Choice(tuple(options), bounds or Bounds(), position, order)

    def _parse_order(self) -> Order:
        match = _ORDER.match(self._text, self._position)
        if match is None:
            return Order.RANDOM
        self._position = match.end()
        return Order(match["order"])

    def _parse_bounds(self) -> Bounds | None:
        match = _BOUNDS.match(self._text, self._position)
        if match is None:
            return None
        self._position = match.end()
        separator = DEFAULT_SEPARATOR if match["separator"] is None else match["separator"]
        if match["exact"] is not None:
            return Bounds(int(match["exact"]), int(match["exact"]), separator)
        lower = int(match["lower"]) if match["lower"] else None
        upper = int(match["upper"]) if match["upper"] else None
        return Bounds(lower, upper, separator)

    def _parse_variable(self, opening: re.Match[str], depth: int) -> Assignment | Variable:
        position = self._offset + opening.start()
        sequence, end = self._parse_sequence(depth, frozenset({"close"}))
        if end is None:
            raise self._unclosed(opening)
        sequence = _strip_start(_strip_end(sequence, is_padded=True))
        if opening["assigned"]:
            sign = opening["sign"]
            is_immediate = sign.endswith("!")
            return Assignment(opening["assigned"], sequence, is_immediate, sign.startswith("?"))
        default = sequence if opening["default"] else None
        return Variable(opening["variable"], default, position)

    def _parse_wildcard(self, token: re.Match[str]) -> Wildcard:
        arguments: list[Assignment] = []
        start = token.start("arguments") + 1
        for text in (token["arguments"] or "")[1:-1].split(","):
            match = _ARGUMENT.match(text)
            if match is not None:
                value = text[match.end() :].strip()
                sequence = _Parser(value, self._offset + start).parse()
                arguments.append(Assignment(match["name"], sequence, bool(match["immediate"])))
            elif token["arguments"]:
                raise self._error("A value for a wildcard looks like (name=value)", start)
            start += len(text) + 1
        position = self._offset + token.start()
        order, pattern = Order.RANDOM, token["pattern"]
        if pattern[0] in {order.value for order in Order} and len(pattern) > 1:
            order, pattern = Order(pattern[0]), pattern[1:]
        return Wildcard(pattern, tuple(arguments), position, order)

    def _unclosed(self, opening: re.Match[str]) -> TemplateError:
        hint = r"Add } to close it, or write \{ for a brace."
        return self._error("The brace is never closed", opening.start(), hint)

    def _error(self, message: str, position: int, remedy: str = "") -> TemplateError:
        return TemplateError(message, self._offset + position, remedy)


def _merge_literals(nodes: list[Node]) -> Sequence:
    merged: list[Node] = []
    texts: list[str] = []
    for node in nodes:
        if isinstance(node, Literal):
            texts.append(node.text)
            continue
        if any(texts):
            merged.append(Literal("".join(texts)))
        texts.clear()
        merged.append(node)
    if any(texts):
        merged.append(Literal("".join(texts)))
    return tuple(merged)


def _strip_end(sequence: Sequence, *, is_padded: bool) -> Sequence:
    """Return a sequence without whitespace at its end, which if not padded needs a line break."""
    if not sequence or not isinstance(sequence[-1], Literal):
        return sequence
    text = sequence[-1].text
    stripped = text.rstrip()
    if not is_padded and "\n" not in text[len(stripped) :]:
        return sequence
    return (*sequence[:-1], *([Literal(stripped)] if stripped else []))


def _strip_start(sequence: Sequence) -> Sequence:
    if not sequence or not isinstance(sequence[0], Literal):
        return sequence
    text = sequence[0].text.lstrip()
    return (*([Literal(text)] if text else []), *sequence[1:])
