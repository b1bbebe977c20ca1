"""The program as a Space on Hugging Face: what works there, and where identities and tokens go."""

import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, Page, expect
from yarl import URL

from sd35.client import Identity
from sd35.server.launch import free_port
from sd35.settings import load_settings
from tests.chromium import browser, generate_picture  # noqa: F401  # it is a fixture
from tests.hub import ISSUER, OAUTH_CLIENT, HuggingFace, RecordedRequest, RecordingSpace
from tests.impostor import LIMIT_SECONDS, PNG, serve_fake_gradio
from tests.internet import Internet

pytestmark = pytest.mark.hub

ROOT: Final = Path(__file__).parent.parent

STUDIO_HOST: Final = "owner-studio.hf.space"
LENDING_HOST: Final = "owner-lending.hf.space"
ELSEWHERE_HOST: Final = "owner-elsewhere.hf.space"
LOCAL_HOST: Final = "studio.example"
OWN_DOMAIN: Final = "studio.art.example"
THIRD_PARTY_HOST: Final = "anybody.example"

OWNER_TOKEN: Final = "hf_owner_made_up"
STORED_TOKEN: Final = "hf_stored_made_up"  # of `hf auth login`
SECRET_PATTERN: Final = re.compile("made.up", re.IGNORECASE)  # part of every secret here


def space_environment(host: str, space: str, **kwargs: str) -> dict[str, str]:
    """Return the environment of a Gradio Space with this host name."""
    owner, _, name = host.removesuffix(".hf.space").partition("-")
    return {
        "SYSTEM": "spaces",
        "SPACE_ID": f"{owner}/{name}",
        "SPACE_HOST": f"{host},{OWN_DOMAIN}",
        "SPACE_AUTHOR_NAME": owner,
        "SPACE_REPO_NAME": name,
        "GRADIO_ALLOW_FLAGGING": "never",
        "GRADIO_NUM_PORTS": "1",
        "OPENID_PROVIDER_URL": ISSUER,
        "OAUTH_SCOPES": "openid profile",
        **OAUTH_CLIENT,
        "HF_TOKEN": OWNER_TOKEN,
        "SD35_SPACE": space,
        **kwargs,
    }


# Environments, by the host under which each program is served.
PROGRAMS: Final[Mapping[str, Mapping[str, str]]] = {
    STUDIO_HOST: space_environment(STUDIO_HOST, "maker/space"),
    LENDING_HOST: space_environment(
        LENDING_HOST,
        "https://maker-lent.hf.space",
        SD35_LEND_TOKEN="true",
        SD35_AUTH="ann:made-up-password",
    ),
    ELSEWHERE_HOST: space_environment(ELSEWHERE_HOST, "https://space.example", SD35_SHARE="true"),
    LOCAL_HOST: {
        "SD35_SPACE": "https://maker-home.hf.space",
        "SD35_KNOWN_HOSTS": LOCAL_HOST,
        **OAUTH_CLIENT,
    },
}


class Program:
    """`app.py` as a process, in an environment of its own."""

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.port = port
        self.output_lines: list[str] = []
        self._is_ready = threading.Event()
        token_file = folder / ".cache" / "huggingface" / "token"
        token_file.parent.mkdir(parents=True)
        token_file.write_text(STORED_TOKEN, "utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "TMPDIR": str(folder),
                "GRADIO_SERVER_PORT": str(port),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output_lines.append(line)
            if line.startswith("Running at"):
                self._is_ready.set()

    def wait(self) -> None:
        """Wait until the page is served."""
        assert self._is_ready.wait(LIMIT_SECONDS * 3), self.output_lines

    def stop(self) -> None:
        """Send SIGTERM, as Hugging Face does."""
        self._process.send_signal(signal.SIGTERM)

    def wait_for_exit(self) -> int:
        """Wait for the end of the program, and return its exit status."""
        try:
            return self._process.wait(LIMIT_SECONDS)
        finally:
            self._process.kill()
            self._reader.join(LIMIT_SECONDS)


@dataclass
class World:
    """Everything around the programs.

    Attributes:
        ssl_context: trusts the certificates of this internet.
        stack: closed at the end.
        response_texts: every text that a program has answered.

    """

    internet: Internet
    space: RecordingSpace
    hugging_face: HuggingFace
    programs: Mapping[str, Program]
    ssl_context: ssl.SSLContext
    stack: ExitStack
    response_texts: list[str] = field(default_factory=list)

    def visitor(self, host: str = STUDIO_HOST, ip_token: str | None = None) -> "Visitor":
        """Return a new visitor, who has the page open."""
        visitor = Visitor(self, f"https://{host}", self.internet.visitors_proxy, ip_token)
        visitor.get("/")
        return visitor


class Visitor:
    """A visitor's browser, behind Hugging Face's proxy with its headers."""

    def __init__(
        self, world: World, base_url: str, proxy: str | None, ip_token: str | None
    ) -> None:
        address = ".".join(str(secrets.randbelow(250) + 1) for _ in range(4))
        self._world = world
        self._http = world.stack.enter_context(
            httpx.Client(
                base_url=base_url,
                proxy=proxy,
                verify=world.ssl_context,
                headers={"X-Forwarded-For": address},
                follow_redirects=True,
                timeout=LIMIT_SECONDS,
                trust_env=False,
            )
        )
        self.proxy_headers = {"X-IP-Token": ip_token} if ip_token is not None else {}

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Send a GET request."""
        return self._record_response(
            self._http.get(path, headers=_encode_headers(self.proxy_headers | headers))
        )

    def delete(self, path: str) -> httpx.Response:
        """Send a DELETE request."""
        return self._record_response(
            self._http.delete(path, headers=_encode_headers(self.proxy_headers))
        )

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Send this as JSON."""
        return self._record_response(
            self._http.post(path, json=body, headers=_encode_headers(self.proxy_headers | headers))
        )

    def _record_response(self, response: httpx.Response) -> httpx.Response:
        if response.url.host != URL(ISSUER).host:
            self._world.response_texts.append(response.text)
        return response

    def submit(self, prompt: str, session_hash: str = "") -> str:
        """Submit a job, and return the event's id."""
        body = {
            "data": [prompt, "", "1:1", None, None, None, None, 7, "", "", False],
            "session_hash": session_hash or secrets.token_hex(5),
        }
        answer = self.post("/gradio_api/call/generate", body)
        assert answer.status_code == 200, answer.text
        event_id: str = answer.json()["event_id"]
        return event_id

    def generate(self, prompt: str) -> str:
        """Submit a job, and return its event stream."""
        return self.get(f"/gradio_api/call/generate/{self.submit(prompt)}").text

    def picture(self, prompt: str) -> str:
        """Generate an image, and return its path."""
        event, _, data = self.generate(prompt).partition("\n")
        assert event == "event: complete", data
        url: str = orjson.loads(data.removeprefix("data: "))[0]["url"]
        return url

    def log_in(self, name: str, password: str) -> None:
        """Log in, as the login page does."""
        answer = self._http.post("/login", data={"username": name, "password": password})
        assert answer.json() == {"success": True}

    def sign_in(self, account: str) -> None:
        """Sign in with Hugging Face."""
        page = self.get("/login/huggingface?_target_url=/?__theme=light")
        link = re.search(rf'href="([^"]*account={account})"', page.text)
        assert link is not None, page.text
        answer = self.get(ISSUER + unescape(link[1]))
        assert (answer.status_code, answer.url.path, answer.url.query) == (
            200,
            "/",
            b"__theme=light",
        )


def _encode_headers(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


@asynccontextmanager
async def serve_internet(folder: Path, ports: Mapping[str, int]) -> AsyncIterator[tuple[Any, ...]]:
    """Serve all servers of the internet, and the programs under their names."""
    space = RecordingSpace()
    hugging_face = HuggingFace()
    async with AsyncExitStack() as stack:
        names = ("huggingface.co", "*.hf.space", "space.example", LOCAL_HOST, THIRD_PARTY_HOST)
        internet = await stack.enter_async_context(Internet.open(folder, *names))
        address = await stack.enter_async_context(
            serve_fake_gradio(space.handlers(), tls=internet.tls)
        )
        for name in (
            "maker-space.hf.space",
            "maker-lent.hf.space",
            "maker-home.hf.space",
            "space.example",
        ):
            internet.ports[name] = URL(address).port or 0
        await stack.enter_async_context(
            internet.serve(hugging_face.app(), "huggingface.co", THIRD_PARTY_HOST)
        )
        for name, port in ports.items():
            await stack.enter_async_context(internet.expose(port, name))
        yield internet, space, hugging_face


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hub")
    ports = {name: free_port() for name in PROGRAMS}
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        external_servers = portal.wrap_async_context_manager(serve_internet(folder, ports))
        internet, space, hugging_face = stack.enter_context(external_servers)
        proxy_environment = {
            "HTTPS_PROXY": internet.proxy,
            "SSL_CERT_FILE": str(internet.authority),
        }
        programs = {
            name: Program(folder / name, ports[name], {**variables, **proxy_environment})
            for name, variables in PROGRAMS.items()
        }
        try:
            for program in programs.values():
                program.wait()
            trust = ssl.create_default_context(cafile=internet.authority)
            world = World(internet, space, hugging_face, programs, trust, stack)
            yield world
        finally:
            for program in programs.values():
                program.stop()
            ends = {name: program.wait_for_exit() for name, program in programs.items()}
        assert ends == dict.fromkeys(PROGRAMS, 0), "a program didn't end in good order"
        printed = "".join(line for program in programs.values() for line in program.output_lines)
        assert not SECRET_PATTERN.search(printed)
        assert "Redirect URI" not in printed, "a line with text of a visitor's request"
        assert not [text for text in world.response_texts if SECRET_PATTERN.search(text)], (
            "a secret was revealed"
        )
        assert not [
            path for path in folder.rglob(".studio/*.sqlite*") if b"made-up" in path.read_bytes()
        ], "a secret was stored"
        assert internet.requested_names <= set(internet.ports), "another server was contacted"


def header_by_kind(requests: list[RecordedRequest], header: str) -> dict[str, str | None]:
    """Return the value of this header by kind of request."""
    return {recorded.kind: recorded.headers.get(header) for recorded in requests}


def test_identity_is_sent_with_the_join_only(world: World) -> None:
    """The Space learns whose quota a job uses, from one request."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    assert ada.get(ada.picture("a cat")).content.endswith(PNG[33:])
    requests = world.space.requests_for("a cat")
    assert header_by_kind(requests, "X-IP-Token") == {
        "join": "ip-ada-made-up",
        "data": None,
        "file": None,
    }
    first = world.space.requests_for(host="maker-space.hf.space")
    assert header_by_kind(first, "X-IP-Token") == {"config": None, "info": None}


def test_discovery_has_no_identity(world: World) -> None:
    """Reading a Space's description again, because of a visitor's job, sends no identity."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.generate("cut, so that the Space is doubted")
    count_before = len(world.space.requests_for())
    ada.picture("a cat, after a doubt")
    assert len(world.space.requests_for()) > count_before
    assert not [
        recorded for recorded in world.space.requests_for() if "X-IP-Token" in recorded.headers
    ]


def test_cancel_has_no_identity(world: World) -> None:
    """Cancelling reaches the Space, without the visitor's identity."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    fn_index = next(
        recorded["id"]
        for recorded in ada.get("/config").json()["dependencies"]
        if recorded["api_name"] == "generate"
    )
    session_hash = secrets.token_hex(5)
    event_id = ada.submit("hold a cat", session_hash)
    world.space.wait_for("hold a cat", "data")
    body = {"session_hash": session_hash, "fn_index": fn_index, "event_id": event_id}
    assert ada.post("/gradio_api/cancel", body).status_code == 200
    world.space.wait_for("hold a cat", "cancel")
    requests = world.space.requests_for("hold a cat")
    assert header_by_kind(requests, "X-IP-Token") == {
        "join": "ip-ada-made-up",
        "data": None,
        "cancel": None,
    }


def test_concurrent_jobs_have_their_own_identities(world: World) -> None:
    """Of two simultaneous jobs, each uses its visitor's quota, and belongs to that visitor."""
    visitors = {
        f"pair {name}": world.visitor(ip_token=f"ip-{name}-made-up") for name in ("ada", "bob")
    }
    with ThreadPoolExecutor() as pool:
        paths = dict(
            zip(
                visitors,
                pool.map(lambda prompt: visitors[prompt].picture(prompt), visitors),
                strict=True,
            )
        )
    for prompt, visitor in visitors.items():
        identity = f"ip-{prompt.removeprefix('pair ')}-made-up"
        assert header_by_kind(world.space.requests_for(prompt), "X-IP-Token") == {
            "join": identity,
            "data": None,
            "file": None,
        }
        assert [visitor.get(path).status_code for path in paths.values()].count(200) == 1


def test_identity_is_not_stored(world: World) -> None:
    """A job without an identity doesn't use the one of an earlier request."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.picture("first a cat")
    ada.proxy_headers.clear()
    ada.picture("then a dog")
    assert header_by_kind(world.space.requests_for("then a dog"), "X-IP-Token")["join"] is None


@pytest.mark.parametrize(
    "ip_token",
    ["ip-made-up-é", "ip-made-up\tx", "ip-made-up-" + "x" * 4096, ""],
    ids=["é", "tab", "long", "no"],
)
def test_invalid_identities_are_dropped(world: World, ip_token: str) -> None:
    """A malformed header isn't forwarded, and the job runs."""
    # Not through the proxy, which would correct the header.
    direct_url = f"http://127.0.0.1:{world.programs[STUDIO_HOST].port}"
    Visitor(world, direct_url, None, ip_token).picture(f"odd {ip_token[-3:]!r}")
    assert (
        header_by_kind(world.space.requests_for(f"odd {ip_token[-3:]!r}"), "X-IP-Token")["join"]
        is None
    )


@pytest.mark.parametrize("prompt", ["error of the Space", "cut in the run", "refused at the door"])
def test_failures_reveal_no_secrets(world: World, prompt: str) -> None:
    """No error, page, description or metric contains an identity or a token."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.sign_in("ada")
    response_text = ada.generate(prompt)
    assert response_text.startswith("event: error")
    texts = [
        response_text,
        *(
            ada.get(path).text
            for path in ("/", "/config", "/gradio_api/info", "/metrics", "/healthz")
        ),
    ]
    assert world.space.requests_for(prompt)[0].headers["X-IP-Token"] == "ip-ada-made-up"
    assert not [text for text in texts if SECRET_PATTERN.search(text)]


@pytest.mark.parametrize(
    ("root", "is_sent"),
    [
        ("https://maker-space.hf.space/", True),
        ("http://maker-space.hf.space/", False),
        ("https://maker-space.hf.space.evil.example/", False),
        ("https://evilhf.space/", False),
        ("https://huggingface.co/", False),
        ("http://127.0.0.1:7861/", False),
    ],
)
def test_identity_is_sent_to_hugging_face_over_https_only(root: str, *, is_sent: bool) -> None:
    """Other servers, and plain http, get neither quota nor token."""
    identity = Identity("hf_ada_made_up", "ip-ada-made-up")
    assert identity.headers(URL(root)) == (
        {"X-HF-Authorization": "Bearer hf_ada_made_up"} if is_sent else {}
    )
    assert identity.join_headers(URL(root)) == ({"X-IP-Token": "ip-ada-made-up"} if is_sent else {})


def test_space_elsewhere_gets_no_secrets(world: World) -> None:
    """A Space outside Hugging Face gets no identity, account or token."""
    ada = world.visitor(ELSEWHERE_HOST, "ip-ada-made-up")
    ada.sign_in("ada")
    assert ada.get(ada.picture("elsewhere a cat")).content.endswith(PNG[33:])
    requests = [
        *world.space.requests_for(host="space.example"),
        *world.space.requests_for("elsewhere a cat"),
    ]
    assert {recorded.kind for recorded in requests} == {"config", "info", "join", "data", "file"}
    assert not [recorded for recorded in requests if SECRET_PATTERN.search(str(recorded.headers))]


def test_identity_header_is_ignored_off_hugging_face(world: World) -> None:
    """Anybody can send the header there, and the owner's token isn't used for visitors.

    That of `hf auth login` isn't used at all.
    """
    ada = world.visitor(LOCAL_HOST, "ip-ada-made-up")
    ada.picture("at home a cat")
    assert not [
        recorded
        for recorded in world.space.requests_for("at home a cat")
        if SECRET_PATTERN.search(str(recorded.headers))
    ]
    assert not [
        recorded for recorded in world.space.all_requests() if STORED_TOKEN in str(recorded.headers)
    ]


def test_owner_token_is_not_used_for_visitors(world: World) -> None:
    """The owner's token finds the Space, and no visitor's job uses it."""
    world.visitor(ip_token="ip-ada-made-up").picture("not lent")
    owner = f"Bearer {OWNER_TOKEN}"
    assert {headers.get("Authorization") for headers in world.hugging_face.hub_requests} == {owner}
    contract_requests = [
        recorded
        for recorded in world.space.all_requests()
        if recorded.host == "maker-space.hf.space" and not recorded.session_hash
    ]
    assert {recorded.headers.get("X-HF-Authorization") for recorded in contract_requests} == {owner}
    requests = world.space.requests_for("not lent")
    assert header_by_kind(requests, "X-HF-Authorization") == dict.fromkeys(("join", "data", "file"))
    assert not [
        recorded for recorded in world.space.all_requests() if "Authorization" in recorded.headers
    ]


def test_lent_token_is_used_for_visitors_without_their_own(world: World) -> None:
    """With --lend-token, visitors use the owner's token, unless they have signed in."""
    ada = world.visitor(LENDING_HOST, "ip-ada-made-up")
    ada.log_in("ann", "made-up-password")
    ada.picture("lent")
    owner = f"Bearer {OWNER_TOKEN}"
    assert header_by_kind(world.space.requests_for("lent"), "X-HF-Authorization") == dict.fromkeys(
        ("join", "data", "file"), owner
    )
    assert header_by_kind(world.space.requests_for("lent"), "X-IP-Token")["join"] is None
    ada.sign_in("ada")
    ada.picture("not needed")
    token = world.hugging_face.tokens_of("ada")[-1]
    own_tokens = dict.fromkeys(("join", "data", "file"), f"Bearer {token}")
    assert (
        header_by_kind(world.space.requests_for("not needed"), "X-HF-Authorization") == own_tokens
    )


def test_cookies_of_the_space_stay_with_the_job(world: World) -> None:
    """A cookie that a Space sets for one job isn't sent with another."""
    ada = world.visitor()
    bob = world.visitor()
    for index, visitor in enumerate((ada, bob, ada, bob)):
        visitor.picture(f"cookies {index}")
        join, *later_requests = world.space.requests_for(f"cookies {index}")
        assert "Cookie" not in join.headers
        assert {recorded.headers["Cookie"] for recorded in later_requests} == {
            f"run={join.session_hash}"
        }


def test_share_has_no_effect_on_hugging_face(world: World) -> None:
    """No tunnel is opened, no login is generated, and the program says why."""
    printed = "".join(world.programs[ELSEWHERE_HOST].output_lines)
    assert "--share has no effect on Hugging Face: this page is public already." in printed
    assert "Password" not in printed
    assert "api.gradio.app" not in world.internet.requested_names


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (STUDIO_HOST, 200),
        (OWN_DOMAIN, 200),
        ("evil.example", 400),
        (f"{STUDIO_HOST}.evil.example", 400),
        ("evilhf.space", 400),
        ("hf.space", 400),
    ],
)
def test_only_the_space_s_own_hosts_are_known(world: World, host: str, status: int) -> None:
    """The page is served under the Space's hosts, and under no name that resembles them."""
    assert world.visitor().get("/", Host=host).status_code == status


def test_sign_in_button_is_no_endpoint(world: World) -> None:
    """Programs are offered the same endpoints as elsewhere."""
    assert list(world.visitor().get("/gradio_api/info").json()["named_endpoints"]) == [
        "/infer",
        "/generate",
        "/generate_set",
    ]


def test_account_has_its_images_and_its_quota(world: World) -> None:
    """A signed-in visitor's jobs use their token, and their images are theirs in every browser."""
    ada, second_ada, bob, anonymous_visitor = (
        world.visitor(ip_token=f"ip-{index}-made-up") for index in range(4)
    )
    ada.sign_in("ada")
    second_ada.sign_in("ada")
    bob.sign_in("bob")
    path = ada.picture("signed in a cat")
    requests = world.space.requests_for("signed in a cat")
    token_headers = header_by_kind(requests, "X-HF-Authorization")
    assert set(token_headers) == {"join", "data", "file"}
    token = (token_headers["join"] or "").removeprefix("Bearer ")
    assert set(token_headers.values()) == {f"Bearer {token}"}
    assert world.hugging_face.tokens[token] == "ada"
    assert [
        visitor.get(path).status_code for visitor in (ada, second_ada, bob, anonymous_visitor)
    ] == [
        200,
        200,
        404,
        404,
    ]
    assert SECRET_PATTERN.search(str(requests[0].headers))
    visible_headers = [
        {
            name: value
            for name, value in recorded.headers.items()
            if name.upper() not in TOKEN_HEADERS
        }
        for recorded in requests
    ]
    assert not SECRET_PATTERN.search(str(visible_headers))


TOKEN_HEADERS: Final = {"X-HF-AUTHORIZATION", "X-IP-TOKEN"}


def test_sign_out_ends_the_account_s_access(world: World) -> None:
    """After signing out, neither the account's images nor its token are available."""
    ada = world.visitor()
    ada.sign_in("ada")
    path = ada.picture("before a cat")
    answer = ada.get("/logout?_target_url=/?__theme=dark")
    assert (answer.status_code, answer.url.path, answer.url.query) == (200, "/", b"__theme=dark")
    assert ada.get(path).status_code == 404
    ada.picture("after a cat")
    assert (
        header_by_kind(world.space.requests_for("after a cat"), "X-HF-Authorization")["join"]
        is None
    )


def test_added_token_is_the_only_identity_of_its_visitor(world: World) -> None:
    """A token that a visitor adds is sent with their own runs, in place of their address."""
    ann, bob = (world.visitor(ip_token=f"ip-of-{name}-made-up") for name in ("ann", "bob"))
    token = "hf_added_made_up"
    world.hugging_face.tokens[token] = "ann"
    assert ann.post("/studio/token", {"token": "hf_wrong_made_up"}).status_code == 400
    answer = ann.post("/studio/token", {"token": token})
    assert answer.json() == {"error": ""}
    assert "__Host-sd35-token=" in answer.headers["set-cookie"]
    assert "; HttpOnly; SameSite=None; Secure; Partitioned" in answer.headers["set-cookie"]
    for visitor, name in ((ann, "ann"), (bob, "bob")):
        visitor.picture(f"for {name}")
    requests = world.space.requests_for("for ann")
    assert set(header_by_kind(requests, "X-HF-Authorization").values()) == {f"Bearer {token}"}
    assert header_by_kind(requests, "X-IP-Token")["join"] is None
    bobs_requests = world.space.requests_for("for bob")
    assert set(header_by_kind(bobs_requests, "X-HF-Authorization").values()) == {None}
    ann.delete("/studio/token")
    ann.picture("for ann again")
    requests = world.space.requests_for("for ann again")
    assert set(header_by_kind(requests, "X-HF-Authorization").values()) == {None}
    assert header_by_kind(requests, "X-IP-Token")["join"] == "ip-of-ann-made-up"


def test_logout_works_beside_sign_in(world: World) -> None:
    """“Log out” ends the login's session, even where visitors can sign in, too."""
    ann = world.visitor(LENDING_HOST)
    ann.log_in("ann", "made-up-password")
    assert ann.get("/").status_code == 200
    assert ann.get("/logout").status_code == 401


def test_cancelled_sign_in_returns_to_the_page(world: World) -> None:
    """A visitor who declines at Hugging Face comes back to the page."""
    ada = world.visitor()
    authorize_params = ada.get("/login/huggingface").url.params
    answer = ada.get(
        f"{authorize_params['redirect_uri']}&error=access_denied&state={authorize_params['state']}"
    )
    assert (answer.status_code, answer.url.path) == (200, "/")


def test_embedding_sites_are_anonymous(world: World) -> None:
    """A site that embeds the page has neither the visitor's quota nor their images."""
    ada = world.visitor()
    ada.sign_in("ada")
    path = ada.picture("one's own a cat")
    foreign = {"Origin": f"https://{THIRD_PARTY_HOST}", "Sec-Fetch-Site": "cross-site"}
    assert ada.get(path, **foreign).status_code == 404
    ada.proxy_headers.update(foreign)
    ada.picture("another site's a cat")
    assert (
        header_by_kind(world.space.requests_for("another site's a cat"), "X-HF-Authorization")[
            "join"
        ]
        is None
    )


def test_expired_sessions_are_ignored(world: World) -> None:
    """An expired sign-in has no token, and its visitor is a browser."""
    expired_visitor = world.visitor()
    anonymous_visitor = world.visitor()
    expired_visitor.sign_in("late")
    path = expired_visitor.picture("late a cat")
    assert (
        header_by_kind(world.space.requests_for("late a cat"), "X-HF-Authorization")["join"] is None
    )
    assert [visitor.get(path).status_code for visitor in (expired_visitor, anonymous_visitor)] == [
        200,
        404,
    ]


@pytest.mark.parametrize(
    ("environment", "can_sign_in"),
    [
        ({"SYSTEM": "spaces", "SPACE_ID": "owner/studio", **OAUTH_CLIENT}, True),
        ({"SYSTEM": "spaces", "SPACE_ID": "owner/studio"}, False),
        ({"SPACE_ID": "owner/studio", **OAUTH_CLIENT}, False),
        (OAUTH_CLIENT, False),
    ],
)
def test_sign_in_is_offered_on_gradio_spaces_only(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, can_sign_in: bool
) -> None:
    """Elsewhere Gradio would let everybody in as the owner."""
    for name in ("SYSTEM", "SPACE_ID", *OAUTH_CLIENT):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings([]).can_sign_in is can_sign_in


def test_no_sign_in_off_hugging_face(world: World) -> None:
    """Off Hugging Face there is neither a button nor a route to sign in."""
    ada = world.visitor(LOCAL_HOST)
    assert "Sign in with" not in ada.get("/config").text
    assert ada.get("/login/huggingface").status_code == 404
    assert "Sign in with" in world.visitor().get("/config").text


@pytest.fixture
def page(world: World, browser: Browser) -> Iterator[Page]:
    """Open a browser's page behind Hugging Face's proxy."""
    proxy_options: Any = {
        "proxy": {"server": world.internet.visitors_proxy},
        "ignore_https_errors": True,
    }
    context = browser.new_context(
        extra_http_headers={"X-IP-Token": "ip-browser-made-up"}, **proxy_options
    )
    yield context.new_page()
    context.close()


def test_sign_in_works_in_a_browser(world: World, page: Page) -> None:
    """The button signs in and out, scripts can't read the token, and nothing is missing."""
    missing: list[str] = []
    page.on(
        "response",
        lambda response: missing.append(response.url) if response.status >= 400 else None,
    )
    page.goto(f"https://{STUDIO_HOST}/?__theme=light")
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    page.get_by_role("link", name="ada").click()
    way_out = page.get_by_role("button", name="Logout (ada)")
    expect(way_out).to_be_visible()
    generate_picture(page, "in a browser a cat")
    token = world.hugging_face.tokens_of("ada")[-1]
    requests = world.space.requests_for("in a browser a cat")
    assert set(header_by_kind(requests, "X-HF-Authorization").values()) == {f"Bearer {token}"}
    assert header_by_kind(requests, "X-IP-Token")["join"] == "ip-browser-made-up"
    browser_storage = page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
    )
    assert not SECRET_PATTERN.search(page.content() + browser_storage)
    way_out.click()
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    assert not missing


def test_page_works_in_the_hub_s_frame(world: World, page: Page) -> None:
    """In the frame of huggingface.co, visitors generate with their own quota."""
    page.goto(f"{ISSUER}/spaces/owner/studio")
    generate_picture(page.frame_locator("iframe"), "framed a cat")
    assert (
        header_by_kind(world.space.requests_for("framed a cat"), "X-IP-Token")["join"]
        == "ip-browser-made-up"
    )
    policy = world.visitor().get("/").headers
    assert policy["Content-Security-Policy"].endswith("frame-ancestors 'self' *")
    assert "X-Frame-Options" not in policy


def test_page_works_as_an_element_anywhere(world: World, page: Page) -> None:
    """As an element of any site, the page generates with the quota of the visitor's address."""
    page.goto(f"https://{THIRD_PARTY_HOST}/blog?space={STUDIO_HOST}")
    generate_picture(page, "anybody's a cat")
    requests = world.space.requests_for("anybody's a cat")
    assert set(header_by_kind(requests, "X-HF-Authorization").values()) == {None}
    assert header_by_kind(requests, "X-IP-Token")["join"] == "ip-browser-made-up"
