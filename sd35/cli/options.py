"""Options and arguments that several commands share, and how values are parsed."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Argument, BadParameter, CallbackParam, Option

from sd35.cli.lazy import ClickContext, Command
from sd35.cli.terminal import make_console, print_message
from sd35.core.model_options import DEVICES, OFFLOADS, OPTION_HELP, PRECISIONS
from sd35.core.seed import MAX_SEED, RANDOM_SEED, parse_whole_number
from sd35.core.sizes import parse_ratio
from sd35.settings import secret_warning

__all__ = [
    "DeviceName",
    "Json",
    "LibraryFolder",
    "NoT5",
    "OffloadName",
    "PrecisionName",
    "Proxy",
    "ProxyFile",
    "QueryCommand",
    "Revision",
    "SearchTerms",
    "SpaceLogin",
    "SpaceLoginFile",
    "SpaceName",
    "Token",
    "TokenFile",
    "aspect_ratio",
    "decimal_number",
    "seed_number",
    "whole_number",
]

MAX_NUMBER: Final = 2**63 - 1  # the largest number that an option may take, unless it is a seed


def whole_number(minimum: int = 0, maximum: int = MAX_NUMBER) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range."""
    # Typer's own conversion reports errors in the words of pydantic ("Input should be a valid
    # integer, unable to parse string as an integer"), and shows ranges in the help as 1<=x<=9.
    limits = f"{minimum} or more" if maximum == MAX_NUMBER else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # also for more than 4,300 digits, which Python refuses to convert
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise BadParameter(f"enter a whole number, {limits}.")
        return value

    return parse


def seed_number(text: str) -> int:
    """Parse a seed, or -1, which stands for a random one."""
    number = parse_whole_number(text)
    if number is None or not RANDOM_SEED <= number <= MAX_SEED:
        raise BadParameter(f"enter a whole number from 0 to {MAX_SEED:,}, or -1 for a random one.")
    return number


def decimal_number(text: str) -> float:
    """Parse a number with or without decimals."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # float() also accepts "nan" and "inf", which no JSON can hold.
    if not math.isfinite(value):
        raise BadParameter("enter a number, such as 4.5.")
    return value


def aspect_ratio(text: str) -> str:
    """Check that a text is an aspect ratio, before anything is sent."""
    try:
        parse_ratio(text)
    except ValueError as error:
        raise BadParameter(str(error)) from error
    return text


SpaceName = Annotated[
    str | None,
    Argument(
        metavar="NAME",
        show_default=False,
        help="Space: owner/name, URL, local, local:MODEL, or demo. Default: SD35_SPACE, or the "
        "public Space.",
    ),
]


def _warn_of_secret(parameter: CallbackParam, value: str | None) -> str | None:
    warning = secret_warning(parameter.name or "", value or "")
    if warning is not None:
        print_message(make_console(stderr=True), "!", "yellow", warning)
    return value


Token = Annotated[
    str | None,
    Option(
        metavar="TOKEN",
        callback=_warn_of_secret,
        help="Access token, visible to other users of this computer. Prefer HF_TOKEN, SD35_TOKEN "
        "or --token-file.",
    ),
]
TokenFile = Annotated[
    Path | None, Option(metavar="FILE", help="File that contains the access token.")
]
SpaceLogin = Annotated[
    str | None,
    Option(
        metavar="NAME:PASSWORD",
        callback=_warn_of_secret,
        help="Login for a Space that asks for one, visible to other users of this computer. Prefer "
        "SD35_SPACE_LOGIN or --space-login-file.",
    ),
]
SpaceLoginFile = Annotated[
    Path | None,
    Option(metavar="FILE", help="File that contains the login for the Space, name:password."),
]
Proxy = Annotated[
    str | None,
    Option(
        metavar="URL",
        callback=_warn_of_secret,
        help="HTTP proxy, http://host:port. Default: system settings. With a password, prefer "
        "SD35_PROXY or --proxy-file.",
    ),
]
ProxyFile = Annotated[
    Path | None, Option(metavar="FILE", help="File that contains the address of the HTTP proxy.")
]


def _choice(name: str, values: Sequence[str]) -> Any:  # noqa: ANN401  # Typer's
    """Return the option of a local Space that takes one of the values."""

    def parse(text: str) -> str:
        if text not in values:
            raise BadParameter(f"enter {', '.join(values[:-1])} or {values[-1]}.")
        return text

    return Option(metavar="|".join(values), parser=parse, help=_local_help(name))


def _local_help(name: str) -> str:
    return f"For a local Space: {OPTION_HELP[name]}."


DeviceName = Annotated[str | None, _choice("device", DEVICES)]
PrecisionName = Annotated[str | None, _choice("precision", PRECISIONS)]
OffloadName = Annotated[str | None, _choice("offload", OFFLOADS)]
NoT5 = Annotated[bool, Option("--no-t5", help=_local_help("no_t5"))]
Revision = Annotated[str | None, Option(metavar="REVISION", help=_local_help("revision"))]

Json = Annotated[bool, Option("--json", help="Print JSON.")]

LibraryFolder = Annotated[
    Path | None,
    Option(
        "--library",
        metavar="FOLDER",
        help="Library folder. Default: SD35_LIBRARY, or SD 3.5 Studio in your pictures folder.",
    ),
]
SearchTerms = Annotated[
    list[str] | None,
    Argument(
        metavar="WORDS",
        show_default=False,
        help="Words, '\"a phrase\"', -excluded, and filters: seed:7 size:1024x576 ratio:16:9 "
        "steps:40 space:turbo model:medium tag:sea tool:comfyui before:2026-11-01 after:2026-10 "
        "on:2026-11-24 is:starred is:demo is:trash is:missing is:failed. Default: everything.",
    ),
]

_EXCLUDED_TERM: Final = re.compile(r"-[^-].+", re.DOTALL)

# A private-use character, which nobody types.
_ESCAPE_PREFIX: Final = "\ue000"


class QueryCommand(Command):
    """Command for which `-word` is an argument; all of its options begin with two hyphens."""

    # Click takes `-word` for the short options -w, -o, -r, -d. An escaped argument has no hyphen
    # first.
    def parse_args(self, ctx: ClickContext, args: list[str]) -> list[str]:
        """Parse the arguments."""
        escaped_args = [
            f"{_ESCAPE_PREFIX}{arg}" if _EXCLUDED_TERM.fullmatch(arg) else arg for arg in args
        ]
        remaining_args = super().parse_args(ctx, escaped_args)
        ctx.params = {name: _unescape(value) for name, value in ctx.params.items()}
        return remaining_args


def _unescape(value: Any) -> Any:  # noqa: ANN401  # the value of any option
    match value:
        case str():
            return value.removeprefix(_ESCAPE_PREFIX)
        case Path():
            return Path(str(value).removeprefix(_ESCAPE_PREFIX))
        case list() | tuple():
            return [_unescape(item) for item in value]
        case _:
            return value
