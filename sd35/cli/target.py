"""The Space that a command works with, from its options and the environment."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from sd35.cli.environment import read_settings
from sd35.cli.events import CliEvent, Hint, TaskProgress
from sd35.cli.runner import Shutdown
from sd35.client import SpaceClient, Timeouts
from sd35.client.retry import OnWait
from sd35.core.errors import InvalidRequestError
from sd35.core.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions, refuse_model_options
from sd35.core.space_ref import (
    DEMO,
    LOCAL,
    PUBLIC_SPACE,
    SpaceRef,
    local_model,
    parse_space_ref,
)
from sd35.core.text import one_line
from sd35.server import launch
from sd35.space.child import LocalSpace, OnPlan

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace

__all__ = ["SpaceTarget", "open_space", "resolve_target"]


@dataclass(frozen=True, slots=True)
class SpaceTarget:
    """A Space, by name, URL, `demo` or `local:…`, with the options for connecting to it."""

    space: str
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    hub_endpoint: str = ""
    token_source: str = ""
    login: tuple[str, str] | None = field(default=None, repr=False)
    model_options: ModelOptions = DEFAULT_MODEL_OPTIONS

    @property
    def ref(self) -> SpaceRef:
        """The name or the address; neither for a Space of this program."""
        is_own = self.space == DEMO or local_model(self.space) is not None
        return SpaceRef() if is_own else parse_space_ref(self.space)

    @asynccontextmanager
    async def connect(
        self, timeouts: Timeouts, on_wait: OnWait, on_plan: OnPlan = lambda _: None
    ) -> AsyncIterator[SpaceClient]:
        """Connect to the Space for the duration of the block, or start one for as long.

        `on_plan` is called with how a model on this machine will run.
        """
        async with AsyncExitStack() as stack:
            model = local_model(self.space)
            # No token and no proxy for servers on the loopback interface.
            if model is not None:
                space = LocalSpace(model, self.model_options, self.token, on_plan=on_plan)
                stack.callback(space.close)
                connection = SpaceClient.connect(await space.start(on_wait), timeouts=timeouts)
            elif self.space == DEMO:
                connection = SpaceClient.connect(await _start_demo_space(stack), timeouts=timeouts)
            else:
                connection = SpaceClient.connect(
                    self.space,
                    token=self.token,
                    login=self.login,
                    proxy=self.proxy,
                    timeouts=timeouts,
                    hub=self.hub_endpoint,
                    on_wait=on_wait,
                )
            client = await stack.enter_async_context(connection)
            if model is not None:
                client.name = LOCAL  # the port is another one each time
            yield client


async def _start_demo_space(stack: AsyncExitStack) -> str:
    # Before Gradio is imported, which reads the environment at that moment.
    temp_dir = launch.configure_environment()
    stack.callback(temp_dir.cleanup)
    # Importing and starting Gradio takes seconds, in which Ctrl+C still has to work.
    demo_space = await anyio.to_thread.run_sync(_create_demo_space)
    stack.callback(demo_space.close)
    return await anyio.to_thread.run_sync(demo_space.start)


def _create_demo_space() -> "DemoSpace":
    from sd35.space.server import DemoSpace  # noqa: PLC0415  # imports gradio, which takes seconds

    return DemoSpace()


@asynccontextmanager
async def open_space(
    target: SpaceTarget, timeouts: Timeouts, emit: Callable[[CliEvent], None]
) -> AsyncIterator[tuple[SpaceClient, Shutdown]]:
    """Connect to the Space and handle stop signals for the duration of the block."""
    shutdown = Shutdown(emit)
    with shutdown.installed():
        is_demo = target.space == DEMO
        name = one_line(target.space)
        emit(TaskProgress("Starting the demo Space" if is_demo else f"Connecting to {name}"))
        async with AsyncExitStack() as stack:
            with shutdown.cancellable():
                space = await stack.enter_async_context(target.connect(timeouts, emit, _hint(emit)))
            shutdown.exit_if_requested()
            for warning in space.warnings:
                emit(Hint(warning, is_warning=True))
            yield space, shutdown


def _hint(emit: Callable[[CliEvent], None]) -> OnPlan:
    return lambda text: emit(Hint(text))


def resolve_target(space: str | None, **space_options: str | Path | bool | None) -> SpaceTarget:
    """Return the Space from the options, or else from the environment.

    `auto` is the public Space: unlike the page, a command never falls back to the demo.

    Raises:
        InvalidRequestError: an option isn't valid, or isn't for this Space.
    """
    settings = read_settings(space=space, **space_options)
    refusal = refuse_model_options(space_options)
    if refusal and local_model(settings.space) is None:
        raise InvalidRequestError(f"{refusal}.")
    token, token_source = settings.token_with_source
    return SpaceTarget(
        PUBLIC_SPACE if settings.space == "auto" else settings.space,
        token,
        settings.space_proxy,
        settings.hf_endpoint,
        token_source,
        settings.space_credentials,
        settings.model_options,
    )
