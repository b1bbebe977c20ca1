"""The page inside another site, behind a reverse proxy, and shared by two browsers."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from sd35.jobs.limits import UsageLimits
from sd35.server.accounts import CredentialStore
from sd35.server.auth import Authenticator
from sd35.server.launch import free_port
from tests.app_server import CHEAP_HASHER, TEMP_DIR, AppServer, serve_app

# `browser` is a fixture.
from tests.chromium import browser, count_previews, generate_picture, open_page  # noqa: F401
from tests.fakes import FakeSpace

DOCUMENTATION = (Path(__file__).parent.parent / "docs" / "sharing-and-hosting.md").read_text(
    encoding="utf-8"
)

pytestmark = pytest.mark.embedded

# What the documentation tells other sites to embed.
SNIPPETS = dict(
    zip(["frame", "app"], re.findall(r"```html\n(.*?)```", DOCUMENTATION, re.DOTALL), strict=True)
)


class BlogHandler(BaseHTTPRequestHandler):
    """Pages of another site, `/frame` and `/app`; their query goes to the embedded page."""

    studio = ""

    def do_GET(self) -> None:
        """Answer with a page around the documentation's snippet."""
        kind, _, query = self.path.strip("/").partition("?")
        snippet = SNIPPETS.get(kind, "").replace("https://YOU-sd35-studio.hf.space", self.studio)
        snippet = snippet.replace(f'src="{self.studio}"', f'src="{self.studio}/?{query}"')
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><body><h1>A blog</h1>{snippet}</body>".encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def fake_space() -> Iterator[FakeSpace]:
    """Serve a Space that can be held."""
    fake = FakeSpace(is_generator=True)
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def blog(fake_space: FakeSpace) -> Iterator[str]:
    """Serve a site that may embed the page, and the page on a site of its own (`localhost`)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BlogHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    authenticator = Authenticator(is_private=False, is_embedded=True)
    with serve_app(
        fake_space.address,
        TEMP_DIR / "pictures",
        authenticator=authenticator,
        frame_ancestors=(address,),
    ) as app_server:
        BlogHandler.studio = app_server.address.rstrip("/").replace("127.0.0.1", "localhost")
        yield address
    server.shutdown()


@pytest.fixture
def visitor_page(browser: Browser) -> Iterator[Page]:
    """Open a page of a new visitor, whose scripts may not fail, for example at blocked storage."""
    page = open_browser_page(browser)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.context.close()
    assert not errors


def open_browser_page(browser: Browser, width: int = 1360) -> Page:
    return browser.new_context(viewport={"width": width, "height": 1000}).new_page()


def test_page_works_in_a_frame(visitor_page: Page, blog: str) -> None:
    """In another site's frame the page generates, fits, and follows the theme in its address."""
    page = visitor_page
    body = page.frame_locator("iframe").locator("body")
    page.goto(f"{blog}/frame?__theme=dark")
    generate_picture(page.frame_locator("iframe"))
    assert body.evaluate("body => body.classList.contains('dark')")
    cookies = [cookie["name"] for cookie in page.context.cookies() if "partitionKey" in cookie]
    assert cookies == ["__Host-sd35-browser"]
    for width in (1360, 390):
        page.set_viewport_size({"width": width, "height": 1000})
        assert body.evaluate("body => body.scrollWidth <= innerWidth"), "something overflows"
    page.goto(f"{blog}/frame?__theme=light")
    expect(page.frame_locator("iframe").get_by_role("button", name="Generate")).to_be_visible()
    assert not body.evaluate("body => body.classList.contains('dark')")


def test_page_works_as_an_element(visitor_page: Page, blog: str) -> None:
    """As `<gradio-app>` the page generates, and leaves the site around it alone."""
    page = visitor_page
    page.emulate_media(color_scheme="light")
    page.goto(f"{blog}/app")
    generate_picture(page)
    expect(page.locator("gradio-app.dark")).to_have_count(0)
    page.get_by_role("button", name="Reuse").click()
    page.get_by_role("button", name="Seed only").click()
    expect(page.get_by_label("Random seed")).not_to_be_checked()
    expect(page.get_by_role("heading", name="A blog")).to_be_visible()
    for width in (1360, 390):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.body.scrollWidth <= innerWidth"), "something overflows"
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(page.locator("gradio-app.dark")).to_have_count(1)


def test_other_sites_can_not_frame_the_page(visitor_page: Page, blog: str) -> None:
    """The browser refuses a frame on a site that isn't allowed to embed the page."""
    page = visitor_page
    answer = httpx.get(BlogHandler.studio, headers={"Host": "localhost"})
    assert answer.headers["content-security-policy"].endswith(f"frame-ancestors 'self' {blog}")
    stranger = blog.replace("127.0.0.1", "localhost")
    page.goto(f"{stranger}/frame")
    page.wait_for_load_state("networkidle")
    assert page.frames[1].url == "chrome-error://chromewebdata/"


NGINX_CONFIG = """
daemon off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; proxy_buffering on; {location} }}
}}
"""


@pytest.fixture
def proxy_address(tmp_path: Path) -> Iterator[str]:
    """Start nginx with the documentation's `location`, and return the page's address behind it.

    It has no `Host`, so the server gets its own name and port instead of the page's.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "No nginx to test with. Debian: apt install nginx-light"
        )
    proxy_port = free_port()
    location = re.search(r"```nginx\n(.*?)```", DOCUMENTATION, re.DOTALL)
    assert location is not None
    with serve_app(
        "demo",
        TEMP_DIR / "pictures",
        authenticator=Authenticator(is_private=False),
        root_path="/studio",
    ) as server:
        proxied_location = location[1].replace("http://127.0.0.1:7860/", server.address)
        proxied_location, count = re.subn("proxy_set_header Host .*;", "", proxied_location)
        assert count == 1
        (tmp_path / "nginx.conf").write_text(
            NGINX_CONFIG.format(folder=tmp_path, location=proxied_location, port=proxy_port),
            "utf-8",
        )
        command = [nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        process = subprocess.Popen(command)  # noqa: S603  # the system's nginx
        transport = httpx.HTTPTransport(retries=8)  # until it listens
        address = f"http://127.0.0.1:{proxy_port}/studio/"
        with httpx.Client(transport=transport) as client:
            assert client.get(address).status_code == 200
        yield address
        process.terminate()
        process.wait(20)


def test_page_works_behind_a_reverse_proxy(visitor_page: Page, proxy_address: str) -> None:
    """Behind nginx, a path and another `Host`, each file is found and previews come in time."""
    page = visitor_page
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    open_page(page, proxy_address)
    generate_picture(page)
    assert count_previews(page) >= 3
    source = page.locator("#picture img").get_attribute("src")
    assert source is not None
    assert source.startswith(proxy_address)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    page.reload()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    page.get_by_role("link", name="Library").click()
    expect(page.locator("#grid .item img")).to_have_js_property("complete", value=True)
    assert not failed
    page.get_by_role("button", name="Use via API").click()
    expect(page.locator("body")).to_contain_text(f'Client("{proxy_address.rstrip("/")}"')


@pytest.fixture
def link(fake_space: FakeSpace) -> Iterator[AppServer]:
    """Serve the page as it is shared: a shared login, limits, and a Space that holds its runs."""
    accounts = CredentialStore(["guest:handed out"], hasher=CHEAP_HASHER)
    authenticator = Authenticator(
        is_private=False, accounts=accounts, shared_logins=frozenset({"guest"})
    )
    limits = UsageLimits(per_hour=30, max_queued=3, max_concurrent=1, max_concurrent_per_visitor=1)
    with serve_app(
        fake_space.address,
        TEMP_DIR / "pictures",
        limits,
        authenticator,
    ) as server:
        fake_space.hold()
        yield server
        fake_space.release()


def log_in(page: Page, link: AppServer) -> None:
    page.goto(link.address)
    page.get_by_label("Username").fill("guest")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Incorrect username or password.")
    page.get_by_label("Password").fill("handed out")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()


def test_two_browsers_share_one_link(browser: Browser, link: AppServer) -> None:
    """Two visitors of one link queue behind each other, and each sees their own jobs only."""
    first_page = open_browser_page(browser)
    second_page = open_browser_page(browser, 390)
    for page in (first_page, second_page):
        log_in(page, link)
        expect(page.locator("#quota")).to_contain_text("30 of 30 images left this hour")
    for page in (first_page, second_page):
        page.get_by_label("Prompt", exact=True).fill("wait: a cat")
        page.get_by_role("button", name="Generate").click()
    expect(first_page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(second_page.locator("#panel")).to_contain_text("Up next")
    first_page.get_by_role("button", name="Stop").click()
    expect(first_page.locator("#panel")).to_contain_text("Stopped")
    expect(second_page.locator("#panel")).to_contain_text("Step 2 of 6")
    second_page.reload()
    expect(second_page.locator("#panel")).to_contain_text("Step 2 of 6")
    first_page.reload()
    expect(first_page.locator("#panel")).to_contain_text("Stopped")
    second_page.get_by_role("button", name="Stop").click()
    expect(second_page.locator("#quota")).to_contain_text("29 of 30")
    second_page.get_by_role("link", name="Log out").click()
    expect(second_page.get_by_label("Password")).to_be_visible()
    for page in (first_page, second_page):
        page.context.close()
