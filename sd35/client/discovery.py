"""Finding a Space: its address, stage, login and description of itself, through gradio_client.

gradio_client blocks, and polls a Space that is being built for ever; so it works in a thread of its own, which is
left behind when the time is up and doesn't keep the program from ending.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import gradio_client

from sd35.client.contract import check_api_prefix
from sd35.errors import (
    AccessDeniedError,
    ContractError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    UnreachableError,
)

__all__ = ["Discovery", "discover", "is_loopback", "token_header"]

_T = TypeVar("_T")

_SPACE_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where a Space is and what it says of itself. `root` ends with a slash; `cookies` choose its replica."""

    root: str
    config: dict[str, Any]
    info: dict[str, Any]
    cookies: dict[str, str]


def _is_space_name(text: str) -> bool:
    """Whether this is the name of a Space on Hugging Face, `owner/name`."""
    return _SPACE_NAME.fullmatch(text) is not None


async def discover(source: str, token: str | None, limit_seconds: float) -> Discovery:
    """Find the Space of this name (`owner/name`) or address (`http…`).

    Raises:
        ConnectionFailedError: it can't be found or used; the kind says why.
        RateLimitedError: it, or the Hub, has had too many requests.

    """
    try:
        with anyio.fail_after(limit_seconds):
            return await _in_thread(lambda: _look(source, token, limit_seconds))
    except TimeoutError as error:
        raise UnreachableError(f"{source} gave no answer within {limit_seconds:g} seconds.") from error
    except SD35Error:
        raise
    except Exception as error:  # whatever gradio_client and huggingface_hub may raise: one place, one translation
        raise _translated(source, error) from error


def _look(source: str, token: str | None, limit_seconds: float) -> Discovery:
    headers = {} if _is_space_name(source) or token is None else token_header(source, token)
    client = _Finder(
        source,
        # False: never the token that another program saved on this machine
        token=token if token and _is_space_name(source) else False,
        headers=headers,
        verbose=False,
        analytics_enabled=False,
        download_files=False,
        httpx_kwargs={"timeout": limit_seconds, "trust_env": not is_loopback(source)},
    )
    if not (isinstance(client.config, dict) and isinstance(client._info, dict)):  # noqa: SLF001  # view_api() prints
        raise ContractError(f"{source} answers, but not like a Gradio app.")
    return Discovery(client.src, client.config, client._info, dict(client.cookies))  # noqa: SLF001


class _Finder(gradio_client.Client):  # type: ignore[misc]  # untyped
    """gradio_client, but what it learns here goes to nobody else, and a Space can't send it elsewhere."""

    def _telemetry_thread(self) -> None:
        """Tell nobody; the argument that should say so is overridden by the environment's default."""

    def _get_config(self) -> dict[str, Any]:
        config = super()._get_config()
        if not isinstance(config, dict):
            raise ContractError(f"{self.src} answers, but not like a Gradio app.")
        check_api_prefix(config)  # the next request goes there, with the token
        return config

    def _get_api_info(self) -> Any:  # noqa: ANN401  # as there
        if self.app_version.major < 4:  # gradio_client asks a third server about these
            raise ContractError(f"{self.src} is too old a Gradio app, or none: its version is {self.app_version}.")
        return super()._get_api_info()


def token_header(root: str, token: str) -> dict[str, str]:
    """Return the header that carries the token to this address.

    Hugging Face's proxy takes `X-HF-Authorization` away, so that the Space's own code can't read the token.
    """
    host = urlsplit(root).hostname or ""
    name = "X-HF-Authorization" if host == "hf.space" or host.endswith(".hf.space") else "Authorization"
    return {name: f"Bearer {token}"}


def is_loopback(address: str) -> bool:
    """Whether this address is on this machine, where no proxy belongs between."""
    return urlsplit(address).hostname in {"localhost", "127.0.0.1", "::1"}


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run `work` in a daemon thread: unlike a pool's, it doesn't outlive the program when it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: object) -> None:
        if not done.done():
            setter(value)

    def run() -> None:
        try:
            outcome = (done.set_result, work())
        except Exception as error:  # noqa: BLE001  # handed over to the one who waits
            outcome = (done.set_exception, error)  # type: ignore[assignment]
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="space-discovery", daemon=True).start()
    return await done


def _translated(source: str, error: Exception) -> SD35Error:
    # gradio_client uses httpx, and huggingface_hub, from one version to the next, requests, httpx or httpx2:
    # the names of their errors are what they have in common.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"RepositoryNotFoundError"}:
        return SpaceNotFoundError(f"There is no Space {source}, or it is private.")
    if names & {"AuthenticationError"}:
        return AccessDeniedError(f"{source} wants a login or a token.")
    if names & {"TooManyRequestsError"}:
        return RateLimitedError(f"{source} has had too many requests from here.")
    if names & {"TimeoutException", "Timeout", "TimeoutError"}:
        return UnreachableError(f"{source} gave no answer in time.")
    if names & {"TransportError", "ConnectionError", "OSError"}:
        return UnreachableError(f"{source} can't be reached: {_reason(error)}.")
    return _invalid(source, error)


def _reason(error: BaseException) -> str:
    text = f"{error} {error.__cause__ or ''}".lower()
    for sign, reason in (
        ("certificate", "its certificate isn't valid"),
        ("name or service not known", "its name can't be resolved, or there is no network"),
        ("name resolution", "its name can't be resolved, or there is no network"),
        ("nodename nor servname", "its name can't be resolved, or there is no network"),
        ("getaddrinfo", "its name can't be resolved, or there is no network"),
        ("no address associated", "its name can't be resolved, or there is no network"),
        ("refused", "nothing listens there"),
        ("proxy", "the proxy doesn't let it through"),
    ):
        if sign in text:
            return reason
    return "the network doesn't let it through"


def _invalid(source: str, error: Exception) -> SD35Error:
    """gradio_client's ValueErrors: the only thing that tells them apart is their text."""
    text = str(error)
    stage = re.search(r"invalid state: (\w+)", text)
    if stage:
        return SpaceBrokenError(f"{source} isn't running: its stage is {stage[1]}.")
    if "Could not find Space" in text:
        return SpaceNotFoundError(f"There is no Space {source}, or it is private.")
    if "Could not fetch config" in text:
        return SpaceAsleepError(f"{source} doesn't answer like a running Space: asleep, or a wrong address.")
    return ContractError(f"{source} answers, but not like a Gradio app ({type(error).__name__}).")
