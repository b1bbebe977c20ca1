"""The form of the Create tab in a real browser, and what helps to fill it."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from sd35.ui.theme import ASSETS
from tests.app_server import serve_app
from tests.chromium import (  # noqa: F401  # fixtures
    browser,
    context,
    open_page,
    page,
    submit_prompt,
)
from tests.page_servers import PageServers, servers, wait_for_limits  # noqa: F401  # fixtures

RECORD_BACKGROUNDS_JS = """window.backgrounds = new Set();
requestAnimationFrame(function record() {
  if (document.body) window.backgrounds.add(getComputedStyle(document.body).backgroundColor);
  if (!document.querySelector("#generate")) requestAnimationFrame(record);
});"""

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


def read_scripts() -> str:
    """Return the page's scripts, in small letters."""
    return "\n".join(path.read_text("utf-8") for path in ASSETS.glob("*.js")).lower()


def scripted_keys(scripts: str) -> set[str]:
    """Return the keys with which the page's scripts compare, and those of their tables."""
    tables = "\n".join(re.findall(r"(?<!mode)_keys = \{(.*?)\};", scripts, re.DOTALL))
    names = re.findall(r'key(?:\.tolowercase\(\))? === "([^"]+)"', scripts)
    return {*names, *re.findall(r"\b(\w+): ", tables)}


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
