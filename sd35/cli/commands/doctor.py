"""`doctor`: checks of everything on the way to an image, and what to do about those that fail."""

import asyncio
import json
import math
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.table import Column, Table
from rich.text import Text
from typer import Option
from yarl import URL

from sd35.cli import options
from sd35.cli.events import OperationFailed, TaskProgress
from sd35.cli.exit_codes import exit_code
from sd35.cli.lazy import Command, make_app
from sd35.cli.output import error_to_json
from sd35.cli.reporter import Reporter, failure_text
from sd35.cli.runner import Shutdown, command_context
from sd35.cli.target import SpaceTarget, resolve_target
from sd35.cli.terminal import make_console, write_json
from sd35.client import SpaceClient, StopOutcome, Timeouts
from sd35.client.error_parsing import error_for_stage
from sd35.client.hub import get_space_info, open_hub, whoami
from sd35.client.proxy import find_proxy
from sd35.client.transport import Transport
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ModelError,
    SD35Error,
    SpaceAsleepError,
)
from sd35.core.events import Event
from sd35.core.limits import Range
from sd35.core.request import RequestOptions
from sd35.core.space_ref import DEMO, local_model
from sd35.core.text import one_line
from sd35.space.child import child_command, child_environment, model_error

__all__ = ["app"]

# Short: the command shows what is wrong now, and doesn't wait until it passes.
TIMEOUTS: Final = Timeouts(discovery=15.0, waking=0.0, attempts=2)

TEST_PROMPT: Final = "a lighthouse at dusk"

LOCAL_CHECK_SECONDS: Final = 300.0  # on a slow disk, importing torch alone takes a minute

STATUS_STYLES: Final = {"ok": "green", "not ok": "bold red", "skipped": "dim"}

TryPicture = Annotated[
    bool, Option("--try", help="Also generate a small test image (uses some quota).")
]

app = make_app()


@app.command(cls=Command)
def doctor(  # noqa: PLR0913  # one for each option
    name: options.SpaceName = None,
    *,
    generates_picture: TryPicture = False,
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
    """Diagnose connection problems."""
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
        raise typer.Exit(
            _diagnose(target, reporter, generates_picture=generates_picture, is_json=as_json)
        )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of a check: `text` says what works, or why the check was skipped."""

    name: str
    text: str = ""
    error: SD35Error | None = None
    is_skipped: bool = False

    @property
    def status(self) -> str:
        """Result as one of the keys of STATUS_STYLES."""
        if self.is_skipped:
            return "skipped"
        return "not ok" if self.error else "ok"


class _CheckSkippedError(Exception):
    """Reason why a check isn't run."""


def _diagnose(
    target: SpaceTarget, reporter: Reporter, *, generates_picture: bool, is_json: bool
) -> int:
    """Run the checks, write their results, and return the exit code of the first failure."""
    results: list[CheckResult] = []
    model = local_model(target.space)
    if model is not None:
        results = _check_local_space(target, model, reporter, prints_results=not is_json)
    has_failed = any(result.error for result in results)
    if model is None or (generates_picture and not has_failed):
        results += asyncio.run(
            _run_checks(
                target, reporter, generates_picture=generates_picture, prints_results=not is_json
            )
        )
    code = next((exit_code(result.error) for result in results if result.error), 0)
    if is_json:
        checks = [_result_to_json(result) for result in results]
        write_json({"space": target.space, "exit_code": code, "checks": checks}, indent=2)
    return code


def _check_local_space(
    target: SpaceTarget, model: str, reporter: Reporter, *, prints_results: bool
) -> list[CheckResult]:
    """Run the checks of this machine, in a process of its own: this one needs no torch."""
    reporter.show(TaskProgress("Checking this machine", is_brief=True))
    try:
        process = subprocess.run(  # noqa: S603  # our own program
            child_command(model, target.model_options, "--check"),
            stdout=subprocess.PIPE,
            env=child_environment(target.token),
            timeout=LOCAL_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConnectionFailedError("Checking this machine took too long.", "Try again.") from None
    # Libraries may write lines, too.
    lines = (line for line in process.stdout.splitlines() if line.startswith(b'{"check"'))
    results = [_read_result(json.loads(line)) for line in lines]
    if process.returncode != int(any(result.error for result in results)):
        text = f"The check of this machine ended unexpectedly (exit code {process.returncode})."
        results.append(CheckResult("Program", error=ModelError(text, "The lines above say more.")))
    reporter.close()
    if prints_results:
        for result in results:
            _print_result(result)
    return results


def _read_result(values: dict[str, Any]) -> CheckResult:
    return CheckResult(
        values["check"],
        values.get("skipped") or values.get("text", ""),
        model_error(values) if "happened" in values else None,
        is_skipped="skipped" in values,
    )


async def _run_checks(
    target: SpaceTarget, reporter: Reporter, *, generates_picture: bool, prints_results: bool
) -> list[CheckResult]:
    shutdown = Shutdown(reporter.show)
    results = []
    async with AsyncExitStack() as stack:
        stack.enter_context(shutdown.installed())
        diagnosis = Diagnosis(target, reporter.show, stack, generates_picture)
        for name, check in diagnosis.checks().items():
            reporter.show(TaskProgress(f"Checking: {name}", is_brief=True))
            with shutdown.cancellable():
                results.append(await diagnosis.run(name, check))
            shutdown.exit_if_requested(diagnosis.cancel_outcome)
            reporter.close()
            if prints_results:
                _print_result(results[-1])
    return results


@dataclass
class Diagnosis:
    """Checks of one Space; connections stay open until the stack is closed.

    Attributes:
        cancel_outcome: what the Space did with a test image that was cancelled.
    """

    target: SpaceTarget
    on_event: Callable[[Event], None]
    stack: AsyncExitStack
    generates_picture: bool
    cancel_outcome: StopOutcome | None = None
    _space: SpaceClient | None = field(default=None, init=False)
    _failed_check: str = field(default="", init=False)

    def checks(self) -> dict[str, Callable[[], Awaitable[str]]]:
        """Return the checks by name; each returns what works, or raises what doesn't."""
        space_checks: dict[str, Callable[[], Awaitable[str]]] = {
            "Space": self._check_space,
            "Image": self._check_picture,
        }
        if local_model(self.target.space) is not None:  # the process of the Space checks the rest
            return space_checks
        return {
            "Proxy": self._check_proxy,
            "Hugging Face": self._check_hub,
            "Token": self._check_token,
            "Stage": self._check_stage,
            **space_checks,
        }

    async def run(self, name: str, check: Callable[[], Awaitable[str]]) -> CheckResult:
        """Run a check."""
        try:
            return CheckResult(name, await check())
        except _CheckSkippedError as reason:
            return CheckResult(name, str(reason), is_skipped=True)
        except SD35Error as error:
            subject = name if name == "Hugging Face" else f"the {name.lower()}"
            # The first one: later failures are mostly its consequences.
            self._failed_check = self._failed_check or subject
            return CheckResult(name, error=error)

    async def _check_proxy(self) -> str:
        if self.target.space == DEMO:
            return "none: the demo Space runs on this computer"
        address = self.target.hub_endpoint if self.target.ref.name else self.target.space
        return find_proxy(URL(address), self.target.proxy).description

    async def _check_hub(self) -> str:
        self._require_hub()
        async with self._open_hub(token=None) as hub:
            # Without a token, the Hub's refusal is the answer that shows that it works.
            with suppress(AccessDeniedError):
                await whoami(hub)
        return f"{self.target.hub_endpoint} is reachable"

    async def _check_token(self) -> str:
        self._require_hub()
        if self.target.token is None:
            raise _CheckSkippedError(
                "no token: the public Space makes about one image per day; set HF_TOKEN for more"
            )
        async with self._open_hub(self.target.token) as hub:
            try:
                account = await whoami(hub)
            except AccessDeniedError as error:
                happened = f"{error.happened} It is from {self.target.token_source}."
                raise AccessDeniedError(happened) from error
        kind = "PRO" if account.is_pro else "free"
        return f"valid: {account.name}, a {kind} account, from {self.target.token_source}"

    async def _check_stage(self) -> str:
        self._require_hub()
        if self.target.ref.name is None:
            raise _CheckSkippedError("only known for a Space named by owner/name")
        async with self._open_hub(self.target.token) as hub:
            info = await get_space_info(hub, self.target.ref.name)
        error = error_for_stage(info.name, info.stage)
        is_renamed = info.name.lower() != self.target.ref.name.lower()
        new_name = f" (renamed: it is {info.name} now)" if is_renamed else ""
        if error is None:
            return (info.stage or "unknown") + new_name
        if isinstance(error, SpaceAsleepError):
            return f"{info.stage}: wakes up on the next request{new_name}"
        raise error

    async def _check_space(self) -> str:
        # A Space that is named by a URL is reached without the Hub.
        if self.target.ref.name:
            self._require_earlier_checks()
        # Kept open for the check of the image, which comes next.
        self._space = await self.stack.enter_async_context(
            self.target.connect(TIMEOUTS, self.on_event)
        )
        contract = self._space.contract
        title = "demo (sketches, not Stable Diffusion)" if contract.is_demo else contract.title
        features = "live previews" if contract.is_generator else "no live previews"
        version = contract.version or "(unknown version)"
        return f"{title} at {self._space.address}, Gradio {version}, {features}"

    async def _check_picture(self) -> str:
        if not self.generates_picture:
            raise _CheckSkippedError("use --try to generate a test image")
        if self._space is None:
            raise _CheckSkippedError("skipped until the Space works")
        limits = self._space.contract.limits
        steps = limits.num_inference_steps
        request = RequestOptions(
            prompt=TEST_PROMPT,
            width=_smallest_side(limits.width, limits.size_multiple),
            height=_smallest_side(limits.height, limits.size_multiple),
            num_inference_steps=None if steps is None else math.ceil(steps.minimum),
        ).resolve(limits)
        generation = self._space.generate(request)
        try:
            async with generation:
                async for event in generation:
                    self.on_event(event)
        finally:
            self.cancel_outcome = generation.stopped
        picture = await generation.fetch()
        return f"generated: {picture.format}, {picture.width} × {picture.height}"

    def _open_hub(self, token: str | None) -> AbstractAsyncContextManager[Transport]:
        target = self.target
        return open_hub(target.hub_endpoint, token=token, proxy=target.proxy, timeouts=TIMEOUTS)

    def _require_hub(self) -> None:
        if not self.target.ref.is_on_hub:
            raise _CheckSkippedError("not needed for this Space")
        self._require_earlier_checks()

    def _require_earlier_checks(self) -> None:
        if self._failed_check:
            raise _CheckSkippedError(f"skipped until {self._failed_check} works")


def _smallest_side(value_range: Range, multiple: int) -> int:
    return max(1, math.ceil(value_range.minimum / multiple)) * multiple


def _print_result(result: CheckResult) -> None:
    if result.error is None:
        text = Text(one_line(result.text))
    else:
        message, remedy = failure_text(OperationFailed(result.error))
        text = Text(message)
        text.append(f"\n{remedy}" if remedy else "", "dim")
    grid = Table.grid(
        Column(width=7), Column(width=12), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    grid.add_row(Text(result.status, STATUS_STYLES[result.status]), result.name, text)
    make_console().print(grid)


def _result_to_json(result: CheckResult) -> dict[str, Any]:
    payload = {"check": result.name, "status": result.status}
    if result.error is None:
        return payload | {"text": one_line(result.text)}
    return payload | error_to_json(result.error)
