"""`space`: what a Space accepts, and how it works."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from sd35.cli.events import ConnectionStarted, OperationFailed, ShutdownReport, ShutdownRequested
from sd35.cli.exit_codes import EXIT_OK
from sd35.cli.messages import DEMO_NOTICE, one_line
from sd35.cli.output import error_to_json
from sd35.cli.reporter import TerminalReporter, open_reporter
from sd35.cli.runner import Shutdown, run_async
from sd35.cli.target import SpaceTarget
from sd35.cli.terminal import make_console, write_json
from sd35.client import Contract, SpaceClient, Timeouts
from sd35.client.contract import Parameter
from sd35.core.errors import SD35Error
from sd35.core.limits import Limits
from sd35.core.limits import format_number as digits
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for

__all__ = ["describe_space"]

MAX_DEFAULT_LENGTH: Final = 40
"""Letters of a parameter's default that are shown."""


def describe_space(
    get_target: Callable[[], SpaceTarget], wait_seconds: int, *, is_json: bool
) -> int:
    """Connect to a Space, write what it says of itself, and return what the program ends with."""
    with closing(open_reporter(is_quiet=False, is_json=False)) as reporter:

        def report_error(error: SD35Error) -> None:
            reporter.show(OperationFailed(error))
            if is_json:
                write_json({"error": error_to_json(error)}, indent=2)

        return run_async(
            lambda: _describe(
                get_target(), wait_seconds, reporter, _write_json if is_json else _print_description
            ),
            report_error,
        )


async def _describe(
    target: SpaceTarget,
    wait_seconds: int,
    reporter: TerminalReporter,
    write: Callable[[str, SpaceClient], None],
) -> int:
    shutdown = Shutdown(lambda: reporter.show(ShutdownRequested()))
    with shutdown.installed():
        reporter.show(ConnectionStarted(target.space))
        async with AsyncExitStack() as stack:
            with shutdown.cancellable():
                timeouts = Timeouts(waking=wait_seconds)
                space = await stack.enter_async_context(target.connect(timeouts, reporter.show))
            if shutdown.is_requested:
                reporter.show(ShutdownReport(None))
                return shutdown.exit_code
            reporter.close()
            write(target.space, space)
    return EXIT_OK


def _print_description(name: str, space: SpaceClient) -> None:
    contract = space.contract
    output = make_console()
    for part in (
        Text(one_line(name), "bold"),
        Text(DEMO_NOTICE, "yellow") if contract.is_demo else None,
        "",
        _properties_table(space),
        "",
        _parameters_table(contract),
        "",
        _sizes_table(contract.limits),
    ):
        if part is not None:
            output.print(part)


def _properties_table(space: SpaceClient) -> RenderableType:
    contract = space.contract
    table = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    table.add_row("Title", one_line(contract.title))
    table.add_row("Address", one_line(space.address))
    table.add_row("Gradio", one_line(contract.version) or "not told")
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


def _parameters_table(contract: Contract) -> RenderableType:
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
            value_range = parameter.range
            range_cells = (
                ("", "") if value_range is None else (str(value_range), digits(value_range.step))
            )
            table.add_row(one_line(parameter.name), *range_cells, _format_default(parameter))
    return table


def _format_default(parameter: Parameter) -> str:
    if parameter.range is not None:
        return digits(parameter.range.default)
    text = "" if parameter.default is None else one_line(parameter.default)
    return text if len(text) <= MAX_DEFAULT_LENGTH else f"{text[: MAX_DEFAULT_LENGTH - 1]}…"


def _sizes_table(limits: Limits) -> RenderableType:
    table = Table(
        Column("Aspect ratio", no_wrap=True),
        Column("Size", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )
    for ratio, size in _iter_sizes(limits):
        table.add_row(
            ratio, str(size) if isinstance(size, Size) else Text(f"can't be made: {size}", "dim")
        )
    return table


def _iter_sizes(limits: Limits) -> Iterator[tuple[str, Size | str]]:
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
                _parameter_to_json(parameter) for parameter in contract.parameters if parameter.name
            ],
            "sizes": {ratio: _size_to_json(size) for ratio, size in _iter_sizes(contract.limits)},
        },
        indent=2,
    )


def _parameter_to_json(parameter: Parameter) -> dict[str, Any]:
    value_range = parameter.range
    if value_range is None:
        return {"name": parameter.name, "default": parameter.default}
    return {
        "name": parameter.name,
        "default": value_range.default,
        "minimum": value_range.minimum,
        "maximum": value_range.maximum,
        "step": value_range.step,
    }


def _size_to_json(size: Size | str) -> dict[str, Any]:
    return (
        {"width": size.width, "height": size.height}
        if isinstance(size, Size)
        else {"unavailable": size}
    )
