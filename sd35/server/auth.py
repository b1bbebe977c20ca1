"""Who is let in: the logins, how often somebody may try, and who it is that asks."""

import hmac
import secrets
import time
from base64 import b64decode
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from sd35.core.visitor import HERE, Visitor, owner_of_secret
from sd35.server.accounts import AccountError, Accounts, plain_name
from sd35.server.rate_limit import Attempts

__all__ = ["ADDRESS", "BROWSER_COOKIE", "Door"]

BROWSER_COOKIE: Final = "sd35-browser"
SECRET_CHARACTERS: Final = range(32, 65)

REMEMBERED_SECONDS: Final = 60.0

ADDRESS: ContextVar[str | None] = ContextVar("ADDRESS", default=None)
"""Where the request comes from that is being answered: Gradio's login hands on name and password alone."""


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in, and as whom.

    Attributes:
        is_private: only this machine reaches the page: there is one owner, and no door.
        accounts: the logins; `None`: none is needed.
        handed_out: those of the logins that stand for nobody: each browser behind one is a visitor
            of its own.
        is_on_hub: this program is a Space on Hugging Face, whose proxy tells whose request it is.
        is_embedded: whether the page may be within another site's: its cookies must go there, too.
        attempts: those that have failed.
        sessions: by what a browser's cookie holds, the mark of the password that was right then.
        key: a secret of this run's.
        remembered: marks of the logins that programs bring with each request, and until when they
            are taken for
            right: to check a password is meant to take long.

    """

    is_private: bool = True
    accounts: Accounts | None = None
    handed_out: frozenset[str] = frozenset()
    is_on_hub: bool = False
    is_embedded: bool = False
    attempts: Attempts = field(default_factory=Attempts)
    sessions: dict[str, str] = field(default_factory=dict, repr=False)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    remembered: dict[bytes, float] = field(default_factory=dict, repr=False)

    async def check(self, name: str, password: str) -> bool:
        """Whether this login is right, as Gradio asks it. Takes as long for a name that doesn't exist.

        Raises:
            HTTPException: there were too many attempts.

        """
        assert self.accounts is not None
        address = ADDRESS.get()
        wait = self.attempts.begin(name, address)
        if wait > 0:
            seconds = max(1, round(wait + 0.5))
            said = f"Too many attempts. The next one is possible in {seconds} s."
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, said, {"Retry-After": str(seconds)})
        try:
            is_right = await anyio.to_thread.run_sync(self.accounts.check, name, password)
        except AccountError as error:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "The logins can't be read here."
            ) from error
        if is_right:
            self.attempts.succeeded(name, address)
        return is_right

    async def basic(self, request: HTTPConnection) -> str | None:
        """The name that this one request brings together with its password (HTTP Basic, RFC 7617), if it does.

        Raises:
            HTTPException: there were too many attempts.

        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.accounts is None or scheme.lower() != "basic":
            return None
        mark, now = hmac.digest(self.key, given.encode(), "sha256"), time.monotonic()
        if self.remembered.get(mark, 0.0) < now:
            if not await self._is_right(given):
                return None
            self.remembered[mark] = now + REMEMBERED_SECONDS
            for old in [each for each, until in self.remembered.items() if until < now]:
                del self.remembered[old]
        return self._known(b64decode(given).decode().partition(":")[0])

    async def _is_right(self, given: str) -> bool:
        try:
            name, colon, password = b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return False
        return bool(colon) and await self.check(name, password)

    def user(self, request: HTTPConnection) -> str | None:
        """The name under which this browser or program has logged in, if it has, and still may."""
        if self.accounts is None:
            return None
        tokens = _tokens(request)
        token = next((token for token in _given_tokens(request) if token in tokens), None)
        name = (
            None if token is None else self._known(tokens[token])
        )  # Gradio keeps it as it was typed
        if token is None or name is None:
            return None
        mark = self.accounts.mark(name)
        if self.sessions.setdefault(token, mark) == mark:
            return name
        del tokens[token]  # the password is another one since then
        return None

    @staticmethod
    def forget(request: HTTPConnection) -> None:
        """Log this browser out: where one can sign in with Hugging Face, Gradio ends nothing but that."""
        for token in _given_tokens(request):
            _tokens(request).pop(token, None)

    def _known(self, name: str) -> str | None:
        """The name as it is written, if it may still come in."""
        try:
            plain = plain_name(name)
            return plain if self.accounts is not None and plain in self.accounts.names() else None
        except AccountError:
            return None

    def visitor(self, request: HTTPConnection, user: str | None) -> Visitor:
        """Say who asks."""
        if self.is_private:
            return HERE
        account = _account(request.scope.get("session") or {})
        ip_token = request.headers.get("x-ip-token") if self.is_on_hub else None
        secret = self.secret(request)
        owner, name, token = None, user, None
        if user is not None and user not in self.handed_out:
            owner = f"user:{user}"
        if account is not None:
            owner, name, token = f"account:{account['id']}", account["name"], account["token"]
        if owner is None and secret is not None:
            owner = owner_of_secret(secret)
        return Visitor(owner, owner or f"address:{self.address(request)}", name, token, ip_token)

    def cookie(self, request: HTTPConnection) -> tuple[str, str]:
        """The name of the cookie that holds a browser's secret, and what it needs to be sent back here.

        Over https, a name that no other server below the same domain can set.
        """
        reach = "SameSite=None; Secure; Partitioned" if self.is_embedded else "SameSite=Lax"
        if (
            self.is_embedded
            or request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        ):
            return f"__Host-{BROWSER_COOKIE}", reach if self.is_embedded else f"{reach}; Secure"
        return BROWSER_COOKIE, reach

    def secret(self, request: HTTPConnection) -> str | None:
        """The secret that is kept in this browser, if it is one."""
        secret = request.cookies.get(self.cookie(request)[0], "")
        return secret if len(secret) in SECRET_CHARACTERS else None

    def address(self, request: HTTPConnection) -> str | None:
        """Where a request comes from, as far as that is to be trusted; `None` where a tunnel or a proxy hides it.

        Of the addresses that a request went through, only the last was written by a server next to
        this one.
        """
        peer = request.client.host if request.client else None
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if not self.is_on_hub and peer not in {"127.0.0.1", "::1", None}:
            return peer
        return forwarded or None


def _tokens(request: HTTPConnection) -> dict[str, str]:
    """Who has logged in, as Gradio keeps it: names by what their browsers' cookies hold."""
    tokens: dict[str, str] = getattr(request.scope.get("app"), "tokens", {})
    return tokens


def _given_tokens(request: HTTPConnection) -> list[str]:
    cookie = getattr(request.scope.get("app"), "cookie_id", "")
    given = (request.cookies.get(f"access-token-{kind}{cookie}") for kind in ("", "unsecure-"))
    return [token for token in given if token is not None]


def _account(session: Mapping[str, Any]) -> dict[str, str] | None:
    """The Hugging Face account that somebody has signed in with, as Gradio keeps it in a signed cookie."""
    told = session.get("oauth_info")
    if not isinstance(told, dict) or not isinstance(told.get("userinfo"), dict):
        return None
    if not isinstance(told.get("expires_at"), int | float) or told["expires_at"] <= time.time():
        return None
    person = told["userinfo"]
    found = {
        "id": person.get("sub"),
        "name": person.get("preferred_username"),
        "token": told.get("access_token"),
    }
    return {key: str(value) for key, value in found.items()} if all(found.values()) else None
