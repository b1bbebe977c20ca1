"""Visitors, logins and limits, attacked over HTTP on a running page."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sd35.core.errors import OwnPageError, SD35Error
from sd35.jobs.limits import UsageLimits
from sd35.jobs.space_connection import ConnectionState, SpaceConfig, SpaceConnector
from sd35.server import stream_limiter
from sd35.server.accounts import CredentialStore, hash_password
from sd35.server.auth import Authenticator
from tests.app_server import CHEAP_HASHER, TEMP_DIR, AppServer, serve_app
from tests.browsers import FORM_VALUES, BrowserSession
from tests.fakes import FakeSpace
from tests.test_readers import COSTLY_TEXTS
from tests.tripwire import open_tripwire

LIMIT_SECONDS = 20


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("users") / "users.txt"


@pytest.fixture(scope="module")
def servers(fake: FakeSpace, users: Path) -> Iterator[dict[str, AppServer]]:
    """Serve the page to everyone, to users with a login, and to one owner."""
    users.write_text("", "utf-8")
    accounts = CredentialStore(
        ["ann:ann's password", "bob:bob's password", "guest:handed out"], hasher=CHEAP_HASHER
    )
    closed = Authenticator(is_private=False, accounts=accounts, shared_logins=frozenset({"guest"}))
    folder = TEMP_DIR / "pictures"
    with ExitStack() as stack:

        def start_server(authenticator: Authenticator, limits: UsageLimits) -> AppServer:
            return stack.enter_context(
                serve_app(
                    fake.address,
                    folder,
                    limits,
                    authenticator,
                )
            )

        yield {
            "open": start_server(
                Authenticator(is_private=False),
                UsageLimits(per_hour=1000, max_queued=3, max_concurrent_per_visitor=1),
            ),
            "closed": start_server(closed, UsageLimits(per_hour=1000)),
            "private": start_server(Authenticator(), UsageLimits()),
        }


@pytest.fixture
def ann(servers: dict[str, AppServer]) -> Iterator[BrowserSession]:
    with BrowserSession(servers["open"].address) as visit:
        yield visit.open()


@pytest.fixture
def bob(servers: dict[str, AppServer]) -> Iterator[BrowserSession]:
    with BrowserSession(servers["open"].address) as visit:
        yield visit.open()


def start_waiting_job(fake: FakeSpace, visit: BrowserSession) -> tuple[str, str]:
    """Start a job that is held at the Space; return the id of a watching event, and the job's."""
    fake.hold()
    _, job_id = visit.submit("wait: a cat")
    event_id = visit.join("watch_jobs", [job_id]).raise_for_status().json()["event_id"]
    for message in visit.messages(event_id):
        if message["msg"] == "process_generating" and fake.run_started.is_set():
            return event_id, job_id
    raise AssertionError("it ended")


def test_image_is_served_to_its_owner_only(
    ann: BrowserSession, bob: BrowserSession, servers: dict[str, AppServer]
) -> None:
    """Other visitors get a 404 for an image's address."""
    image, _ = ann.generate_picture()
    assert ann.http.get(image["url"]).content[8:12] == b"WEBP"
    assert bob.http.get(image["url"]).status_code == 404
    with BrowserSession(servers["open"].address) as stranger:
        assert stranger.http.get(image["url"]).status_code == 404


def test_own_styles_are_shown_and_changed_by_the_local_user_alone(
    ann: BrowserSession, servers: dict[str, AppServer]
) -> None:
    """Visitors of a page over the same library can neither see, use nor change them."""

    def ask(session: BrowserSession, action: str, **payload: object) -> dict[str, Any]:
        question = {"action": action, **payload}
        [text] = session.run("answer_styles", ["a fox", *FORM_VALUES[1:]], question)
        answer: dict[str, Any] = orjson.loads(text)
        return answer

    folder = servers["private"].studio.library.folder
    key = f"own-{'a' * 32}"
    (folder / ".studio" / "styles").mkdir(exist_ok=True)
    (folder / ".studio" / "styles" / f"{key}.webp").write_bytes(b"RIFF")
    new_style = {"name": "<b>Secret", "prompt": "in fog", "thumbnail": key}
    with BrowserSession(servers["private"].address) as owner:
        owner.open()
        assert ask(owner, "restore", **new_style, index=0)["saved"] == "<b>Secret"
        assert "&lt;b&gt;Secret" in ask(owner, "show")["panel"]
        assert owner.http.get(f"/studio/style/{key}").content == b"RIFF"
        assert owner.http.get("/studio/style/..%2Findex").status_code == 404
    assert "Secret" not in ask(ann, "show")["panel"]
    assert "data-new" not in ask(ann, "show")["panel"]
    values = ["a fox", *FORM_VALUES[1:-1], '{"styles": ["<b>secret"]}']
    [outcome, *_] = ann.run("submit", [""], {"submissions": [{"key": "k", "values": values}]})
    assert "no style" in orjson.loads(outcome)[0]["reason"]
    assert ann.http.get(f"/studio/style/{key}").status_code == 404
    text = (folder / "styles.json").read_text("utf-8")
    for action in ("save", "restore", "new", "edit", "delete"):
        assert "owner" in ask(ann, action, **new_style)["error"]
    assert (folder / "styles.json").read_text("utf-8") == text


def test_job_is_controlled_by_its_owner_only(
    ann: BrowserSession, bob: BrowserSession, fake: FakeSpace
) -> None:
    """Other visitors can't watch or cancel a job by its id."""
    _, job_id = start_waiting_job(fake, ann)
    assert "no longer available" in bob.result("watch_jobs", [job_id])[1]
    stop = {"action": "stop", "id": job_id}
    assert "no longer available" in bob.run("run_queue_action", [job_id], stop)[2]
    fake.release()
    assert ann.result("watch_jobs", [job_id])[2] == job_id


def test_session_and_events_belong_to_their_visitor(
    ann: BrowserSession, bob: BrowserSession, fake: FakeSpace
) -> None:
    """With a session's hash or an event's id, others can't read, cancel or submit anything."""
    event_id, job_id = start_waiting_job(fake, ann)
    stream = {"session_hash": ann.session_hash}
    event = {"fn_index": 0, "event_id": event_id}
    assert bob.http.get("/gradio_api/queue/data", params=stream).status_code == 403
    assert bob.http.get(f"/gradio_api/heartbeat/{ann.session_hash}").status_code == 403
    assert bob.http.get(f"/gradio_api/call/_watch/{event_id}").status_code == 403
    assert bob.http.post("/gradio_api/cancel", json=event | stream).status_code == 403
    assert (
        bob.http.post(
            "/gradio_api/cancel", json=event | {"session_hash": bob.session_hash}
        ).status_code
        == 403
    )
    assert bob.join("watch_jobs", [""], session_hash=ann.session_hash).status_code == 403
    stop = {
        "data": [job_id],
        "fn_index": bob.find_fn_index("run_queue_action"),
        "session_hash": ann.session_hash,
    }
    assert bob.http.post("/gradio_api/run/_stop", json=stop).status_code == 403
    assert not fake.finished_runs.acquire(blocking=False) or fake.run_started.is_set(), (
        "it still runs"
    )
    for path in (f"call/_watch/{event_id}", f"heartbeat/{ann.session_hash}"):
        assert bob.http.get(f"/gradio_api/{path}?session_hash=foo").status_code == 403, (
            "another name beside it"
        )
    plain = orjson.dumps(event | stream)
    malformed_bodies = [
        plain[:-1] + b', "x": NaN}',
        plain.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + plain,
    ]
    for body in (*malformed_bodies, plain[:-1] + b', "x": "\\ud800"}'):
        answer = bob.http.post(
            "/gradio_api/cancel", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, "what one reader refuses, and another takes"
    fake.release()
    assert ann.result("watch_jobs", [job_id])[0]["mime_type"] == "image/webp"


def test_program_without_cookies_gets_its_images(
    servers: dict[str, AppServer], ann: BrowserSession
) -> None:
    """The random address of an image is its key, and can't be guessed."""
    body = {"data": ["a cat", "", 7, False, 512, 512, 4.5, 20]}
    with BrowserSession(servers["open"].address) as program:
        event_id = (
            program.http.post("/gradio_api/call/infer", json=body)
            .raise_for_status()
            .json()["event_id"]
        )
        response_text = program.http.get(f"/gradio_api/call/infer/{event_id}").text
        urls = re.findall(r'"url": "([^"]+)"', response_text)
        assert "event: complete" in response_text
        assert all(program.http.get(url).status_code == 200 for url in urls)
    guessed_url = re.sub(r"sd35/[^/]+/", "sd35/AAAAAAAAAAAAAAAAAAAAAA/", urls[-1])
    assert ann.http.get(guessed_url).status_code == 404


def test_page_without_cookies_makes_one_image_at_a_time(servers: dict[str, AppServer]) -> None:
    """A visitor whose browser keeps no cookie has no queue in which a set could be shown."""
    values = [*FORM_VALUES[:-1], '{"count": 2}']
    with BrowserSession(servers["open"].address) as visit:
        plan = visit.run("plan", values, {"action": "plan", "batch": values[-1]})[0]
        event = {"submissions": [{"key": "a" * 32, "values": values}]}
        [outcome] = orjson.loads(visit.run("submit", [""], event)[0])
        assert not visit.http.cookies
    assert "Without cookies" in plan
    assert outcome["status"] == "rejected"
    assert "Without cookies" in outcome["reason"]


def test_api_call_with_a_cookie_belongs_to_its_visitor(
    ann: BrowserSession, bob: BrowserSession
) -> None:
    """An image that a script generates with a visitor's cookie is served to that visitor only."""
    event_id = ann.http.post(
        "/gradio_api/call/infer", json={"data": ["a cat", "", 7, False, 512, 512, 4.5, 20]}
    ).json()
    response_text = ann.http.get(f"/gradio_api/call/infer/{event_id['event_id']}").text
    url = re.findall(r'"url": "([^"]+)"', response_text)[-1]
    assert ann.http.get(url).status_code == 200
    assert bob.http.get(url).status_code == 404


FORBIDDEN_PATHS = [
    "../../../etc/passwd",
    "/etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cetc%5cpasswd",
    "C:%5cWindows%5cwin.ini",
    "file:///etc/passwd",
    "/proc/self/environ",
    "app.py",
    "sd35/../app.py",
    "SERVED/pictures",
    "SERVED/../../etc/passwd",
    "sd35//",
    "%00",
]


@pytest.mark.parametrize("path", FORBIDDEN_PATHS)
@pytest.mark.parametrize("server_name", ["open", "private"])
def test_no_file_is_served_by_its_path(
    servers: dict[str, AppServer], server_name: str, path: str
) -> None:
    """Paths of this machine, in any encoding, are not found."""
    path = path.replace("SERVED", str(TEMP_DIR))
    answer = httpx.get(
        f"{servers[server_name].address}gradio_api/file={path}", timeout=LIMIT_SECONDS
    )
    assert answer.status_code == 404
    assert "root:" not in answer.text


def find_saved_file(name: str) -> Path | None:
    files = (file for file in TEMP_DIR.rglob(name) if ".studio" not in file.parts)
    return next(files, None)


def test_symlinks_among_images_are_not_served(
    ann: BrowserSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that leads out of the folder is not followed."""
    monkeypatch.setattr("sd35.jobs.results.FETCH_SECONDS", 0.1)
    # Another visitor's image of the same second has the same name, unless its prompt differs.
    image, _ = ann.generate_picture("a linked cat")
    link = TEMP_DIR / "pictures" / "link.png"
    link.symlink_to("/etc/passwd")
    directory_url = image["url"].rpartition("/")[0]
    for path in (
        f"{directory_url}/link.png",
        f"{directory_url}/..%2flink.png",
        f"/gradio_api/file={link}",
    ):
        assert ann.http.get(path).status_code == 404
    link.unlink()
    # An image is shown before it is saved, and served from memory for a moment.
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (file := find_saved_file(image["orig_name"])):
        assert time.monotonic() < deadline
    file.unlink()
    file.symlink_to("/etc/passwd")
    while ann.http.get(image["url"]).status_code != 404:
        assert time.monotonic() < deadline
    file.unlink()


def test_browser_secret_stays_in_its_cookie(ann: BrowserSession) -> None:
    """Scripts can't read the secret, and no answer repeats it."""
    answer = httpx.get(str(ann.http.base_url), timeout=LIMIT_SECONDS)
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        r"sd35-browser=[\w-]{43}; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax", cookie
    )
    secret = ann.http.cookies["sd35-browser"]
    image, job_id = ann.generate_picture()
    assert secret not in ann.http.get("/").text + ann.http.get("/config").text + str(image) + job_id
    assert "set-cookie" not in ann.http.get("/").headers, "who has one keeps it"
    secure = httpx.get(
        str(ann.http.base_url), headers={"X-Forwarded-Proto": "https"}, timeout=LIMIT_SECONDS
    )
    assert re.fullmatch(
        r"__Host-sd35-browser=[\w-]{43}; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure",
        secure.headers["set-cookie"],
    ), "a server of the same domain can't set it"


@pytest.mark.parametrize("secret", ["", "short", "x" * 5000, "a b", '"', "'; DROP TABLE"])
def test_implausible_secrets_are_ignored(servers: dict[str, AppServer], secret: str) -> None:
    """A made-up cookie doesn't break the page."""
    with BrowserSession(servers["open"].address, {"Cookie": f"sd35-browser={secret}"}) as visit:
        assert visit.http.get("/").status_code == 200


def test_private_page_has_one_owner(servers: dict[str, AppServer]) -> None:
    """On one's own machine, all browsers share everything and get no cookie."""
    with (
        BrowserSession(servers["private"].address) as first_browser,
        BrowserSession(servers["private"].address) as second_browser,
    ):
        assert "set-cookie" not in first_browser.http.get("/").headers
        image, job_id = first_browser.generate_picture()
        assert second_browser.http.get(image["url"]).status_code == 200
        assert second_browser.result("watch_jobs", [job_id])[0]["url"] == image["url"]


def test_what_is_remembered_belongs_to_its_owner(
    ann: BrowserSession, bob: BrowserSession, servers: dict[str, AppServer]
) -> None:
    """Nobody sees another one's prompts, words, settings or presets; without a cookie, none."""

    def ask(visit: BrowserSession, action: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401
        (text,) = visit.run("answer_question", [], {"action": action, **data})
        answer: dict[str, Any] = orjson.loads(text)
        return answer

    _, job_id = ann.generate_picture("secret garden of ann")
    assert [used["picture_id"] for used in ask(ann, "search", text="gard")["prompts"]] == [job_id]
    assert "garden" in ask(ann, "phrases")["phrases"]
    presets = [{"name": "x", "settings": {}}]
    with (
        BrowserSession(servers["open"].address) as stranger,
        BrowserSession(servers["private"].address) as owner,
    ):
        for visit in (bob, stranger, owner):
            assert "garden" not in str([ask(visit, "search"), ask(visit, "phrases")["phrases"]])
            fields = visit.run("recall", FORM_VALUES, {"id": job_id})
            assert "No image yet" in fields[-2]
            assert "garden" not in str(fields)
        assert ask(stranger, "search")["is_anonymous"]
        for visit in (ann, bob, stranger):
            assert ask(visit, "presets") == {"is_in_browser": True}
            assert ask(visit, "store-presets", presets=presets, version="") == {
                "is_in_browser": True
            }
        assert ask(owner, "presets")["presets"] == []
        assert ask(owner, "store-presets", presets=presets, version="")["presets"] == presets
        forged_values: list[dict[str, Any]] = [{"text": 7}, {"limit": 1e300}, {"offset": "-5"}]
        for forged in forged_values:
            assert ask(owner, "search", **forged).keys() == {"prompts", "has_more"}
        assert ask(owner, "unknown") == {}
    assert ann.run("recall", FORM_VALUES, {})[0] == "secret garden of ann"
    library = servers["open"].studio.library
    library.trash([job_id], None)
    for visit, is_trashed in ((bob, True), (ann, False)):
        ask(visit, "restore", ids=[job_id, 7, None])
        entry = library.get(job_id)
        assert entry is not None
        assert entry.is_trashed is is_trashed


# Logins

PRIVATE_ROUTES = [
    ("GET", "/config"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/queue/data?session_hash=x"),
    ("GET", "/gradio_api/heartbeat/x"),
    ("GET", "/gradio_api/call/infer/x"),
    ("GET", "/gradio_api/file=/sd35/a/b.png"),
    ("GET", "/metrics"),
    ("GET", "/logout"),
    ("GET", "/gradio_api/app_id"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/call/infer"),
    ("POST", "/gradio_api/call/v2/generate"),
    ("POST", "/gradio_api/run/_stop"),
    ("POST", "/gradio_api/cancel"),
]


@pytest.mark.parametrize(("method", "path"), PRIVATE_ROUTES)
def test_private_routes_need_a_login(servers: dict[str, AppServer], method: str, path: str) -> None:
    """Without the login, every route answers with status 401."""
    body = {"data": [], "session_hash": "x", "fn_index": 0, "event_id": "x"}
    answer = httpx.request(
        method, servers["closed"].address.rstrip("/") + path, json=body, timeout=LIMIT_SECONDS
    )
    assert answer.status_code == 401


def test_login(servers: dict[str, AppServer]) -> None:
    """The right login opens the page to browsers, and Basic credentials the metrics to programs."""
    with BrowserSession(servers["closed"].address) as visit:
        authenticator = visit.http.get("/")
        assert authenticator.status_code == 401
        assert 'name="password"' in authenticator.text
        assert visit.log_in("ann", "bob's password").status_code == 400
        assert visit.log_in("nobody", "x").status_code == 400
        assert visit.http.get("/config").status_code == 401
        assert visit.log_in("ann", "ann's password").status_code == 200
        assert "Stability AI" in visit.http.get("/config").text
        assert visit.http.get("/").status_code == 200
    assert httpx.get(servers["closed"].address + "healthz", timeout=LIMIT_SECONDS).json() == {
        "status": "ok"
    }
    metrics = servers["closed"].address + "metrics"
    assert (
        httpx.get(metrics, auth=("ann", "ann's password"), timeout=LIMIT_SECONDS).status_code == 200
    )
    assert httpx.get(metrics, auth=("ann", "wrong"), timeout=LIMIT_SECONDS).status_code == 401
    assert (
        httpx.get(metrics, headers={"Authorization": "Basic !"}, timeout=LIMIT_SECONDS).status_code
        == 401
    )


def log_in_browser(stack: ExitStack, server: AppServer, name: str, password: str) -> BrowserSession:
    visit = stack.enter_context(BrowserSession(server.address))
    visit.log_in(name, password).raise_for_status()
    return visit.open()


def test_login_has_its_images_in_every_browser(servers: dict[str, AppServer]) -> None:
    """A user's images are there on every device, for nobody else."""
    server = servers["closed"]
    with ExitStack() as stack:
        ann = log_in_browser(stack, server, "ann", "ann's password")
        phone = log_in_browser(stack, server, "Ann", "ann's password")
        bob = log_in_browser(stack, server, "bob", "bob's password")
        image, job_id = ann.generate_picture()
        assert phone.http.get(image["url"]).status_code == 200
        assert phone.result("watch_jobs", [job_id])[2] == job_id
        assert bob.http.get(image["url"]).status_code == 404
        assert "no longer available" in bob.result("watch_jobs", [job_id])[1]
        assert "ann" in ann.run("visitor_info", [])[0]


def test_page_from_memory_is_gradios_own(servers: dict[str, AppServer]) -> None:
    """A page that is kept names its own visitor, and depends on no header.

    If this fails after an update of Gradio, look what its page depends on now.
    """
    own_pages = []
    with ExitStack() as stack:
        for name in ("ann", "bob", "Ann"):
            visit = log_in_browser(stack, servers["closed"], name, f"{name.lower()}'s password")
            # With a parameter of Gradio's, the page is made anew.
            own_pages.append(visit.http.get("/?deep_link=").text)
            assert f'"username":"{name}"' in own_pages[-1]
            for headers in (
                {"Accept-Encoding": "identity", "Host": "localhost"},
                {"Accept-Encoding": "gzip", "Accept-Language": "fr", "User-Agent": "curl"},
                {"X-Forwarded-Host": "127.0.0.2:1", "X-Forwarded-Proto": "https"},
            ):
                assert visit.http.get("/", headers=headers).text == own_pages[-1]
                assert visit.http.get("/?__theme=dark", headers=headers).text == own_pages[-1]
    assert len(set(own_pages)) == 3


def test_page_from_memory_changes_with_the_space(servers: dict[str, AppServer]) -> None:
    """As soon as another Space is connected, or none, new pages say so."""
    address, studio = servers["private"].address, servers["private"].studio
    with BrowserSession(address) as visit:
        former_page = visit.open().http.get("/").text
        try:
            publish = studio.space_connector.on_resolved
            publish(ConnectionState("another", error=SD35Error("The Space is asleep.")))
            page = visit.http.get("/").text
            assert page == visit.http.get("/?deep_link=").text
            assert page != former_page
        finally:
            publish(studio.connection.value)


def test_shared_login_has_separate_browsers(servers: dict[str, AppServer]) -> None:
    """Those who use the login of a public link don't see each other's images."""
    with ExitStack() as stack:
        first_browser = log_in_browser(stack, servers["closed"], "guest", "handed out")
        second_browser = log_in_browser(stack, servers["closed"], "guest", "handed out")
        image, _ = first_browser.generate_picture()
        assert first_browser.http.get(image["url"]).status_code == 200
        assert second_browser.http.get(image["url"]).status_code == 404


def test_logout_ends_one_session(servers: dict[str, AppServer]) -> None:
    """Other sessions of the same login go on, and other sites can't log anybody out."""
    with ExitStack() as stack:
        first_browser = log_in_browser(stack, servers["closed"], "guest", "handed out")
        second_browser = log_in_browser(stack, servers["closed"], "guest", "handed out")
        redirect_response = first_browser.http.get(
            "/logout", headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert redirect_response.status_code == 403
        first_browser.http.get("/logout?all_session=true")
        assert first_browser.http.get("/config").status_code == 401
        assert second_browser.http.get("/config").status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["open", "closed", "private"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"])  # noqa: S104
async def test_page_is_not_its_own_space(
    servers: dict[str, AppServer], name: str, host: str
) -> None:
    """Under whichever address it is named, and also if it requires a login."""

    async def fail_demo(*_: object) -> str:
        raise AssertionError("it falls back to the demo Space")

    address = servers[name].address.replace("127.0.0.1", host)
    connector = SpaceConnector(SpaceConfig(address), fail_demo)
    connector.own_page = servers[name].studio.space_connector.own_page
    try:
        with pytest.raises(OwnPageError, match="is this page itself"):
            await connector.get()
    finally:
        await connector.aclose()


def test_removed_user_is_logged_out_at_once(fake: FakeSpace, tmp_path: Path) -> None:
    """Sessions and HTTP Basic end when the user is removed or gets another password."""
    file = tmp_path / "users.txt"
    file.write_text(f"eve:{hash_password('eve was here', CHEAP_HASHER)}\n", "utf-8")
    authenticator = Authenticator(
        is_private=False, accounts=CredentialStore(password_file=file, hasher=CHEAP_HASHER)
    )
    with (
        serve_app(fake.address, TEMP_DIR, authenticator=authenticator) as server,
        ExitStack() as stack,
    ):

        def metrics_status(password: str) -> int:
            login = ("eve", password)
            url = f"{server.address}metrics"
            return httpx.get(url, auth=login, timeout=LIMIT_SECONDS).status_code

        eve = log_in_browser(stack, server, "eve", "eve was here")
        assert eve.http.get("/config").status_code == 200
        hoarder = stack.enter_context(BrowserSession(server.address))
        hoarder.log_in("eve", "eve was here").raise_for_status()
        assert metrics_status("eve was here") == 200
        file.write_text(f"eve:{hash_password('another one', CHEAP_HASHER)}\n", "utf-8")
        assert eve.http.get("/config").status_code == 401, "with another password, too"
        assert metrics_status("eve was here") == 401
        second_browser = log_in_browser(stack, server, "eve", "another one")
        assert hoarder.http.get("/config").status_code == 401, "a session that wasn't used before"
        assert metrics_status("another one") == 200
        file.write_text("# nobody\n", "utf-8")
        assert second_browser.http.get("/config").status_code == 401
        assert metrics_status("another one") == 401
        file.write_text(f"eve:{hash_password('eve was here', CHEAP_HASHER)}\n", "utf-8")
        assert eve.http.get("/config").status_code == 401, "an old cookie isn't one of somebody new"


def test_login_attempts_are_throttled(fake: FakeSpace) -> None:
    """After five failures, that address has to wait, even with the right password."""
    accounts = CredentialStore(["ann:ann's password", "bob:bob's password"], hasher=CHEAP_HASHER)
    authenticator = Authenticator(is_private=False, accounts=accounts)
    with serve_app(fake.address, TEMP_DIR, authenticator=authenticator) as server:
        with BrowserSession(
            server.address, {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
        ) as guesser:
            answers = [guesser.log_in("ann", f"guess {index}") for index in range(6)]
            assert [answer.status_code for answer in answers] == [400] * 5 + [429]
            assert "Too many attempts" in answers[-1].json()["detail"]
            assert int(answers[-1].headers["retry-after"]) >= 1
            assert guesser.log_in("ann", "ann's password").status_code == 429, "the right one, too"
        with BrowserSession(server.address, {"X-Forwarded-For": "198.51.100.8"}) as ann:
            assert ann.log_in("ann", "ann's password").status_code == 200, (
                "from elsewhere she still gets in"
            )
        with BrowserSession(server.address) as bob, BrowserSession(server.address) as guesser:
            bob.log_in("bob", "bob's password").raise_for_status()
            bob.open().open()
            statuses = [guesser.log_in("bob", f"guess {index}").status_code for index in range(5)]
            guesser.http.headers["X-Forwarded-For"] = "198.51.100.9"
            statuses.append(guesser.log_in("bob", "guess 5").status_code)
            assert statuses == [400] * 5 + [429], "five, too, where no address is known"
            bob.http.get("/logout")
            assert bob.log_in("bob", "bob's password").status_code == 200, "the browser is known"


def test_only_the_owner_of_a_private_page_may_change_the_space(
    servers: dict[str, AppServer], ann: BrowserSession
) -> None:
    """A page that others reach shows no choice, and refuses to use another Space."""
    service = servers["open"].studio
    target = service.connection.value.target
    (panel,) = ann.run("list_spaces", [])
    assert "chosen by who runs it" in panel
    assert "data-target" not in panel
    assert "<form" not in panel
    for text in ("demo", "local:large", "http://127.0.0.1:1/", target, None):
        error, *_ = ann.run("choose_space", [], {"target": text})
        assert error == "The Space of this page can't be changed here."
        assert service.connection.value.target == target
    with BrowserSession(servers["private"].address) as owner:
        assert "data-target" in owner.open().run("list_spaces", [])[0]
        for invalid in ("", "local:/etc", "local:owner/name", "file:///etc", "a b", ["demo"], None):
            error, *_ = owner.run("choose_space", [], {"target": invalid})
            assert "Use owner/name" in error
        error, *_ = owner.run("choose_space", [], {"target": "http://127.0.0.1:1/"})
        assert "Can't reach" in error
        assert servers["private"].studio.connection.value.target == target


# Limits


def test_page_shows_the_remaining_quota_and_enforces_it(fake: FakeSpace) -> None:
    """The page says what is left, and page and API refuse more than that."""
    limits = UsageLimits(
        per_hour=2, total_per_hour=100, max_queued=3, max_concurrent=1, max_concurrent_per_visitor=1
    )
    fake.release()
    with serve_app(
        fake.address,
        TEMP_DIR,
        limits,
        Authenticator(is_private=False),
    ) as server:
        with (
            BrowserSession(server.address) as visit,
            BrowserSession(server.address) as second_browser,
        ):
            visit.open(), second_browser.open()
            assert "2 of 2 images left" in visit.run("visitor_info", [])[1]
            visit.generate_picture()
            assert "1 of 2 images left" in visit.run("visitor_info", [])[1]
            visit.result("watch_jobs", [visit.submit("error: no")[1]])
            reason = visit.submit()[0]["reason"]
            assert "2 images per hour" in reason
            assert "Try again at <time" in reason
            body = {"data": ["a cat", "", 7, False, 512, 512, 4.5, 20]}
            event_id = visit.http.post("/gradio_api/call/infer", json=body).json()["event_id"]
            assert "2 images per hour" in visit.http.get(f"/gradio_api/call/infer/{event_id}").text
            assert second_browser.generate_picture()[0]["url"], "another's hour is another's"


def test_streams_per_visitor_are_limited(
    ann: BrowserSession, bob: BrowserSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One visitor can't use up the streams of all."""
    monkeypatch.setattr(stream_limiter, "MAX_STREAMS_PER_VISITOR", 3)
    with ExitStack() as stack:
        statuses = [
            stack.enter_context(
                ann.http.stream("GET", f"/gradio_api/heartbeat/{index}")
            ).status_code
            for index in range(5)
        ]
        assert statuses == [200, 200, 200, 503, 503]
        assert (
            stack.enter_context(bob.http.stream("GET", "/gradio_api/heartbeat/x")).status_code
            == 200
        )
        # A sheet may take as long.
        assert ann.http.get("/studio/sheet/s.png").status_code == 503
        assert bob.http.get("/studio/sheet/s.png").status_code == 404


def test_streams_per_address_are_limited(
    servers: dict[str, AppServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that makes up a new cookie for each stream can't, either."""
    monkeypatch.setattr(stream_limiter, "MAX_STREAMS_PER_IP", 3)
    with ExitStack() as stack:

        def open_stream(index: int, client_ip: str) -> int:
            headers = {"Cookie": f"sd35-browser={index:040}", "X-Forwarded-For": client_ip}
            visit = stack.enter_context(BrowserSession(servers["open"].address, headers))
            return stack.enter_context(
                visit.http.stream("GET", f"/gradio_api/heartbeat/n{index}")
            ).status_code

        assert [open_stream(number, "198.51.100.7") for number in range(5)] == [
            200,
            200,
            200,
            503,
            503,
        ]
        assert open_stream(6, "198.51.100.8") == 200


def test_requests_per_visitor_are_limited(
    servers: dict[str, AppServer], ann: BrowserSession
) -> None:
    """A flood of requests is refused, long after a page's own requests would have stopped."""
    with BrowserSession(servers["open"].address) as visit:
        visit.open()
        body = {"session_hash": "x", "event_id": "x", "fn_index": 0}
        statuses = [
            visit.http.post("/gradio_api/cancel", json=body).status_code for _ in range(400)
        ]
    assert 429 in statuses
    assert statuses.index(429) >= 100, "not before a page would ever ask so much"
    assert ann.http.post("/gradio_api/cancel", json=body | {"session_hash": "y"}).status_code == 200


def test_no_value_of_a_call_is_fetched(servers: dict[str, AppServer]) -> None:
    """Whatever looks like a file is refused in every call: Gradio would download it."""
    headers = {"X-Forwarded-For": "198.51.100.9"}
    with open_tripwire() as tripwire, BrowserSession(servers["private"].address, headers) as visit:
        watch_index = visit.find_fn_index("watch_jobs")
        stop_index = visit.find_fn_index("run_queue_action")
        stop = {"data": ["FILE"], "fn_index": stop_index, "session_hash": "s"}
        event = {
            "data": [""],
            "event_data": {"action": "select", "any": "FILE"},
            "fn_index": visit.find_fn_index("run_queue_action"),
        }
        calls = {
            "queue/join": {"data": ["FILE"], "fn_index": watch_index, "session_hash": "s"},
            "run/cancel": stop,
            "run/run_queue_action": event,
        }
        data = ["", "", 7, False, 512, 512, 4.5, 20]
        for path, status in tripwire.attack(visit.http, calls, "infer", data):
            assert 400 <= status < 500, path
        # A text that a function parses, and returns in parts.
        form = [*FORM_VALUES[:5], tripwire.file(), {"__type__": "update", "value": 1}, 7, False, ""]
        fields = visit.result("undo_import", [orjson.dumps(form).decode()])
        assert fields[:10] == [{"__type__": "update"}] * 10
        assert not tripwire.requested_paths


def test_lists_of_the_owner_are_closed_to_visitors(
    servers: dict[str, AppServer], ann: BrowserSession
) -> None:
    """A visitor's prompts can neither use nor find out the owner's wildcards and styles."""
    folder = servers["private"].studio.library.folder
    (folder / "wildcards").mkdir()
    (folder / "wildcards" / "secrets.txt").write_text("treasure\n")
    (folder / "styles.json").write_text('{"styles": [{"name": "Mine", "prompt": "treasure"}]}')

    def plan(visit: BrowserSession, prompt: str, batch: str = "") -> str:
        event = {"action": "plan", "request_id": 1, "batch": batch}
        text: str = visit.run("plan", [prompt, *FORM_VALUES[1:]], event)[0]
        return text

    style = '{"styles": ["Mine"]}'
    with BrowserSession(servers["private"].address) as owner:
        owner.open()
        assert "a treasure" in plan(owner, "a __secrets__")
        assert "a fox, treasure" in plan(owner, "a fox", style)
    for text in (plan(ann, "a __secrets__"), plan(ann, "a __secret*__"), plan(ann, "a", style)):
        assert "treasure" not in text
        assert '"image_count":0' in text
    assert "__secrets__" not in plan(ann, "a __secret__")
    outcome, _ = ann.submit("a __secrets__")
    assert outcome["status"] == "invalid"


@pytest.mark.parametrize(
    ("event_data", "status"),
    [
        ("[" * 200 + "]" * 200, 422),
        (f"[{'[],' * 100_000}[]]", 422),
        (f'{{"ids": [{"7," * 2000}7]}}', 200),
    ],
    ids=["deep", "wide", "of the page"],
)
def test_large_events_are_refused(ann: BrowserSession, event_data: str, status: int) -> None:
    """Events that are too deep or too wide don't reach Gradio, which would walk through them."""
    fn_index = ann.find_fn_index("run_queue_action")
    body = f'{{"data": [""], "fn_index": {fn_index}, "event_data": {event_data}}}'
    headers = {"Content-Type": "application/json"}
    answer = ann.http.post("/gradio_api/run/cancel", content=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{", b'{"session_hash": 7}', b'{"data": {}}', b"\xff" * 64]
)
def test_malformed_bodies_are_refused(ann: BrowserSession, content: bytes) -> None:
    """Invalid bodies are answered with a status, not with internals."""
    headers = {"Content-Type": "application/json"}
    for path in ("queue/join", "call/infer", "cancel", "run/_stop"):
        answer = ann.http.post(f"/gradio_api/{path}", content=content, headers=headers)
        assert answer.status_code in {400, 404, 422}
        assert "object at 0x" not in answer.text
        assert "Traceback" not in answer.text
        assert "site-packages" not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("queue/join", {"fn_index": -1, "data": []}, 404),
        ("queue/join", {"fn_index": 10**9, "data": []}, 404),
        (
            "queue/join",
            {"fn_index": 0, "data": ["\x1b[2J\nERROR sd35: forged"]},
            422,
        ),
        ("call/infer", {"data": ["forged"] * 7}, 422),
        ("call/nothing", {"data": []}, 404),
        ("call/v2/nothing", {"prompt": "a cat"}, 404),
        ("run/nothing", {"data": []}, 404),
    ],
)
def test_invalid_calls_leave_no_log_entries(
    ann: BrowserSession,
    capfd: pytest.CaptureFixture[str],
    path: str,
    body: dict[str, object],
    status: int,
) -> None:
    """Strangers can neither write lines of their own into the log nor fill it with tracebacks."""
    body |= {"session_hash": ann.session_hash}
    assert ann.http.post(f"/gradio_api/{path}", json=body).status_code == status
    printed = "".join(capfd.readouterr())
    assert "forged" not in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("headers", "expected_root"),
    [
        ({"Host": "10.0.0.1"}, "http://10.0.0.1"),
        (
            {"Host": "10.0.0.1", "X-Page-Address": "https://10.0.0.2:8443/a/"},
            "https://10.0.0.2:8443/a",
        ),
        ({"Host": "10.0.0.1", "X-Forwarded-Port": "8080"}, "http://10.0.0.1:8080"),
        (
            {
                "X-Forwarded-Host": "10.0.0.1",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Port": "443",
            },
            "https://10.0.0.1",
        ),
        ({"Host": "10.0.0.1:80", "X-Forwarded-Prefix": "/a/b/"}, "http://10.0.0.1/a/b"),
        (
            {"Host": "10.0.0.1", "X-Forwarded-Prefix": "/'", "X-Forwarded-Port": "x"},
            "http://10.0.0.1",
        ),
    ],
)
def test_addresses_are_those_of_the_request(
    ann: BrowserSession, headers: dict[str, str], expected_root: str
) -> None:
    """Nobody gets an address from another visitor's request; the page's own is relative."""
    ann.http.get("/gradio_api/info", headers={"Host": "10.6.6.6"})
    for path in ("/gradio_api/info", "/gradio_api/info?page=x", "/config"):
        text = ann.http.get(path, headers=headers).text
        assert f'"{expected_root}' in text.replace("\\", "")
        assert "10.6.6.6" not in text
    assert '"root":"."' in ann.http.get("/", headers=headers).text


def test_metrics_contain_no_prompts_or_names(ann: BrowserSession) -> None:
    """The metrics count jobs, and say nothing about visitors."""
    ann.generate_picture("a very private wish")
    text = ann.http.get("/metrics").text
    assert re.search(r'sd35_jobs_ended_total\{outcome="completed"\} [1-9]', text)
    assert re.search(r"sd35_first_preview_seconds_count [1-9]", text)
    assert re.search(r"sd35_picture_bytes_total [1-9]", text)
    assert "private" not in text
    assert ann.http.cookies["sd35-browser"] not in text


def reset_peak_memory() -> int:
    """Forget the process's peak of memory, and return what it uses now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return read_peak_memory()


def read_peak_memory() -> int:
    """Return the most memory that the process has used since the reset, in bytes."""
    [kib] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return int(kib) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="/proc; `tracemalloc` takes five times as long")
def test_costly_images_cost_others_nothing(ann: BrowserSession, bob: BrowserSession) -> None:
    """Images whose texts would take gigabytes to join, or hours to walk through, are given up."""
    listener = "import_dropped_file"
    events = [
        {"texts": {name: orjson.dumps(value).decode() for name, value in texts.items()}}
        for texts in COSTLY_TEXTS.values()
    ]
    sent_events = [event for event in events if len(orjson.dumps(event)) < 1_000_000]
    assert len(sent_events) >= 7
    used_bytes = reset_peak_memory()
    for event in sent_events:
        ann.join(listener, FORM_VALUES, event_data=event).raise_for_status()
    fields = bob.result(listener, FORM_VALUES, event_data={"texts": {"parameters": "a fox"}})
    with ann.http.stream(
        "GET", "/gradio_api/queue/data", params={"session_hash": ann.session_hash}
    ) as stream:
        results = [line for line in stream.iter_lines() if '"process_completed"' in line]
    peak_bytes = read_peak_memory()
    assert len(results) == len(sent_events)
    assert all('"success":true' in result for result in results)
    assert fields[0] == "a fox"
    assert peak_bytes - used_bytes < 64 << 20
