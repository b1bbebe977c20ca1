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

from sd35.core.visitor import LOCAL_VISITOR, Visitor, owner_from_cookie
from sd35.server.accounts import AccountError, CredentialStore, normalize_username
from sd35.server.login_throttle import LoginThrottle

__all__ = ["BROWSER_COOKIE", "Authenticator", "client_ip_var"]

BROWSER_COOKIE: Final = "sd35-browser"
BROWSER_SECRET_LENGTHS: Final = range(32, 65)

BASIC_AUTH_CACHE_SECONDS: Final = 60.0

client_ip_var: ContextVar[str | None] = ContextVar("ADDRESS", default=None)
"""Where the request comes from that is being answered: Gradio's login hands on name and password alone."""


@dataclass(frozen=True, slots=True)
class Authenticator:
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
    accounts: CredentialStore | None = None
    shared_logins: frozenset[str] = frozenset()
    is_on_hub: bool = False
    is_embedded: bool = False
    login_throttle: LoginThrottle = field(default_factory=LoginThrottle)
    session_fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    hmac_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    basic_auth_cache: dict[bytes, float] = field(default_factory=dict, repr=False)

    async def login(self, name: str, password: str) -> bool:
        """Whether this login is right, as Gradio asks it. Takes as long for a name that doesn't exist.

        Raises:
            HTTPException: there were too many attempts.

        """
        assert self.accounts is not None
        client_ip = client_ip_var.get()
        delay = self.login_throttle.acquire(name, client_ip)
        if delay > 0:
            retry_after = max(1, round(delay + 0.5))
            message = f"Too many attempts. The next one is possible in {retry_after} s."
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS, message, {"Retry-After": str(retry_after)}
            )
        try:
            is_valid = await anyio.to_thread.run_sync(self.accounts.verify, name, password)
        except AccountError as error:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "The logins can't be read here."
            ) from error
        if is_valid:
            self.login_throttle.reset(name, client_ip)
        return is_valid

    async def basic_auth_user(self, request: HTTPConnection) -> str | None:
        """The name that this one request brings together with its password (HTTP Basic, RFC 7617), if it does.

        Raises:
            HTTPException: there were too many attempts.

        """
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if self.accounts is None or scheme.lower() != "basic":
            return None
        fingerprint, now = (
            hmac.digest(self.hmac_key, credentials.encode(), "sha256"),
            time.monotonic(),
        )
        if self.basic_auth_cache.get(fingerprint, 0.0) < now:
            if not await self._is_valid_basic(credentials):
                return None
            self.basic_auth_cache[fingerprint] = now + BASIC_AUTH_CACHE_SECONDS
            for expired_fingerprint in [
                cached_fingerprint
                for cached_fingerprint, expires_at in self.basic_auth_cache.items()
                if expires_at < now
            ]:
                del self.basic_auth_cache[expired_fingerprint]
        return self._canonical_name(b64decode(credentials).decode().partition(":")[0])

    async def _is_valid_basic(self, credentials: str) -> bool:
        try:
            name, colon, password = b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return False
        return bool(colon) and await self.login(name, password)

    def session_user(self, request: HTTPConnection) -> str | None:
        """The name under which this browser or program has logged in, if it has, and still may."""
        if self.accounts is None:
            return None
        logged_in_names = _gradio_tokens(request)
        token = next((token for token in _cookie_tokens(request) if token in logged_in_names), None)
        name = (
            None if token is None else self._canonical_name(logged_in_names[token])
        )  # Gradio keeps it as it was typed
        if token is None or name is None:
            return None
        fingerprint = self.accounts.password_fingerprint(name)
        if self.session_fingerprints.setdefault(token, fingerprint) == fingerprint:
            return name
        del logged_in_names[token]  # the password is another one since then
        return None

    @staticmethod
    def log_out(request: HTTPConnection) -> None:
        """Log this browser out: where one can sign in with Hugging Face, Gradio ends nothing but that."""
        for token in _cookie_tokens(request):
            _gradio_tokens(request).pop(token, None)

    def _canonical_name(self, name: str) -> str | None:
        """The name as it is written, if it may still come in."""
        try:
            username = normalize_username(name)
            return (
                username
                if self.accounts is not None and username in self.accounts.usernames()
                else None
            )
        except AccountError:
            return None

    def identify_visitor(self, request: HTTPConnection, user: str | None) -> Visitor:
        """Say who asks."""
        if self.is_private:
            return LOCAL_VISITOR
        account = _oauth_account(request.scope.get("session") or {})
        ip_token = request.headers.get("x-ip-token") if self.is_on_hub else None
        browser_secret = self.browser_secret(request)
        owner, name, token = None, user, None
        if user is not None and user not in self.shared_logins:
            owner = f"user:{user}"
        if account is not None:
            owner, name, token = f"account:{account['id']}", account["name"], account["token"]
        if owner is None and browser_secret is not None:
            owner = owner_from_cookie(browser_secret)
        return Visitor(owner, owner or f"address:{self.client_ip(request)}", name, token, ip_token)

    def browser_cookie(self, request: HTTPConnection) -> tuple[str, str]:
        """The name of the cookie that holds a browser's secret, and what it needs to be sent back here.

        Over https, a name that no other server below the same domain can set.
        """
        cookie_attributes = (
            "SameSite=None; Secure; Partitioned" if self.is_embedded else "SameSite=Lax"
        )
        if (
            self.is_embedded
            or request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        ):
            return (
                f"__Host-{BROWSER_COOKIE}",
                cookie_attributes if self.is_embedded else f"{cookie_attributes}; Secure",
            )
        return BROWSER_COOKIE, cookie_attributes

    def browser_secret(self, request: HTTPConnection) -> str | None:
        """The secret that is kept in this browser, if it is one."""
        browser_secret = request.cookies.get(self.browser_cookie(request)[0], "")
        return browser_secret if len(browser_secret) in BROWSER_SECRET_LENGTHS else None

    def client_ip(self, request: HTTPConnection) -> str | None:
        """Where a request comes from, as far as that is to be trusted; `None` where a tunnel or a proxy hides it.

        Of the addresses that a request went through, only the last was written by a server next to
        this one.
        """
        peer = request.client.host if request.client else None
        forwarded_ip = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if not self.is_on_hub and peer not in {"127.0.0.1", "::1", None}:
            return peer
        return forwarded_ip or None


def _gradio_tokens(request: HTTPConnection) -> dict[str, str]:
    """Who has logged in, as Gradio keeps it: names by what their browsers' cookies hold."""
    tokens: dict[str, str] = getattr(request.scope.get("app"), "tokens", {})
    return tokens


def _cookie_tokens(request: HTTPConnection) -> list[str]:
    cookie_suffix = getattr(request.scope.get("app"), "cookie_id", "")
    cookies = (
        request.cookies.get(f"access-token-{prefix}{cookie_suffix}") for prefix in ("", "unsecure-")
    )
    return [token for token in cookies if token is not None]


def _oauth_account(session: Mapping[str, Any]) -> dict[str, str] | None:
    """The Hugging Face account that somebody has signed in with, as Gradio keeps it in a signed cookie."""
    oauth_info = session.get("oauth_info")
    if not isinstance(oauth_info, dict) or not isinstance(oauth_info.get("userinfo"), dict):
        return None
    if (
        not isinstance(oauth_info.get("expires_at"), int | float)
        or oauth_info["expires_at"] <= time.time()
    ):
        return None
    userinfo = oauth_info["userinfo"]
    account = {
        "id": userinfo.get("sub"),
        "name": userinfo.get("preferred_username"),
        "token": oauth_info.get("access_token"),
    }
    return {key: str(value) for key, value in account.items()} if all(account.values()) else None
