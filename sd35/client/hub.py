"""Hugging Face's Hub: where a Space is, what its stage is, and whose a token is."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from yarl import URL

from sd35.client.auth import bearer_header
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport, open_session
from sd35.core.errors import (
    AccessDeniedError,
    MalformedRequestError,
    ProtocolError,
    SpaceNotFoundError,
)

__all__ = ["HUB_URL", "HubAccount", "SpaceInfo", "get_space_info", "open_hub", "whoami"]

HUB_URL = "https://huggingface.co"

_STAGE_PATTERN = re.compile(r"[A-Z_]{1,40}")


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """What the Hub says of a Space: its address, and its stage (RUNNING, PAUSED, …)."""

    name: str
    address: URL
    stage: str


@dataclass(frozen=True, slots=True)
class HubAccount:
    """Whose a token is, and whether that is a PRO account."""

    name: str
    is_pro: bool


@asynccontextmanager
async def open_hub(
    address: str = HUB_URL,
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
            "Hugging Face",
            root,
            session,
            headers=bearer_header(token),
            proxy=proxy,
            timeouts=timeouts,
        )


async def get_space_info(hub: Transport, name: str, limit_seconds: float) -> SpaceInfo:
    """Return what the Hub says of the Space `owner/name`.

    Raises:
        SpaceNotFoundError: there is none of that name, or it is private: the Hub doesn't say which.
        AccessDeniedError: the token isn't valid, or may not see it.
        SD35Error: the Hub didn't answer, or in a way that can't be understood.

    """
    try:
        payload = await hub.get_json(hub.root / "api/spaces" / name, limit_seconds)
    except AccessDeniedError as error:
        if hub.has_token and not await _is_token_valid(hub, limit_seconds):
            raise AccessDeniedError(
                "The token isn't valid: Hugging Face doesn't know it."
            ) from error
        raise SpaceNotFoundError(f"There is no Space {name}, or it is private.") from error
    except (SpaceNotFoundError, MalformedRequestError) as error:
        raise SpaceNotFoundError(f"There is no Space {name}, or it is private.") from error
    return _parse_space_info(hub, name, payload)


def _parse_space_info(hub: Transport, name: str, payload: Any) -> SpaceInfo:  # noqa: ANN401  # any JSON
    try:
        address = URL(payload["host"])
        stage = str((payload.get("runtime") or {}).get("stage") or "")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProtocolError(f"Hugging Face's answer about {name} can't be understood.") from error
    is_foreign_host = hub.root.host == "huggingface.co" and not (address.host or "").endswith(
        ".hf.space"
    )
    if is_foreign_host or address.scheme not in {"http", "https"} or not address.host:
        raise ProtocolError(f"Hugging Face gives an address for {name} that isn't one of its own.")
    return SpaceInfo(
        name, address.origin().with_path("/"), stage if _STAGE_PATTERN.fullmatch(stage) else ""
    )


async def _is_token_valid(hub: Transport, limit_seconds: float) -> bool:
    try:
        await whoami(hub, limit_seconds)
    except AccessDeniedError:
        return False
    return True


async def whoami(hub: Transport, limit_seconds: float) -> HubAccount:
    """Return whose the token is that this transport carries.

    Raises:
        AccessDeniedError: it isn't valid.
        SD35Error: the Hub didn't answer, or in a way that can't be understood.

    """
    try:
        payload = await hub.get_json(hub.root / "api/whoami-v2", limit_seconds)
    except AccessDeniedError as error:
        raise AccessDeniedError("The token isn't valid: Hugging Face doesn't know it.") from error
    if not isinstance(payload, dict):
        raise ProtocolError("Hugging Face's answer about the token can't be understood.")
    return HubAccount(str(payload.get("name") or "unnamed")[:100], payload.get("isPro") is True)
