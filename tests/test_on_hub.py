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
from sd35.settings import load
from tests.chromium import browser, makes_a_picture  # noqa: F401  # it is a fixture
from tests.hub import CLIENT, ISSUER, Asked, HuggingFace, NotingSpace
from tests.impostor import LIMIT, PNG, impostor
from tests.internet import Internet

ROOT: Final = Path(__file__).parent.parent

STUDIO: Final = "owner-studio.hf.space"
LENDING: Final = "owner-lending.hf.space"
ELSEWHERE: Final = "owner-elsewhere.hf.space"
AT_HOME: Final = "studio.example"
OWN_DOMAIN: Final = "studio.art.example"
ANYBODY: Final = "anybody.example"

OWNER: Final = "hf_owner_made_up"
NEVER_SHOWN: Final = re.compile("made.up", re.IGNORECASE)
"""Every secret here has it in it."""


def as_on_hub(host: str, space: str, **more: str) -> dict[str, str]:
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
        **CLIENT,
        "HF_TOKEN": OWNER,
        "SD35_SPACE": space,
        **more,
    }


PROGRAMS: Final[Mapping[str, Mapping[str, str]]] = {
    STUDIO: as_on_hub(STUDIO, "maker/space"),
    LENDING: as_on_hub(
        LENDING,
        "https://maker-lent.hf.space",
        SD35_LEND_TOKEN="true",
        SD35_AUTH="ann:made-up-password",
    ),
    ELSEWHERE: as_on_hub(ELSEWHERE, "https://space.example", SD35_SHARE="true"),
    AT_HOME: {
        "SD35_SPACE": "https://maker-home.hf.space",
        "SD35_KNOWN_HOSTS": AT_HOME,
        "HF_TOKEN": OWNER,
        **CLIENT,
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
        self.printed: list[str] = []
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
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.printed.append(line)
            if line.startswith("SD 3.5 Studio is at"):
                self._is_ready.set()

    def wait(self) -> None:
        """Wait until its page is there."""
        assert self._is_ready.wait(LIMIT * 3), self.printed

    def stop(self) -> None:
        """Ask it to end, as a Space is asked."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait for its end, and return its exit status."""
        try:
            return self._process.wait(LIMIT)
        finally:
            self._process.kill()
            self._reader.join(LIMIT)


@dataclass
class World:
    """Everything that these tests need to be there.

    Attributes:
        trust: believes the internet's own authority.
        stack: what ends with it.
        heard: every text that a program has answered with.

    """

    internet: Internet
    space: NotingSpace
    hugging_face: HuggingFace
    programs: Mapping[str, Program]
    trust: ssl.SSLContext
    stack: ExitStack
    heard: list[str] = field(default_factory=list)

    def visitor(self, host: str = STUDIO, ip_token: str | None = None) -> "Visitor":
        """Somebody new, who has the page open."""
        visitor = Visitor(self, f"https://{host}", self.internet.visitors_proxy, ip_token)
        visitor.get("/")
        return visitor


class Visitor:
    """Somebody's browser, whose requests Hugging Face's proxy passes on with what it says of them."""

    def __init__(self, world: World, place: str, proxy: str | None, ip_token: str | None) -> None:
        address = ".".join(str(secrets.randbelow(250) + 1) for _ in range(4))
        self._world = world
        self._http = world.stack.enter_context(
            httpx.Client(
                base_url=place,
                proxy=proxy,
                verify=world.trust,
                headers={"X-Forwarded-For": address},
                follow_redirects=True,
                timeout=LIMIT,
                trust_env=False,
            )
        )
        self.passed_on = {"X-IP-Token": ip_token} if ip_token is not None else {}

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for this."""
        return self._heard(self._http.get(path, headers=_encoded(self.passed_on | headers)))

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Send this as JSON."""
        return self._heard(
            self._http.post(path, json=body, headers=_encoded(self.passed_on | headers))
        )

    def _heard(self, response: httpx.Response) -> httpx.Response:
        if response.url.host != URL(ISSUER).host:
            self._world.heard.append(response.text)
        return response

    def begin(self, prompt: str, session_hash: str = "") -> str:
        """Ask for a picture, and return the event's id."""
        body = {
            "data": [prompt, "", "1:1", None, None, None, None, 7],
            "session_hash": session_hash or secrets.token_hex(5),
        }
        answer = self.post("/gradio_api/call/generate", body)
        assert answer.status_code == 200, answer.text
        event_id: str = answer.json()["event_id"]
        return event_id

    def ask(self, prompt: str) -> str:
        """Ask for a picture, wait for the end, and return what was said of it."""
        return self.get(f"/gradio_api/call/generate/{self.begin(prompt)}").text

    def picture(self, prompt: str) -> str:
        """Ask for a picture, and return the path of the finished one."""
        event, _, data = self.ask(prompt).partition("\n")
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


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


@asynccontextmanager
async def everything_outside(
    folder: Path, ports: Mapping[str, int]
) -> AsyncIterator[tuple[Any, ...]]:
    """The internet with all servers in it, and the programs' own under their names."""
    space, hugging_face = NotingSpace(), HuggingFace()
    async with AsyncExitStack() as stack:
        names = ("huggingface.co", "*.hf.space", "space.example", AT_HOME, ANYBODY)
        internet = await stack.enter_async_context(Internet.opened(folder, *names))
        address = await stack.enter_async_context(impostor(space.handlers(), tls=internet.tls))
        for name in (
            "maker-space.hf.space",
            "maker-lent.hf.space",
            "maker-home.hf.space",
            "space.example",
        ):
            internet.ports[name] = URL(address).port or 0
        await stack.enter_async_context(
            internet.serving(hugging_face.app(), "huggingface.co", ANYBODY)
        )
        for name, port in ports.items():
            await stack.enter_async_context(internet.showing(port, name))
        yield internet, space, hugging_face


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hub")
    ports = {name: free_port() for name in PROGRAMS}
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        outside = portal.wrap_async_context_manager(everything_outside(folder, ports))
        internet, space, hugging_face = stack.enter_context(outside)
        way = {"HTTPS_PROXY": internet.proxy, "SSL_CERT_FILE": str(internet.authority)}
        programs = {
            name: Program(folder / name, ports[name], {**own, **way})
            for name, own in PROGRAMS.items()
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
            ends = {name: program.end() for name, program in programs.items()}
        assert ends == dict.fromkeys(PROGRAMS, 0), "a program didn't end in good order"
        assert not NEVER_SHOWN.search(
            "".join(line for program in programs.values() for line in program.printed)
        )
        assert not [text for text in world.heard if NEVER_SHOWN.search(text)], "a secret was told"
        assert internet.asked <= set(internet.ports), "somebody else was asked for something"


def told(asked: list[Asked], header: str) -> dict[str, str | None]:
    """Return what each kind of request said in this header."""
    return {each.kind: each.headers.get(header) for each in asked}


def test_a_visitor_s_identity_goes_with_the_join_alone(world: World) -> None:
    """Whose quota a picture is to use isn't told to the Space, or is told more often than it must be."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    assert ada.get(ada.picture("a cat")).content.endswith(PNG[33:])
    asked = world.space.asked("a cat")
    assert told(asked, "X-IP-Token") == {"join": "ip-ada-made-up", "data": None, "file": None}
    first = world.space.asked(host="maker-space.hf.space")
    assert told(first, "X-IP-Token") == {"config": None, "info": None}


def test_reading_the_description_again(world: World) -> None:
    """When a visitor's request makes this program ask the Space anew what it is, that tells whose request it was."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.ask("cut, so that the Space is doubted")
    before = len(world.space.asked())
    ada.picture("a cat, after a doubt")
    assert len(world.space.asked()) > before
    assert not [each for each in world.space.asked() if "X-IP-Token" in each.headers]


def test_a_cancel_without_an_identity(world: World) -> None:
    """A visitor's identity goes with the request that ends a run, or a run isn't ended with who asked for it."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    fn_index = next(
        each["id"]
        for each in ada.get("/config").json()["dependencies"]
        if each["api_name"] == "generate"
    )
    session_hash = secrets.token_hex(5)
    event_id = ada.begin("hold a cat", session_hash)
    world.space.wait_for("hold a cat", "data")
    body = {"session_hash": session_hash, "fn_index": fn_index, "event_id": event_id}
    assert ada.post("/gradio_api/cancel", body).status_code == 200
    world.space.wait_for("hold a cat", "cancel")
    asked = world.space.asked("hold a cat")
    assert told(asked, "X-IP-Token") == {"join": "ip-ada-made-up", "data": None, "cancel": None}


def test_each_visitor_at_the_same_time(world: World) -> None:
    """Of two pictures that are made at the same time, one uses the other visitor's quota."""
    people = {
        f"pair {name}": world.visitor(ip_token=f"ip-{name}-made-up") for name in ("ada", "bob")
    }
    with ThreadPoolExecutor() as pool:
        paths = dict(
            zip(
                people, pool.map(lambda prompt: people[prompt].picture(prompt), people), strict=True
            )
        )
    for prompt, person in people.items():
        identity = f"ip-{prompt.removeprefix('pair ')}-made-up"
        assert told(world.space.asked(prompt), "X-IP-Token") == {
            "join": identity,
            "data": None,
            "file": None,
        }
        assert [person.get(path).status_code for path in paths.values()].count(200) == 1


def test_an_identity_is_not_kept(world: World) -> None:
    """A picture uses a quota that an earlier request of the same browser brought."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.picture("first a cat")
    ada.passed_on.clear()
    ada.picture("then a dog")
    assert told(world.space.asked("then a dog"), "X-IP-Token")["join"] is None


@pytest.mark.parametrize(
    "ip_token",
    ["ip-made-up-é", "ip-made-up\tx", "ip-made-up-" + "x" * 4096, ""],
    ids=["é", "tab", "long", "no"],
)
def test_what_can_not_be_an_identity(world: World, ip_token: str) -> None:
    """A header that somebody else wrote reaches the Space, or costs the picture."""
    place = (
        f"http://127.0.0.1:{world.programs[STUDIO].port}"  # past what would put it right on the way
    )
    Visitor(world, place, None, ip_token).picture(f"odd {ip_token[-3:]!r}")
    assert told(world.space.asked(f"odd {ip_token[-3:]!r}"), "X-IP-Token")["join"] is None


@pytest.mark.parametrize("prompt", ["error of the Space", "cut in the run", "refused at the door"])
def test_a_failure_tells_nothing(world: World, prompt: str) -> None:
    """An error, the page, its description or the figures show whose quota was used, or the owner's token."""
    ada = world.visitor(ip_token="ip-ada-made-up")
    ada.sign_in("ada")
    said = ada.ask(prompt)
    assert said.startswith("event: error")
    texts = [
        said,
        *(
            ada.get(path).text
            for path in ("/", "/config", "/gradio_api/info", "/metrics", "/healthz")
        ),
    ]
    assert world.space.asked(prompt)[0].headers["X-IP-Token"] == "ip-ada-made-up"
    assert not [text for text in texts if NEVER_SHOWN.search(text)]


@pytest.mark.parametrize(
    ("root", "is_told"),
    [
        ("https://maker-space.hf.space/", True),
        ("http://maker-space.hf.space/", False),
        ("https://maker-space.hf.space.evil.example/", False),
        ("https://evilhf.space/", False),
        ("https://huggingface.co/", False),
        ("http://127.0.0.1:7861/", False),
    ],
)
def test_where_an_identity_may_go(root: str, *, is_told: bool) -> None:
    """A visitor's quota or token is handed to a server that isn't Hugging Face's, or in the clear."""
    identity = Identity("hf_ada_made_up", "ip-ada-made-up")
    assert identity.headers(URL(root)) == (
        {"X-HF-Authorization": "Bearer hf_ada_made_up"} if is_told else {}
    )
    assert identity.join_headers(URL(root)) == ({"X-IP-Token": "ip-ada-made-up"} if is_told else {})


def test_a_space_somewhere_else(world: World) -> None:
    """A visitor's quota or account, or the owner's token, is shown to a Space that isn't on Hugging Face."""
    ada = world.visitor(ELSEWHERE, "ip-ada-made-up")
    ada.sign_in("ada")
    assert ada.get(ada.picture("elsewhere a cat")).content.endswith(PNG[33:])
    asked = [*world.space.asked(host="space.example"), *world.space.asked("elsewhere a cat")]
    assert {each.kind for each in asked} == {"config", "info", "join", "data", "file"}
    assert not [each for each in asked if NEVER_SHOWN.search(str(each.headers))]


def test_a_program_that_is_not_on_hugging_face(world: World) -> None:
    """At home, a header that anybody can send is taken for whose quota it is; or visitors use the owner's."""
    ada = world.visitor(AT_HOME, "ip-ada-made-up")
    ada.picture("at home a cat")
    assert not [
        each for each in world.space.asked("at home a cat") if NEVER_SHOWN.search(str(each.headers))
    ]


def test_the_owner_s_token_is_the_owner_s(world: World) -> None:
    """Visitors' pictures are made with the owner's token, or the owner's private Space can't be found with it."""
    world.visitor(ip_token="ip-ada-made-up").picture("not lent")
    owner = f"Bearer {OWNER}"
    assert {headers.get("Authorization") for headers in world.hugging_face.hub_asked} == {owner}
    read = [
        each
        for each in world.space.everything()
        if each.host == "maker-space.hf.space" and not each.session_hash
    ]
    assert {each.headers.get("X-HF-Authorization") for each in read} == {owner}
    asked = world.space.asked("not lent")
    assert told(asked, "X-HF-Authorization") == dict.fromkeys(("join", "data", "file"))
    assert not [each for each in world.space.everything() if "Authorization" in each.headers]


def test_a_token_that_is_lent(world: World) -> None:
    """SD35_LEND_TOKEN has no effect, or takes from those who have signed in what is theirs."""
    ada = world.visitor(LENDING, "ip-ada-made-up")
    ada.log_in("ann", "made-up-password")
    ada.picture("lent")
    owner = f"Bearer {OWNER}"
    assert told(world.space.asked("lent"), "X-HF-Authorization") == dict.fromkeys(
        ("join", "data", "file"), owner
    )
    assert told(world.space.asked("lent"), "X-IP-Token")["join"] is None
    ada.sign_in("ada")
    ada.picture("not needed")
    token = world.hugging_face.tokens_of("ada")[-1]
    own = dict.fromkeys(("join", "data", "file"), f"Bearer {token}")
    assert told(world.space.asked("not needed"), "X-HF-Authorization") == own


def test_cookies_of_the_space(world: World) -> None:
    """What a Space remembers of one visitor in a cookie is sent with another's picture."""
    ada, bob = world.visitor(), world.visitor()
    for number, visitor in enumerate((ada, bob, ada, bob)):
        visitor.picture(f"cookies {number}")
        join, *others = world.space.asked(f"cookies {number}")
        assert "Cookie" not in join.headers
        assert {each.headers["Cookie"] for each in others} == {f"run={join.session_hash}"}


def test_no_public_link_there(world: World) -> None:
    """SD35_SHARE opens a tunnel out of Hugging Face, asks everybody for a login, or ends the program."""
    printed = "".join(world.programs[ELSEWHERE].printed)
    assert "No public link: on Hugging Face this page has one already." in printed
    assert "Password" not in printed
    assert "api.gradio.app" not in world.internet.asked


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (STUDIO, 200),
        (OWN_DOMAIN, 200),
        ("evil.example", 400),
        (f"{STUDIO}.evil.example", 400),
        ("evilhf.space", 400),
        ("hf.space", 400),
    ],
)
def test_its_names(world: World, host: str, status: int) -> None:
    """The page isn't there under its own name, or is under a name that somebody else has led there."""
    assert world.visitor().get("/", Host=host).status_code == status


def test_what_is_offered_to_programs(world: World) -> None:
    """The wiring of the button to sign in is offered as an interface."""
    assert list(world.visitor().get("/gradio_api/info").json()["named_endpoints"]) == [
        "/infer",
        "/generate",
    ]


def test_an_account_s_pictures(world: World) -> None:
    """Who has signed in uses somebody else's quota, or loses the picture to others, or can't have it elsewhere."""
    ada, again, bob, nobody = (
        world.visitor(ip_token=f"ip-{number}-made-up") for number in range(4)
    )
    ada.sign_in("ada")
    again.sign_in("ada")
    bob.sign_in("bob")
    path = ada.picture("signed in a cat")
    asked = world.space.asked("signed in a cat")
    carried = told(asked, "X-HF-Authorization")
    assert set(carried) == {"join", "data", "file"}
    token = (carried["join"] or "").removeprefix("Bearer ")
    assert set(carried.values()) == {f"Bearer {token}"}
    assert world.hugging_face.tokens[token] == "ada"
    assert [visitor.get(path).status_code for visitor in (ada, again, bob, nobody)] == [
        200,
        200,
        404,
        404,
    ]
    assert NEVER_SHOWN.search(str(asked[0].headers))
    shown = [
        {name: value for name, value in each.headers.items() if name.upper() not in CARRIERS}
        for each in asked
    ]
    assert not NEVER_SHOWN.search(str(shown))


CARRIERS: Final = {"X-HF-AUTHORIZATION", "X-IP-TOKEN"}


def test_signing_out(world: World) -> None:
    """After signing out, pictures are still made with, or handed out for, the account."""
    ada = world.visitor()
    ada.sign_in("ada")
    path = ada.picture("before a cat")
    answer = ada.get("/logout?_target_url=/?__theme=dark")
    assert (answer.status_code, answer.url.path, answer.url.query) == (200, "/", b"__theme=dark")
    assert ada.get(path).status_code == 404
    ada.picture("after a cat")
    assert told(world.space.asked("after a cat"), "X-HF-Authorization")["join"] is None


def test_logging_out(world: World) -> None:
    """Where one can sign in besides, “Log out” leaves the browser logged in."""
    ann = world.visitor(LENDING)
    ann.log_in("ann", "made-up-password")
    assert ann.get("/").status_code == 200
    assert ann.get("/logout").status_code == 401


def test_who_thinks_better_of_it(world: World) -> None:
    """Who doesn't sign in after all, at Hugging Face's page, comes back to an error."""
    ada = world.visitor()
    asked = ada.get("/login/huggingface").url.params
    answer = ada.get(f"{asked['redirect_uri']}&error=access_denied&state={asked['state']}")
    assert (answer.status_code, answer.url.path) == (200, "/")


def test_any_page_is_not_who_looks_at_it(world: World) -> None:
    """As any site may embed the page, every site can use the quota of who is signed in, or see what they made."""
    ada = world.visitor()
    ada.sign_in("ada")
    path = ada.picture("one's own a cat")
    foreign = {"Origin": f"https://{ANYBODY}", "Sec-Fetch-Site": "cross-site"}
    assert ada.get(path, **foreign).status_code == 404
    ada.passed_on.update(foreign)
    ada.picture("another site's a cat")
    assert told(world.space.asked("another site's a cat"), "X-HF-Authorization")["join"] is None


def test_a_session_that_is_over(world: World) -> None:
    """Pictures are asked for with a token that is no longer valid, or belong to an account that has left."""
    late, nobody = world.visitor(), world.visitor()
    late.sign_in("late")
    path = late.picture("late a cat")
    assert told(world.space.asked("late a cat"), "X-HF-Authorization")["join"] is None
    assert [visitor.get(path).status_code for visitor in (late, nobody)] == [200, 404]


@pytest.mark.parametrize(
    ("environment", "can_sign_in"),
    [
        ({"SYSTEM": "spaces", "SPACE_ID": "owner/studio", **CLIENT}, True),
        ({"SYSTEM": "spaces", "SPACE_ID": "owner/studio"}, False),
        ({"SPACE_ID": "owner/studio", **CLIENT}, False),
        (CLIENT, False),
    ],
)
def test_where_one_can_sign_in(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, can_sign_in: bool
) -> None:
    """The button is shown where Gradio would let everybody in as who runs the program."""
    for name in ("SYSTEM", "SPACE_ID", *CLIENT):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load([]).can_sign_in is can_sign_in


def test_nobody_signs_in_at_home(world: World) -> None:
    """Off Hugging Face the page offers to sign in, and Gradio would let everybody in as who runs it."""
    ada = world.visitor(AT_HOME)
    assert "Sign in with" not in ada.get("/config").text
    assert ada.get("/login/huggingface").status_code == 404
    assert "Sign in with" in world.visitor().get("/config").text


@pytest.fixture
def page(world: World, browser: Browser) -> Iterator[Page]:
    """A page of a browser on this internet, as Hugging Face's proxy sees it."""
    way: Any = {"proxy": {"server": world.internet.visitors_proxy}, "ignore_https_errors": True}
    context = browser.new_context(extra_http_headers={"X-IP-Token": "ip-browser-made-up"}, **way)
    yield context.new_page()
    context.close()


def test_signing_in_with_a_browser(world: World, page: Page) -> None:
    """The button doesn't sign in, or out again; scripts can read the token; or something of the page isn't there."""
    missing: list[str] = []
    page.on(
        "response",
        lambda response: missing.append(response.url) if response.status >= 400 else None,
    )
    page.goto(f"https://{STUDIO}/?__theme=light")
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    page.get_by_role("link", name="ada").click()
    way_out = page.get_by_role("button", name="Logout (ada)")
    expect(way_out).to_be_visible()
    makes_a_picture(page, "in a browser a cat")
    token = world.hugging_face.tokens_of("ada")[-1]
    asked = world.space.asked("in a browser a cat")
    assert set(told(asked, "X-HF-Authorization").values()) == {f"Bearer {token}"}
    assert told(asked, "X-IP-Token")["join"] == "ip-browser-made-up"
    kept = page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
    )
    assert not NEVER_SHOWN.search(page.content() + kept)
    way_out.click()
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    assert not missing


def test_within_hugging_face_s_own_page(world: World, page: Page) -> None:
    """Where everybody meets a Space, in a frame of huggingface.co, the page isn't shown or makes no picture."""
    page.goto(f"{ISSUER}/spaces/owner/studio")
    makes_a_picture(page.frame_locator("iframe"), "framed a cat")
    assert told(world.space.asked("framed a cat"), "X-IP-Token")["join"] == "ip-browser-made-up"
    policy = world.visitor().get("/").headers
    assert policy["Content-Security-Policy"].endswith("frame-ancestors 'self' *")
    assert "X-Frame-Options" not in policy


def test_within_anybody_s_page(world: World, page: Page) -> None:
    """As an element of another site's page, without cookies, the page makes no picture."""
    page.goto(f"https://{ANYBODY}/blog?space={STUDIO}")
    makes_a_picture(page, "anybody's a cat")
    asked = world.space.asked("anybody's a cat")
    assert set(told(asked, "X-HF-Authorization").values()) == {None}
    assert told(asked, "X-IP-Token")["join"] == "ip-browser-made-up"
