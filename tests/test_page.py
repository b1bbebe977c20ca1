"""The Create tab in a real browser, over the demo Space and over fake ones."""

import datetime as dt
import io
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sd35.core.seed import MAX_SEED
from sd35.jobs.token_store import TokenStore
from sd35.server import launch
from sd35.space.painter import DemoPainter
from sd35.space.server import build_space
from tests.app_server import serve_app
from tests.chromium import (  # noqa: F401  # fixtures
    browser,
    context,
    count_previews,
    generate_picture,
    open_page,
    page,
    submit_prompt,
)
from tests.page_servers import PageServers, read_seed, servers, wait_for_limits  # noqa: F401  # fixtures
from tests.test_tokens import SPACE, TOKEN, HuggingFace, hub  # noqa: F401  # `hub` is a fixture

COUNT_TIMERS_JS = """window.timerFrames = 0;
const request = window.requestAnimationFrame;
window.requestAnimationFrame = (callback) => {
  if (String(callback).includes("performance.now()-")) window.timerFrames += 1;
  return request(callback);
};"""


def test_prompt_becomes_an_image_to_download(page: Page, servers: PageServers) -> None:
    """Previews are shown on the way, then the image, its seed, and its file for download."""
    open_page(page, servers.offline)
    generate_picture(page, "a lighthouse by the sea at dusk")
    assert count_previews(page) >= 3
    assert page.evaluate("document.querySelector('#picture img').naturalWidth") == 1024
    expect(page.locator("#panel")).to_contain_text("demo sketch")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    name = rf"\d{{6}}-{read_seed(page)}-a-lighthouse-by-the-sea-at-dusk\.png"
    assert re.fullmatch(name, download.value.suggested_filename)
    picture = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert "demo painter" in picture.info["Software"]
    assert picture.size == (1024, 1024)


def test_page_is_light(page: Page, servers: PageServers) -> None:
    """A page takes few requests, all to its own server, and few elements, until more is opened."""
    page.add_init_script(COUNT_TIMERS_JS)
    open_page(page, servers.with_previews)
    expect(page.locator("#queue .queue")).to_be_attached()
    addresses: list[str] = page.evaluate(
        "performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    own = [name for name in addresses if name.startswith(servers.with_previews)]
    assert {name for name in addresses if not name.startswith("data:")} == set(own)
    assert len([name for name in own if "/assets/examples-" not in name]) <= 45
    assert sum("/gradio_api/run" in name for name in own) == 1
    nodes = page.evaluate("document.querySelectorAll('*').length")
    assert nodes <= 550
    # Gradio's hidden timers would draw each frame, also while nothing happens.
    assert page.evaluate("window.timerFrames") == 0
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    assert devtools.send("Memory.getDOMCounters")["nodes"] <= 2700
    devtools.detach()


def test_fallback_to_the_demo_is_announced(page: Page, servers: PageServers) -> None:
    """Without a network the banner says that images are sketches, and offers to try again."""
    open_page(page, servers.offline)
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Demo mode: these are sketches, not Stable Diffusion.")
    expect(banner).to_contain_text("stabilityai/stable-diffusion-3.5-large")
    submit_prompt(page, "a cat")
    expect(page.locator("#panel .headline")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#status [data-state=demo]")).to_be_visible()
    expect(banner).to_contain_text("Demo mode")


def test_seed_is_random_or_reused(page: Page, servers: PageServers) -> None:
    """Random seeds differ, Reuse seed takes the last one, and a given seed is used."""
    open_page(page, servers.with_previews)
    generate_picture(page, "a cat")
    first_seed = read_seed(page)
    submit_prompt(page, "a dog")
    expect(page.locator(f"#panel [data-seed]:not([data-seed='{first_seed}'])")).to_be_visible()
    actual_seed = read_seed(page)
    reuse_seed(page)
    expect(page.get_by_label("Seed", exact=True)).to_have_value(str(actual_seed))
    expect(page.get_by_label("Random seed")).not_to_be_checked()
    page.get_by_label("Seed", exact=True).fill("4242")
    submit_prompt(page, "a fish")
    expect(page.locator("#panel [data-seed='4242']")).to_be_visible()


def reuse_seed(page: Page) -> None:
    """Choose the seed in the menu of what can be reused of the image."""
    page.get_by_role("button", name="Reuse").click()
    page.get_by_role("button", name="Seed only").click()


def test_longest_seed_is_exact_everywhere(page: Page, servers: PageServers) -> None:
    """A seed of 64 bits is typed, used, shown, reused, searched and imported to the last digit."""
    seed_field = page.get_by_label("Seed", exact=True)
    open_page(page, servers.without_previews)
    expect(page.locator("#space-name[title*='256–1440 px per side']")).to_be_visible()
    page.get_by_label("Random seed").uncheck()
    seed_field.fill(str(MAX_SEED))
    submit_prompt(page, "a deer")
    expect(page.locator(f"#panel [data-seed='{MAX_SEED}']")).to_be_visible()
    seed_field.fill("1")
    reuse_seed(page)
    expect(seed_field).to_have_value(str(MAX_SEED))
    page.goto(f"{servers.without_previews}#library?q=seed:{MAX_SEED}")
    page.locator("#grid .item .open").click()
    expect(page.locator("#viewer dl")).to_contain_text(str(MAX_SEED))
    assert f"Seed: {MAX_SEED}," in (
        page.locator("#viewer dialog").get_attribute("data-infotext") or ""
    )
    page.get_by_role("button", name="Seed only").click()
    expect(page.locator("#settings-import")).to_contain_text("Imported from")
    expect(seed_field).to_have_value(str(MAX_SEED))


def test_keyboard_alone_suffices(page: Page, servers: PageServers) -> None:
    """Arrow keys choose a size, Ctrl+Enter generates, Escape leaves a field; Stop is a Tab away."""
    servers.generator.hold()
    open_page(page, servers.with_previews)
    panel = page.locator("#panel")
    page.locator("#size input[value='1:1']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#size input[value='5:4']")).to_be_checked()
    expect(page.locator("#size-hint")).to_contain_text("960 × 768 px")
    page.get_by_label("Prompt", exact=True).fill("wait: a cat")
    page.keyboard.press("Control+Enter")
    expect(page.locator("div.visually-hidden")).to_have_text("Generating")
    expect(panel).to_contain_text("Step 2 of 6")
    for _ in range(2):
        page.keyboard.press("Escape")
    expect(page.locator(":focus")).to_have_count(0)
    page.get_by_role("button", name="Generate").focus()
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_enabled()
    expect(panel.locator("[data-status=running]")).to_be_visible()
    while not stop.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(panel.locator("[data-status=cancelled]")).to_be_visible()
    # Not on a button, which a key that is still pressed would press.
    expect(panel.locator(".job")).to_be_focused()
    servers.generator.release()


def test_space_without_previews(page: Page, servers: PageServers) -> None:
    """The page follows the Space's own limits, pretends no previews, and says what Stop means."""
    servers.plain.hold()
    open_page(page, servers.without_previews)
    expect(page.locator("#space-name[title*='no previews']")).to_be_visible()
    expect(page.locator("#space-name[title*='256–1440 px per side']")).to_be_visible()
    page.locator("#size label", has_text="Custom").click()
    expect(page.get_by_label("number input for Width")).to_have_attribute("max", "1440")
    page.locator("#size label", has_text="21:9").click()
    expect(page.locator("#size-hint")).to_contain_text("1408 × 608 px")
    submit_prompt(page, "a dog")
    expect(page.locator("#panel")).to_contain_text("176 × 76")  # the fake Space's eighths
    assert count_previews(page) == 0

    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(page.locator("#panel")).to_contain_text("no live previews")
    # In place of a preview there is a frame of the image's true shape.
    frame = page.locator(".cell[data-state=running] .frame")
    expect(frame).to_contain_text("Step 2 of 6")
    ratio = frame.evaluate("({clientWidth, clientHeight}) => clientWidth / clientHeight")
    assert ratio == pytest.approx(1408 / 608, rel=0.02)
    expect(page.locator("#picture img")).not_to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#panel [data-status=cancelled]")).to_contain_text("can't")
    page.get_by_role("button", name="Keep waiting").click()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.plain.release()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()


def test_space_is_changed_on_the_page(page: Page, servers: PageServers) -> None:
    """By keyboard: a wrong address says so, Escape closes, and another Space gives its limits."""
    open_page(page, servers.without_previews)
    name = page.locator("#space-name")
    panel = page.get_by_role("dialog", name="Space")
    name.press("Enter")
    expect(panel.locator("[aria-current]")).to_be_focused()
    expect(panel.locator("[aria-current]")).to_contain_text(servers.plain.address)
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(name).to_be_focused()
    page.get_by_label("number input for Inference steps").fill("33")
    name.click()
    field = panel.get_by_label("Another Space")
    field.fill("http://127.0.0.1:1/")
    field.press("Enter")
    expect(panel.get_by_role("alert")).to_contain_text("Can't reach http://127.0.0.1:1/")
    expect(field).to_be_focused()
    field.fill(servers.generator.address)
    field.press("Enter")
    expect(panel).to_have_count(0)
    expect(page.locator("#space-name[title*='live previews']")).to_be_visible()
    expect(page.locator("#size-hint")).to_contain_text("aren't available")
    expect(page.get_by_label("number input for Inference steps")).to_have_value("33")
    name.click()
    panel.get_by_role("button", name=servers.plain.address).click()
    expect(page.locator("#space-name[title*='no previews']")).to_be_visible()
    expect(name).to_be_focused()


def test_second_visitor_sees_the_queue_and_messages_of_the_space(
    browser: Browser, page: Page, servers: PageServers
) -> None:
    """A second browser sees its position at the Space, and then its image."""
    servers.generator.hold()
    open_page(page, servers.with_previews)
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    second_page = browser.new_context().new_page()
    open_page(second_page, servers.with_previews)
    submit_prompt(second_page, "notice: Waiting for a GPU to become available")
    row = second_page.locator("#queue [data-kind=running]")
    expect(row).to_contain_text("at the Space")
    row.locator(".job-title").click()
    expect(second_page.locator("#panel")).to_contain_text("at the Space")
    servers.generator.release()
    expect(second_page.locator("#panel [data-status=completed]")).to_be_visible()
    second_page.context.close()


def test_full_screen_covers_the_form(page: Page, servers: PageServers) -> None:
    """In full screen only the image is seen, and Escape leaves it."""
    servers.generator.hold()
    open_page(page, servers.with_previews)
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.locator("#picture").get_by_role(
        "button", name=re.compile("fullscreen", re.IGNORECASE)
    ).click()
    inside = "([x, y]) => document.elementFromPoint(x, y).closest('#picture') !== null"
    for point in ([40, 40], [200, 450], [680, 450], [1300, 860]):
        assert page.evaluate(inside, point), point
    page.keyboard.press("Escape")
    expect(page.locator("#picture.fullscreen")).to_have_count(0)
    expect(page.locator("#panel [data-status=running]")).to_be_visible()
    servers.generator.release()


def test_open_page_survives_a_restart_of_the_server(
    page: Page, servers: PageServers, tmp_path: Path
) -> None:
    """A page whose server restarts during a job says so, keeps what was typed, and can retry."""
    servers.generator.hold()
    port = launch.free_port()
    with serve_app(servers.generator.address, tmp_path, port=port) as server:
        open_page(page, server.address)
        submit_prompt(page, "wait: a cat")
        expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
        page.get_by_label("Prompt", exact=True).fill("a dog, half typed")
    with serve_app(servers.generator.address, tmp_path, port=port):
        servers.generator.release()
        expect(page.locator("#panel")).to_contain_text(
            "The app closed while this image was being generated."
        )
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("a dog, half typed")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#panel [data-status=completed]")).to_be_visible()


def test_warning_of_an_unsaved_image_goes_away_once_saved(
    page: Page, servers: PageServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that couldn't be saved is offered for download until a retry has saved it."""
    monkeypatch.setattr("sd35.jobs.runner.SAVE_RETRY_INTERVAL", 0.1)
    day = tmp_path / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    day.write_bytes(b"")  # a file where the day's folder would be
    with serve_app(servers.generator.address, tmp_path) as server:
        open_page(page, server.address)
        submit_prompt(page, "a dog")
        expect(page.locator("#panel")).to_contain_text("Download it now to be safe.")
        day.unlink()
        expect(page.locator("#panel")).not_to_contain_text("Download it now")


def test_message_of_the_space_is_text_and_no_script(page: Page, servers: PageServers) -> None:
    """A failure is explained, and neither HTML nor a template in the Space's words is evaluated."""
    text = "<img src=x onerror=window.pwned=1> ${window.pwned=1} {{7*7}}"
    open_page(page, servers.with_previews)
    submit_prompt(page, f"error: GPU quota {text} exceeded")
    alert = page.locator("#panel [role=alert]")
    expect(alert).to_contain_text("GPU quota ${window.pwned=1} {{7*7}} exceeded")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(
        f"error: GPU quota {text} exceeded"
    )
    assert page.evaluate("window.pwned") is None


def test_phone_fits_the_page(browser: Browser, servers: PageServers) -> None:
    """On a phone nothing scrolls sideways, and the button, the status and errors are in sight."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = open_page(context.new_page(), servers.offline)
    wait_for_limits(page)
    expect(page.get_by_role("button", name="Generate")).to_be_in_viewport()
    page.get_by_label("Random seed").uncheck()
    page.get_by_label("Seed", exact=True).fill("-5")
    submit_prompt(page, "a fox in the snow")
    expect(page.locator("#seed .validation-error").first).to_be_in_viewport()
    page.get_by_label("Random seed").check()
    page.locator("#generate").tap()
    position = page.locator("#generate").bounding_box()
    expect(page.locator("#panel [data-status=running]")).to_be_visible()
    assert page.locator("#generate").bounding_box() == position, "a second tap hits it"
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    expect(page.locator("#panel .facts")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    size = "name => parseFloat(getComputedStyle(document.querySelector(name)).fontSize)"
    assert page.evaluate(size, "#prompt-area textarea") >= 16, "or iOS zooms in"
    assert page.evaluate(size, "#seed input") >= 16
    context.close()


def test_phone_leads_on_when_the_quota_is_used_up(
    browser: Browser, hub: HuggingFace, tmp_path: Path
) -> None:
    """Turbo is a tap away, and with a token the queue goes on; the browser keeps no token."""
    store = TokenStore(tmp_path / "marker")
    phone: Any = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with (
        serve_app(SPACE, tmp_path / "library", hub=hub.address, token_store=store) as server,
        closing(browser.new_context(**phone)) as context,
    ):
        page = open_page(context.new_page(), server.address)
        submit_prompt(page, "a lighthouse")
        panel = page.locator("#panel")
        expect(panel).to_contain_text(re.compile(r"resets \w+ at \d+:\d\d.* \(in 3 h\)"))
        expect(panel.get_by_role("button", name="Try now")).to_be_in_viewport(ratio=1)
        turbo = panel.get_by_role("button", name="Use Turbo")
        box = turbo.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        turbo.tap()
        expect(page.locator("#space-name")).to_contain_text("Large Turbo")
        expect(page.locator("#space-name")).to_contain_text("quota resets")
        expect(turbo).to_be_hidden()
        panel.get_by_role("button", name="Add token").tap()
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        field.fill(f"{TOKEN}x")
        field.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="doesn't know this token")).to_be_visible()
        field.fill(TOKEN)
        page.get_by_role("button", name="Add", exact=True).tap()
        expect(page.locator("#panel [data-status=completed]")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert hub.tokens[-1] == TOKEN
        storage = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert TOKEN not in storage + page.content()


def test_try_again_connects_a_space_that_was_down(page: Page, tmp_path: Path) -> None:
    """The page says that its Space can't be reached; Try again connects it, once it is there."""
    port = launch.free_port()
    space = build_space(DemoPainter())
    with serve_app(f"http://127.0.0.1:{port}/", tmp_path) as server:
        open_page(page, server.address)
        expect(page.locator("#banner")).to_contain_text("Not connected.")
        launch.launch(space, port=port)
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#status [data-state=demo]")).to_be_visible()
        expect(page.locator("#banner")).not_to_contain_text("Not connected.")
    launch.close(space)
