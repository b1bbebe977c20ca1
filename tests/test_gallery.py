"""The library tab in a real browser.

All tests share one page and one server: `page` puts both back into the same state. Each test works
on images of its own, which only it changes.
"""

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

from sd35.core.origin import RequestOrigin
from sd35.core.request import GenerationRequest
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.embedding import read_metadata
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.ui.gallery.gallery import PAGE_SIZE
from tests.chromium import browser  # noqa: F401  # a fixture
from tests.gallery_server import GalleryServer, add_picture, serve_gallery

expect.set_options(timeout=20_000)

NOON = dt.datetime.now().astimezone().replace(hour=12)
PLAIN_COUNT = 2 * PAGE_SIZE + 4
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
ANIMATION_FRAME_JS = "new Promise(done => setTimeout(() => requestAnimationFrame(done)))"


def fill(library: Library) -> None:
    """Add plain images of some days ago, and a few newer ones with metadata."""
    for index in range(PLAIN_COUNT):
        made_at = NOON - dt.timedelta(days=9, minutes=index)
        record = GenerationMetadata(prompt=f"plain {index}", seed=index, made_at=made_at)
        add_picture(library, record)
    for index, record in enumerate(KNOWN_RECORDS):
        made_at = NOON - dt.timedelta(days=1, minutes=index)
        add_picture(library, replace(record, made_at=made_at), size=(120, 80))
    for index, text in enumerate(HOSTILE_TEXTS):
        made_at = NOON - dt.timedelta(days=2, minutes=index)
        record = GenerationMetadata(prompt=f"hostile {text}", tags=(text,), made_at=made_at)
        add_picture(library, record)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryServer]:
    with serve_gallery(tmp_path_factory.mktemp("library")) as gallery_server:
        fill(gallery_server.library)
        yield gallery_server


@pytest.fixture(scope="module")
def shared_page(browser: Browser, server: GalleryServer) -> Iterator[Page]:  # a fixture
    permissions = ["clipboard-read", "clipboard-write"]
    context = browser.new_context(viewport={"width": 1360, "height": 900}, permissions=permissions)
    yield open_gallery(context.new_page(), server.address)
    context.close()


@pytest.fixture
def page(shared_page: Page, server: GalleryServer) -> Iterator[Page]:
    """Yield the library tab without a search, a selection or a viewer; no script may fail."""
    errors: list[str] = []
    shared_page.on("pageerror", lambda error: errors.append(str(error)))
    # Only another hash: the page isn't loaded again.
    open_gallery(shared_page, server.address)
    expect(shared_page.get_by_role("dialog")).to_have_count(0)
    shared_page.get_by_label("All", exact=True).check()
    search_field(shared_page).fill("")
    clear_button = shared_page.get_by_role("toolbar").get_by_role("button", name="Clear")
    if clear_button.is_visible():
        clear_button.click()
    expect(gallery_items(shared_page)).to_have_count(PAGE_SIZE)
    yield shared_page
    shared_page.unroute_all()
    assert not errors, "a script of the page failed"


def open_gallery(page: Page, address: str) -> Page:
    page.goto(f"{address}#library")
    expect(page.locator("#grid [data-scope=loading]")).to_have_count(0)
    return page


def search_field(page: Page) -> Locator:
    return page.get_by_label("Search", exact=True)


def gallery_items(page: Page) -> Locator:
    return page.locator("#grid .item")


def notice(page: Page) -> Locator:
    return page.locator("#grid .notice")


def search(page: Page, query: str, count: int = 1) -> Locator:
    """Search, wait for so many results, and return the first one."""
    search_field(page).fill(query)
    expect(page.locator("#grid .summary")).to_have_text(re.compile(rf"^{count} image"))
    return gallery_items(page).first


def open_first_result(page: Page, query: str) -> Locator:
    search(page, query).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def select_results(page: Page, query: str, count: int) -> None:
    search(page, query, count)
    for index in range(count):
        gallery_items(page).nth(index).locator(".pick input").check()


def entries(server: GalleryServer, prompt: str) -> list[Entry]:
    entries = server.library.search(limit=300).entries
    return [entry for entry in entries if entry.metadata.prompt == prompt]


def test_image_is_searched_viewed_starred_and_tagged(page: Page, server: GalleryServer) -> None:
    """A star and tags set in the viewer are written to the file, and can be searched for."""
    dialog = open_first_result(page, "seed:7 lightho")
    expect(dialog.locator("img.full-size")).to_have_js_property("naturalWidth", 120)
    for text in ("a lighthouse at dusk", "Without people", "120 × 80", "28", "Yesterday, "):
        expect(dialog).to_contain_text(text)
    page.keyboard.press("s")
    expect(dialog.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    dialog.get_by_label("Tags").fill("sea,  night sky")
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Tags")).to_have_value("sea, night sky")
    expect(dialog.get_by_label("Tags")).to_have_attribute("value", "sea, night sky")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    image = search(page, 'tag:"night sky" is:starred').locator("img")
    expect(image).to_have_attribute("alt", "a lighthouse at dusk")
    (entry,) = entries(server, "a lighthouse at dusk")
    assert (entry.metadata.tags, entry.metadata.is_starred) == (("sea", "night sky"), True)
    page.get_by_label("Starred", exact=True).check()
    expect(gallery_items(page)).to_have_count(1)
    search_field(page).fill("nothing like that")
    page.get_by_role("button", name="Clear search").click()
    expect(search_field(page)).to_have_value("")
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)


def test_pages_show_each_image_once_and_keep_the_selection(page: Page) -> None:
    """All pages together show every result once, in order, and a selection outlasts them."""
    search(page, "plain", PLAIN_COUNT).locator(".pick input").check()
    prompts: list[str] = []
    while True:
        page_prompts = gallery_items(page).locator("img").evaluate_all("all => all.map(i => i.alt)")
        prompts += page_prompts
        older_button = page.get_by_role("button", name="Older →")
        if not older_button.count():
            break
        older_button.click()
        first_image = gallery_items(page).first.locator("img")
        expect(first_image).not_to_have_attribute("alt", page_prompts[0])
    assert prompts == [f"plain {index}" for index in range(PLAIN_COUNT)]
    expect(page.locator(".selection .number")).to_have_text("1 selected, 1 on other pages")
    page.get_by_role("button", name="Newest").click()
    expect(gallery_items(page).first.locator("img")).to_have_attribute("alt", "plain 0")
    expect(gallery_items(page).first.locator(".pick input")).to_be_checked()
    expect(page.locator(".selection .number")).to_have_text("1 selected")


def test_arrow_keys_stay_within_the_results(page: Page) -> None:
    """The arrow keys go through the search's results, and no further."""
    search(page, "at dusk", 2).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".prompt")).to_have_text("a lighthouse at dusk")
    expect(dialog.get_by_role("button", name="Previous image")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".prompt")).to_have_text("a harbour at dusk")
    expect(dialog).to_contain_text("demo painter, not Stable Diffusion")
    expect(dialog.get_by_role("button", name="Next image")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".prompt")).to_have_text("a lighthouse at dusk")
    page.keyboard.press("Escape")
    expect(gallery_items(page).first.locator(".open")).to_be_focused()


def test_deleted_image_can_be_restored_until_the_trash_is_emptied(
    page: Page, server: GalleryServer
) -> None:
    """Delete moves to the trash, Undo or Ctrl+Z brings back, and only Empty trash deletes."""
    open_first_result(page, "heron")
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(notice(page)).to_contain_text("1 image moved to trash")
    expect(gallery_items(page)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(1)
    for _ in range(2):
        gallery_items(page).first.locator(".open").focus()
        page.keyboard.press("Delete")
        expect(gallery_items(page)).to_have_count(0)
        page.keyboard.press("Control+z")
        expect(gallery_items(page)).to_have_count(1)
    gallery_items(page).first.locator(".open").focus()
    page.keyboard.press("Delete")
    expect(gallery_items(page)).to_have_count(0)
    page.get_by_label("Trash", exact=True).check()
    expect(gallery_items(page)).to_have_count(1)
    page.get_by_label("Search", exact=True).fill("")
    page.get_by_role("button", name="Empty trash…").click()
    dialog = page.get_by_role("dialog", name="Permanently delete 1 image?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(gallery_items(page)).to_have_count(1)
    page.get_by_role("button", name="Empty trash…").click()
    dialog.get_by_role("button", name="Delete permanently").click()
    expect(notice(page)).to_contain_text("1 image permanently deleted")
    assert server.library.stats().trashed == 0


def test_closed_viewer_stays_closed(page: Page) -> None:
    """An answer that comes after the viewer was closed, or the tab left, doesn't open it again."""
    dialog = page.get_by_role("dialog")
    held_routes: list[Route] = []

    def hold_route(route: Route) -> None:
        held_routes.append(route)

    def release_route() -> None:
        with page.expect_response("**/run/predict"):
            held_routes.pop(0).continue_()

    open_first_result(page, "owl")
    dialog.get_by_label("Tags").fill("night")
    page.route("**/run/predict", hold_route)
    with page.expect_request("**/run/predict"):
        page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    release_route()
    expect(page.locator("#grid .summary")).to_have_text(re.compile("^1 image"))
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile(r"#library\?q=owl$"))

    gallery_items(page).first.locator(".open").click()
    page.get_by_role("link", name="Create").click()
    expect(page.locator("#studio")).to_be_visible()
    release_route()
    page.evaluate(ANIMATION_FRAME_JS)
    expect(dialog).to_have_count(0)
    page.unroute("**/run/predict")
    page.go_back()

    open_first_result(page, "tag:night").get_by_role("button", name="Delete", exact=True).dblclick()
    page.keyboard.press("Delete")
    expect(notice(page)).to_contain_text("1 image moved to trash")
    expect(notice(page)).not_to_contain_text("Couldn't delete")
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(1)


def test_overtaken_answer_does_not_replace_the_newest(page: Page) -> None:
    """The answer to an earlier request doesn't replace the results of a later search."""
    held_routes: list[Route] = []

    def hold_page_request(route: Route) -> None:
        if '"action":"page"' in (route.request.post_data or ""):
            held_routes.append(route)
        else:
            route.continue_()

    page.route("**/run/predict", hold_page_request)
    page.reload()
    expect(page.locator("#grid [data-scope=loading]")).to_have_count(1)
    search(page, "owl")
    with page.expect_response("**/run/predict"):
        held_routes[0].continue_()
    page.evaluate(ANIMATION_FRAME_JS)
    assert gallery_items(page).count() == 1
    expect(gallery_items(page).locator("img")).to_have_attribute("alt", "an owl")


def test_address_keeps_query_and_image(page: Page, server: GalleryServer) -> None:
    """A reload, or an address opened later, shows the same search and the same image."""
    search(page, "a harbour")
    page.get_by_label("Starred", exact=True).check()
    expect(page.locator("#grid")).to_contain_text("No results")
    expect(page).to_have_url(re.compile(r"#library\?q=a\+harbour&show=Starred$"))
    page.get_by_label("All", exact=True).check()
    expect(page).to_have_url(re.compile(r"#library\?q=a\+harbour$"))
    gallery_items(page).first.locator(".open").click()
    expect(page).to_have_url(re.compile(r"#library/[\w-]+\?q=a\+harbour$"))
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(search_field(page)).to_have_value("a harbour")
    expect(gallery_items(page)).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(gallery_items(page)).to_have_count(1)
    page.goto(f"{server.address}?again#library/nothing?q=harbour&show=Nonsense")
    expect(page.get_by_role("dialog")).to_contain_text("Image not found")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(gallery_items(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"#library\?q=harbour$"))


def test_moved_file_is_found_and_missing_file_is_reported(
    page: Page, server: GalleryServer
) -> None:
    """A star reaches a file that was moved by hand; of a missing one, the entry can be removed."""
    library = server.library
    file = library.file_path(add_picture(library, GenerationMetadata(prompt="a lost glove")))
    dialog = open_first_result(page, "glove")
    moved_file = file.rename(file.with_name("moved.png"))
    with page.expect_response("**/run/predict"):
        page.keyboard.press("s")
    expect(dialog.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    record = read_metadata(moved_file.read_bytes())
    assert record is not None
    assert record.is_starred
    moved_file.unlink()
    page.keyboard.press("s")
    expect(dialog.locator(".notice")).to_contain_text("1 image not changed: file not found")
    dialog.get_by_role("button", name="Remove from library").click()
    expect(notice(page)).to_contain_text("1 entry removed")
    (library.folder / "unreadable").mkdir()
    (library.folder / "unreadable" / "broken.png").write_bytes(b"no image")
    search_field(page).fill("")
    page.get_by_role("button", name="Rescan folder").click()
    expect(notice(page)).to_contain_text("damaged, or not an image (unreadable/broken.png).")


def test_selected_images_are_saved_tagged_starred_and_deleted(
    page: Page, server: GalleryServer
) -> None:
    """Actions of the toolbar apply to the selected images, all of them and no others."""
    search(page, "plain", PLAIN_COUNT)
    gallery_items(page).nth(2).locator(".pick input").check()
    gallery_items(page).nth(5).locator(".pick input").click(modifiers=["Shift"])
    bar = page.get_by_role("toolbar", name="Selected images")
    expect(bar).to_contain_text("4 selected")
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download ZIP").click()
    assert re.fullmatch(r"sd35-\w+-\d{4}-\d\d-\d\d\.zip", download.value.suggested_filename)
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    lines = [json.loads(line) for line in archive.read("pictures.jsonl").splitlines()]
    prompts = sorted(line["record"]["prompt"] for line in lines)
    assert prompts == ["plain 2", "plain 3", "plain 4", "plain 5"]
    bar.get_by_role("button", name="Tag…").click()
    page.keyboard.type("mine, -other")
    page.keyboard.press("Enter")
    expect(notice(page)).to_contain_text("4 images tagged")
    bar.get_by_role("button", name="Star").click()
    expect(page.locator("#grid .star[aria-pressed=true]")).to_have_count(4)
    assert {entry.metadata.tags for entry in entries(server, "plain 3")} == {("mine",)}
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    select_results(page, "tag:mine", 4)
    page.set_viewport_size({"width": 1360, "height": 360})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    bar.get_by_role("button", name="Delete").click()
    expect(notice(page)).to_contain_text("4 images moved to trash")
    expect(page.get_by_role("button", name="Undo")).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 1360, "height": 900})
    page.get_by_role("button", name="Undo").click()
    expect(gallery_items(page)).to_have_count(4)


def pane_styles(page: Page) -> list[str]:
    """Return size and position of each compared image."""
    pictures = page.locator(".pane .picture").all()
    return [picture.get_attribute("style") or "" for picture in pictures]


def test_two_images_are_compared(page: Page) -> None:
    """Two images are side by side, under a slider or in turn, and zoomed in step; by the keys."""
    select_results(page, "at dusk", 2)
    compare_button = page.get_by_role("button", name="Compare", exact=True)
    compare_button.click()
    dialog = page.get_by_role("dialog", name="Compare 2 images")
    expect(page).to_have_url(re.compile(r"#library/[\w-]+,[\w-]+\?q=at\+dusk$"))
    page.reload()
    expect(dialog.locator("dt:visible")).to_have_text(
        ["Prompt", "Negative prompt", "Steps", "Model"]
    )
    expect(dialog.locator("mark")).to_have_text(["lighthouse", "harbour", "people"])
    page.keyboard.press("+")
    styles = pane_styles(page)
    page.keyboard.press("+")
    assert pane_styles(page)[0] not in styles
    assert len(set(pane_styles(page))) == 1
    page.keyboard.press("0")
    page.keyboard.press("l")
    dialog.get_by_role("slider", name="Divider").focus()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".view")).to_have_attribute("style", re.compile("--at: 51%"))
    page.keyboard.press("f")
    page.keyboard.press("Space")
    shown_image = dialog.get_by_role("img").filter(visible=True)
    expect(shown_image).to_have_attribute("alt", "Image 2: a harbour at dusk")
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"#library\?q=at\+dusk$"))
    open_first_result(page, "fox").get_by_role("button", name="Compare with…").click()
    expect(page.locator(".compare-hint")).to_be_visible()
    search(page, "owl").locator(".open").click()
    expect(dialog.locator("mark")).to_have_text(["a fox", "an owl"])
    page.go_back()
    expect(dialog).to_have_count(0)


def test_one_image_is_kept_and_the_others_go_to_the_trash(
    page: Page, server: GalleryServer
) -> None:
    """A key keeps its image alone; the others are in the trash until that is undone."""
    for index in range(3):
        add_picture(server.library, GenerationMetadata(prompt="a lynx", seed=index), size=(60, 80))
    select_results(page, "lynx", 3)
    page.get_by_role("button", name="Compare", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".view[data-ready]")).to_be_visible()
    page.keyboard.press("2")
    expect(dialog).to_contain_text("Image 2 kept. 2 images moved to trash.")
    kept_seeds = [entry.metadata.seed for entry in entries(server, "a lynx")]
    expect(dialog.locator(".caption")).to_have_text([f"Seed {seed}" for seed in kept_seeds])
    page.keyboard.press("Control+z")
    expect(dialog.locator(".view[data-ready] .pane")).to_have_count(3)
    assert len(entries(server, "a lynx")) == 3
    page.keyboard.press("Escape")
    expect(page.locator("#grid .summary")).to_have_text(re.compile("^3 images"))


def test_tournament_finds_the_best_three(page: Page) -> None:
    """For sets of each size, the best three are found with few decisions; equals share a place."""
    failures = page.evaluate("""() => {
        const failures = [];
        for (let count = 3; count <= 64; count += 1) {
            // As if their names were their qualities, in an order that isn't sorted.
            const ids = [...Array(count).keys()].map((index) => String((index * 37) % 67));
            const decisions = [];
            let ranking = sd35.rank(ids, decisions);
            while (ranking.pair !== null && decisions.length < 99) {
                const [left, right] = ranking.pair;
                const result = Number(left) > Number(right) ? "left" : "right";
                decisions.push({ left, right, result });
                ranking = sd35.rank(ids, decisions);
            }
            const best = [...ids].sort((a, b) => b - a).slice(0, 3).join();
            const limit = count - 1 + 2 * Math.ceil(Math.log2(count));
            const isRight = ranking.places.flat().join() === best && decisions.length <= limit;
            if (!isRight) failures.push(count);
        }
        return failures;
    }""")
    assert failures == []
    equal_places = page.evaluate("""() => {
        const decisions = [
            { left: "a", right: "b", result: "both" },
            { left: "c", right: "d", result: "left" },
            { left: "c", right: "a", result: "right" },
        ];
        return sd35.rank(["a", "b", "c", "d"], decisions).places;
    }""")
    assert equal_places == [["a", "b"], ["c"]]


def test_best_of_a_selection_is_found(page: Page, server: GalleryServer) -> None:
    """Keys choose and undo; a reload goes on with the same pair; in the end the others may go."""
    for index in range(3):
        add_picture(server.library, GenerationMetadata(prompt="a stoat", seed=index))
    select_results(page, "stoat", 3)
    page.get_by_role("button", name="Find the best").click()
    dialog = page.get_by_role("dialog", name="Find the best")

    def press(key: str, progress: str) -> None:
        expect(dialog.locator(".view[data-ready]")).to_be_visible()
        page.keyboard.press(key)
        expect(dialog.locator(".progress-text")).to_have_text(progress)

    press("ArrowLeft", "2 of about 3")
    press("Backspace", "1 of about 3")
    press("ArrowRight", "2 of about 3")
    captions = dialog.locator(".caption").all_inner_texts()
    page.reload()
    expect(dialog.locator(".progress-text")).to_have_text("2 of about 3")
    expect(dialog.locator(".caption")).to_have_text(captions)
    press("ArrowRight", "3 of about 3")
    press("ArrowRight", "Done")
    winner = dialog.locator("figure[data-place='1'] .caption").inner_text()
    dialog.get_by_role("button", name="★ Star the winner").click()
    expect(dialog.get_by_role("button", name="★ Star the winner")).to_be_disabled()
    dialog.get_by_role("button", name="Keep the winner, move 2 to trash").click()
    expect(dialog).to_contain_text("2 images moved to trash.")
    (entry,) = entries(server, "a stoat")
    assert (f"Seed {entry.metadata.seed}", entry.metadata.is_starred) == (winner, True)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#grid .summary")).to_have_text(re.compile("^3 images"))


def test_image_is_sent_to_the_create_tab(page: Page, server: GalleryServer) -> None:
    """The Create tab learns which image to import or to generate again."""
    event_field = page.locator("#event-json").locator("input, textarea")
    dialog = open_first_result(page, "owl")
    (entry,) = entries(server, "an owl")
    dialog.get_by_role("button", name="Prompt only").click()
    expect(event_field).to_be_visible()
    payload = {"id": entry.id, "group": "prompt", "kind": "picture"}
    expect(event_field).to_have_value(json.dumps(payload))
    page.go_back()
    dialog.get_by_role("button", name="4 more").click()
    expect(event_field).to_have_value(
        re.compile(f'"id": "{entry.id}", "variation": "adjacent", "key": "[0-9a-f]{{32}}"')
    )


def test_unfinished_job_is_sent_to_the_create_tab(page: Page, server: GalleryServer) -> None:
    """An unfinished job tells why it failed, and can be retried or edited."""
    request = GenerationRequest(prompt="a castle <b>", seed=7, randomize_seed=False)
    JobRepository(server.library).add(
        JobRecord(
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
    )
    event_field = page.locator("#event-json").locator("input, textarea")
    page.get_by_label("Unfinished", exact=True).check()
    row = page.locator(".job-row")
    expect(row).to_contain_text("a castle <b>")
    expect(row).to_contain_text("The Space says: no GPU. Wait.")
    row.get_by_role("button", name="Retry").click()
    expect(event_field).to_have_value(re.compile('"id": "failed-job", "variation": "job"'))
    page.go_back()
    row.get_by_role("button", name="Edit").click()
    payload = {"id": "failed-job", "group": "all", "kind": "job"}
    expect(event_field).to_have_value(json.dumps(payload))


def test_grid_is_shown_with_its_labels(page: Page, server: GalleryServer) -> None:
    """An image leads to its set, whose failed cell can be retried where it stands."""
    request = GenerationRequest(prompt="a kite", seed=7, randomize_seed=False)
    for index in range(3):
        axes = (("Steps", f"{20 + index % 2}"), ("Style", ["Ink", "Oil"][index // 2]))
        origin = RequestOrigin(axes=axes, set_id="kites", set_index=index, set_size=4)
        if index == 1:
            job = JobRecord(
                id="kite-job",
                owner="",
                original_request=request,
                request=request,
                space="",
                created_at=NOON.timestamp(),
                worker_id="",
                position=1.0,
                status=JobStatus.FAILED,
                origin=origin,
                set_id="kites",
            )
            JobRepository(server.library).add(job)
            continue
        record = GenerationMetadata(
            prompt="a kite",
            made_at=NOON - dt.timedelta(days=8, minutes=index),
            axes=axes,
            set_id="kites",
            set_index=index,
            set_size=4,
        )
        add_picture(server.library, record, size=(120, 80))
    search(page, "kite", 2).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 of 4 in a set: Steps 20, Style Ink")
    dialog.get_by_role("button", name="Show the set").click()
    expect(page.locator("#grid .summary")).to_contain_text("2 of 4 images in a set")
    expect(page.get_by_role("columnheader")).to_have_text(["Steps20", "Steps21"])
    rows = page.locator(".set-sheet tbody tr")
    expect(rows.nth(1)).to_contain_text("No image")
    expect(rows.nth(1).locator(".item")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="PNG").click()
    assert download.value.suggested_filename.endswith(".png")
    rows.first.get_by_role("button", name="Retry: Steps 21, Style Ink").click()
    event_field = page.locator("#event-json").locator("input, textarea")
    expect(event_field).to_have_value(re.compile('"id": "kite-job", "variation": "job"'))


def test_settings_are_copied_to_the_clipboard(page: Page) -> None:
    """Copy settings puts the infotext on the clipboard."""
    open_first_result(page, "lighthouse").get_by_role("button", name="Copy settings").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied_text = page.evaluate("navigator.clipboard.readText()")
    assert copied_text.startswith("a lighthouse at dusk\nNegative prompt: people\nSteps: 28, ")
    assert f"Seed: 7, Size: 120x80, Version: {THIS_TOOL}" in copied_text


def test_hostile_prompt_is_never_run(page: Page) -> None:
    """A prompt or a tag, which may come from another program, is shown as text, not run."""
    search(page, "hostile", len(HOSTILE_TEXTS)).locator(".open").click()
    dialog = page.get_by_role("dialog")
    for text in HOSTILE_TEXTS:
        expect(dialog.locator(".prompt")).to_have_text(f"hostile {text}")
        expect(dialog.get_by_label("Tags")).to_have_value(text)
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    for index, text in enumerate(HOSTILE_TEXTS):
        image = gallery_items(page).nth(index).locator("img")
        expect(image).to_have_attribute("alt", f"hostile {text}")
        gallery_items(page).nth(index).locator(".pick input").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog.locator(".bar .caption")).to_have_text([f"hostile {t}" for t in HOSTILE_TEXTS])
    expect(dialog.locator("dt:visible")).to_have_text(["Prompt"])
    page.keyboard.press("Escape")
    for text in HOSTILE_TEXTS:
        search_field(page).fill(f"seed:{text}")
        expect(page.locator("#grid .problems")).to_contain_text("seed:")
    assert page.evaluate("window.pwned") is None


def test_tabs_have_their_own_addresses(page: Page, server: GalleryServer) -> None:
    """Back returns to the other tab, and the Create tab alone doesn't read the library."""
    page.get_by_role("link", name="Create").click()
    expect(page.locator("#studio")).to_be_visible()
    expect(page.locator("#gallery")).to_be_hidden()
    page.go_back()
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)
    expect(page.get_by_role("link", name="Library")).to_have_attribute("aria-current", "page")
    requested_urls: list[str] = []
    page.on("request", lambda request: requested_urls.append(request.url))
    page.goto(server.address + "?fresh#create")
    expect(page.locator("#studio")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert not [url for url in requested_urls if "/studio/" in url or "/run/" in url]
    page.get_by_role("link", name="Library").click()
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)
    assert page.url.endswith("?fresh#library")


def test_back_closes_the_viewer(page: Page) -> None:
    """Back and forward close and open the viewer, and the focus returns to the image."""
    first = gallery_items(page).nth(0)
    second = gallery_items(page).nth(1)
    ids = [str(item.get_attribute("data-id")) for item in (first, second)]
    dialog = page.get_by_role("dialog")

    def expect_image(id_: str) -> None:
        expect(dialog).to_have_attribute("data-id", id_)
        expect(page).to_have_url(re.compile(f"#library/{id_}$"))

    first.locator(".open").click()
    expect_image(ids[0])
    page.keyboard.press("ArrowRight")
    expect_image(ids[1])
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(second.locator(".open")).to_be_focused()
    page.go_forward()
    expect_image(ids[1])
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("#library$"))
    expect(second.locator(".open")).to_be_focused()
    first.locator(".open").click()
    expect_image(ids[0])
    page.reload()
    expect_image(ids[0])
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile("#library$"))
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)
    first.locator(".open").click()
    expect_image(ids[0])
    page.get_by_role("button", name="Reuse settings").click()
    expect(page.locator("#studio")).to_be_visible()
    page.go_back()
    expect_image(ids[0])
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)


def test_phone_layout_fits_the_screen(browser: Browser, server: GalleryServer) -> None:  # a fixture
    """On a phone nothing scrolls sideways, a tap opens an image, and a long press selects it."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = open_gallery(context.new_page(), server.address)
    width_js = "document.documentElement.scrollWidth"
    expect(gallery_items(page)).to_have_count(PAGE_SIZE)
    assert page.evaluate(width_js) <= 360
    gallery_items(page).nth(1).tap(position={"x": 9, "y": 9})
    expect(page.get_by_role("dialog").locator(".full-size")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
    assert page.evaluate(width_js) <= 360
    page.get_by_role("button", name="Close").tap()
    expect(page.get_by_role("dialog")).to_have_count(0)
    box = gallery_items(page).first.bounding_box()
    assert box is not None
    fingers = context.new_cdp_session(page)
    points = [{"x": box["x"] + 9, "y": box["y"] + 9}]
    fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    toolbar = page.get_by_role("toolbar")
    expect(toolbar).to_contain_text("1 selected")
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    gallery_items(page).nth(1).tap()
    expect(toolbar).to_contain_text("2 selected")
    for button in toolbar.get_by_role("button").filter(visible=True).all():
        expect(button).to_be_in_viewport(ratio=1)
    for index in (0, 1):
        gallery_items(page).nth(index).tap()
    expect(toolbar).to_be_hidden()
    context.close()


class ProxyHandler(BaseHTTPRequestHandler):
    """Reverse proxy that shows another server below `/studio`."""

    # One client for all requests: each new one would load the certificates of the system.
    upstream: httpx.Client

    def do_GET(self) -> None:
        """Forward a request, and answer as the other server does."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.removeprefix("/studio").lstrip("/")
        headers = {
            "Content-Type": self.headers.get("Content-Type", ""),
            "X-Forwarded-Host": self.headers["Host"],
        }
        response = self.upstream.request(self.command, f"/{path}", content=body, headers=headers)
        is_below = self.path.startswith("/studio/")
        self.send_response(response.status_code if is_below else 404)
        self.send_header("Content-Type", response.headers.get("content-type", ""))
        self.end_headers()
        self.wfile.write(response.content if is_below else b"")

    do_POST = do_GET  # noqa: N815  # the base class's name

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_page_works_below_a_path(browser: Browser, tmp_path: Path) -> None:  # a fixture
    """Behind a reverse proxy with a path, images load and the tabs keep the page's address."""
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), ProxyHandler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    with (
        serve_gallery(tmp_path, root_path="/studio") as gallery_server,
        httpx.Client(base_url=gallery_server.address, trust_env=False) as ProxyHandler.upstream,
    ):
        add_picture(gallery_server.library, GenerationMetadata(prompt="a cat"), size=(120, 80))
        context = browser.new_context()
        address = f"http://127.0.0.1:{proxy.server_port}/studio/?__theme=dark"
        page = open_gallery(context.new_page(), address)
        expect(gallery_items(page).locator("img")).to_have_js_property("naturalWidth", 120)
        gallery_items(page).locator(".open").click()
        image = page.get_by_role("dialog").locator("img.full-size")
        expect(image).to_have_js_property("naturalWidth", 120)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Create").click()
        assert page.url.endswith("/studio/?__theme=dark#create")
        context.close()
    proxy.shutdown()
    proxy.server_close()
