"""Which Space, and the way to it: what was typed, and else what the environment says."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from sd35.client import SpaceClient, Timeouts
from sd35.client.retry import Tell
from sd35.core.space_ref import PUBLIC_SPACE, parse_source
from sd35.server import launch

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from sd35.core.errors import InvalidRequestError
from sd35.settings import Settings

__all__ = ["DEMO", "Choice", "choose", "read_settings"]


_WHAT: Final = {
    "space": "The name of the Space, as given or in SD35_SPACE",
    "token": "The token, as given or in SD35_TOKEN",
    "proxy": "The proxy, as given or in SD35_PROXY",
    "library": "The library's folder, as given or in SD35_LIBRARY",
}


def read_settings(**given: str | Path | None) -> Settings:
    """Return the settings, in which what was typed comes before the environment; `None` wasn't typed.

    Raises:
        InvalidRequestError: a flag, or a variable of the environment, can't be meant so.

    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # read by its fields' types
    except ValidationError as error:
        raise InvalidRequestError(" ".join(_mistakes(error))) from None  # its input may be a token


def _mistakes(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors(include_input=False, include_url=False):
        name = str(mistake["loc"][0]) if mistake["loc"] else "settings"
        what = _WHAT.get(name, name if name.isupper() else f"SD35_{name.upper()}")
        yield f"{what}: {mistake['msg'].removeprefix('Value error, ')}."


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
                    self.space,
                    token=self.token,
                    proxy=self.proxy,
                    timeouts=timeouts,
                    hub=self.hub,
                    tell=tell,
                )
            yield await stack.enter_async_context(connecting)


async def _start_demo(stack: AsyncExitStack) -> str:
    files = launch.prepare()
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
