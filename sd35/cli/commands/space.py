"""`space`: the limits and features of a Space."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from typer import Option

from sd35.cli import options
from sd35.cli.lazy import Command, make_app
from sd35.cli.reporter import DEMO_NOTICE, Reporter
from sd35.cli.runner import command_context
from sd35.cli.target import SpaceTarget, open_space, resolve_target
from sd35.cli.terminal import make_console, print_facts, write_json
from sd35.client import Contract, SpaceClient, Timeouts
from sd35.client.contract import Parameter
from sd35.core.limits import Limits, format_number
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for
from sd35.core.text import one_line

__all__ = ["app"]

MAX_DEFAULT_LENGTH: Final = 40

WaitSeconds = Annotated[
    int,
    Option(
        metavar="SECONDS",
        parser=options.whole_number(0, 86_400),
        help="Seconds to wait for a sleeping Space (0 = don't wait).",
    ),
]

app = make_app()


@app.command(cls=Command)
def space(  # noqa: PLR0913  # one for each option
    name: options.SpaceName = None,
    *,
    wait: WaitSeconds = 300,
    token: options.Token = None,
    token_file: options.TokenFile = None,
    space_login: options.SpaceLogin = None,
    space_login_file: options.SpaceLoginFile = None,
    proxy: options.Proxy = None,
    proxy_file: options.ProxyFile = None,
    device: options.DeviceName = None,
    precision: options.PrecisionName = None,
    offload: options.OffloadName = None,
    no_t5: options.NoT5 = False,
    revision: options.Revision = None,
    as_json: options.Json = False,
) -> None:
    """Show a Space's limits and features."""
    with command_context(is_json=as_json) as reporter:
        target = resolve_target(
            name,
            token=token,
            token_file=token_file,
            space_login=space_login,
            space_login_file=space_login_file,
            proxy=proxy,
            proxy_file=proxy_file,
            device=device,
            precision=precision,
            offload=offload,
            no_t5=no_t5 or None,
            revision=revision,
        )
        asyncio.run(_describe(target, wait, reporter, is_json=as_json))


async def _describe(
    target: SpaceTarget, wait_seconds: int, reporter: Reporter, *, is_json: bool
) -> None:
    timeouts = Timeouts(waking=wait_seconds)
    async with open_space(target, timeouts, reporter.show) as (client, _):
        reporter.close()
        if is_json:
            write_json(_to_json(target.space, client), indent=2)
        else:
            _print_description(target.space, client)


def _print_description(name: str, client: SpaceClient) -> None:
    console = make_console()
    console.print(Text(one_line(name), "bold"))
    if client.contract.is_demo:
        console.print(Text(DEMO_NOTICE, "yellow"))
    console.print()
    print_facts(_facts(client))
    console.print()
    _print_parameters(console, client.contract)
    console.print()
    _print_sizes(console, client.contract.limits)


def _facts(client: SpaceClient) -> Iterator[tuple[str, str]]:
    contract = client.contract
    yield "Title", one_line(contract.title)
    yield "Address", one_line(client.address)
    yield "Gradio", one_line(contract.version) or "unknown version"
    # Gradio can stop a generator between two values, but nothing stops a plain function.
    if contract.is_generator:
        yield "Endpoint", "/infer (generator)"
        yield "Previews", "yes"
        yield "Stop", "cancels a running job"
    else:
        yield "Endpoint", "/infer (function)"
        yield "Previews", "no, steps only"
        yield "Stop", "can't cancel a running job"
    has_seed = contract.seed_output is not None
    yield "Seed", "returned with the image" if has_seed else "not returned"


def _print_parameters(console: Console, contract: Contract) -> None:
    table = _make_table(
        Column("Parameter", no_wrap=True),
        Column("Range"),
        Column("Step", justify="right"),
        Column("Default", overflow="fold"),
    )
    for parameter in contract.parameters:
        if parameter.name is None:
            continue
        value_range = parameter.range
        range_text = "" if value_range is None else str(value_range)
        step_text = "" if value_range is None else format_number(value_range.step)
        table.add_row(one_line(parameter.name), range_text, step_text, _default_text(parameter))
    console.print(table)


def _default_text(parameter: Parameter) -> str:
    if parameter.range is not None:
        return format_number(parameter.range.default)
    text = "" if parameter.default is None else parameter.default_text
    return text if len(text) <= MAX_DEFAULT_LENGTH else f"{text[: MAX_DEFAULT_LENGTH - 1]}…"


def _print_sizes(console: Console, limits: Limits) -> None:
    table = _make_table(Column("Aspect ratio", no_wrap=True), Column("Size", overflow="fold"))
    for ratio, size in _iter_sizes(limits):
        if isinstance(size, Size):
            table.add_row(ratio, str(size))
        else:
            table.add_row(ratio, Text(size, "dim"))
    console.print(table)


def _make_table(*columns: Column) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))


def _iter_sizes(limits: Limits) -> Iterator[tuple[str, Size | str]]:
    """Yield each aspect ratio with its size, or with the reason why there is none."""
    for ratio in ASPECT_RATIOS:
        try:
            yield ratio, size_for(ratio, limits)
        except SizeUnavailableError as error:
            yield ratio, str(error)


def _to_json(name: str, client: SpaceClient) -> dict[str, Any]:
    contract = client.contract
    return {
        "space": name,
        "address": client.address,
        "title": contract.title,
        "gradio": contract.version,
        "endpoint": "infer",
        "is_generator": contract.is_generator,
        "tells_seed": contract.seed_output is not None,
        "is_demo": contract.is_demo,
        "parameters": [
            _parameter_to_json(parameter) for parameter in contract.parameters if parameter.name
        ],
        "sizes": {
            ratio: asdict(size) if isinstance(size, Size) else {"unavailable": size}
            for ratio, size in _iter_sizes(contract.limits)
        },
    }


def _parameter_to_json(parameter: Parameter) -> dict[str, Any]:
    value_range = parameter.range
    if value_range is None:
        is_plain = parameter.default is None or isinstance(parameter.default, bool | int | float)
        default = parameter.default if is_plain else parameter.default_text
        return {"name": parameter.name, "default": default}
    return {"name": parameter.name, **asdict(value_range)}
