"""`space`: what a Space accepts, and how it works."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from sd35.cli.events import Connecting, Failed, Stopped, Stopping
from sd35.cli.exit_codes import DONE
from sd35.cli.messages import DEMO, plain
from sd35.cli.output import error_as_json
from sd35.cli.reporter import Screen, open_screen
from sd35.cli.runner import Stop, run
from sd35.cli.target import Choice
from sd35.cli.terminal import console, write_json
from sd35.client import Contract, SpaceClient, Timeouts
from sd35.client.contract import Parameter
from sd35.core.errors import SD35Error
from sd35.core.limits import Limits
from sd35.core.limits import plain as digits
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for

__all__ = ["describe_space"]

MAX_DEFAULT: Final = 40
"""Letters of a parameter's default that are shown."""


def describe_space(choose: Callable[[], Choice], wait_seconds: int, *, is_json: bool) -> int:
    """Connect to a Space, write what it says of itself, and return what the program ends with."""
    with closing(open_screen(is_quiet=False, is_json=False)) as screen:

        def failed(error: SD35Error) -> None:
            screen.show(Failed(error))
            if is_json:
                write_json({"error": error_as_json(error)}, indent=2)

        return run(
            lambda: _describe(choose(), wait_seconds, screen, _write_json if is_json else _write),
            failed,
        )


async def _describe(
    choice: Choice, wait_seconds: int, screen: Screen, write: Callable[[str, SpaceClient], None]
) -> int:
    stop = Stop(lambda: screen.show(Stopping()))
    with stop.listening():
        screen.show(Connecting(choice.space))
        async with AsyncExitStack() as stack:
            with stop.breakable():
                timeouts = Timeouts(waking=wait_seconds)
                space = await stack.enter_async_context(choice.connected(timeouts, screen.show))
            if stop.asked:
                screen.show(Stopped(None))
                return stop.exit_code
            screen.close()
            write(choice.space, space)
    return DONE


def _write(name: str, space: SpaceClient) -> None:
    contract = space.contract
    output = console()
    for part in (
        Text(plain(name), "bold"),
        Text(DEMO, "yellow") if contract.is_demo else None,
        "",
        _facts(space),
        "",
        _parameters(contract),
        "",
        _sizes(contract.limits),
    ):
        if part is not None:
            output.print(part)


def _facts(space: SpaceClient) -> RenderableType:
    contract = space.contract
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    table.add_row("Title", plain(contract.title))
    table.add_row("Address", plain(space.address))
    table.add_row("Gradio", plain(contract.version) or "not told")
    table.add_row(
        "Endpoint", "/infer, a generator" if contract.is_generator else "/infer, a plain function"
    )
    table.add_row("Previews", "sent" if contract.is_generator else "none, steps only")
    table.add_row(
        "Stop", "ends a run" if contract.is_generator else "can't end a run that has begun"
    )
    table.add_row(
        "Seed", "told with the picture" if contract.seed_output is not None else "not told"
    )
    return table


def _parameters(contract: Contract) -> RenderableType:
    table = Table(
        Column("Parameter", no_wrap=True),
        Column("Range"),
        Column("Step", justify="right"),
        Column("Default", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )
    for parameter in contract.parameters:
        if parameter.name is not None:
            span = parameter.range
            limits = ("", "") if span is None else (str(span), digits(span.step))
            table.add_row(plain(parameter.name), *limits, _default(parameter))
    return table


def _default(parameter: Parameter) -> str:
    if parameter.range is not None:
        return digits(parameter.range.default)
    text = "" if parameter.default is None else plain(parameter.default)
    return text if len(text) <= MAX_DEFAULT else f"{text[: MAX_DEFAULT - 1]}…"


def _sizes(limits: Limits) -> RenderableType:
    table = Table(
        Column("Aspect ratio", no_wrap=True),
        Column("Size", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )
    for ratio, size in _all_sizes(limits):
        table.add_row(
            ratio, str(size) if isinstance(size, Size) else Text(f"can't be made: {size}", "dim")
        )
    return table


def _all_sizes(limits: Limits) -> Iterator[tuple[str, Size | str]]:
    """Each aspect ratio, with its size or the reason why there is none."""
    for ratio in ASPECT_RATIOS:
        try:
            yield ratio, size_for(ratio, limits)
        except SizeUnavailableError as error:
            yield ratio, str(error)


def _write_json(name: str, space: SpaceClient) -> None:
    contract = space.contract
    write_json(
        {
            "space": name,
            "address": space.address,
            "title": contract.title,
            "gradio": contract.version,
            "endpoint": "infer",
            "is_generator": contract.is_generator,
            "tells_seed": contract.seed_output is not None,
            "is_demo": contract.is_demo,
            "parameters": [
                _parameter_as_json(parameter) for parameter in contract.parameters if parameter.name
            ],
            "sizes": {ratio: _size_as_json(size) for ratio, size in _all_sizes(contract.limits)},
        },
        indent=2,
    )


def _parameter_as_json(parameter: Parameter) -> dict[str, Any]:
    span = parameter.range
    if span is None:
        return {"name": parameter.name, "default": parameter.default}
    return {
        "name": parameter.name,
        "default": span.default,
        "minimum": span.minimum,
        "maximum": span.maximum,
        "step": span.step,
    }


def _size_as_json(size: Size | str) -> dict[str, Any]:
    return (
        {"width": size.width, "height": size.height}
        if isinstance(size, Size)
        else {"unavailable": size}
    )
