"""Hugging Face's Hub: the address and stage of a Space, the account and GPU quota of a token."""

import datetime as dt
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from yarl import URL

from sd35.client.auth import bearer_header
from sd35.client.contract import Json
from sd35.client.error_parsing import sanitize
from sd35.client.redaction import contains_secret
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport, open_session
from sd35.core.account import HubAccount, HubQuota
from sd35.core.errors import (
    AccessDeniedError,
    LoginPageError,
    MalformedRequestError,
    ProtocolError,
    RedirectedError,
    SpaceNotFoundError,
    WebPageError,
)
from sd35.core.space_ref import is_hub_host, parse_space_ref

__all__ = [
    "HUB_URL",
    "SpaceInfo",
    "get_quota",
    "get_space_info",
    "hub_root",
    "open_hub",
    "whoami",
]

HUB_URL = "https://huggingface.co"

_STAGE_PATTERN = re.compile(r"[A-Z_]{1,40}")


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """A Space at the Hub: its address, and its stage (RUNNING, PAUSED, …)."""

    name: str
    address: URL
    stage: str


# More than any account has in a day; what is beyond was misunderstood.
MAX_QUOTA_SECONDS = 10 * 86400


def hub_root(address: str) -> URL:
    """Return the root of a Hub's addresses."""
    return URL(address.rstrip("/") + "/")


@asynccontextmanager
async def open_hub(
    address: str = HUB_URL,
    *,
    token: str | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[Transport]:
    """Open a connection to the Hub."""
    timeouts = timeouts or Timeouts()
    async with open_session(timeouts) as session:
        yield Transport(
            "Hugging Face",
            hub_root(address),
            session,
            headers=bearer_header(token),
            proxy=proxy,
            timeouts=timeouts,
        )


async def get_space_info(hub: Transport, name: str) -> SpaceInfo:
    """Return the Hub's information about the Space `owner/name`, which may have a new name by now.

    Raises:
        SpaceNotFoundError: it doesn't exist or is private; the Hub doesn't tell these apart.
        AccessDeniedError: the token is invalid.
    """
    try:
        url, payload = await _get_document(hub, f"api/spaces/{name}")
    except RedirectedError:
        raise
    except (AccessDeniedError, SpaceNotFoundError, MalformedRequestError) as error:
        # The Hub answers 401 for invalid tokens, and also for Spaces that don't exist: it doesn't
        # reveal the names of private ones. For an invalid token, whoami raises an error.
        if isinstance(error, AccessDeniedError) and hub.has_token:
            await whoami(hub)
        raise SpaceNotFoundError(f"Space {name} doesn't exist or is private.") from error
    return _parse_space_info(hub, _name_at(url) or name, payload)


def _name_at(url: URL) -> str | None:
    """Return the name of the Space in an address of the Hub's API: a renamed one has a new name."""
    if url.parts[-4:-2] != ("api", "spaces"):
        return None
    try:
        return parse_space_ref("/".join(url.parts[-2:])).name
    except ValueError:
        return None


def _parse_space_info(hub: Transport, name: str, payload: Json) -> SpaceInfo:
    try:
        address = URL(payload["host"])
        stage = str((payload.get("runtime") or {}).get("stage") or "")
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ProtocolError(f"Hugging Face's answer about {name} can't be understood.") from None
    # The token will be sent to this address. The Spaces of a mirror (HF_ENDPOINT) may be anywhere.
    is_expected = hub.root.host != "huggingface.co" or is_hub_host(address.host or "")
    is_usable = address.scheme in {"http", "https"} and address.host
    if not (is_expected and is_usable) or contains_secret(str(address)):
        raise ProtocolError(f"Hugging Face returned a foreign address for {name}.")
    known_stage = stage if _STAGE_PATTERN.fullmatch(stage) and not contains_secret(stage) else ""
    return SpaceInfo(name, address.origin().with_path("/"), known_stage)


async def _get_document(hub: Transport, path: str) -> tuple[URL, Json]:
    try:
        return await hub.get_document(hub.root / path)
    except WebPageError as error:
        # The API of the Hub has no pages.
        raise LoginPageError("A login page answered in place of Hugging Face.") from error


async def whoami(hub: Transport) -> HubAccount:
    """Return the account of the transport's token.

    Raises:
        AccessDeniedError: the token is invalid, or there is none.
    """
    try:
        _, payload = await _get_document(hub, "api/whoami-v2")
    except AccessDeniedError as error:
        raise AccessDeniedError("Invalid Hugging Face token.") from error
    if not isinstance(payload, dict):
        raise ProtocolError("Hugging Face's answer about the token can't be understood.")
    name = sanitize(payload.get("name"))[:100] or "unnamed"
    return HubAccount(name, payload.get("isPro") is True)


async def get_quota(hub: Transport) -> HubQuota | None:
    """Return the GPU quota of the transport's token; `None` if the answer isn't one."""
    _, payload = await _get_document(hub, "api/spaces/zero-gpu/quota")
    if not isinstance(payload, dict):
        return None
    # The Hub's OpenAPI document calls `base` the total and `current` the remaining GPU seconds.
    remaining_seconds = _plausible_seconds(payload.get("current"))
    if remaining_seconds is None:
        return None
    total_seconds = _plausible_seconds(payload.get("base"))
    return HubQuota(remaining_seconds, total_seconds, _plausible_reset(payload.get("resetsAt")))


def _plausible_seconds(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= MAX_QUOTA_SECONDS:
        return None
    return float(value)


def _plausible_reset(value: Json) -> dt.datetime | None:
    """Return a moment within the next days, from ISO 8601; `None` for anything else."""
    try:
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    seconds = (moment - dt.datetime.now(dt.UTC)).total_seconds()
    return moment if 0 < seconds <= MAX_QUOTA_SECONDS else None
