"""The program as a Space on Hugging Face: it works there, and each visitor's identity goes where it belongs alone."""

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

ROOT: Final = Path(__file__).parent.parent

STUDIO_HOST: Final = "owner-studio.hf.space"
LENDING_HOST: Final = "owner-lending.hf.space"
ELSEWHERE_HOST: Final = "owner-elsewhere.hf.space"
LOCAL_HOST: Final = "studio.example"
OWN_DOMAIN: Final = "studio.art.example"
THIRD_PARTY_HOST: Final = "anybody.example"

OWNER_TOKEN: Final = "hf_owner_made_up"
SECRET_PATTERN: Final = re.compile("made.up", re.IGNORECASE)
"""Every secret here has it in it."""


def space_environment(host: str, space: str, **kwargs: str) -> dict[str, str]:
    """The environment of a Gradio Space that is called so."""
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
        "HF_TOKEN": OWNER_TOKEN,
        **OAUTH_CLIENT,
    },
}
"""By the name under which each is shown."""


class Program:
    """`app.py` as a process, in an environment of its own.

    Attributes:
        port: where its page is, on this machine.
        printed: what it has written to its output and its log, by lines.

    """

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.port = port
        self.output_lines: list[str] = []
        self._is_ready = threading.Event()
        folder.mkdir()
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
        """Wait until its page is there."""
        assert self._is_ready.wait(LIMIT_SECONDS * 3), self.output_lines

    def stop(self) -> None:
        """Ask it to end, as a Space is asked."""
        self._process.send_signal(signal.SIGTERM)

    def wait_for_exit(self) -> int:
        """Wait for its end, and return its exit status."""
        try:
            return self._process.wait(LIMIT_SECONDS)
        finally:
            self._process.kill()
            self._reader.join(LIMIT_SECONDS)


@dataclass
class TestWorld:
    """Everything that these tests need to be there.

    Attributes:
        trust: believes the internet's own authority.
        stack: what ends with it.
        heard: every text that a program has answered with.

    """

    internet: Internet
    space: RecordingSpace
    hugging_face: HuggingFace
    programs: Mapping[str, Program]
    ssl_context: ssl.SSLContext
    stack: ExitStack
    response_texts: list[str] = field(default_factory=list)

    def visitor(self, host: str = STUDIO_HOST, ip_token: str | None = None) -> "Visitor":
        """Somebody new, who has the page open."""
        visitor = Visitor(self, f"https://{host}", self.internet.visitors_proxy, ip_token)
        visitor.get("/")
        return visitor


class Visitor:
    """Somebody's browser, whose requests Hugging Face's proxy passes on with what it says of them."""

    def __init__(
        self, world: TestWorld, base_url: str, proxy: str | None, ip_token: str | None
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
        """Ask for this."""
        return self._record_response(
            self._http.get(path, headers=_encode_headers(self.proxy_headers | headers))
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
        """Ask for a picture, and return the event's id."""
        body = {
            "data": [prompt, "", "1:1", None, None, None, None, 7],
            "session_hash": session_hash or secrets.token_hex(5),
        }
        answer = self.post("/gradio_api/call/generate", body)
        assert answer.status_code == 200, answer.text
        event_id: str = answer.json()["event_id"]
        return event_id

    def generate(self, prompt: str) -> str:
        """Ask for a picture, wait for the end, and return what was said of it."""
        return self.get(f"/gradio_api/call/generate/{self.submit(prompt)}").text

    def picture(self, prompt: str) -> str:
        """Ask for a picture, and return the path of the finished one."""
        event, _, data = self.generate(prompt).partition("\n")
        assert event == "event: complete", data
        url: str = orjson.loads(data.removeprefix("data: "))[0]["url"]
        return url

    def log_in(self, name: str, password: str) -> None:
        """Log in, as the page's form does."""
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
    """The internet with all servers in it, and the programs' own under their names."""
    space, hugging_face = RecordingSpace(), HuggingFace()
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
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestWorld]:
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
            name: Program(folder / name, ports[name], {**own_value, **proxy_environment})
            for name, own_value in PROGRAMS.items()
        }
        try:
            for program in programs.values():
                program.wait()
            trust = ssl.create_default_context(cafile=internet.authority)
            world = TestWorld(internet, space, hugging_face, programs, trust, stack)
            yield world
        finally:
            for program in programs.values():
                program.stop()
            ends = {name: program.wait_for_exit() for name, program in programs.items()}
        assert ends == dict.fromkeys(PROGRAMS, 0), "a program didn't end in good order"
        assert not SECRET_PATTERN.search(
            "".join(line for program in programs.values() for line in program.output_lines)
        )
        assert not [text for text in world.response_texts if SECRET_PATTERN.search(text)], (
            "a secret was told"
        )
        assert internet.asked <= set(internet.ports), "somebody else was asked for something"


def header_by_kind(requests: list[RecordedRequest], header: str) -> dict[str, str | None]:
    """Return what each kind of request said in this header."""
    return {recorded.kind: recorded.headers.get(header) for recorded in requests}


def test_a_visitor_s_identity_goes_with_the_join_alone(world: TestWorld) -> None:
    """Whose quota a picture is to use isn't told to the Space, or is told more often than it must be."""
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


def test_reading_the_description_again(world: TestWorld) -> None:
    """When a visitor's request makes this program ask the Space anew what it is, that tells whose request it was."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.generate("cut, so that the Space is doubted")
    count_before = len(world.space.requests_for())
    ada.picture("a cat, after a doubt")
    assert len(world.space.requests_for()) > count_before
    assert not [
        recorded for recorded in world.space.requests_for() if "X-IP-Token" in recorded.headers
    ]


def test_a_cancel_without_an_identity(world: TestWorld) -> None:
    """A visitor's identity goes with the request that ends a run, or a run isn't ended with who asked for it."""
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


def test_each_visitor_at_the_same_time(world: TestWorld) -> None:
    """Of two pictures that are made at the same time, one uses the other visitor's quota."""
    visitor_names = {
        f"pair {name}": world.visitor(ip_token=f"ip-{name}-made-up") for name in ("ada", "bob")
    }
    with ThreadPoolExecutor() as pool:
        paths = dict(
            zip(
                visitor_names,
                pool.map(lambda prompt: visitor_names[prompt].picture(prompt), visitor_names),
                strict=True,
            )
        )
    for prompt, person in visitor_names.items():
        identity = f"ip-{prompt.removeprefix('pair ')}-made-up"
        assert header_by_kind(world.space.requests_for(prompt), "X-IP-Token") == {
            "join": identity,
            "data": None,
            "file": None,
        }
        assert [person.get(path).status_code for path in paths.values()].count(200) == 1


def test_an_identity_is_not_kept(world: TestWorld) -> None:
    """A picture uses a quota that an earlier request of the same browser brought."""
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
def test_what_can_not_be_an_identity(world: TestWorld, ip_token: str) -> None:
    """A header that somebody else wrote reaches the Space, or costs the picture."""
    direct_url = f"http://127.0.0.1:{world.programs[STUDIO_HOST].port}"  # past what would put it right on the way
    Visitor(world, direct_url, None, ip_token).picture(f"odd {ip_token[-3:]!r}")
    assert (
        header_by_kind(world.space.requests_for(f"odd {ip_token[-3:]!r}"), "X-IP-Token")["join"]
        is None
    )


@pytest.mark.parametrize("prompt", ["error of the Space", "cut in the run", "refused at the door"])
def test_a_failure_tells_nothing(world: TestWorld, prompt: str) -> None:
    """An error, the page, its description or the figures show whose quota was used, or the owner's token."""
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
def test_where_an_identity_may_go(root: str, *, is_sent: bool) -> None:
    """A visitor's quota or token is handed to a server that isn't Hugging Face's, or in the clear."""
    identity = Identity("hf_ada_made_up", "ip-ada-made-up")
    assert identity.headers(URL(root)) == (
        {"X-HF-Authorization": "Bearer hf_ada_made_up"} if is_sent else {}
    )
    assert identity.join_headers(URL(root)) == ({"X-IP-Token": "ip-ada-made-up"} if is_sent else {})


def test_a_space_somewhere_else(world: TestWorld) -> None:
    """A visitor's quota or account, or the owner's token, is shown to a Space that isn't on Hugging Face."""
    ada = world.visitor(ELSEWHERE_HOST, "ip-ada-made-up")
    ada.sign_in("ada")
    assert ada.get(ada.picture("elsewhere a cat")).content.endswith(PNG[33:])
    requests = [
        *world.space.requests_for(host="space.example"),
        *world.space.requests_for("elsewhere a cat"),
    ]
    assert {recorded.kind for recorded in requests} == {"config", "info", "join", "data", "file"}
    assert not [recorded for recorded in requests if SECRET_PATTERN.search(str(recorded.headers))]


def test_a_program_that_is_not_on_hugging_face(world: TestWorld) -> None:
    """At home, a header that anybody can send is taken for whose quota it is; or visitors use the owner's."""
    ada = world.visitor(LOCAL_HOST, "ip-ada-made-up")
    ada.picture("at home a cat")
    assert not [
        recorded
        for recorded in world.space.requests_for("at home a cat")
        if SECRET_PATTERN.search(str(recorded.headers))
    ]


def test_the_owner_s_token_is_the_owner_s(world: TestWorld) -> None:
    """Visitors' pictures are made with the owner's token, or the owner's private Space can't be found with it."""
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


def test_a_token_that_is_lent(world: TestWorld) -> None:
    """SD35_LEND_TOKEN has no effect, or takes from those who have signed in what is theirs."""
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
    own_value = dict.fromkeys(("join", "data", "file"), f"Bearer {token}")
    assert header_by_kind(world.space.requests_for("not needed"), "X-HF-Authorization") == own_value


def test_cookies_of_the_space(world: TestWorld) -> None:
    """What a Space remembers of one visitor in a cookie is sent with another's picture."""
    ada, bob = world.visitor(), world.visitor()
    for index, visitor in enumerate((ada, bob, ada, bob)):
        visitor.picture(f"cookies {index}")
        join, *later_requests = world.space.requests_for(f"cookies {index}")
        assert "Cookie" not in join.headers
        assert {recorded.headers["Cookie"] for recorded in later_requests} == {
            f"run={join.session_hash}"
        }


def test_no_public_link_there(world: TestWorld) -> None:
    """SD35_SHARE opens a tunnel out of Hugging Face, asks everybody for a login, or ends the program."""
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
def test_its_names(world: TestWorld, host: str, status: int) -> None:
    """The page isn't there under its own name, or is under a name that somebody else has led there."""
    assert world.visitor().get("/", Host=host).status_code == status


def test_what_is_offered_to_programs(world: TestWorld) -> None:
    """The wiring of the button to sign in is offered as an interface."""
    assert list(world.visitor().get("/gradio_api/info").json()["named_endpoints"]) == [
        "/infer",
        "/generate",
    ]


def test_an_account_s_pictures(world: TestWorld) -> None:
    """Who has signed in uses somebody else's quota, or loses the picture to others, or can't have it elsewhere."""
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


def test_signing_out(world: TestWorld) -> None:
    """After signing out, pictures are still made with, or handed out for, the account."""
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


def test_logging_out(world: TestWorld) -> None:
    """Where one can sign in besides, “Log out” leaves the browser logged in."""
    ann = world.visitor(LENDING_HOST)
    ann.log_in("ann", "made-up-password")
    assert ann.get("/").status_code == 200
    assert ann.get("/logout").status_code == 401


def test_who_thinks_better_of_it(world: TestWorld) -> None:
    """Who doesn't sign in after all, at Hugging Face's page, comes back to an error."""
    ada = world.visitor()
    authorize_params = ada.get("/login/huggingface").url.params
    answer = ada.get(
        f"{authorize_params['redirect_uri']}&error=access_denied&state={authorize_params['state']}"
    )
    assert (answer.status_code, answer.url.path) == (200, "/")


def test_any_page_is_not_who_looks_at_it(world: TestWorld) -> None:
    """As any site may embed the page, every site can use the quota of who is signed in, or see what they made."""
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


def test_a_session_that_is_over(world: TestWorld) -> None:
    """Pictures are asked for with a token that is no longer valid, or belong to an account that has left."""
    expired_visitor, anonymous_visitor = world.visitor(), world.visitor()
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
def test_where_one_can_sign_in(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, can_sign_in: bool
) -> None:
    """The button is shown where Gradio would let everybody in as who runs the program."""
    for name in ("SYSTEM", "SPACE_ID", *OAUTH_CLIENT):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings([]).can_sign_in is can_sign_in


def test_nobody_signs_in_at_home(world: TestWorld) -> None:
    """Off Hugging Face the page offers to sign in, and Gradio would let everybody in as who runs it."""
    ada = world.visitor(LOCAL_HOST)
    assert "Sign in with" not in ada.get("/config").text
    assert ada.get("/login/huggingface").status_code == 404
    assert "Sign in with" in world.visitor().get("/config").text


@pytest.fixture
def page(world: TestWorld, browser: Browser) -> Iterator[Page]:
    """A page of a browser on this internet, as Hugging Face's proxy sees it."""
    proxy_options: Any = {
        "proxy": {"server": world.internet.visitors_proxy},
        "ignore_https_errors": True,
    }
    context = browser.new_context(
        extra_http_headers={"X-IP-Token": "ip-browser-made-up"}, **proxy_options
    )
    yield context.new_page()
    context.close()


def test_signing_in_with_a_browser(world: TestWorld, page: Page) -> None:
    """The button doesn't sign in, or out again; scripts can read the token; or something of the page isn't there."""
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


def test_within_hugging_face_s_own_page(world: TestWorld, page: Page) -> None:
    """Where everybody meets a Space, in a frame of huggingface.co, the page isn't shown or makes no picture."""
    page.goto(f"{ISSUER}/spaces/owner/studio")
    generate_picture(page.frame_locator("iframe"), "framed a cat")
    assert (
        header_by_kind(world.space.requests_for("framed a cat"), "X-IP-Token")["join"]
        == "ip-browser-made-up"
    )
    policy = world.visitor().get("/").headers
    assert policy["Content-Security-Policy"].endswith("frame-ancestors 'self' *")
    assert "X-Frame-Options" not in policy


def test_within_anybody_s_page(world: TestWorld, page: Page) -> None:
    """As an element of another site's page, without cookies, the page makes no picture."""
    page.goto(f"https://{THIRD_PARTY_HOST}/blog?space={STUDIO_HOST}")
    generate_picture(page, "anybody's a cat")
    requests = world.space.requests_for("anybody's a cat")
    assert set(header_by_kind(requests, "X-HF-Authorization").values()) == {None}
    assert header_by_kind(requests, "X-IP-Token")["join"] == "ip-browser-made-up"
