"""Fakes of Hugging Face: the Hub, its sign-in, and a Space that records requests."""

import asyncio
import itertools
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey
from yarl import URL

from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    LIMIT_SECONDS,
    PNG,
    QUEUED,
    STARTED,
    Handler,
    message_bytes,
    respond_events,
    respond_json,
    respond_picture,
    respond_text,
    start_event_stream,
)

__all__ = ["ISSUER", "OAUTH_CLIENT", "HuggingFace", "RecordedRequest", "RecordingSpace"]

ISSUER: Final = "https://huggingface.co"
OAUTH_CLIENT: Final = {"OAUTH_CLIENT_ID": "made-up-client", "OAUTH_CLIENT_SECRET": "made-up-secret"}

EXPIRED_ACCOUNT: Final = "late"  # its sessions expire as soon as they begin


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request to a Space; `kind` is config, info, join, data, file or cancel."""

    kind: str
    host: str
    prompt: str
    session_hash: str
    headers: Mapping[str, str]


class RecordingSpace:
    """A Space that records every request. The first word of a prompt decides what its run does.

    `pair` waits for a second one, `hold` runs until it is cancelled, `cut` closes the connection,
    `refused` isn't accepted, `error` fails with a message; anything else returns an image. Each
    join sets a cookie. Its title and all messages repeat the secrets that it was ever sent.
    """

    def __init__(self) -> None:
        self._requests: list[RecordedRequest] = []
        self._condition = threading.Condition()
        self._prompts: dict[str, str] = {}
        self._pair = asyncio.Barrier(2)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers for a fake Gradio server."""
        return {
            "config": self._recording("config", self._config),
            "info": self._recording("info", respond_json(DESCRIPTION["info"])),
            "join": self._join,
            "data": self._data,
            "cancel": self._cancel,
            "file": self._file,
        }

    def requests_for(self, prompt: str = "", host: str | None = None) -> list[RecordedRequest]:
        """Return the requests for this prompt's runs; without one, those that belong to no run."""
        with self._condition:
            return [
                recorded
                for recorded in self._requests
                if recorded.prompt == prompt and host in {None, recorded.host}
            ]

    def wait_for(self, prompt: str, kind: str) -> None:
        """Wait for a request of this kind for this prompt."""
        with self._condition:
            has_arrived = self._condition.wait_for(
                lambda: any((a.prompt, a.kind) == (prompt, kind) for a in self._requests),
                LIMIT_SECONDS,
            )
        assert has_arrived, f"no {kind} for {prompt!r}"

    def all_requests(self) -> list[RecordedRequest]:
        """Return every request."""
        with self._condition:
            return list(self._requests)

    def _record(self, kind: str, request: web.Request, session_hash: str = "") -> str:
        prompt = self._prompts.get(session_hash, "")
        with self._condition:
            self._requests.append(
                RecordedRequest(kind, request.host, prompt, session_hash, request.headers.copy())
            )
            self._condition.notify_all()
        return prompt

    def _recording(self, kind: str, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self._record(kind, request)
            response = await handler(request)
            response.set_cookie("seen", kind)
            return response

        return answer

    def _echo(self) -> str:
        """Return the secrets in all requests, from the newest to the oldest."""
        names = ("X-HF-Authorization", "Authorization", "X-IP-Token", "Cookie")
        headers = [recorded.headers for recorded in reversed(self.all_requests())]
        values = dict.fromkeys(
            header[name] for header in headers for name in names if name in header
        )
        return " ".join(values)

    async def _config(self, request: web.Request) -> web.StreamResponse:
        config = DESCRIPTION["config"] | {"title": f"A Space for {self._echo()}"}
        return await respond_json(config)(request)

    async def _join(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        session_hash = body["session_hash"]
        self._prompts[session_hash] = body["data"][0]
        if self._record("join", request, session_hash).startswith("refused"):
            return await respond_text(500, f"Refused: {self._echo()}")(request)
        response = web.json_response({"event_id": "e"})
        response.set_cookie("run", session_hash)
        return response

    async def _data(self, request: web.Request) -> web.StreamResponse:
        session_hash = request.query["session_hash"]
        prompt = self._record("data", request, session_hash)
        match prompt.partition(" ")[0]:
            case "hold":
                return await respond_events(QUEUED, STARTED, is_kept_open=True)(request)
            case "cut" | "cut,":
                return await respond_events(QUEUED, STARTED, truncated_tail=b"")(request)
            case "error":
                text = f"{prompt} {self._echo()}"
                failed = {
                    "msg": "process_completed",
                    "success": False,
                    "output": {"error": text, "title": text},
                }
                return await respond_events(QUEUED, STARTED, failed)(request)
        response = await start_event_stream(request)
        progress = {"progress_data": [{"unit": self._echo(), "desc": self._echo()}]}
        messages: tuple[dict[str, Any], ...] = (
            QUEUED,
            STARTED,
            {"msg": "log", "log": self._echo(), "title": self._echo(), "level": self._echo()},
            {"msg": "progress"} | progress,
        )
        await response.write(b"".join(message_bytes(message) for message in messages))
        if prompt.startswith("pair"):
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._pair.wait()
        picture = {"url": f"/gradio_api/file={session_hash}.png", "path": f"/{session_hash}.png"}
        await response.write(message_bytes(FINISHED | {"output": {"data": [picture, 7]}}))
        return response

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self._record("cancel", request, (await request.json())["session_hash"])
        return await respond_json({"success": True})(request)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._record("file", request, request.path.rpartition("=")[2].removesuffix(".png"))
        return await respond_picture(PNG)(request)


class HuggingFace:
    """The Hub and its sign-in (OpenID Connect), where a click on an account's name is enough.

    Attributes:
        tokens: the account of each access token.
        hub_requests: the headers of each request about a Space.

    """

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, parameters={"kid": "made-up-key", "use": "sig"})
        self._codes: dict[str, tuple[str, str, str]] = {}
        self._sequence: Iterator[int] = itertools.count(1)
        self.tokens: dict[str, str] = {}
        self.hub_requests: list[Mapping[str, str]] = []

    def tokens_of(self, account: str) -> list[str]:
        """Return the tokens of an account, the newest last."""
        return [token for token, name in self.tokens.items() if name == account]

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application()
        app.router.add_get("/api/spaces/{owner}/{name}", self._space)
        app.router.add_get("/api/whoami-v2", self._whoami)
        app.router.add_get("/api/spaces/zero-gpu/quota", self._quota)
        app.router.add_get("/spaces/{owner}/{name}", self._page)
        app.router.add_get("/blog", self._blog)
        app.router.add_route("*", "/api/spaces/by-subdomain/{host}", self._stage)
        app.router.add_get("/.well-known/openid-configuration", self._openid_configuration)
        app.router.add_get("/oauth/jwks", self._keys)
        app.router.add_get("/oauth/authorize", self._authorize)
        app.router.add_get("/oauth/approve", self._approve)
        app.router.add_post("/oauth/token", self._token)
        return app

    async def _space(self, request: web.Request) -> web.Response:
        self.hub_requests.append(request.headers.copy())
        host = "https://{owner}-{name}.hf.space".format(**request.match_info)
        return web.json_response({"host": host, "runtime": {"stage": "RUNNING"}})

    async def _whoami(self, request: web.Request) -> web.Response:
        account = self.tokens.get(request.headers["Authorization"].removeprefix("Bearer "))
        if account is None:
            return web.json_response({"error": "Invalid username or password."}, status=401)
        return web.json_response({"name": account, "isPro": False})

    async def _quota(self, _: web.Request) -> web.Response:
        return web.json_response({"base": 300, "current": 120, "resetsAt": None})

    async def _stage(self, _: web.Request) -> web.Response:
        """Answer Gradio's scripts, which ask from any site's page."""
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
        return web.json_response(
            {"id": "owner/studio", "runtime": {"stage": "RUNNING"}}, headers=allowed
        )

    async def _page(self, request: web.Request) -> web.Response:
        """Return the page of a Space, with its frame."""
        host = "https://{owner}-{name}.hf.space/".format(**request.match_info)
        return _html(f'<iframe src="{host}?__theme=light" width="1300" height="860"></iframe>')

    async def _blog(self, request: web.Request) -> web.Response:
        """Return a page of another site, with a Space as an element."""
        space = f"https://{request.query['space']}"
        script = f'<script type="module" src="{space}/gradio.js"></script>'
        return _html(f'{script}<gradio-app src="{space}"></gradio-app>')

    async def _openid_configuration(self, _: web.Request) -> web.Response:
        endpoints = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        endpoint_urls = {
            f"{name}_endpoint": f"{ISSUER}/oauth/{path}" for name, path in endpoints.items()
        }
        return web.json_response(
            {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/oauth/jwks", **endpoint_urls}
        )

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self._key.as_dict(private=False)]})

    async def _authorize(self, request: web.Request) -> web.Response:
        assert request.query["client_id"] == OAUTH_CLIENT["OAUTH_CLIENT_ID"]
        assert request.query["response_type"] == "code"
        approve = URL("/oauth/approve").with_query(request.query)
        links = (
            f'<a href="{escape(str(approve.update_query(account=account)))}">{account}</a>'
            for account in ("ada", "bob", EXPIRED_ACCOUNT)
        )
        return _html("".join(links))

    async def _approve(self, request: web.Request) -> web.Response:
        query = request.query
        code = f"code-{next(self._sequence)}"
        self._codes[code] = (query["account"], query["redirect_uri"], query["nonce"])
        raise web.HTTPFound(
            URL(query["redirect_uri"]).update_query(code=code, state=query["state"])
        )

    async def _token(self, request: web.Request) -> web.Response:
        form: Any = await request.post()
        assert b64decode(
            request.headers["Authorization"].removeprefix("Basic ")
        ).decode() == ":".join(OAUTH_CLIENT.values())
        account, redirect_uri, nonce = self._codes.pop(form["code"])
        assert form["redirect_uri"] == redirect_uri
        token = f"hf_oauth_{account}_{next(self._sequence)}_made_up"
        now = int(time.time())
        self.tokens[token] = account
        claims = {
            "iss": ISSUER,
            "sub": f"id-of-{account}",
            "aud": OAUTH_CLIENT["OAUTH_CLIENT_ID"],
            "nonce": nonce,
            "iat": now,
            "auth_time": now,
            "exp": now + 3600,
            "name": account.title(),
            "preferred_username": account,
            "profile": f"{ISSUER}/{account}",
            "picture": f"{ISSUER}/avatars/{account}.png",
        }
        return web.json_response(
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": -60 if account == EXPIRED_ACCOUNT else 28800,
                "id_token": jwt.encode({"alg": "RS256", "kid": "made-up-key"}, claims, self._key),
                "scope": "openid profile",
            }
        )


def _html(body: str) -> web.Response:
    return web.Response(text=f"<!doctype html><body>{body}</body>", content_type="text/html")
