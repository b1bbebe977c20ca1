"""Which Space, and the way to it: what was typed, and else what the environment says."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from sd35.cli.given import read_settings
from sd35.client import SpaceClient, Timeouts
from sd35.client.retries import Tell
from sd35.source import PUBLIC_SPACE, parse_source
from sd35.web import hosting

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace

__all__ = ["DEMO", "Choice", "choose"]

DEMO: Final = "demo"


@dataclass(frozen=True, slots=True)
class Choice:
    """A Space by its name or address, or `demo`; what goes with each request to it, and the address of the Hub."""

    space: str
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    hub: str = ""

    @property
    def name_at_hub(self) -> str | None:
        """`owner/name`, where the Space was chosen by that."""
        return None if self.space == DEMO else parse_source(self.space).name

    @property
    def is_on_hub(self) -> bool:
        """Whether it is at Hugging Face."""
        return self.space != DEMO and parse_source(self.space).is_on_hub

    @asynccontextmanager
    async def connected(self, timeouts: Timeouts, tell: Tell) -> AsyncIterator[SpaceClient]:
        """Hold a connection to the Space while the block lasts; the demo Space runs as long.

        Raises:
            SD35Error: it can't be found or used; the kind says why.

        """
        async with AsyncExitStack() as stack:
            if self.space == DEMO:
                connecting = SpaceClient.connect(await _start_demo(stack), timeouts=timeouts)
            else:
                connecting = SpaceClient.connect(
                    self.space, token=self.token, proxy=self.proxy, timeouts=timeouts, hub=self.hub, tell=tell
                )
            yield await stack.enter_async_context(connecting)


async def _start_demo(stack: AsyncExitStack) -> str:
    files = hosting.prepare()
    stack.callback(files.cleanup)
    demo = await anyio.to_thread.run_sync(_make_demo)
    stack.callback(demo.close)
    return await anyio.to_thread.run_sync(demo.start)


def _make_demo() -> "DemoSpace":
    from sd35.space.server import DemoSpace  # noqa: PLC0415  # imports gradio, which takes seconds

    return DemoSpace()


def choose(space: str | None, token: str | None, proxy: str | None) -> Choice:
    """Return the Space that is meant; `auto` is the public one here: no demo picture takes its place.

    Raises:
        InvalidRequestError: a flag, or a variable of the environment, can't be meant so.

    """
    settings = read_settings(space=space, token=token, proxy=proxy)
    return Choice(
        PUBLIC_SPACE if settings.space == "auto" else settings.space,
        settings.space_token,
        settings.space_proxy,
        settings.hf_endpoint,
    )
