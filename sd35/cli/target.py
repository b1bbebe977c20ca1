"""Which Space, and the way to it: what was typed, and else what the environment says."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from sd35.client import SpaceClient, Timeouts
from sd35.client.retry import OnWait
from sd35.core.space_ref import PUBLIC_SPACE, parse_space_ref
from sd35.server import launch

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from sd35.core.errors import InvalidRequestError
from sd35.settings import Settings

__all__ = ["DEMO_NAME", "SpaceTarget", "read_settings", "resolve_target"]


_LABELS: Final = {
    "space": "The name of the Space, as given or in SD35_SPACE",
    "token": "The token, as given or in SD35_TOKEN",
    "proxy": "The proxy, as given or in SD35_PROXY",
    "library": "The library's folder, as given or in SD35_LIBRARY",
}


def read_settings(**overrides: str | Path | None) -> Settings:
    """Return the settings, in which what was typed comes before the environment; `None` wasn't typed.

    Raises:
        InvalidRequestError: a flag, or a variable of the environment, can't be meant so.

    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]  # read by its fields' types
    except ValidationError as error:
        raise InvalidRequestError(
            " ".join(_error_messages(error))
        ) from None  # its input may be a token


def _error_messages(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_input=False, include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else "settings"
        label = _LABELS.get(name, name if name.isupper() else f"SD35_{name.upper()}")
        yield f"{label}: {detail['msg'].removeprefix('Value error, ')}."


DEMO_NAME: Final = "demo"


@dataclass(frozen=True, slots=True)
class SpaceTarget:
    """A Space by its name or address, or `demo`; what goes with each request to it, and the address of the Hub."""

    space: str
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    hub_endpoint: str = ""

    @property
    def repo_id(self) -> str | None:
        """`owner/name`, where the Space was chosen by that."""
        return None if self.space == DEMO_NAME else parse_space_ref(self.space).name

    @property
    def is_on_hub(self) -> bool:
        """Whether it is at Hugging Face."""
        return self.space != DEMO_NAME and parse_space_ref(self.space).is_on_hub

    @asynccontextmanager
    async def connect(self, timeouts: Timeouts, on_wait: OnWait) -> AsyncIterator[SpaceClient]:
        """Hold a connection to the Space while the block lasts; the demo Space runs as long.

        Raises:
            SD35Error: it can't be found or used; the kind says why.

        """
        async with AsyncExitStack() as stack:
            if self.space == DEMO_NAME:
                connection = SpaceClient.connect(await _start_demo_space(stack), timeouts=timeouts)
            else:
                connection = SpaceClient.connect(
                    self.space,
                    token=self.token,
                    proxy=self.proxy,
                    timeouts=timeouts,
                    hub=self.hub_endpoint,
                    on_wait=on_wait,
                )
            yield await stack.enter_async_context(connection)


async def _start_demo_space(stack: AsyncExitStack) -> str:
    temp_dir = launch.configure_environment()
    stack.callback(temp_dir.cleanup)
    demo_space = await anyio.to_thread.run_sync(_create_demo_space)
    stack.callback(demo_space.close)
    return await anyio.to_thread.run_sync(demo_space.start)


def _create_demo_space() -> "DemoSpace":
    from sd35.space.server import DemoSpace  # noqa: PLC0415  # imports gradio, which takes seconds

    return DemoSpace()


def resolve_target(space: str | None, token: str | None, proxy: str | None) -> SpaceTarget:
    """Return the Space that is meant; `auto` is the public one here: no demo picture takes its place.

    Raises:
        InvalidRequestError: a flag, or a variable of the environment, can't be meant so.

    """
    settings = read_settings(space=space, token=token, proxy=proxy)
    return SpaceTarget(
        PUBLIC_SPACE if settings.space == "auto" else settings.space,
        settings.space_token,
        settings.space_proxy,
        settings.hf_endpoint,
    )
