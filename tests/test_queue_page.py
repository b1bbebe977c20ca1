"""The queue in a real browser, what a page that comes back finds, and pictures that fill the form."""

import base64
import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, BrowserContext, Page, expect

from sd35.jobs.limits import UsageLimits
from tests.app_server import AppServer, serve_app
from tests.chromium import browser, open_page, submit_prompt  # noqa: F401  # it is a fixture
from tests.fakes import FakeSpace

expect.set_options(timeout=20_000)

RECORD_NOTIFICATIONS_JS = """() => {
  window.told = [];
  window.Notification = class { constructor(words) { window.told.push(words); } };
  window.Notification.permission = "granted";
  Object.defineProperty(document, "visibilityState", {get: () => "hidden", configurable: true});
}"""


@dataclass(frozen=True, slots=True)
class QueueServers:
    """A page over a Space that makes one picture at a time."""

    fake: FakeSpace
    app_server: AppServer


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServers]:
    with ExitStack() as stack:
        fake = FakeSpace(is_generator=True)
        stack.callback(fake.close)
        yield QueueServers(
            fake,
            stack.enter_context(
                serve_app(
                    fake.address, tmp_path_factory.mktemp("library"), UsageLimits(max_concurrent=1)
                )
            ),
        )


@pytest.fixture
def context(browser: Browser, servers: QueueServers) -> Iterator[BrowserContext]:
    servers.fake.hold()
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    yield context
    servers.fake.release()
    page = open_page(context.new_page(), servers.app_server.address)
    if page.get_by_role("button", name="Stop all").is_visible():
        page.get_by_role("button", name="Stop all").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-left", "0")
    if page.locator("#queue button[data-do=dismiss-all]").is_visible():
        page.locator("#queue button[data-do=dismiss-all]").click()
    context.close()


@pytest.fixture
def page(context: BrowserContext, servers: QueueServers) -> Page:
    return open_page(context.new_page(), servers.app_server.address)


def wait_for_running(page: Page) -> None:
    submit_prompt(page, "wait: first")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")


def test_a_queue_to_work_with(page: Page, servers: QueueServers) -> None:
    """Generate blocks while a picture is made; or what waits can't be seen, put in order, or taken out."""
    wait_for_running(page)
    for name in ("a cat", "a dog", "a fish"):
        submit_prompt(page, name)
        expect(page.locator("#queue li b", has_text=name)).to_be_visible()
    expect(page.locator("#queue")).to_contain_text("1 running · 3 waiting")
    expect(page).to_have_title(re.compile("^4 to go"))
    page.locator("#queue li", has_text="a fish").get_by_role("button", name="Sooner").click()
    expect(page.locator("#queue li").nth(2)).to_contain_text("a fish")
    page.locator("#queue li", has_text="a cat").get_by_role("button", name="Remove").click()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a fish", "a dog"])
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.fake.release()
    expect(page.locator("#panel")).to_contain_text("Seed")
    expect(page).to_have_title(re.compile("^✓ 3 done"))
    expect(page.locator("#recent button")).to_have_count(3)
    page.locator("#recent button").last.click()
    expect(page.get_by_role("button", name="Use this seed")).to_be_visible()


def test_stopping_the_rest_and_all(page: Page) -> None:
    """Stop ends more than was said, or the next one has its turn while all are stopped."""
    wait_for_running(page)
    submit_prompt(page, "a cat")
    submit_prompt(page, "a dog")
    expect(page.locator("#queue li")).to_have_count(3)
    page.get_by_role("button", name="Stop the rest").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-left", "1")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    submit_prompt(page, "a fish")
    page.get_by_role("button", name="Stop all").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-left", "0")
    expect(page.locator("#panel [data-phase=cancelled]")).to_be_visible()


def test_what_failed_is_said_and_can_be_tried_again(page: Page, servers: QueueServers) -> None:
    """A failure in a queue goes by unseen, or can't be tried again with one click."""
    page.evaluate(RECORD_NOTIFICATIONS_JS)
    servers.fake.release()
    submit_prompt(page, "silent")
    expect(page.locator("#panel")).to_contain_text("No picture")
    expect(page).to_have_title(re.compile("^✗ 1 failed"))
    assert page.evaluate("window.told") == ["1 picture failed"]
    submit_prompt(page, "a cat")
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    assert "Your picture is done" in page.evaluate("window.told")
    expect(page.locator("#queue li[data-kind=failed]")).to_contain_text("silent")
    page.locator("#queue li[data-kind=failed]").get_by_role(
        "button", name="Run again, with the same seed"
    ).click()
    expect(page.locator("#panel")).to_contain_text("No picture")
    expect(page.locator("#queue li")).to_have_count(0)


def test_what_a_button_asks_for_is_not_what_the_form_did(page: Page, servers: QueueServers) -> None:
    """After Run again, or Four neighbours, a reload gives the form their seed, and all later pictures share it."""
    wait_for_running(page)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#panel").get_by_role("button", name="Run again, with the same seed").click()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.reload()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("wait: first")
    expect(page.get_by_label("Randomize seed")).to_be_checked()
    servers.fake.release()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    page.get_by_role("link", name="Library").click()
    page.locator("#grid .item .open").first.click()
    page.get_by_role("button", name="4 more").click()
    expect(page).to_have_title(re.compile("^✓ . done"))
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("wait: first")
    expect(page.get_by_label("Randomize seed")).to_be_checked()


def test_another_tab_and_a_lost_connection(
    context: BrowserContext, page: Page, servers: QueueServers
) -> None:
    """A second tab shows nothing of what runs; or a page that was offline for a while never hears of it again."""
    wait_for_running(page)
    second_page = open_page(context.new_page(), servers.app_server.address)
    expect(second_page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(second_page.locator("#picture img")).to_be_visible()
    submit_prompt(second_page, "a cat")
    expect(page.locator("#queue li", has_text="a cat")).to_be_visible()
    context.set_offline(True)
    second_page.close()
    servers.fake.release()
    context.set_offline(False)
    page.reload()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    expect(page.locator("#recent button").nth(1)).to_be_visible()


def test_a_picture_that_is_dropped_fills_the_form(page: Page) -> None:
    """A picture's settings don't come back, what can't be used is passed over in silence, or it can't be undone."""
    page.get_by_label("Prompt", exact=True).fill("half typed")
    png_info = PngInfo()
    png_info.add_text(
        "parameters",
        "a lighthouse, oil painting <lora:sea:0.8>\nNegative prompt: people\n"
        "Steps: 30, Sampler: DPM++ 2M, CFG scale: 6.5, Seed: 123, Size: 1024x576, Model: dreamshaper",
    )
    out = io.BytesIO()
    Image.effect_noise((1024, 576), 50).save(out, "PNG", pnginfo=png_info)
    assert len(out.getvalue()) > 100_000
    body_sizes: list[int] = []
    page.on("request", lambda request: body_sizes.append(len(request.post_data or "")))
    page.locator("#recalled input[type=file]").set_input_files(
        {"name": "sea.png", "mimeType": "image/png", "buffer": out.getvalue()}
    )
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a lighthouse, oil painting")
    expect(page.get_by_label("Negative prompt")).to_have_value("people")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("123")
    expect(page.get_by_label("Randomize seed")).not_to_be_checked()
    expect(page.get_by_label("number input for Guidance scale")).to_have_value("6.5")
    for expected_text in ("sea.png", "AUTOMATIC1111", "DPM++ 2M", "sea:0.8", "dreamshaper"):
        expect(page.locator("#recalled .recalled")).to_contain_text(expected_text)
    assert max(body_sizes) < 5_000, "the image itself stays in the browser"
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("half typed")
    expect(page.get_by_label("Randomize seed")).to_be_checked()


DROP_FILE_JS = """([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/webp"}));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def test_a_picture_of_ours_is_dropped_and_one_that_says_nothing(
    page: Page, servers: QueueServers
) -> None:
    """The studio doesn't know its own pictures again; or a picture that says nothing is met with silence."""
    servers.fake.release()
    page.get_by_label("Prompt", exact=True).fill("a cat,\nNegative prompt: Steps: 3, “quoted”")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("something else")
    [file] = [
        path
        for path in servers.app_server.studio.library.folder.rglob("*.webp")
        if "quoted" in path.name
    ]
    page.evaluate(DROP_FILE_JS, [file.name, list(file.read_bytes())])
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(
        "a cat,\nNegative prompt: Steps: 3, “quoted”"
    )
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP")
    page.evaluate(DROP_FILE_JS, ["<b>plain</b>.webp", list(out.getvalue())])
    expect(page.locator("#recalled [role=alert]")).to_have_text(
        "<b>plain</b>.webp doesn't say with what it was made."
    )
    chunk = b"tEXtparameters\0" + b"x" * 3_000_000
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )
    page.evaluate(
        DROP_FILE_JS.replace(
            "new Uint8Array(bytes)", "Uint8Array.from(atob(bytes), c => c.charCodeAt())"
        ),
        ["big.png", base64.b64encode(bomb).decode()],
    )
    expect(page.locator("#recalled [role=alert]")).to_contain_text("big.png doesn't say")
