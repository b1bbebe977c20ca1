"""`doctor`: what works from here, one line for each question, and what to do about what doesn't."""

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Column, Table
from rich.text import Text
from yarl import URL

from sd35.cli.events import CheckStarted, OperationFailed, ShutdownReport, ShutdownRequested
from sd35.cli.exit_codes import EXIT_OK, exit_code
from sd35.cli.messages import failure_text, one_line
from sd35.cli.output import error_to_json
from sd35.cli.reporter import TerminalReporter, open_reporter
from sd35.cli.runner import Shutdown, run_async
from sd35.cli.target import DEMO_NAME, SpaceTarget
from sd35.cli.terminal import make_console, write_json
from sd35.client import SpaceClient, StopOutcome, Timeouts
from sd35.client.error_parsing import error_for_stage
from sd35.client.hub import get_space_info, open_hub, whoami
from sd35.client.proxy import effective_proxy
from sd35.core.errors import AccessDeniedError, SD35Error, SpaceAsleepError
from sd35.core.events import Event
from sd35.core.limits import PIPELINE_MULTIPLE, Range
from sd35.core.request import RequestOptions

__all__ = ["Check", "CheckResult", "Diagnosis", "run_doctor"]


TIMEOUTS: Final = Timeouts(discovery=15.0, waking=0.0, attempts=2)
"""A question is answered soon, or the answer is that it isn't."""

TEST_PROMPT: Final = "a lighthouse at dusk"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The answer to a question: `text` says what is well, or why it was skipped; `error` what isn't well."""

    name: str
    text: str = ""
    error: SD35Error | None = None
    is_skipped: bool = False

    @property
    def status(self) -> str:
        """The answer in short."""
        return "skipped" if self.is_skipped else "not ok" if self.error else "ok"


class _CheckSkippedError(Exception):
    """A question that isn't asked, and why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question; `ask` returns what is well, or raises what isn't."""

    name: str
    run: Callable[[], Awaitable[str]]


@dataclass
class Diagnosis:
    """Asks whether the chosen Space can be used from here; what it opens is closed with the stack.

    Attributes:
        stopped: what leaving early did at the Space, if a picture was under way there.

    """

    target: SpaceTarget
    generates_picture: bool
    on_event: Callable[[Event], None]
    stack: AsyncExitStack
    cancel_outcome: StopOutcome | None = None
    _space: SpaceClient | None = field(default=None, init=False)
    _failed_check: str = field(default="", init=False)

    def checks(self) -> Iterator[Check]:
        """Each question, in its order."""
        yield Check("Proxy", self._check_proxy)
        yield Check("Hugging Face", self._check_hub)
        yield Check("Token", self._check_token)
        yield Check("Stage", self._check_stage)
        yield Check("Space", self._check_space)
        yield Check("Picture", self._check_picture)

    async def run(self, check: Check) -> CheckResult:
        """Ask the question."""
        try:
            return CheckResult(check.name, await check.run())
        except _CheckSkippedError as skip_error:
            return CheckResult(check.name, str(skip_error), is_skipped=True)
        except SD35Error as error:
            self._failed_check = self._failed_check or check.name
            return CheckResult(check.name, error=error)

    async def _check_proxy(self) -> str:
        if self.target.space == DEMO_NAME:
            return "none: the demo Space is on this machine"
        address = self.target.hub_endpoint if self.target.repo_id else self.target.space
        return effective_proxy(URL(address), self.target.proxy) or "none"

    async def _check_hub(self) -> str:
        self._require_hub()
        async with open_hub(
            self.target.hub_endpoint, proxy=self.target.proxy, timeouts=TIMEOUTS
        ) as hub:
            with suppress(AccessDeniedError):  # as it should be, without a token
                await whoami(hub, TIMEOUTS.discovery)
        return f"{self.target.hub_endpoint} answers"

    async def _check_token(self) -> str:
        self._require_hub()
        target = self.target
        if target.token is None:
            raise _CheckSkippedError(
                "none is given: the public Space makes about one picture a day without; set HF_TOKEN"
            )
        async with open_hub(
            target.hub_endpoint, token=target.token, proxy=target.proxy, timeouts=TIMEOUTS
        ) as hub:
            account = await whoami(hub, TIMEOUTS.discovery)
        return f"valid: {account.name}, a {'PRO' if account.is_pro else 'free'} account"

    async def _check_stage(self) -> str:
        self._require_hub()
        target = self.target
        if target.repo_id is None:
            raise _CheckSkippedError(
                "Hugging Face is asked for it by the name of a Space, owner/name"
            )
        async with open_hub(
            target.hub_endpoint, token=target.token, proxy=target.proxy, timeouts=TIMEOUTS
        ) as hub:
            space_info = await get_space_info(hub, target.repo_id, TIMEOUTS.discovery)
        error = error_for_stage(space_info.name, space_info.stage)
        if error is None:
            return space_info.stage or "not told"
        if isinstance(error, SpaceAsleepError):
            return f"{space_info.stage}: a visit wakes it"
        raise error

    async def _check_space(self) -> str:
        if self.target.repo_id:
            self._require_earlier_checks()
        self._space = await self.stack.enter_async_context(
            self.target.connect(TIMEOUTS, self.on_event)
        )
        contract = self._space.contract
        capability = (
            "sends previews"
            if contract.is_generator
            else "sends no previews, and can't end a run that has begun"
        )
        title = "the demo painter (not Stable Diffusion)" if contract.is_demo else contract.title
        return f"{title} at {self._space.address}, Gradio {contract.version or 'of unknown age'}: {capability}"

    async def _check_picture(self) -> str:
        if not self.generates_picture:
            raise _CheckSkippedError(
                "not asked for; --try asks for the smallest, in one step, and costs some quota"
            )
        if self._space is None:
            raise _CheckSkippedError("not before the Space answers")
        limits = self._space.contract.limits
        steps = limits.num_inference_steps
        request_options = RequestOptions(
            prompt=TEST_PROMPT,
            width=_smallest_side(limits.width),
            height=_smallest_side(limits.height),
            num_inference_steps=None if steps is None else math.ceil(steps.minimum),
        )
        generation = self._space.generate(request_options.resolve(limits))
        try:
            async with generation:
                async for event in generation:
                    self.on_event(event)
        finally:
            self.cancel_outcome = generation.stopped
        picture = await generation.fetch()
        return f"made: {picture.format}, {picture.width} × {picture.height}"

    def _require_hub(self) -> None:
        if not self.target.is_on_hub:
            raise _CheckSkippedError("not needed: this Space isn't there")
        self._require_earlier_checks()

    def _require_earlier_checks(self) -> None:
        if self._failed_check:
            raise _CheckSkippedError(f"not before this is well: {self._failed_check}")


def _smallest_side(value_range: Range) -> int:
    return max(1, math.ceil(value_range.minimum / PIPELINE_MULTIPLE)) * PIPELINE_MULTIPLE


STATUS_STYLES: Final = {"ok": "green", "not ok": "bold red", "skipped": "dim"}


def run_doctor(
    get_target: Callable[[], SpaceTarget], *, generates_picture: bool, is_json: bool
) -> int:
    """Ask each question, write the answers, and return what the program ends with."""
    with closing(open_reporter(is_quiet=False, is_json=False)) as reporter:

        def report_error(error: SD35Error) -> None:
            reporter.show(OperationFailed(error))
            if is_json:
                write_json({"error": error_to_json(error)}, indent=2)

        return run_async(
            lambda: _run_checks(get_target(), generates_picture, reporter, is_json=is_json),
            report_error,
        )


async def _run_checks(
    target: SpaceTarget,
    generates_picture: bool,  # noqa: FBT001
    reporter: TerminalReporter,
    *,
    is_json: bool,  # noqa: FBT001, RUF100
) -> int:
    shutdown, results = Shutdown(lambda: reporter.show(ShutdownRequested())), []
    async with AsyncExitStack() as stack:
        stack.enter_context(shutdown.installed())
        diagnosis = Diagnosis(target, generates_picture, reporter.show, stack)
        for check in diagnosis.checks():
            reporter.show(CheckStarted(check.name))
            with shutdown.cancellable():
                results.append(await diagnosis.run(check))
            if shutdown.is_requested:
                reporter.show(ShutdownReport(diagnosis.cancel_outcome))
                return shutdown.exit_code
            if not is_json:
                reporter.close()
                _print_result(results[-1])
    errors = [result.error for result in results if result.error]
    code = exit_code(errors[0]) if errors else EXIT_OK
    if is_json:
        reporter.close()
        write_json(
            {
                "space": target.space,
                "exit_code": code,
                "checks": [_result_to_json(result) for result in results],
            },
            indent=2,
        )
    return code


def _print_result(result: CheckResult) -> None:
    message, remedy = (
        failure_text(OperationFailed(result.error)) if result.error else (one_line(result.text), "")
    )
    text = Text.assemble(message, (f"\n{remedy}" if remedy else "", "dim"))
    grid = Table.grid(
        Column(width=7), Column(width=12), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    grid.add_row(Text(result.status, STATUS_STYLES[result.status]), result.name, text)
    make_console().print(grid)


def _result_to_json(result: CheckResult) -> dict[str, Any]:
    payload: dict[str, Any] = {"check": result.name, "status": result.status}
    if result.error is None:
        return payload | {"text": one_line(result.text)}
    return payload | error_to_json(result.error)
