"""Hugging Face's Hub: where a Space is, what its stage is, and whose a token is."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from yarl import URL

from sd35.client.auth import bearer
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport, open_session
from sd35.core.errors import (
    AccessDeniedError,
    MalformedRequestError,
    ProtocolError,
    SpaceNotFoundError,
)

__all__ = ["HUB", "Account", "HubSpace", "ask_hub", "open_hub", "who_am_i"]

HUB = "https://huggingface.co"

_STAGE = re.compile(r"[A-Z_]{1,40}")


@dataclass(frozen=True, slots=True)
class HubSpace:
    """What the Hub says of a Space: its address, and its stage (RUNNING, PAUSED, …)."""

    name: str
    address: URL
    stage: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whose a token is, and whether that is a PRO account."""

    name: str
    is_pro: bool


@asynccontextmanager
async def open_hub(
    address: str = HUB,
    *,
    token: str | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[Transport]:
    """Hold a connection to the Hub while the block lasts.

    Raises:
        AccessDeniedError: the token can't be one.
        InvalidRequestError: the proxy's address isn't one.

    """
    timeouts = timeouts or Timeouts()
    async with open_session(timeouts) as session:
        root = URL(address.rstrip("/") + "/")
        yield Transport(
            "Hugging Face", root, session, headers=bearer(token), proxy=proxy, timeouts=timeouts
        )


async def ask_hub(hub: Transport, name: str, limit_seconds: float) -> HubSpace:
    """Return what the Hub says of the Space `owner/name`.

    Raises:
        SpaceNotFoundError: there is none of that name, or it is private: the Hub doesn't say which.
        AccessDeniedError: the token isn't valid, or may not see it.
        SD35Error: the Hub didn't answer, or in a way that can't be understood.

    """
    try:
        told = await hub.get_json(hub.root / "api/spaces" / name, limit_seconds)
    except AccessDeniedError as error:
        if hub.has_token and not await _is_valid(hub, limit_seconds):
            raise AccessDeniedError(
                "The token isn't valid: Hugging Face doesn't know it."
            ) from error
        raise SpaceNotFoundError(f"There is no Space {name}, or it is private.") from error
    except (SpaceNotFoundError, MalformedRequestError) as error:
        raise SpaceNotFoundError(f"There is no Space {name}, or it is private.") from error
    return _hub_space(hub, name, told)


def _hub_space(hub: Transport, name: str, told: Any) -> HubSpace:  # noqa: ANN401  # any JSON
    try:
        address = URL(told["host"])
        stage = str((told.get("runtime") or {}).get("stage") or "")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProtocolError(f"Hugging Face's answer about {name} can't be understood.") from error
    foreign = hub.root.host == "huggingface.co" and not (address.host or "").endswith(".hf.space")
    if foreign or address.scheme not in {"http", "https"} or not address.host:
        raise ProtocolError(f"Hugging Face gives an address for {name} that isn't one of its own.")
    return HubSpace(name, address.origin().with_path("/"), stage if _STAGE.fullmatch(stage) else "")


async def _is_valid(hub: Transport, limit_seconds: float) -> bool:
    try:
        await who_am_i(hub, limit_seconds)
    except AccessDeniedError:
        return False
    return True


async def who_am_i(hub: Transport, limit_seconds: float) -> Account:
    """Return whose the token is that this transport carries.

    Raises:
        AccessDeniedError: it isn't valid.
        SD35Error: the Hub didn't answer, or in a way that can't be understood.

    """
    try:
        told = await hub.get_json(hub.root / "api/whoami-v2", limit_seconds)
    except AccessDeniedError as error:
        raise AccessDeniedError("The token isn't valid: Hugging Face doesn't know it.") from error
    if not isinstance(told, dict):
        raise ProtocolError("Hugging Face's answer about the token can't be understood.")
    return Account(str(told.get("name") or "unnamed")[:100], told.get("isPro") is True)
