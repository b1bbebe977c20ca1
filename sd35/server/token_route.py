"""The route by which a page adds and removes the visitor's Hugging Face token.

It isn't one of Gradio's calls: those keep their values for a while, in the browser and here.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sd35.core.errors import AccessDeniedError, RateLimitedError, SD35Error
from sd35.core.rate_limit import RateLimiter
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.hub_accounts import parse_token
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import is_on_hub
from sd35.server.auth import Authenticator

__all__ = ["TOKEN_PATH", "TokenRoute"]

TOKEN_PATH: Final = "/studio/token"  # noqa: S105  # an address

MAX_BODY_BYTES: Final = 4096

# Each one asks Hugging Face, which limits the requests of this server.
ATTEMPT_PERIOD: Final = 60.0  # seconds
MAX_ATTEMPTS_PER_VISITOR: Final = 6
MAX_ATTEMPTS: Final = 30


class TokenRoute:
    """ASGI app that takes the token of the visitor in `scope["state"]`, and forgets it.

    `POST` with `{"token": …}` adds it, and `DELETE` removes it; the answer is `{"error": text}`.
    """

    def __init__(self, authenticator: Authenticator, job_service: JobService) -> None:
        self._authenticator = authenticator
        self._job_service = job_service
        self._visitor_limiter = RateLimiter(MAX_ATTEMPTS_PER_VISITOR, ATTEMPT_PERIOD)
        self._limiter = RateLimiter(MAX_ATTEMPTS, ATTEMPT_PERIOD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the page."""
        request = Request(scope, receive)
        visitor: Visitor = scope["state"]["visitor"]
        try:
            response = await self._respond(request, visitor)
        except SD35Error as error:
            response = JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        response.headers["Cache-Control"] = "no-store"
        await response(scope, receive, send)

    async def _respond(self, request: Request, visitor: Visitor) -> Response:
        if request.method not in {"POST", "DELETE"}:
            headers = {"Allow": "POST, DELETE"}
            return Response("Method not allowed.", HTTPStatus.METHOD_NOT_ALLOWED, headers)
        if visitor is LOCAL_VISITOR and not self._job_service.owner_token.can_change:
            raise AccessDeniedError("This page keeps no token.", "")
        if visitor.owner is None:
            raise AccessDeniedError("Your browser keeps no cookies of this page.", "Allow them.")
        if request.method == "DELETE":
            return await self._remove(request, visitor)
        is_allowed = self._limiter.remaining(None) and self._visitor_limiter.try_acquire(
            visitor.rate_limit_key
        )
        if not is_allowed:
            raise RateLimitedError("Too many attempts.")
        self._limiter.record(None)
        return await self._add(request, visitor)

    async def _add(self, request: Request, visitor: Visitor) -> Response:
        text = _token_in(await request.body())
        if visitor is not LOCAL_VISITOR and not is_on_hub(
            self._job_service.connection.value.target
        ):
            raise AccessDeniedError("The Space of this page isn't at Hugging Face.", "")
        if visitor is LOCAL_VISITOR:
            await self._job_service.owner_token.add(text)
            await self._job_service.use_identity(visitor, ends_pause=True)
            return _accepted()
        token = parse_token(text)
        await self._job_service.accounts.check(token)
        assert visitor.owner is not None
        tokens = self._authenticator.visitor_tokens
        tokens.remove(self._authenticator.token_secret(request), visitor.owner)
        secret = tokens.add(visitor.owner, token)
        response = _accepted()
        response.headers["Set-Cookie"] = self._authenticator.token_cookie(request, secret)
        as_account = replace(visitor, token=token, ip_token=None, has_added_token=True)
        await self._job_service.use_identity(as_account, ends_pause=True)
        return response

    async def _remove(self, request: Request, visitor: Visitor) -> Response:
        if visitor is LOCAL_VISITOR:
            await self._job_service.owner_token.remove()
            return _accepted()
        await self.forget(request, visitor)
        response = _accepted()
        response.headers["Set-Cookie"] = self._authenticator.token_cookie(request, "")
        return response

    async def forget(self, request: Request, visitor: Visitor) -> None:
        """Forget the token that a visitor has added, and let their waiting jobs run without it."""
        if visitor.has_added_token and visitor.token is not None:
            secret = self._authenticator.token_secret(request)
            self._authenticator.visitor_tokens.remove(secret, visitor.owner)
            self._job_service.accounts.forget(visitor.token)
            user = self._authenticator.session_user(request)
            without_token = self._authenticator.identify_visitor(request, user)
            await self._job_service.use_identity(without_token)


def _accepted() -> Response:
    return JSONResponse({"error": ""})


def _token_in(body: bytes) -> object:
    """Return what a body names as a token; nothing if it isn't one of the page's."""
    try:
        payload = orjson.loads(body) if len(body) <= MAX_BODY_BYTES else None
    except orjson.JSONDecodeError:
        payload = None
    return payload.get("token") if isinstance(payload, dict) else None
