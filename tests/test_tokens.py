"""Tokens that are added on the page: for whom they are used, and that they appear nowhere."""

import datetime as dt
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import keyring
import keyring.errors
import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from keyring.backend import KeyringBackend

from sd35.core.errors import AccessDeniedError
from sd35.core.visitor import Visitor, owner_from_cookie
from sd35.jobs import token_store
from sd35.jobs.hub_accounts import HubAccounts, parse_token
from sd35.jobs.tasks import BackgroundTasks
from sd35.jobs.token_store import TokenStore
from sd35.server import token_route
from sd35.server.auth import Authenticator
from sd35.server.visitor_tokens import VisitorTokens
from tests.app_server import TEMP_DIR, AppServer, serve_app
from tests.browsers import BrowserSession
from tests.impostor import (
    FINISHED,
    LIMIT_SECONDS,
    QUEUED,
    STARTED,
    message_bytes,
    respond_text,
    serve_fake_gradio,
    start_event_stream,
)

SPACE: Final = "stabilityai/stable-diffusion-3.5-large"
TOKEN: Final = "hf_made_up_token_of_ada"
QUOTA_TEXT: Final = (
    "You have exceeded your GPU quota (60s requested vs. 34s left). Try again in 3:07:41"
)


class HuggingFace:
    """The Hub, and a Space there that refuses runs without a token.

    Attributes:
        tokens: the tokens of the runs that the Space was asked for, the last one last.
        quota: the answer about the GPU quota.
        is_full: whether the Space's queue is.
    """

    def __init__(self) -> None:
        self.address = ""
        self.quota: Any = {}
        self.is_full = False
        self.tokens: list[str] = []
        self._space_address = ""
        self._tokens_by_session: dict[str, str] = {}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["HuggingFace"]:
        """Serve both on the loopback interface."""
        app = web.Application()
        app.router.add_get("/api/spaces/{owner}/{name}", self._space)
        app.router.add_get("/api/whoami-v2", self._whoami)
        app.router.add_get("/api/spaces/zero-gpu/quota", self._quota)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with serve_fake_gradio(join=self._join, data=self._data) as address:
            self._space_address = address
            yield self
        await runner.cleanup()

    async def _space(self, _: web.Request) -> web.Response:
        return web.json_response({"host": self._space_address, "runtime": {"stage": "RUNNING"}})

    async def _whoami(self, request: web.Request) -> web.Response:
        if _token(request) != TOKEN:
            return web.json_response({"error": "Invalid username or password."}, status=401)
        return web.json_response({"name": _token(request)[-3:], "isPro": False})

    async def _quota(self, _: web.Request) -> web.Response:
        return web.json_response(self.quota)

    async def _join(self, request: web.Request) -> web.StreamResponse:
        if self.is_full:
            return await respond_text(503, '{"detail": "Queue is full."}')(request)
        body = await request.json()
        self._tokens_by_session[body["session_hash"]] = _token(request)
        self.tokens.append(_token(request))
        return web.json_response({"event_id": "e"})

    async def _data(self, request: web.Request) -> web.StreamResponse:
        token = self._tokens_by_session[request.query["session_hash"]]
        response = await start_event_stream(request)
        last = FINISHED
        if not token:
            error = {"error": QUOTA_TEXT, "title": "ZeroGPU quota exceeded"}
            last = {"msg": "process_completed", "success": False, "output": error}
        await response.write(
            b"".join(message_bytes(message) for message in (QUEUED, STARTED, last))
        )
        return response


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


class MemoryKeyring(KeyringBackend):
    """A keyring of the system, as far as the program can tell; it may be locked."""

    __module__ = "keyring.backends.SecretService"
    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passwords: dict[tuple[str, str], str] = {}
        self.is_locked = False
        self.is_answering = threading.Event()
        self.is_answering.set()

    def _check(self) -> None:
        self.is_answering.wait(LIMIT_SECONDS)
        if self.is_locked:
            raise keyring.errors.KeyringLocked("not unlocked")

    def get_password(self, service: str, username: str) -> str | None:
        """Return a password, as of the protocol."""
        self._check()
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a password, as of the protocol."""
        self._check()
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Remove a password, as of the protocol."""
        self._check()
        del self.passwords[service, username]


@pytest.fixture
def system_keyring() -> Iterator[MemoryKeyring]:
    former = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(former)


@pytest.fixture(scope="module")
def hub() -> Iterator[HuggingFace]:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        yield stack.enter_context(portal.wrap_async_context_manager(HuggingFace().serve()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("owner")


@pytest.fixture(scope="module")
def marker(folder: Path) -> Path:
    return folder / "config" / "token-in-keyring"


@pytest.fixture(scope="module")
def private(hub: HuggingFace, folder: Path, marker: Path) -> Iterator[AppServer]:
    store = TokenStore(marker)
    with serve_app(SPACE, folder / "library", hub=hub.address, token_store=store) as server:
        yield server


@pytest.fixture
def texts() -> list[str]:
    """Return everything that the server has answered."""
    return []


@pytest.fixture
def owner(private: AppServer, texts: list[str]) -> Iterator[BrowserSession]:
    with BrowserSession(private.address) as visit:
        visit.http.event_hooks["response"] = [_recorder(texts)]
        yield visit.open()
        visit.http.delete("/studio/token")
        for action in ("stop-all", "resume"):
            visit.run("run_queue_action", [""], {"action": action})


def _recorder(texts: list[str]) -> Callable[[httpx.Response], None]:
    def record(response: httpx.Response) -> None:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
            texts.append(f"{response.headers}{response.text}")

    return record


def add_token(visit: BrowserSession, token: object, **headers: str) -> tuple[int, str]:
    """Press Add; return the status, and what was wrong."""
    answer = visit.http.post("/studio/token", json={"token": token}, headers=headers)
    is_json = answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()["error"] if is_json else answer.text


def wait_for_text(visit: BrowserSession, job_id: str, text: str) -> None:
    """Watch the jobs until the page shows this text."""
    event_id = visit.join("watch_jobs", [job_id]).raise_for_status().json()["event_id"]
    assert any(text in str(message) for message in visit.messages(event_id))


def leaks(secret: str, *folders: Path) -> list[Path]:
    """Return the files below these folders that contain a secret."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_owner_adds_a_token_and_the_queue_goes_on(
    hub: HuggingFace,
    owner: BrowserSession,
    system_keyring: MemoryKeyring,
    marker: Path,
    folder: Path,
    texts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The keyring has the token until it is removed, and it is nowhere else."""
    caplog.set_level(logging.DEBUG)
    resets_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=7)
    hub.quota = {"base": 300, "current": 171, "resetsAt": resets_at.isoformat()}
    _, job_id = owner.submit("a lighthouse")
    wait_for_text(owner, job_id, "The queue goes on then.")
    chip = owner.run("poll_connection", [])[1]
    assert "quota resets" in chip
    assert 'data-ways="turbo token"' in chip
    status, error = add_token(owner, f"{TOKEN}x")
    assert (status, "doesn't know this token" in error) == (400, True)
    assert (system_keyring.passwords, marker.exists(), hub.tokens[-1]) == ({}, False, "")
    assert add_token(owner, f' "Bearer {TOKEN}"\n') == (200, "")
    assert "Seed" in owner.result("watch_jobs", [job_id])[1]
    assert hub.tokens[-1] == TOKEN
    (panel,) = owner.run("list_spaces", [])
    assert "…_ada</code> of <b>ada</b>" in panel
    assert "keyring keeps the token" in panel
    assert "2 min 51 s of 5 min left" in panel
    assert "GPU time: 2 min 51 s until" in owner.run("poll_connection", [])[1]
    assert list(system_keyring.passwords.values()) == [TOKEN]
    assert marker.read_bytes() == b""
    assert anyio.run(TokenStore(marker).load) == TOKEN, "for the next program"
    assert owner.http.delete("/studio/token").json() == {"error": ""}
    assert (system_keyring.passwords, marker.exists()) == ({}, False)
    _, job_id = owner.submit("a mountain")
    wait_for_text(owner, job_id, "The queue goes on then.")
    assert hub.tokens[-1] == "", "it is used no more"
    assert "space-token" in owner.run("list_spaces", [])[0]
    assert TOKEN not in "".join(texts) + caplog.text
    assert not leaks(TOKEN, folder, TEMP_DIR)


def test_job_that_waits_for_the_space_is_sent_with_the_new_token(
    hub: HuggingFace, owner: BrowserSession
) -> None:
    """Its connection was opened without one, and is left for another."""
    hub.is_full = True
    _, job_id = owner.submit("a lighthouse")
    wait_for_text(owner, job_id, "queue is full")
    count = len(hub.tokens)
    assert add_token(owner, TOKEN) == (200, "")
    hub.is_full = False
    assert "Seed" in owner.result("watch_jobs", [job_id])[1]
    assert hub.tokens[count:] == [TOKEN]


def test_keyring_in_plain_text_gets_no_token(
    hub: HuggingFace, owner: BrowserSession, marker: Path
) -> None:
    """Without a keyring that encrypts, a token ends with the program, and the panel says so."""
    assert "until this program ends" in owner.run("list_spaces", [])[0]
    assert add_token(owner, TOKEN) == (200, "")
    assert "until this program ends" in owner.run("list_spaces", [])[0]
    assert not marker.exists()
    assert anyio.run(TokenStore(marker).load) is None


def test_locked_keyring_is_told_of(owner: BrowserSession, system_keyring: MemoryKeyring) -> None:
    """A token that can't be removed from the keyring isn't used, and can be removed later."""
    assert add_token(owner, TOKEN) == (200, "")
    system_keyring.is_locked = True
    assert "still has the token" in owner.http.delete("/studio/token").json()["error"]
    assert "data-remove-token" in owner.run("list_spaces", [])[0]
    system_keyring.is_locked = False
    assert owner.http.delete("/studio/token").json() == {"error": ""}
    assert not system_keyring.passwords


@pytest.mark.parametrize("text", ["", None, 7, ["x"], "short", "two words", "ü" * 20, "x" * 500])
def test_what_is_no_token_is_refused(text: object) -> None:
    """The message doesn't repeat what was pasted."""
    with pytest.raises(AccessDeniedError) as refusal:
        parse_token(text)
    assert str(refusal.value) in {
        "This isn't a Hugging Face token. They begin with hf_.",
        "Paste a token first.",
    }


def test_keyring_that_waits_for_its_user_holds_up_nothing(
    system_keyring: MemoryKeyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the page waits for it without a limit, nor the end of the program."""
    monkeypatch.setattr(token_store, "KEYRING_SECONDS", 0.01)
    system_keyring.is_answering.clear()
    assert not anyio.run(TokenStore(tmp_path / "marker").save, TOKEN)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "keyring")
    assert thread.daemon
    system_keyring.is_answering.set()
    thread.join(LIMIT_SECONDS)


def identity_token(server: AppServer, visit: BrowserSession) -> str | None:
    """Return the token with which a visitor's waiting job would be sent."""
    owner = owner_from_cookie(visit.http.cookies["sd35-browser"])
    (job,) = server.studio.visitor_queue(Visitor(owner, owner)).open_jobs
    assert job.identity is not None
    return job.identity.token


def test_visitor_s_token_is_for_their_own_images(
    hub: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cookie that ends with the browser leads to it, and no other visitor gets it."""
    texts: list[str] = []
    authenticator = Authenticator(is_private=False)
    with ExitStack() as stack:
        server = stack.enter_context(
            serve_app(SPACE, tmp_path, authenticator=authenticator, hub=hub.address)
        )
        ann, bob = (stack.enter_context(BrowserSession(server.address)).open() for _ in "ab")
        for visit in (ann, bob):
            visit.http.event_hooks["response"] = [_recorder(texts)]
            wait_for_text(visit, visit.submit("a lighthouse")[1], "The queue goes on then.")
        assert identity_token(server, ann) is None
        evil = {"Origin": "http://evil.example"}
        assert add_token(ann, TOKEN, **evil)[0] == 403
        assert add_token(ann, TOKEN) == (200, "")
        (cookie,) = (text for text in texts if "sd35-token" in text)
        assert re.search(r"sd35-token=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax'", cookie)
        assert (identity_token(server, ann), identity_token(server, bob)) == (TOKEN, None)
        assert "…_ada</code> of <b>ada</b>" in ann.run("list_spaces", [])[0]
        bob.http.cookies["sd35-token"] = ann.http.cookies["sd35-token"]
        assert "space-token" in bob.run("list_spaces", [])[0], "a cookie alone leads nowhere"
        ann.http.get("/logout")
        assert identity_token(server, ann) is None
        assert "space-token" in ann.run("list_spaces", [])[0]
        with httpx.Client(base_url=server.address) as program:
            answer = program.post("/studio/token", json={"token": TOKEN})
            assert answer.status_code == 400, "who has no cookie could never remove it"
        monkeypatch.setattr(token_route, "MAX_BODY_BYTES", 10)
        assert [add_token(bob, TOKEN)[0] for _ in range(7)] == [400] * 7
        assert "Too many attempts" in add_token(bob, TOKEN)[1]
    assert TOKEN not in "".join(texts)
    assert not leaks(TOKEN, tmp_path, TEMP_DIR)


def test_visitors_tokens_are_forgotten() -> None:
    """After 12 hours without a use, of too many the one unused for longest, or by their owner."""
    now = 0.0
    tokens = VisitorTokens(lambda: now)
    secrets = [tokens.add("ann", TOKEN) for _ in range(2)]
    assert tokens.find(secrets[0], "bob") is None
    tokens.remove(secrets[0], "bob")
    now = 11 * 3600.0
    assert tokens.find(secrets[0], "ann") == TOKEN
    now = 22 * 3600.0
    assert [tokens.find(secret, "ann") for secret in secrets] == [TOKEN, None]
    for _ in range(5000):
        tokens.add("bob", TOKEN)
    assert tokens.find(secrets[0], "ann") is None
    secret = tokens.add("ann", TOKEN)
    tokens.remove(secret, "ann")
    assert tokens.find(secret, "ann") is None


@pytest.mark.parametrize(
    ("answer", "seconds", "has_reset"),
    [
        ({"base": 300, "current": 0, "resetsAt": None}, 0, False),
        ({"current": 12.5, "resetsAt": "2999-01-01T00:00:00Z"}, 12.5, False),
        ({"current": 1, "resetsAt": "yesterday"}, 1, False),
        ({"base": "x", "current": "300"}, None, False),
        ({"current": -1}, None, False),
        ({"current": 1e99}, None, False),
        ({"current": True}, None, False),
        ([], None, False),
    ],
)
@pytest.mark.anyio
async def test_quota_is_what_the_hub_says(
    hub: HuggingFace, answer: object, seconds: float | None, *, has_reset: bool
) -> None:
    """A figure that can't be one of seconds is none, and no figure is made up."""
    hub.quota = answer
    quota = (await HubAccounts(hub.address, None, BackgroundTasks()).check(TOKEN)).quota
    assert (None if quota is None else quota.remaining_seconds) == seconds
    assert (quota is not None and quota.resets_at is not None) == has_reset
