"""`doctor`: what works from here, one line for each question, and what to do about what doesn't."""

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Column, Table
from rich.text import Text
from yarl import URL

from sd35.cli.events import Checking, Failed, Stopped, Stopping
from sd35.cli.exit_codes import DONE, exit_code
from sd35.cli.messages import failed, plain
from sd35.cli.output import error_as_json
from sd35.cli.reporter import Screen, open_screen
from sd35.cli.runner import Stop, run
from sd35.cli.target import DEMO, Choice
from sd35.cli.terminal import console, write_json
from sd35.client import SpaceClient, StopOutcome, Timeouts
from sd35.client.error_parsing import error_of_stage
from sd35.client.hub import ask_hub, open_hub, who_am_i
from sd35.client.proxy import proxy_to
from sd35.core.errors import AccessDeniedError, SD35Error, SpaceAsleepError
from sd35.core.events import Event
from sd35.core.limits import PIPELINE_MULTIPLE, Range
from sd35.core.request import Wish

__all__ = ["Check", "Examination", "Question", "examine"]


TIMEOUTS: Final = Timeouts(discovery=15.0, waking=0.0, attempts=2)
"""A question is answered soon, or the answer is that it isn't."""

PROMPT: Final = "a lighthouse at dusk"


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to a question: `text` says what is well, or why it was skipped; `error` what isn't well."""

    name: str
    text: str = ""
    error: SD35Error | None = None
    is_skipped: bool = False

    @property
    def status(self) -> str:
        """The answer in short."""
        return "skipped" if self.is_skipped else "not ok" if self.error else "ok"


class _SkippedError(Exception):
    """A question that isn't asked, and why."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `ask` returns what is well, or raises what isn't."""

    name: str
    ask: Callable[[], Awaitable[str]]


@dataclass
class Examination:
    """Asks whether the chosen Space can be used from here; what it opens is closed with the stack.

    Attributes:
        stopped: what leaving early did at the Space, if a picture was under way there.

    """

    choice: Choice
    tries: bool
    tell: Callable[[Event], None]
    stack: AsyncExitStack
    stopped: StopOutcome | None = None
    _space: SpaceClient | None = field(default=None, init=False)
    _failed: str = field(default="", init=False)

    def questions(self) -> Iterator[Question]:
        """Each question, in its order."""
        yield Question("Proxy", self._proxy)
        yield Question("Hugging Face", self._hub)
        yield Question("Token", self._token)
        yield Question("Stage", self._stage)
        yield Question("Space", self._answer)
        yield Question("Picture", self._picture)

    async def answer(self, question: Question) -> Check:
        """Ask the question."""
        try:
            return Check(question.name, await question.ask())
        except _SkippedError as skipped:
            return Check(question.name, str(skipped), is_skipped=True)
        except SD35Error as error:
            self._failed = self._failed or question.name
            return Check(question.name, error=error)

    async def _proxy(self) -> str:
        if self.choice.space == DEMO:
            return "none: the demo Space is on this machine"
        address = self.choice.hub if self.choice.name_at_hub else self.choice.space
        return proxy_to(URL(address), self.choice.proxy) or "none"

    async def _hub(self) -> str:
        self._needs_hub()
        async with open_hub(self.choice.hub, proxy=self.choice.proxy, timeouts=TIMEOUTS) as hub:
            with suppress(AccessDeniedError):  # as it should be, without a token
                await who_am_i(hub, TIMEOUTS.discovery)
        return f"{self.choice.hub} answers"

    async def _token(self) -> str:
        self._needs_hub()
        choice = self.choice
        if choice.token is None:
            raise _SkippedError(
                "none is given: the public Space makes about one picture a day without; set HF_TOKEN"
            )
        async with open_hub(
            choice.hub, token=choice.token, proxy=choice.proxy, timeouts=TIMEOUTS
        ) as hub:
            account = await who_am_i(hub, TIMEOUTS.discovery)
        return f"valid: {account.name}, a {'PRO' if account.is_pro else 'free'} account"

    async def _stage(self) -> str:
        self._needs_hub()
        choice = self.choice
        if choice.name_at_hub is None:
            raise _SkippedError("Hugging Face is asked for it by the name of a Space, owner/name")
        async with open_hub(
            choice.hub, token=choice.token, proxy=choice.proxy, timeouts=TIMEOUTS
        ) as hub:
            told = await ask_hub(hub, choice.name_at_hub, TIMEOUTS.discovery)
        error = error_of_stage(told.name, told.stage)
        if error is None:
            return told.stage or "not told"
        if isinstance(error, SpaceAsleepError):
            return f"{told.stage}: a visit wakes it"
        raise error

    async def _answer(self) -> str:
        if self.choice.name_at_hub:
            self._needs_all_before()
        self._space = await self.stack.enter_async_context(
            self.choice.connected(TIMEOUTS, self.tell)
        )
        contract = self._space.contract
        how = (
            "sends previews"
            if contract.is_generator
            else "sends no previews, and can't end a run that has begun"
        )
        who = "the demo painter (not Stable Diffusion)" if contract.is_demo else contract.title
        return (
            f"{who} at {self._space.address}, Gradio {contract.version or 'of unknown age'}: {how}"
        )

    async def _picture(self) -> str:
        if not self.tries:
            raise _SkippedError(
                "not asked for; --try asks for the smallest, in one step, and costs some quota"
            )
        if self._space is None:
            raise _SkippedError("not before the Space answers")
        limits = self._space.contract.limits
        steps = limits.num_inference_steps
        wish = Wish(
            prompt=PROMPT,
            width=_smallest(limits.width),
            height=_smallest(limits.height),
            num_inference_steps=None if steps is None else math.ceil(steps.minimum),
        )
        generation = self._space.generate(wish.on(limits))
        try:
            async with generation:
                async for event in generation:
                    self.tell(event)
        finally:
            self.stopped = generation.stopped
        picture = await generation.fetch()
        return f"made: {picture.format}, {picture.width} × {picture.height}"

    def _needs_hub(self) -> None:
        if not self.choice.is_on_hub:
            raise _SkippedError("not needed: this Space isn't there")
        self._needs_all_before()

    def _needs_all_before(self) -> None:
        if self._failed:
            raise _SkippedError(f"not before this is well: {self._failed}")


def _smallest(span: Range) -> int:
    return max(1, math.ceil(span.minimum / PIPELINE_MULTIPLE)) * PIPELINE_MULTIPLE


STYLES: Final = {"ok": "green", "not ok": "bold red", "skipped": "dim"}


def examine(choose: Callable[[], Choice], *, tries: bool, is_json: bool) -> int:
    """Ask each question, write the answers, and return what the program ends with."""
    with closing(open_screen(is_quiet=False, is_json=False)) as screen:

        def report(error: SD35Error) -> None:
            screen.show(Failed(error))
            if is_json:
                write_json({"error": error_as_json(error)}, indent=2)

        return run(lambda: _examine(choose(), tries, screen, is_json=is_json), report)


async def _examine(choice: Choice, tries: bool, screen: Screen, *, is_json: bool) -> int:  # noqa: FBT001
    stop, checks = Stop(lambda: screen.show(Stopping())), []
    async with AsyncExitStack() as stack:
        stack.enter_context(stop.listening())
        examination = Examination(choice, tries, screen.show, stack)
        for question in examination.questions():
            screen.show(Checking(question.name))
            with stop.breakable():
                checks.append(await examination.answer(question))
            if stop.asked:
                screen.show(Stopped(examination.stopped))
                return stop.exit_code
            if not is_json:
                screen.close()
                _write(checks[-1])
    errors = [check.error for check in checks if check.error]
    code = exit_code(errors[0]) if errors else DONE
    if is_json:
        screen.close()
        write_json(
            {
                "space": choice.space,
                "exit_code": code,
                "checks": [_as_json(check) for check in checks],
            },
            indent=2,
        )
    return code


def _write(check: Check) -> None:
    happened, remedy = failed(Failed(check.error)) if check.error else (plain(check.text), "")
    text = Text.assemble(happened, (f"\n{remedy}" if remedy else "", "dim"))
    line = Table.grid(
        Column(width=7), Column(width=12), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    line.add_row(Text(check.status, STYLES[check.status]), check.name, text)
    console().print(line)


def _as_json(check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {"check": check.name, "status": check.status}
    if check.error is None:
        return told | {"text": plain(check.text)}
    return told | error_as_json(check.error)
