"""The library's room in a real browser."""

import datetime as dt
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from sd35.core.request import GenerationRequest
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.embedding import read_metadata
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.server.auth import Authenticator
from sd35.ui.gallery.events import GalleryEvent
from tests.chromium import browser  # noqa: F401  # it is a fixture
from tests.gallery_server import GalleryServer, add_picture, serve_gallery

expect.set_options(timeout=20_000)

NOON = dt.datetime.now().astimezone().replace(hour=12)
PICTURE_COUNT = 200
HOSTILE_TEXTS = (
    "<img src=x onerror=window.pwned=1>",
    "${window.pwned=1}",
    "{{7*7}}",
    '"><script>window.pwned=1</script>',
)


KNOWN_RECORDS = (
    GenerationMetadata(
        prompt="a lighthouse at dusk", negative_prompt="people", seed=7, num_inference_steps=28
    ),
    GenerationMetadata(prompt="a harbour at dusk", seed=7, num_inference_steps=40, is_demo=True),
    GenerationMetadata(prompt="a fox", seed=1),
    GenerationMetadata(prompt="a heron", seed=2),
    GenerationMetadata(prompt="an owl", seed=3),
)


def fill(library: Library) -> None:
    """Many plain pictures, some days old, and a few of which something is known."""
    for index in range(PICTURE_COUNT):
        add_picture(
            library,
            GenerationMetadata(
                prompt=f"plain {index}",
                seed=index,
                made_at=NOON - dt.timedelta(days=9, minutes=index),
            ),
        )
    for index, record in enumerate(KNOWN_RECORDS):
        add_picture(
            library,
            replace(record, made_at=NOON - dt.timedelta(days=1, minutes=index)),
            size=(120, 80),
        )
    for index, text in enumerate(HOSTILE_TEXTS):
        made_at = NOON - dt.timedelta(days=2, minutes=index)
        add_picture(
            library, GenerationMetadata(prompt=f"hostile {text}", tags=(text,), made_at=made_at)
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryServer]:
    """The room of one owner, with many pictures."""
    with serve_gallery(tmp_path_factory.mktemp("library")) as gallery_server:
        fill(gallery_server.library)
        yield gallery_server


@pytest.fixture
def page(browser: Browser, server: GalleryServer) -> Iterator[Page]:
    permissions = ["clipboard-read", "clipboard-write"]
    context = browser.new_context(viewport={"width": 1360, "height": 900}, permissions=permissions)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield open_gallery(page, server.address)
    context.close()
    assert not errors, "the page's own scripts failed"


def open_gallery(page: Page, address: str) -> Page:
    page.goto(f"{address}#library")
    expect(page.locator("#shelf [data-place=loading]")).to_have_count(0)
    return page


def gallery_items(page: Page) -> Locator:
    return page.locator("#shelf .item")


def search(page: Page, query: str, count: int = 1) -> Locator:
    """Search, and return the first picture that is found."""
    page.get_by_label("Search", exact=True).fill(query)
    expect(page.locator("#shelf .found")).to_have_text(re.compile(rf"^{count} picture"))
    return gallery_items(page).first


def open_first_result(page: Page, query: str) -> Locator:
    search(page, query).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def select_results(page: Page, query: str, count: int) -> None:
    for index in range(count):
        search(page, query, count).page.locator(".pick input").nth(index).check()


def test_that_lighthouse(page: Page, server: GalleryServer) -> None:
    """A picture can't be found again among many by what was typed, looked at, starred, tagged; or isn't what it was."""
    dialog = open_first_result(page, "seed:7 lightho")
    expect(dialog.locator("img.whole")).to_have_js_property("naturalWidth", 120)
    for expected_text in (
        "a lighthouse at dusk",
        "Without people",
        "120 × 80",
        "28",
        "Yesterday, ",
    ):
        expect(dialog).to_contain_text(expected_text)
    page.keyboard.press("s")
    expect(dialog.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    dialog.get_by_label("Tags").fill("sea,  night sky")
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Tags")).to_have_value("sea, night sky")
    expect(dialog.get_by_label("Tags")).to_have_attribute("value", "sea, night sky")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(search(page, 'tag:"night sky" is:starred').locator("img")).to_have_attribute(
        "alt", "a lighthouse at dusk"
    )
    entry = server.library.search().entries[0]
    assert (entry.record.tags, entry.record.is_starred) == (("sea", "night sky"), True)
    page.get_by_label("Starred", exact=True).check()
    expect(gallery_items(page)).to_have_count(1)
    page.get_by_label("Search", exact=True).fill("nothing like that")
    page.get_by_role("button", name="Show everything").click()
    expect(page.get_by_label("Search", exact=True)).to_have_value("")
    expect(gallery_items(page)).to_have_count(48)


def test_what_is_not_understood(page: Page) -> None:
    """A search that makes no sense is passed over in silence."""
    page.get_by_label("Search", exact=True).fill("seed:abc lighthouse")
    expect(page.locator("#shelf .problems")).to_contain_text("seed: needs a whole number")
    expect(gallery_items(page)).to_have_count(1)


def test_pages(page: Page) -> None:
    """Older pictures can't be reached, some are shown twice or never, or what was selected is lost on the way."""
    search(page, "plain", PICTURE_COUNT)
    gallery_items(page).first.locator(".pick input").check()
    displayed_prompts: list[str] = []
    while True:
        alts = [
            image.get_attribute("alt") or "" for image in gallery_items(page).locator("img").all()
        ]
        displayed_prompts += alts
        older = page.get_by_role("button", name="Older →")
        if not older.count():
            break
        older.click()
        expect(gallery_items(page).first.locator("img")).not_to_have_attribute("alt", alts[0])
    assert displayed_prompts == [f"plain {index}" for index in range(PICTURE_COUNT)]
    page.get_by_role("button", name="Newest").click()
    expect(gallery_items(page).first.locator("img")).to_have_attribute("alt", "plain 0")
    expect(gallery_items(page).first.locator(".pick input")).to_be_checked()
    expect(page.locator(".selection")).to_contain_text("1 selected")


def test_from_picture_to_picture(page: Page) -> None:
    """The arrow keys don't go to the next picture of what was searched for, or go beyond it."""
    search(page, "at dusk", 2).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".prompt")).to_have_text("a lighthouse at dusk")
    expect(dialog.get_by_role("button", name="The newer one")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".prompt")).to_have_text("a harbour at dusk")
    expect(dialog).to_contain_text("demo painter, not Stable Diffusion")
    expect(dialog.get_by_role("button", name="The older one")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".prompt")).to_have_text("a lighthouse at dusk")
    page.keyboard.press("Escape")
    expect(gallery_items(page).first.locator(".open")).to_be_focused()


def test_deleted_and_back(page: Page, server: GalleryServer) -> None:
    """A picture that was deleted by mistake is gone, or one that was to go for ever is still there."""
    open_first_result(page, "heron")
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#shelf .said")).to_contain_text("1 picture is in the trash.")
    expect(gallery_items(page)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(1)
    gallery_items(page).first.locator(".open").focus()
    page.keyboard.press("Delete")
    expect(gallery_items(page)).to_have_count(0)
    page.get_by_label("Trash", exact=True).check()
    expect(gallery_items(page)).to_have_count(1)
    page.get_by_role("button", name="Delete all for ever").click()
    page.get_by_role("button", name="Keep them").click()
    expect(gallery_items(page)).to_have_count(1)
    page.get_by_role("button", name="Delete all for ever").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete for ever").click()
    expect(page.locator("#shelf .said")).to_contain_text("1 picture deleted for ever")
    assert server.library.stats().trashed == 0


def test_what_was_closed_stays_closed(page: Page) -> None:
    """An answer that comes late opens a picture again, over the form even; or takes away the way back."""
    dialog, status = page.get_by_role("dialog"), page.locator("#shelf .said")
    held_routes: list[Route] = []

    def hold_route(route: Route) -> None:
        held_routes.append(route)

    def release_route() -> None:
        with page.expect_response("**/run/predict"):
            held_routes.pop(0).continue_()

    open_first_result(page, "owl")
    dialog.get_by_label("Tags").fill("night")
    page.route("**/run/predict", hold_route)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    release_route()
    expect(page.locator("#shelf .found")).to_have_text(re.compile("^1 picture"))
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile(r"#library\?q=owl$"))

    gallery_items(page).first.locator(".open").click()
    page.get_by_role("link", name="Create").click()
    expect(page.locator("#studio")).to_be_visible()
    release_route()
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(dialog).to_have_count(0)
    page.unroute("**/run/predict")
    page.go_back()

    open_first_result(page, "tag:night").get_by_role("button", name="Delete", exact=True).dblclick()
    expect(status).to_contain_text("1 picture is in the trash.")
    expect(status).not_to_contain_text("not deleted")
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(1)


def test_an_answer_that_is_overtaken(page: Page) -> None:
    """What was asked for before, and comes later, takes the place of what was found; and a click meets that."""
    held_routes: list[Route] = []

    def hold_page_request(route: Route) -> None:
        if '"what":"page"' in (route.request.post_data or ""):
            held_routes.append(route)
        else:
            route.continue_()

    page.route("**/run/predict", hold_page_request)
    page.reload()
    expect(page.locator("#shelf [data-place=loading]")).to_have_count(1)
    search(page, "owl")
    with page.expect_response("**/run/predict"):
        held_routes[0].continue_()
    page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(done)))")
    assert gallery_items(page).count() == 1
    expect(gallery_items(page).locator("img")).to_have_attribute("alt", "an owl")


def test_an_address(page: Page, server: GalleryServer) -> None:
    """A reload, or an address that was kept, forgets what was searched for; or says nothing where no picture is."""
    search(page, "a harbour")
    page.get_by_label("Starred", exact=True).check()
    expect(page.locator("#shelf")).to_contain_text("Nothing found")
    expect(page).to_have_url(re.compile(r"#library\?q=a\+harbour&show=Starred$"))
    page.get_by_label("All", exact=True).check()
    expect(page).to_have_url(re.compile(r"#library\?q=a\+harbour$"))
    gallery_items(page).first.locator(".open").click()
    expect(page).to_have_url(re.compile(r"#library/[\w-]+\?q=a\+harbour$"))
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_label("Search", exact=True)).to_have_value("a harbour")
    expect(gallery_items(page)).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(gallery_items(page)).to_have_count(1)
    page.goto(f"{server.address}?again#library/nothing?q=harbour&show=Nonsense")
    expect(page.get_by_role("dialog")).to_contain_text("There is no such picture here")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(gallery_items(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"#library\?q=harbour$"))


def test_files_that_are_gone(page: Page, tmp_path: Path) -> None:
    """A star on a picture whose file was moved by hand is lost without a word; or nothing can be forgotten."""
    with serve_gallery(tmp_path) as server:
        file = server.library.file_path(
            add_picture(server.library, GenerationMetadata(prompt="an owl"))
        )
        dialog = open_first_result(open_gallery(page, server.address), "owl")
        moved_file = file.rename(file.with_name("moved.png"))
        with page.expect_response("**/run/predict"):
            page.keyboard.press("s")
        expect(dialog.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
        record = read_metadata(moved_file.read_bytes())
        assert record is not None
        assert record.is_starred
        moved_file.unlink()
        page.keyboard.press("s")
        expect(dialog.locator(".said")).to_contain_text("1 picture not changed: the file is gone.")
        dialog.get_by_role("button", name="Forget it").click()
        expect(page.locator("#shelf .said")).to_contain_text("1 picture forgotten.")
        (server.library.folder / "2026").mkdir()
        (server.library.folder / "2026" / "broken.png").write_bytes(b"no picture")
        page.get_by_label("Search", exact=True).fill("")
        page.get_by_role("button", name="Look for new files").click()
        expect(page.locator("#shelf .said")).to_contain_text(
            "Can’t be read as a picture: 2026/broken.png"
        )


def test_many_at_once(page: Page, server: GalleryServer) -> None:
    """What is selected can't be saved in one file, tagged, starred or deleted together, or others are."""
    search(page, "plain", PICTURE_COUNT)
    gallery_items(page).nth(2).locator(".pick input").check()
    gallery_items(page).nth(5).locator(".pick input").click(modifiers=["Shift"])
    bar = page.get_by_role("toolbar", name="Selected pictures")
    expect(bar).to_contain_text("4 selected")
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download ZIP").click()
    assert re.fullmatch(r"sd35-pictures-\d{4}-\d\d-\d\d\.zip", download.value.suggested_filename)
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    lines = [json.loads(line) for line in archive.read("pictures.jsonl").splitlines()]
    assert sorted(line["record"]["prompt"] for line in lines) == [
        "plain 2",
        "plain 3",
        "plain 4",
        "plain 5",
    ]
    bar.get_by_role("button", name="Tag…").click()
    page.keyboard.type("mine, -other")
    page.keyboard.press("Enter")
    bar.get_by_role("button", name="Star").click()
    expect(page.locator("#shelf .star[aria-pressed=true]")).to_have_count(4)
    assert {entry.record.tags for entry in entries(server, "plain 3")} == {("mine",)}
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    select_results(page, "tag:mine", 4)
    bar.get_by_role("button", name="Delete").click()
    expect(page.locator("#shelf .said")).to_contain_text("4 pictures are in the trash.")
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(4)


def entries(server: GalleryServer, prompt: str) -> list[Entry]:
    return [
        entry for entry in server.library.search(limit=300).entries if entry.record.prompt == prompt
    ]


def test_two_compared(page: Page) -> None:
    """Two pictures can't be laid over each other, by keyboard too, or it isn't said what differs between them."""
    select_results(page, "at dusk", 2)
    page.get_by_role("button", name="Compare", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody tr")).to_have_count(4)
    for row in ("Prompt", "Negative prompt", "Steps", "Model"):
        expect(dialog.get_by_role("row", name=re.compile(rf"^{row}\b"))).to_have_count(1)
    slider = dialog.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".both")).to_have_attribute("style", re.compile("51%"))
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear").click()
    open_first_result(page, "fox").get_by_role("button", name="Compare with…").click()
    open_first_result(page, "owl")
    expect(dialog.get_by_role("row", name=re.compile("a fox an owl"))).to_be_visible()


def test_back_to_the_form(page: Page, server: GalleryServer) -> None:
    """Others aren't told with which picture, or which job, something is to be made again."""
    dialog = open_first_result(page, "owl")
    (entry,) = entries(server, "an owl")
    dialog.get_by_role("button", name="Prompt only").click()
    expect(page.locator("#told")).to_be_visible()
    event_field = page.locator("#told").locator("input, textarea")
    expect(event_field).to_have_value(
        json.dumps({"id": entry.id, "what": "prompt", "kind": "picture"})
    )
    page.go_back()
    dialog.get_by_role("button", name="Four neighbours").click()
    expect(event_field).to_have_value(json.dumps({"id": entry.id, "what": "neighbours"}))


def test_what_failed(page: Page, server: GalleryServer) -> None:
    """What came to no picture is forgotten, without a word of why, or can't be run again."""
    request = GenerationRequest(prompt="a castle <b>", seed=7, randomize_seed=False)
    job = JobRecord(
        id="failed-job",
        owner="",
        original_request=request,
        request=request,
        space="",
        created_at=NOON.timestamp(),
        worker_id="",
        position=1.0,
        status=JobStatus.FAILED,
        error_message="The Space says: no GPU.",
        error_remedy="Wait.",
    )
    JobRepository(server.library).add(job)
    page.get_by_label("Failed", exact=True).check()
    row = page.locator(".job-row")
    expect(row).to_contain_text("a castle <b>")
    expect(row).to_contain_text("The Space says: no GPU. Wait.")
    row.get_by_role("button", name="Run again").click()
    event_field = page.locator("#told").locator("input, textarea")
    expect(event_field).to_have_value(json.dumps({"id": "failed-job", "what": "job"}))
    page.go_back()
    row.get_by_role("button", name="To the form").click()
    expect(event_field).to_have_value(
        json.dumps({"id": "failed-job", "what": "all", "kind": "job"})
    )


def test_the_settings_to_the_clipboard(page: Page) -> None:
    """What a picture was made with can't be taken to another program."""
    open_first_result(page, "lighthouse").get_by_role("button", name="Copy settings").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied_text = page.evaluate("navigator.clipboard.readText()")
    assert copied_text.startswith("a lighthouse at dusk\nNegative prompt: people\nSteps: 28, ")
    assert f"Seed: 7, Size: 120x80, Version: {THIS_TOOL}" in copied_text


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_prompt_is_no_script(page: Page, text: str) -> None:
    """A prompt, which may be another program's, runs as a script in the browser of who looks at it."""
    index = HOSTILE_TEXTS.index(text)
    search(page, "hostile", len(HOSTILE_TEXTS))
    expect(gallery_items(page).nth(index).locator("img")).to_have_attribute(
        "alt", f"hostile {text}"
    )
    gallery_items(page).nth(index).locator(".open").click()
    expect(page.get_by_role("dialog").locator(".prompt")).to_have_text(f"hostile {text}")
    expect(page.get_by_role("dialog").get_by_label("Tags")).to_have_value(text)
    page.keyboard.press("Escape")
    page.get_by_label("Search", exact=True).fill(f"seed:{text}")
    expect(page.locator("#shelf .problems")).not_to_be_empty()
    assert page.evaluate("window.pwned") is None


def test_each_their_own(browser: Browser, tmp_path: Path) -> None:
    """A visitor sees, or changes, another's pictures."""
    with serve_gallery(tmp_path, Authenticator(is_private=False)) as server:
        entry = add_picture(server.library, GenerationMetadata(prompt="a secret"), "0" * 32)
        context = browser.new_context()
        page = open_gallery(context.new_page(), server.address)
        expect(page.locator("#shelf")).to_contain_text("Your pictures will be here")
        for name, button_actions in (("w", "star"), ("x", "trash"), ("y", "open")):
            button = (
                f"<p data-id='{entry.id}'><button data-do='{button_actions}'>{name}</button></p>"
            )
            page.locator("#shelf .shelf").evaluate(
                "(shelf, button) => shelf.insertAdjacentHTML('beforeend', button)", button
            )
            with page.expect_response("**/run/predict"):
                page.get_by_role("button", name=name, exact=True).click()
            if button_actions != "open":
                expect(page.locator("#shelf .said")).to_contain_text("1 picture not")
        expect(page.get_by_role("dialog")).to_contain_text("There is no such picture here")
        expect(page.get_by_role("dialog")).not_to_contain_text("a secret")
        assert server.library.search().entries == (entry,)
        context.close()


def test_rooms(page: Page, server: GalleryServer) -> None:
    """The back button doesn't lead back, both rooms are shown, or opening the page reads the library."""
    page.get_by_role("link", name="Create").click()
    expect(page.locator("#studio")).to_be_visible()
    expect(page.locator("#gallery")).to_be_hidden()
    page.go_back()
    expect(gallery_items(page)).to_have_count(48)
    expect(page.get_by_role("link", name="Library")).to_have_attribute("aria-current", "page")
    requested_urls: list[str] = []
    page.on("request", lambda request: requested_urls.append(request.url))
    page.goto(server.address + "?fresh#create")
    expect(page.locator("#studio")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert not [url for url in requested_urls if "/studio/" in url or "/run/" in url]
    page.get_by_role("link", name="Library").click()
    expect(gallery_items(page)).to_have_count(48)
    assert page.url.endswith("?fresh#library")


def test_back_from_a_picture(page: Page) -> None:
    """Back leaves the library instead of the picture, the focus is lost, or a picture's address doesn't show it."""
    expect(gallery_items(page)).to_have_count(48)
    first, second = gallery_items(page).nth(0), gallery_items(page).nth(1)
    ids = [item.get_attribute("data-id") for item in (first, second)]
    dialog = page.get_by_role("dialog")

    def expect_picture(index: int) -> None:
        expect(dialog).to_have_attribute("data-id", str(ids[index]))
        expect(page).to_have_url(re.compile(f"#library/{ids[index]}$"))

    first.locator(".open").click()
    expect_picture(0)
    page.keyboard.press("ArrowRight")
    expect_picture(1)
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(second.locator(".open")).to_be_focused()
    page.go_forward()
    expect_picture(1)
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("#library$"))
    expect(second.locator(".open")).to_be_focused()
    first.locator(".open").click()
    expect_picture(0)
    page.reload()
    expect_picture(0)
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile("#library$"))
    expect(gallery_items(page)).to_have_count(48)
    first.locator(".open").click()
    expect_picture(0)
    page.get_by_role("button", name="Use all settings").click()
    expect(page.locator("#studio")).to_be_visible()
    page.go_back()
    expect_picture(0)
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(gallery_items(page)).to_have_count(48)


class ProxyHandler(BaseHTTPRequestHandler):
    """Shows another server below `/studio`."""

    upstream_address = ""

    def do_GET(self) -> None:
        """Ask the other server, and pass on what it answers."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = (
            f"{self.upstream_address.rstrip('/')}/{self.path.removeprefix('/studio').lstrip('/')}"
        )
        headers = {
            "Content-Type": self.headers.get("Content-Type", ""),
            "X-Forwarded-Host": self.headers["Host"],
        }
        answer = httpx.request(
            self.command, address, content=body, headers=headers, trust_env=False
        )
        is_below = self.path.startswith("/studio/")
        self.send_response(answer.status_code if is_below else 404)
        self.send_header("Content-Type", answer.headers.get("content-type", ""))
        self.end_headers()
        self.wfile.write(answer.content if is_below else b"")

    do_POST = do_GET  # noqa: N815  # its name there

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_below_a_path(browser: Browser, tmp_path: Path) -> None:
    """Where a reverse proxy shows the page below a path, no picture is seen, or the library can't be opened."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ProxyHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with serve_gallery(tmp_path, root_path="/studio") as gallery_server:
        ProxyHandler.upstream_address = gallery_server.address
        add_picture(gallery_server.library, GenerationMetadata(prompt="a cat"), size=(120, 80))
        context = browser.new_context()
        page = open_gallery(
            context.new_page(), f"http://127.0.0.1:{server.server_port}/studio/?__theme=dark"
        )
        expect(gallery_items(page).locator("img")).to_have_js_property("naturalWidth", 120)
        gallery_items(page).locator(".open").click()
        expect(page.get_by_role("dialog").locator("img.whole")).to_have_js_property(
            "naturalWidth", 120
        )
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Create").click()
        assert page.url.endswith("/studio/?__theme=dark#create")
        context.close()
    server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Browser, server: GalleryServer, scheme: str) -> None:
    """On a phone the room scrolls sideways, or its buttons are off the screen."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = open_gallery(context.new_page(), server.address)
    width = "document.documentElement.scrollWidth"
    expect(gallery_items(page)).to_have_count(48)
    assert page.evaluate(width) <= 360
    gallery_items(page).first.locator(".pick input").check()
    for button in page.get_by_role("toolbar").get_by_role("button").filter(visible=True).all():
        expect(button).to_be_in_viewport(ratio=1)
    gallery_items(page).nth(1).locator(".open").tap()
    expect(page.get_by_role("dialog").locator(".whole")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
    assert page.evaluate(width) <= 360
    context.close()


@pytest.mark.parametrize(
    "event_data",
    [
        *(None, "page", [], {"what": 7, "ids": "a", "at": {}, "words": None, "is_open": 1}),
        {"ids": [None, {}, "../x", "a" * 65, "a\n", "ſ"], "at": "elsewhere:x"},
    ],
)
def test_what_a_browser_may_say(event_data: object) -> None:
    """What comes from a browser, and may be anything, is taken for what it isn't."""
    assert GalleryEvent.from_payload(event_data) == GalleryEvent()
