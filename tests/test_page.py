"""The page in a real browser, over the demo Space and over fake ones."""

import datetime as dt
import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sd35.server import launch
from sd35.server.auth import Authenticator
from sd35.server.server import ServerConfig
from tests.app_server import serve_app
from tests.chromium import browser, open_page, submit_prompt  # noqa: F401  # it is a fixture
from tests.fakes import FakeSpace

expect.set_options(timeout=20_000)


class PageServers:
    """The pages under test, each started once."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.generator, self.plain = (
            FakeSpace(is_generator=True),
            FakeSpace(is_generator=False, width=(256, 1440, 32)),
        )
        stack.callback(self.generator.close)
        stack.callback(self.plain.close)
        self.demo = stack.enter_context(serve_app("demo", folder)).address
        self.generator_address = stack.enter_context(
            serve_app(self.generator.address, folder)
        ).address
        self.plain_address = stack.enter_context(serve_app(self.plain.address, folder)).address


@pytest.fixture(scope="module")
def servers() -> Iterator[PageServers]:
    # below Gradio's own directory, as in the program: what is not there is not served
    with ExitStack() as stack:
        yield PageServers(Path(os.environ["GRADIO_TEMP_DIR"]) / "pictures", stack)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors, "the page's own scripts failed"


def read_seed(page: Page) -> int:
    seed = page.locator("#panel [data-seed]").get_attribute("data-seed", timeout=20_000)
    assert seed is not None
    return int(seed)


def test_a_prompt_becomes_a_picture(page: Page, servers: PageServers) -> None:
    """The main job doesn't work: previews on the way, then the picture, its seed, and its bytes to keep."""
    open_page(page, servers.demo)
    submit_prompt(page, "a lighthouse by the sea at dusk")
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    assert page.evaluate("window.previews.size") >= 3
    expect(page.locator("#picture img")).to_have_attribute(
        "src", re.compile(r"/gradio_api/file=.*\.png")
    )
    assert page.evaluate("document.querySelector('#picture img').naturalWidth") == 1024
    expect(page.locator("#panel")).to_contain_text("demo painter")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    name = rf"\d{{6}}-{read_seed(page)}-a-lighthouse-by-the-sea-at-dusk\.png"
    assert re.fullmatch(name, download.value.suggested_filename)
    picture = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert "demo painter" in picture.info["Software"]
    assert picture.size == (1024, 1024)


def test_the_seed(page: Page, servers: PageServers) -> None:
    """“Randomize seed” draws the same seed twice, or a given seed isn't used, or can't be had back with one click."""
    open_page(page, servers.generator_address)
    seeds = set()
    for prompt in ("a cat", "a dog"):
        submit_prompt(page, prompt)
        expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
        seeds.add(read_seed(page))
        page.locator("#panel").evaluate("panel => panel.querySelector('[data-phase]').remove()")
    assert len(seeds) == 2
    submit_prompt(page, "a bird")
    actual_seed = read_seed(page)
    page.get_by_role("button", name="Use this seed").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value(str(actual_seed))
    expect(page.get_by_label("Randomize seed")).not_to_be_checked()
    page.get_by_label("Seed", exact=True).fill("4242")
    submit_prompt(page, "a fish")
    expect(page.locator("#panel [data-seed='4242']")).to_be_visible()


def test_keys_and_stop(page: Page, servers: PageServers) -> None:
    """Ctrl+Enter doesn't generate, Escape doesn't stop, or the page doesn't say what stopping did."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
    page.get_by_label("Prompt", exact=True).fill("wait: a cat")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_contain_text("The Space ended the run.")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    servers.generator.release()


def test_a_space_without_previews(page: Page, servers: PageServers) -> None:
    """On a Space like the public one the page pretends previews, or says that a plain function was ended."""
    servers.plain.hold()
    open_page(page, servers.plain_address)
    expect(page.locator("#status")).to_contain_text("no previews, steps only")
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(page.locator("#panel")).to_contain_text("no previews")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#panel")).to_contain_text("may finish it")
    servers.plain.release()
    submit_prompt(page, "a dog")
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    assert page.evaluate("window.previews.size") == 0
    expect(page.locator("#picture img")).to_be_visible()


def test_the_queue_and_the_space_s_own_words(
    browser: Browser, page: Page, servers: PageServers
) -> None:
    """A person behind others isn't told of the queue, or of what the Space says."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    second_page = browser.new_context().new_page()
    open_page(second_page, servers.generator_address)
    submit_prompt(second_page, "notice: Waiting for a GPU to become available")
    expect(second_page.locator("#queue [data-kind=running]")).to_contain_text("queue")
    second_page.locator("#queue [data-kind=running] .what").click()
    expect(second_page.locator("#panel")).to_contain_text("queue")
    servers.generator.release()
    expect(second_page.locator("#panel [data-phase=completed]")).to_be_visible()
    second_page.context.close()


def test_a_reload_loses_nothing(page: Page, servers: PageServers) -> None:
    """A page that is reloaded, or opened again, has forgotten the picture that is on its way."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.reload()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.generator.release()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    page.reload()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    expect(page.locator("#picture img")).to_be_visible()


def test_a_reload_restores_the_form(page: Page, servers: PageServers) -> None:
    """After a reload nobody can see what the picture was asked with."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
    page.get_by_label("Negative prompt").fill("people")
    page.locator("#size label", has_text="16:9").click()
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("wait: a cat")
    expect(page.get_by_label("Negative prompt")).to_have_value("people")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    expect(page.get_by_label("Randomize seed")).to_be_checked()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.generator.release()
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()


def test_the_last_picture_stays_in_sight(page: Page, servers: PageServers) -> None:
    """Pressing Generate throws away the picture that is there, before there is a new one."""
    servers.plain.hold()
    open_page(page, servers.plain_address)
    submit_prompt(page, "a cat")
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    previous_src = page.locator("#picture img").get_attribute("src")
    submit_prompt(page, "wait: a dog")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(page.locator("#picture img")).to_have_attribute("src", previous_src or "")
    expect(page.locator("#picture img")).to_have_css("opacity", "0.35")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#panel [data-phase=cancelled]")).to_be_visible()
    expect(page.locator("#picture img")).to_be_visible()
    servers.plain.release()


def test_full_screen(page: Page, servers: PageServers) -> None:
    """Full screen shows the form through the picture; or the Escape that leaves it stops the run."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
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
    expect(page.locator("#panel [data-phase=running]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#panel [data-phase=cancelled]")).to_be_visible()
    servers.generator.release()


def test_a_server_that_was_restarted_under_the_page(
    page: Page, servers: PageServers, tmp_path: Path
) -> None:
    """When the program is restarted during a run, an open page is stuck with it, or forgets what was typed."""
    servers.generator.hold()
    site = ServerConfig(Authenticator(), port=launch.free_port())
    with serve_app(servers.generator.address, tmp_path, make_config=lambda _: site) as server:
        open_page(page, server.address)
        submit_prompt(page, "wait: a cat")
        expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
        page.get_by_label("Prompt", exact=True).fill("a dog, half typed")
    with serve_app(servers.generator.address, tmp_path, make_config=lambda _: site):
        servers.generator.release()
        expect(page.locator("#panel")).to_contain_text("ended while the picture was being made")
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("a dog, half typed")
        page.get_by_role("button", name="Run again").click()
        expect(page.locator("#panel [data-phase=completed]")).to_be_visible()


def test_a_picture_that_is_still_to_be_written(
    page: Page, servers: PageServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open page goes on promising to write a picture that was lost with the program, or one that is written."""
    monkeypatch.setattr("sd35.jobs.service.SAVE_RETRY_INTERVAL", 0.1)
    site = ServerConfig(Authenticator(), port=launch.free_port())
    day = tmp_path / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    day.write_bytes(b"")  # no folder can be made there
    with serve_app(servers.generator.address, tmp_path, make_config=lambda _: site) as server:
        open_page(page, server.address)
        submit_prompt(page, "a cat")
        expect(page.locator("#panel")).to_contain_text("It is tried again. Download it now.")
    with serve_app(servers.generator.address, tmp_path, make_config=lambda _: site):
        expect(page.locator("#panel")).to_contain_text("ended while the picture was being made")
        submit_prompt(page, "a dog")
        expect(page.locator("#panel")).to_contain_text("It is tried again. Download it now.")
        day.unlink()
        expect(page.locator("#panel")).not_to_contain_text("Download it now.")


def test_the_keyboard_alone(page: Page, servers: PageServers) -> None:
    """The sizes can't be chosen with the arrow keys, or the focus is lost when Stop goes away."""
    servers.generator.hold()
    open_page(page, servers.generator_address)
    page.locator("#size input[value='1:1']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#size input[value='5:4']")).to_be_checked()
    expect(page.locator("#size-hint")).to_contain_text("960 × 768 pixels")
    page.get_by_label("Prompt", exact=True).fill("wait: a cat")
    page.get_by_role("button", name="Generate").focus()
    page.keyboard.press("Enter")
    expect(page.locator("div.voice")).to_have_text("Generating")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Generate")).to_be_focused()
    servers.generator.release()


def test_mistakes_are_said_at_the_field(page: Page, servers: PageServers) -> None:
    """A mistake is sent to the Space, is said somewhere else, or costs what was typed."""
    open_page(page, servers.demo)
    page.get_by_label("Negative prompt").fill("people")
    page.get_by_label("Randomize seed").uncheck()
    page.get_by_label("Seed", exact=True).fill("-5")
    page.locator("#size label", has_text="21:9").click()
    expect(page.locator("#size-hint")).to_contain_text("at least 512 px per side")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#ask")).to_contain_text("Enter a prompt.")
    expect(page.locator("#seed")).to_contain_text("Enter a seed from 0 to 2,147,483,647")
    expect(page.locator("#size")).to_contain_text("at least 512 px per side")
    expect(page.locator("#panel [data-phase=idle]")).to_be_visible()
    expect(page.get_by_label("Negative prompt")).to_have_value("people")


def test_the_space_s_own_limits(page: Page, servers: PageServers) -> None:
    """The form keeps to the public Space's ranges on a Space with others."""
    open_page(page, servers.plain_address)
    expect(page.locator("#status")).to_contain_text("256–1440 px a side")
    page.locator("#size label", has_text="Custom").click()
    width = page.get_by_label("number input for Width")
    expect(width).to_have_attribute("max", "1440")
    page.locator("#size label", has_text="21:9").click()
    expect(page.locator("#size-hint")).to_contain_text("1408 × 608 pixels")
    submit_prompt(page, "a cat")
    expect(page.locator("#panel")).to_contain_text("176 × 76")  # the fake Space's eighths


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=window.pwned=1>", "${window.pwned=1}", "{{7*7}}"]
)
def test_a_failure_is_a_sentence_and_no_script(page: Page, servers: PageServers, text: str) -> None:
    """A failure isn't told, costs what was typed, or what the Space says is run as a script."""
    open_page(page, servers.generator_address)
    submit_prompt(page, f"error: GPU quota {text} exceeded")
    expect(page.locator("#panel [role=alert]")).to_contain_text("The Space says: GPU quota")
    expect(page.locator("#panel [role=alert]")).to_contain_text("Wait until the quota returns")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(
        f"error: GPU quota {text} exceeded"
    )
    assert page.evaluate("window.pwned") is None
    expect(page.locator("#panel")).not_to_contain_text("GPU quota 49")


def test_the_fallback_is_owned_up_to(page: Page, tmp_path: Path) -> None:
    """Without a network, a demo picture passes for Stable Diffusion, or there is no way to try again."""
    with serve_app("auto", tmp_path) as server:
        open_page(page, server.address)
        expect(page.locator("#banner")).to_contain_text(
            "come from a demo painter, not from Stable Diffusion"
        )
        expect(page.locator("#banner")).to_contain_text(
            "stabilityai/stable-diffusion-3.5-large at Hugging Face can't be reached"
        )
        submit_prompt(page, "a cat")
        expect(page.locator("#panel .headline")).to_be_in_viewport(ratio=1)
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#status [data-state=demo]")).to_be_visible()
        expect(page.locator("#banner")).to_contain_text("demo painter")


def test_no_space_at_all(page: Page, tmp_path: Path) -> None:
    """An explicit choice falls back, or the page says nothing of why nothing works."""
    with serve_app("http://127.0.0.1:1/", tmp_path) as server:
        open_page(page, server.address)
        expect(page.locator("#banner [role=alert]")).to_contain_text("nothing listens there")
        submit_prompt(page, "a cat")
        expect(page.locator("#panel [role=alert]")).to_contain_text("nothing listens there")
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("a cat")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Browser, servers: PageServers, scheme: str) -> None:
    """On a phone the page scrolls sideways, or its main button is off the screen."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = open_page(context.new_page(), servers.demo)
    expect(page.get_by_role("button", name="Generate")).to_be_in_viewport()
    submit_prompt(page, "a fox in the snow")
    expect(page.locator("#panel [data-phase=completed]")).to_be_visible()
    expect(page.locator("#panel .headline")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    size = "name => parseFloat(getComputedStyle(document.querySelector(name)).fontSize)"
    assert page.evaluate(size, "#ask textarea") >= 16, "or iOS zooms in"
    assert page.evaluate(size, "#seed input") >= 16
    page.get_by_label("Randomize seed").uncheck()
    page.get_by_label("Seed", exact=True).fill("-5")
    page.wait_for_load_state(
        "networkidle"
    )  # Gradio takes no click while the last run's stream is open
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#seed .validation-error").first).to_be_in_viewport()
    context.close()
