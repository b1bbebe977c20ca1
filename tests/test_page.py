"""The Create tab in a real browser, over the demo Space and over fake ones."""

import datetime as dt
import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
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
from sd35.ui.theme import ASSETS
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
from tests.fakes import FakeSpace
from tests.test_tokens import SPACE, TOKEN, HuggingFace, hub  # noqa: F401  # `hub` is a fixture


class PageServers:
    """The apps under test, each started once.

    Attributes:
        offline: falls back to the demo Space, because Hugging Face can't be reached.
        with_previews: over `generator`, which yields previews.
        without_previews: over `plain`, which takes other sizes and seeds than the public Space.
        folder: the library of all of them.

    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder

        def serve(space: str) -> str:
            return stack.enter_context(serve_app(space, folder)).address

        self.generator = FakeSpace(is_generator=True)
        stack.callback(self.generator.close)
        self.plain = FakeSpace(is_generator=False, width=(256, 1440, 32), max_seed=MAX_SEED)
        stack.callback(self.plain.close)
        self.offline = serve("auto")
        self.with_previews = serve(self.generator.address)
        self.without_previews = serve(self.plain.address)


@pytest.fixture(scope="module")
def servers() -> Iterator[PageServers]:
    # below Gradio's own directory, as in the program: what is elsewhere isn't served
    with ExitStack() as stack:
        yield PageServers(Path(os.environ["GRADIO_TEMP_DIR"]) / "pictures", stack)


RECORD_BACKGROUNDS_JS = """window.backgrounds = new Set();
requestAnimationFrame(function record() {
  if (document.body) window.backgrounds.add(getComputedStyle(document.body).backgroundColor);
  if (!document.querySelector("#generate")) requestAnimationFrame(record);
});"""

COUNT_TIMERS_JS = """window.timerFrames = 0;
const request = window.requestAnimationFrame;
window.requestAnimationFrame = (callback) => {
  if (String(callback).includes("performance.now()-")) window.timerFrames += 1;
  return request(callback);
};"""

DARK = "rgb(23, 20, 18)"

KEY_NAMES = {
    "Esc": "escape",
    "←": "arrowleft",
    "→": "arrowright",
    "↑": "arrowup",
    "↓": "arrowdown",
    "Space": " ",
    "−": "-",
}
KEYS_OF_THE_BROWSER = {"ctrl", "shift", "click", "v", "1–4"}
KEY_VARIANTS = {"=", "_"}
"""Keys without a modifier, and with it, that the sheet names by the other one."""


def read_scripts() -> str:
    """Return the page's scripts, in small letters."""
    return "\n".join(path.read_text("utf-8") for path in ASSETS.glob("*.js")).lower()


def scripted_keys(scripts: str) -> set[str]:
    """Return the keys with which the page's scripts compare, and those of their tables."""
    tables = "\n".join(re.findall(r"(?<!mode)_keys = \{(.*?)\};", scripts, re.DOTALL))
    names = re.findall(r'key(?:\.tolowercase\(\))? === "([^"]+)"', scripts)
    return {*names, *re.findall(r"\b(\w+): ", tables)}


def read_seed(page: Page) -> int:
    seed = page.locator("#panel [data-seed]").get_attribute("data-seed", timeout=20_000)
    assert seed is not None
    return int(seed)


def wait_for_limits(page: Page) -> None:
    """Wait until the fields have the Space's limits, with which Gradio removes their errors."""
    expect(page.locator("#size-hint")).to_contain_text("aren't available")


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


def test_somebody_new_makes_an_image_by_the_keyboard(page: Page, tmp_path: Path) -> None:
    """An example or a random prompt replaces what was typed, which can be undone; then they go."""
    prompt = page.get_by_label("Prompt", exact=True)
    welcome = page.get_by_role("region", name="Start with an example")
    with serve_app("demo", tmp_path) as app:
        open_page(page, app.address)
        expect(prompt).to_be_focused()
        page.keyboard.type("my own words")
        welcome.get_by_role("button", name="Light A tent").press("Enter")
        expect(prompt).to_be_focused()
        example = prompt.input_value()
        assert "northern lights" in example
        page.keyboard.press("Control+z")
        expect(prompt).to_have_value("my own words")
        page.keyboard.press("Control+Shift+z")
        page.get_by_role("button", name="Surprise me").press("Enter")
        expect(prompt).not_to_have_value(example)
        random_prompt = prompt.input_value()
        page.get_by_role("button", name="Undo").press("Enter")
        expect(prompt).to_have_value(example)
        page.get_by_role("button", name="Redo").press("Enter")
        expect(prompt).to_have_value(random_prompt)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#panel [data-status=completed]")).to_be_visible()
        expect(welcome).to_have_count(0)
        page.reload()
        expect(page.locator("#recent .recent")).to_be_visible()
        expect(welcome).to_have_count(0)


def test_theme_is_remembered_from_the_first_frame(page: Page, servers: PageServers) -> None:
    """A chosen theme outlives a reload, which never shows the other one; or the system's holds."""
    page.emulate_media(color_scheme="light")
    open_page(page, servers.with_previews)
    # Somebody who has just opened the page can type.
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    page.get_by_label("Theme").select_option("dark")
    expect(page.locator("body.dark")).to_be_visible()
    page.add_init_script(RECORD_BACKGROUNDS_JS)
    page.goto(f"{servers.with_previews}?__theme=system#create")
    expect(page.locator("body.dark")).to_have_count(0)
    page.route("**/*.js", lambda route: route.abort())  # as on a slow network
    page.goto(servers.with_previews)
    expect(page.locator("body")).to_have_css("background-color", DARK)
    page.unroute("**/*.js")
    open_page(page, servers.with_previews)
    assert page.evaluate("[...window.backgrounds]") == [DARK]
    page.get_by_label("Theme").select_option("system")
    expect(page.locator("body.dark")).to_have_count(0)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body.dark")).to_be_visible()
    page.emulate_media(color_scheme="light")


def test_sheet_of_keys_is_complete(page: Page, servers: PageServers) -> None:
    """The sheet that ? opens names each key of the scripts, and takes it from what is below it."""
    open_page(page, servers.with_previews)
    page.keyboard.type("what?")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("what?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    names = {KEY_NAMES.get(name, name.lower()) for name in sheet.locator("kbd").all_inner_texts()}
    scripts = read_scripts()
    expected = scripted_keys(scripts)
    assert expected - KEY_VARIANTS <= names
    others = names - expected - KEYS_OF_THE_BROWSER
    assert {name for name in others if f'"{name}"' not in scripts} == set()
    page.keyboard.press("/")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("?")
    expect(sheet).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    expect(page.locator("#queue [data-remaining='0']")).to_be_attached()


def test_prompts_come_back(page: Page, servers: PageServers) -> None:
    """↑ in an empty prompt and the search bring used prompts; typed text and its caret stay."""
    open_page(page, servers.with_previews)
    prompt = page.get_by_label("Prompt", exact=True)
    page.locator("#size label", has_text="16:9").click()
    for text in ("a heron", "an ibis"):
        submit_prompt(page, text)
    expect(page.locator("#outbox [data-pending]")).to_have_count(0)
    page.locator("#size label", has_text="1:1").click()
    prompt.fill("")
    prompt.press("ArrowUp")
    expect(prompt).to_have_value("an ibis")
    prompt.press("ArrowUp")
    expect(prompt).to_have_value("a heron")
    for _ in range(2):
        prompt.press("ArrowDown")
    expect(prompt).to_have_value("")
    prompt.fill("two\nlines")
    prompt.press("ArrowUp")
    prompt.press("x")
    expect(prompt).to_have_value("twox\nlines")
    prompt.press("Control+k")
    dialog = page.get_by_role("dialog", name="Prompts")
    expect(dialog.get_by_role("listitem").first).to_contain_text("ibis")
    page.keyboard.type("her")
    expect(dialog.get_by_role("listitem")).to_have_count(1)
    page.keyboard.press("Shift+Enter")
    expect(prompt).to_have_value("a heron")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    page.get_by_role("button", name="Undo").click()
    expect(prompt).to_have_value("twox\nlines")
    expect(page.locator("#size input[value='1:1']")).to_be_checked()
    prompt.fill("")
    prompt.press_sequentially("a __seas")
    expect(page.get_by_role("option", name="__season__")).to_be_visible()
    prompt.press("Tab")
    prompt.press_sequentially(" her")
    expect(page.get_by_role("option", name="heron")).to_be_visible()
    prompt.press("Enter")
    expect(prompt).to_have_value("a __season__ her\n")
    expect(page.get_by_role("listbox")).to_have_count(0)


def test_presets_fill_the_settings(page: Page, servers: PageServers) -> None:
    """A preset is saved, chosen, renamed and deleted, each by keys; a broken file stays."""
    open_page(page, servers.without_previews)
    panel = page.get_by_role("dialog", name="Presets")
    opener = page.get_by_role("button", name="Presets")
    page.locator("#size label", has_text="2:3").click()
    opener.press("Enter")
    for name in ("Tall <b>", "Other"):
        panel.get_by_label("Save the current settings as").fill(name)
        page.keyboard.press("Enter")
        expect(panel.get_by_role("listitem").filter(has_text=name)).to_be_visible()
    panel.get_by_role("button", name="Rename Other").press("Enter")
    page.keyboard.type("Another")
    page.keyboard.press("Enter")
    panel.get_by_role("button", name="Delete Another").press("Enter")
    expect(panel.get_by_role("button", name="restore Another")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Another 2:3")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("#size label", has_text="3:2").click()
    opener.press("Enter")
    panel.get_by_role("button", name="Tall <b>", exact=False).first.press("Enter")
    expect(page.locator("#settings-import")).to_contain_text("From the preset Tall <b>")
    expect(page.locator("#size input[value='2:3']")).to_be_checked()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#size input[value='3:2']")).to_be_checked()
    file = servers.folder / "presets.json"
    file.write_text("{broken")
    opener.press("Enter")
    expect(panel.get_by_role("status")).to_contain_text("Couldn't read the presets in")
    expect(panel.get_by_label("Save the current settings as")).to_be_hidden()
    file.unlink()


def test_styles_are_chosen_by_the_keyboard(page: Page, servers: PageServers) -> None:
    """Their words surround the prompt, one removes them again, and each can be tried by itself."""
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    open_page(page, servers.with_previews)
    page.get_by_label("Prompt", exact=True).fill("a fox")
    assert not any("assets/styles" in url for url in urls)
    page.get_by_role("button", name="Styles").press("Enter")
    panel = page.get_by_role("dialog", name="Styles")
    search = panel.get_by_label("Search styles")
    expect(search).to_be_focused()
    page.keyboard.type("washes")
    page.keyboard.press("Enter")
    watercolor = panel.get_by_role("button", name="Watercolor")
    expect(watercolor).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowDown")
    expect(watercolor).to_be_focused()
    page.keyboard.type("x")
    expect(panel).to_contain_text("No style matches “washesx”.")
    search.fill("")
    panel.get_by_role("button", name="Ink wash").press("Enter")
    panel.get_by_role("button", name="Try each of the 2").press("Enter")
    expect(panel).to_have_count(0)
    grid = page.get_by_role("dialog", name="Grid")
    expect(grid.get_by_role("columnheader", name="Ink wash")).to_be_visible()
    expect(grid.get_by_role("button", name="Generate 2 images")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Styles")).to_be_focused()
    page.get_by_role("button", name="Remove style Watercolor").press("Enter")
    expect(page.get_by_role("button", name="Remove style Ink wash")).to_be_focused()
    page.get_by_role("button", name="Text and marks").click()
    page.get_by_role("button", name="Not a photo").click()
    page.get_by_role("button", name="Not a drawing").click()
    page.get_by_role("button", name="Not a photo").click()
    negative = page.get_by_label("Negative prompt", exact=True)
    preset = "text, watermark, signature, logo, caption, frame"
    expect(negative).to_have_value(f"{preset}, 3D render, photo, photorealistic")
    page.get_by_role("button", name="Not a drawing").click()
    expect(negative).to_have_value(preset)
    negative.fill("")
    expect(page.get_by_role("button", name="Text and marks")).to_have_attribute(
        "aria-pressed", "false"
    )


def test_own_style_is_saved_from_an_image(page: Page, servers: PageServers) -> None:
    """It has the image's thumbnail; a mistake keeps what was typed, and a deletion is undone."""
    open_page(page, servers.with_previews)
    submit_prompt(page, "a fox, in thick fog")
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    expect(page.locator("#panel .facts")).not_to_contain_text("saving")
    page.get_by_role("link", name="Details").click()
    page.get_by_role("button", name="Save as style…").click()
    form = page.get_by_role("dialog", name="Save as style")
    expect(form.get_by_label("Words for the prompt")).to_have_value("{prompt}, in thick fog")
    page.keyboard.type("photo")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_have_text("“photo” is a style of this program.")
    expect(form.get_by_label("Name")).to_be_focused()
    form.get_by_label("Name").fill("<i>Fog's")
    page.keyboard.press("Control+Enter")
    expect(form).to_have_count(0)
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Create").click()
    chip = page.get_by_role("button", name="Remove style <i>Fog's")
    expect(chip).to_be_visible()
    page.get_by_role("button", name="Styles").click()
    panel = page.get_by_role("dialog", name="Styles")
    tile = panel.get_by_role("button", name="<i>Fog's", exact=True)
    expect(tile.locator("img")).to_have_js_property("naturalWidth", 128)
    panel.get_by_role("button", name="Delete <i>Fog's").click()
    expect(tile).to_have_count(0)
    expect(chip).to_have_count(0)
    expect(panel.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tile).to_have_attribute("aria-pressed", "true")


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


def test_reload_keeps_job_and_form(page: Page, servers: PageServers) -> None:
    """A reload shows the running job, the form as it was left, and then the job's image."""
    servers.generator.hold()
    open_page(page, servers.with_previews)
    page.get_by_label("Negative prompt").fill("people")
    page.locator("#size label", has_text="16:9").click()
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    page.reload()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("wait: a cat")
    expect(page.get_by_label("Negative prompt")).to_have_value("people")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    expect(page.get_by_label("Random seed")).to_be_checked()
    page.get_by_label("Prompt", exact=True).fill("another cat")
    page.get_by_label("number input for Inference steps").fill("12")
    page.get_by_label("number input for Guidance scale").fill("3.5")
    page.get_by_label("Seed", exact=True).fill("4242")
    page.get_by_label("Random seed").uncheck()
    page.get_by_role("button", name="More images per prompt").click()
    page.get_by_label("One prompt per line").check()
    servers.generator.release()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    page.reload()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    expect(page.locator("#picture img")).to_be_visible()
    expect_form(page)
    other_tab = open_page(page.context.new_page(), servers.with_previews)
    expect_form(other_tab)
    other_tab.close()


def expect_form(page: Page) -> None:
    """Expect the form that `test_reload_keeps_job_and_form` has left."""
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("another cat")
    expect(page.get_by_label("Negative prompt")).to_have_value("people")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    expect(page.get_by_label("number input for Inference steps")).to_have_value("12")
    expect(page.get_by_label("number input for Guidance scale")).to_have_value("3.5")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("4242")
    expect(page.get_by_label("Random seed")).not_to_be_checked()
    expect(page.locator("#batch-count")).to_have_text("×2")
    expect(page.get_by_label("One prompt per line")).to_be_checked()


def test_numbers_are_never_changed_silently(page: Page, servers: PageServers) -> None:
    """An empty number becomes the Space's default; one that is out of range says what it became.

    A decimal comma is one, also where the browser knows only the point, and the wheel scrolls.
    """
    open_page(page, servers.with_previews)
    wait_for_limits(page)
    steps = page.get_by_label("number input for Inference steps")
    for typed, value, text in (
        ("", "40", "Empty: set to the default, 40."),
        ("99", "50", "99 is above the maximum: set to 50."),
        ("0", "1", "0 is below the minimum: set to 1."),
    ):
        steps.fill(typed)
        steps.blur()
        expect(steps).to_have_value(value)
        expect(page.locator("#num_inference_steps")).to_contain_text(text)
    page.locator("#num_inference_steps .reset-button").click()
    expect(steps).to_have_value("40")
    expect(page.locator("#num_inference_steps .correction")).to_have_text("")
    guidance = page.get_by_label("number input for Guidance scale")
    guidance.fill("")
    page.get_by_label("Prompt", exact=True).focus()
    expect(guidance).to_have_value("4.5")
    guidance.fill("")
    guidance.press_sequentially("0,5")
    expect(guidance).to_have_value("0.5")
    guidance.hover()
    scroll_position = page.evaluate("scrollY")
    page.mouse.wheel(0, -scroll_position or 50)
    page.wait_for_function("position => scrollY !== position", arg=scroll_position)
    expect(guidance).to_have_value("0.5")


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


def test_errors_are_shown_at_the_field(page: Page, servers: PageServers) -> None:
    """Each error is shown at its field, nothing is sent, and nothing typed is lost."""
    open_page(page, servers.with_previews)
    wait_for_limits(page)
    page.get_by_label("Negative prompt").fill("people")
    page.get_by_label("Random seed").uncheck()
    page.get_by_label("Seed", exact=True).fill("-5")
    page.locator("#size label", has_text="21:9").click()
    expect(page.locator("#size-hint")).to_contain_text("available")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#prompt-area div.validation-error")).to_have_text("Enter a prompt.")
    expect(page.locator("#seed div.validation-error")).to_contain_text("Enter a seed from")
    expect(page.locator("#size div.validation-error")).to_contain_text("at least 512 px")
    expect(page.locator("#queue [data-remaining='0']")).to_be_attached()
    expect(page.get_by_label("Negative prompt")).to_have_value("people")


def test_errors_stay_while_a_job_runs(page: Page, servers: PageServers) -> None:
    """Updates of a running job remove no error; a change of the form does."""
    servers.generator.hold()
    open_page(page, servers.with_previews)
    # After that, Gradio removes the errors of all fields with each update.
    with page.expect_response("**/gradio_api/run/**"):
        page.evaluate("sd35.raise('limits')")
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    submit_prompt(page, " ")
    error = page.locator("#prompt-area div.validation-error")
    expect(error).to_have_text("Enter a prompt.")
    expect(page.locator("#prompt-area [data-kept]")).to_be_visible()
    expect(error).to_have_text("Enter a prompt.")
    page.get_by_label("Prompt", exact=True).fill("a dog")
    expect(error).to_have_count(0)
    servers.generator.release()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()


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
