"""The queue in a real browser, and images that fill the form."""

import base64
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from sd35.core.visitor import LOCAL_VISITOR
from sd35.jobs.limits import UsageLimits
from sd35.metadata.embedding import embed_metadata, read_metadata, read_texts
from sd35.metadata.exif import MAKER_NOTE
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.xmp import merge_xmp
from sd35.ui.create.dropped_file import parse_dropped_file
from tests.app_server import AppServer, serve_app

# `browser`, `context` and `page` are fixtures.
from tests.chromium import browser, context, open_page, page, submit_prompt  # noqa: F401
from tests.fakes import FakeSpace
from tests.photographs import PHOTOGRAPH_KINDS, find_private_details, take_photograph
from tests.test_comfyui import TEXT_FORMS, WORKFLOWS
from tests.test_containers import IMAGE_KINDS, encode_image, png_chunk
from tests.test_readers import EXIF_BY_TOOL, IMAGES_BY_TOOL, XMP, encode_png, encode_with_exif

RECORD_NOTIFICATIONS_JS = """() => {
  window.notifications = [];
  window.Notification = class { constructor(text) { window.notifications.push(text); } };
  window.Notification.permission = "granted";
  Object.defineProperty(document, "visibilityState", {get: () => "hidden", configurable: true});
}"""

DROP_FILE_JS = """([name, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt());
  transfer.items.add(new File([bytes], name, {type: "image/webp"}));
  const event = new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


READ_SETTINGS_JS = """data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt());
  return sd35.readSettings(new File([bytes], "x"));
}"""

# A file of so many equal parts is made in the browser, as it would take long to send.
READ_PARTS_JS = """([head, part, count]) => {
  const [start, piece] = [head, part].map(data => Uint8Array.from(atob(data), c => c.charCodeAt()));
  const group = new Blob(Array(1000).fill(piece));
  return sd35.readSettings(new File([start, ...Array(count / 1000).fill(group)], "x"));
}"""

INFOTEXT = "a lighthouse\nNegative prompt: fog\nSteps: 7, Sampler: Euler a, Seed: 4711, Size: 8x8"


@dataclass(frozen=True, slots=True)
class QueueServers:
    """The app over a Space, for which it makes one image at a time."""

    fake: FakeSpace
    app_server: AppServer


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServers]:
    with ExitStack() as stack:
        fake = FakeSpace(is_generator=True)
        stack.callback(fake.close)
        folder = tmp_path_factory.mktemp("library")
        server = serve_app(fake.address, folder, UsageLimits(max_concurrent=1))
        yield QueueServers(fake, stack.enter_context(server))


@pytest.fixture
def queue_page(page: Page, servers: QueueServers) -> Iterator[Page]:
    """Open the page over a Space that holds, and empty the queue afterwards."""
    servers.fake.hold()
    yield open_page(page, servers.app_server.address)
    page.evaluate("location.hash = '#create'")
    for job in servers.app_server.studio.visitor_queue(LOCAL_VISITOR).open_jobs[::-1]:
        job.cancel()
    servers.fake.release()
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "0")
    dismiss_all = page.get_by_role("button", name="Dismiss failed")
    if dismiss_all.is_visible():
        dismiss_all.click()
        expect(dismiss_all).to_have_count(0)


def submit_and_wait_for_step(page: Page) -> None:
    submit_prompt(page, "wait: first")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")


def drop_file(page: Page, name: str, data: bytes) -> None:
    page.evaluate(DROP_FILE_JS, [name, base64.b64encode(data).decode()])


def test_queue_is_reordered_and_worked_off(queue_page: Page, servers: QueueServers) -> None:
    """Generate never waits; queued jobs are moved and removed, and finished in that order."""
    page = queue_page
    submit_and_wait_for_step(page)
    for name in ("a cat", "a dog", "a fish"):
        submit_prompt(page, name)
        expect(page.locator("#queue li b", has_text=name)).to_be_visible()
    expect(page.locator("#queue")).to_contain_text("1 running · 3 queued")
    expect(page).to_have_title(re.compile("^4 left"))
    row = page.locator("#queue li", has_text="a fish")
    row.hover()
    row.get_by_role("button", name="Move up").click()
    expect(page.locator("#queue li").nth(2)).to_contain_text("a fish")
    page.locator("#queue li", has_text="a cat").get_by_role("button", name="Remove").click()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a fish", "a dog"])
    undo_button = page.get_by_role("button", name="Undo")
    expect(undo_button).to_be_in_viewport(ratio=1)
    undo_button.click()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a cat", "a fish", "a dog"])
    expect(undo_button).to_have_count(0)
    for name, rest in (("a cat", ["a fish", "a dog"]), ("a fish", ["a dog"])):
        row = page.locator("#queue li", has_text=name)
        job_id = row.get_attribute("data-job")
        # `click` would wait for a button that may become that of another job meanwhile.
        expect(row.get_by_role("button", name="Remove")).to_be_enabled()
        row.get_by_role("button", name="Remove").click()
        expect(page.locator("#queue li b")).to_have_text(["wait: first", *rest])
        expect(undo_button).to_have_attribute("data-id", job_id or "")
    for expected_names in (["a fish", "a dog"], ["a cat", "a fish", "a dog"]):
        page.locator("body").press("Control+z")
        expect(page.locator("#queue li b")).to_have_text(["wait: first", *expected_names])
    expect(undo_button).to_have_count(0)
    page.locator("#queue li", has_text="a cat").get_by_role("button", name="Remove").click()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a fish", "a dog"])
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.fake.release()
    expect(page.locator("#panel")).to_contain_text("Seed")
    expect(page).to_have_title(re.compile("^✓ 3 done"))
    expect(page.locator("#recent button")).to_have_count(3)
    page.locator("#recent button").last.click()
    expect(page.get_by_role("button", name="Reuse")).to_be_visible()


def hold_submissions(page: Page) -> list[Route]:
    """Let no submission reach the server, and return their requests."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        if "submissions" in (route.request.post_data or ""):
            routes.append(route)
        else:
            route.continue_()

    page.route("**/run/**", hold)
    return routes


def test_each_press_is_a_job_on_any_network(queue_page: Page) -> None:
    """Each press is shown at once and is one job, in order, though an answer is lost.

    An image of which two are on their way is asked about.
    """
    page = queue_page
    submit_and_wait_for_step(page)
    routes = hold_submissions(page)
    for prompt in ("a cat", "a dog", "a dog"):
        submit_prompt(page, prompt)
    expect(page.locator("#outbox")).to_contain_text("3 sending…")
    expect(page).to_have_title(re.compile("^4 left"))
    expect(page.locator("#outbox li b")).to_have_text(["a cat", "a dog", "a dog"])
    page.locator("#outbox li").last.get_by_role("button", name="Remove").click()
    routes[0].fetch()
    routes[0].abort()
    page.unroute("**/run/**")
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a cat", "a dog"])
    page.get_by_label("Random seed").uncheck()
    generate = page.locator("#generate")
    for _ in range(3):
        generate.click()
    generate.focus()
    page.keyboard.down("Enter")
    page.keyboard.down("Enter")  # the repetition of a key that is held down
    page.keyboard.up("Enter")
    expect(page.locator("#outbox [role=alert]")).to_contain_text("The same image 2 more times?")
    expect(page.locator("#queue")).to_contain_text("1 running · 4 queued")
    page.get_by_role("button", name="Use random seeds").click()
    expect(page.locator("#queue")).to_contain_text("1 running · 6 queued")
    expect(page.locator("#outbox [role=alert]")).to_have_count(0)


def test_twelve_images_take_two_edits_and_one_press(
    queue_page: Page, servers: QueueServers
) -> None:
    """Four lines are four prompts, and ×3 makes twelve images of them: as many as the page says.

    What is made is what was listed, with the same seeds. *Remove* is an edit that can be undone.
    """
    page = queue_page
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("wait: a cat\na {red|blue} fox\na (dog:1.3)\nan owl")
    more = page.get_by_role("button", name="More images per prompt")
    more.click()
    more.click()
    summary = page.locator("#press-summary")
    expect(summary).to_contain_text("4 prompts × 3 = 12 images")
    summary.click()
    items = page.locator("#press-items li")
    expect(items).to_have_count(12)
    prompts = items.locator(".prompt").all_text_contents()
    seeds = items.locator(".seed").all_text_contents()
    prompt.press("Control+Enter")
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "12")
    jobs = servers.app_server.studio.visitor_queue(LOCAL_VISITOR).open_jobs
    requests = [job.state.value.request for job in jobs]
    assert [request.prompt for request in requests] == prompts
    assert [f"seed {request.seed}" for request in requests] == seeds
    expect(items.first).not_to_contain_text(seeds[0])  # the next press has others
    prompt.press("Control+Home")
    page.keyboard.type("12 ")
    page.get_by_role("button", name="Remove (dog:1.3)").click()
    expect(prompt).to_have_value("12 wait: a cat\na {red|blue} fox\na dog\nan owl")
    page.keyboard.press("Control+z")
    expect(prompt).to_have_value("12 wait: a cat\na {red|blue} fox\na (dog:1.3)\nan owl")


PRESS_FIRST_STOP_JS = """() => new Promise(resolve => {
  const observer = new MutationObserver(() => {
    const stop = document.querySelector("#panel [data-action=stop]");
    if (stop === null) return;
    observer.disconnect();
    stop.click();
    resolve();
  });
  observer.observe(document.body, {subtree: true, childList: true});
  document.querySelector("#generate").click();
})"""


def test_press_hits_only_what_it_began_on(queue_page: Page, servers: QueueServers) -> None:
    """Stop takes no press when it appears, and a press is for the job on which it began.

    Generate keeps its place, so that a second press hits nothing else.
    """
    page = queue_page
    page.get_by_label("Prompt", exact=True).fill("wait: first")
    # Gradio fits the height of the text field to its text in the next frame.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.locator("#generate").bounding_box()
    page.evaluate(PRESS_FIRST_STOP_JS)
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    assert page.locator("#generate").bounding_box() == box
    for name in ("a cat", "a dog", "a fish"):
        submit_prompt(page, name)
    expect(page.locator("#queue li")).to_have_count(4)
    remove = page.locator("#queue li", has_text="a dog").get_by_role("button", name="Remove")
    expect(remove).to_be_enabled()
    remove.hover()
    page.mouse.down()
    servers.app_server.studio.visitor_queue(LOCAL_VISITOR).pending_jobs[0].cancel()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a dog", "a fish"])
    page.mouse.up()
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a fish"])


def test_grid_is_priced_and_made_by_the_keyboard(queue_page: Page, servers: QueueServers) -> None:
    """The panel says what is wrong with which axis, then what the grid costs, and makes it once."""
    page = queue_page
    page.get_by_label("Prompt", exact=True).fill("wait: a red fox")
    page.get_by_role("button", name="Grid…").press("Enter")
    dialog = page.get_by_role("dialog", name="Grid")
    columns = dialog.get_by_label("Values of the columns")
    expect(columns).to_be_focused()
    columns.fill("cat, dog")
    expect(dialog.get_by_role("alert").first).to_contain_text("“cat”: the prompt doesn't contain")
    columns.fill("red, blue")
    dialog.get_by_label("What differs between the rows").select_option("Steps")
    dialog.get_by_label("Values of the rows").fill("4, 5")
    expect(dialog.get_by_role("button", name="Generate 4 images")).to_be_enabled()
    expect(dialog.get_by_role("status")).to_contain_text("2 × 2 = 4 images")
    expect(dialog.get_by_role("columnheader")).to_have_text(["red", "blue"])
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Grid…")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Generate 4 images")).to_be_enabled()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")  # of a dialog that is closed: an image of the form
    expect(page).to_have_title(re.compile("^5 left"))
    jobs = servers.app_server.studio.visitor_queue(LOCAL_VISITOR).open_jobs
    requests = [job.state.value.request for job in jobs]
    assert [(request.prompt[6:], request.num_inference_steps) for request in requests[:4]] == [
        *(("a red fox", 4), ("a blue fox", 4), ("a red fox", 5), ("a blue fox", 5))
    ]
    assert len({request.seed for request in requests[:4]}) == 1
    assert jobs[3].origin.axes == (("Prompt part", "blue"), ("Steps", "5"))


def test_set_is_looked_at_on_the_stage(queue_page: Page, servers: QueueServers) -> None:
    """A set is a contact sheet; an image of it is enlarged, deleted and put back by the keyboard.

    A press of several images can be undone.
    """
    page = queue_page
    servers.fake.release()
    page.evaluate("sd35.setBatchOptions({count: 3})")
    submit_prompt(page, "a fox in the snow")
    cells = page.locator(".cell[data-state=done] .open")
    expect(cells).to_have_count(3)
    cells.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    back = page.get_by_role("button", name="Back to the set")
    expect(back).to_have_text("▦ 2 of 3")
    expect(page.locator("#picture img")).to_be_visible()
    page.locator("body").press("ArrowRight")
    expect(back).to_have_text("▦ 3 of 3")
    expect(page.get_by_role("button", name="Star", exact=True)).to_be_enabled()
    page.locator("body").press("s")
    expect(page.get_by_role("button", name="Remove the star")).to_be_visible()
    expect(page.locator("#actions [data-action=trash]")).to_be_enabled()
    page.locator("body").press("Delete")
    page.get_by_role("button", name="Undo").click()
    page.locator("#recent button").nth(1).click()
    page.locator("body").press("Escape")
    expect(cells).to_have_count(3)

    servers.fake.hold()
    submit_prompt(page, "wait: a cat")
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "3")
    page.locator("#message").get_by_role("button", name="Undo").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "0")
    page.evaluate("sd35.setBatchOptions({count: 1})")


def test_clear_queue_and_stop_everything(queue_page: Page) -> None:
    """Clear queue keeps the running job; Stop everything ends it, and starts no other."""
    page = queue_page
    submit_and_wait_for_step(page)
    submit_prompt(page, "a cat")
    submit_prompt(page, "a dog")
    expect(page.locator("#queue li")).to_have_count(3)
    page.get_by_role("button", name="Clear queue").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "1")
    expect(page.get_by_text("2 jobs removed")).to_be_visible()
    page.locator("body").press("Control+z")
    expect(page.locator("#queue li b")).to_have_text(["wait: first", "a cat", "a dog"])
    page.get_by_role("button", name="Clear queue").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "1")
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    submit_prompt(page, "a fish")
    page.get_by_role("button", name="Stop everything").click()
    expect(page.locator("#queue .queue")).to_have_attribute("data-remaining", "0")
    expect(page.locator("#panel [data-status=cancelled]")).to_be_visible()


def test_failure_is_announced_and_can_be_retried(queue_page: Page, servers: QueueServers) -> None:
    """A failed job is announced in the title and by the system, and stays until it is retried."""
    page = queue_page
    page.evaluate(RECORD_NOTIFICATIONS_JS)
    servers.fake.release()
    submit_prompt(page, "silent")
    expect(page.locator("#panel")).to_contain_text("Generation failed")
    expect(page).to_have_title(re.compile("^✗ 1 failed"))
    assert page.evaluate("window.notifications") == ["1 image failed"]
    submit_prompt(page, "a cat")
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    page.wait_for_function("window.notifications.includes('Your image is ready')")
    row = page.locator("#queue li[data-kind=failed]")
    expect(row).to_contain_text("silent")
    row.get_by_role("button", name="Retry").click()
    expect(page.locator("#panel")).to_contain_text("Generation failed")
    expect(page.locator("#queue li")).to_have_count(0)


def test_form_keeps_its_own_job_after_a_retry(queue_page: Page, servers: QueueServers) -> None:
    """After Retry or a variation, a reload restores the form's random seed, not their fixed one.

    A double click makes the variations once.
    """
    page = queue_page
    submit_and_wait_for_step(page)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#panel").get_by_role("button", name="Retry").click()
    expect(page.locator("#panel")).to_contain_text("Step 2 of 6")
    servers.fake.release()
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    page.get_by_role("link", name="Library").click()
    page.locator("#grid .item .open").first.click()
    page.get_by_role("button", name="4 more").dblclick()
    expect(page).to_have_title(re.compile("^✓ 4 done"))
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("wait: first")
    expect(page.get_by_label("Random seed")).to_be_checked()


SET_VISIBILITY_JS = """visibility => {
  Object.defineProperty(document, "visibilityState", {get: () => visibility, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


# As on a plain-HTTP page of another machine, where other pages have both streams.
LEASES_JS = """() => {
  Object.defineProperty(navigator, "locks", {value: undefined});
  for (const index of [0, 1]) localStorage[`sd35-stream-${index}`] = `other ${Date.now() + 1e6}`;
}"""


def test_all_tabs_show_the_queue(
    context: BrowserContext, queue_page: Page, servers: QueueServers
) -> None:
    """All tabs show the jobs and control them, though only two visible ones have a stream.

    A page that was offline catches up.
    """
    page = queue_page
    idle_page = open_page(context.new_page(), servers.app_server.address)
    submit_and_wait_for_step(page)
    expect(idle_page.locator("#panel")).to_contain_text("Step 2 of 6")
    idle_page.close()
    stream_urls: list[str] = []

    def record_stream(request: Request) -> None:
        if "/queue/data?" in request.url:
            stream_urls.append(request.url)

    context.on("request", record_stream)
    others = [context.new_page() for _ in range(2)]
    others[1].add_init_script(f"({LEASES_JS})()")
    for other in others:
        open_page(other, servers.app_server.address)
        expect(other.locator("#panel")).to_contain_text("Step 2 of 6")
        expect(other.locator("#picture img")).to_be_visible()
    assert len(stream_urls) == 1, "beside that of the first page"
    with others[1].expect_request("**/queue/data?*"):
        others[1].evaluate("localStorage.removeItem('sd35-stream-1')")
    with page.expect_event("requestfailed", lambda request: "/queue/data?" in request.url):
        page.evaluate(SET_VISIBILITY_JS, "hidden")
    submit_prompt(others[1], "a cat")
    for other in (page, others[0]):
        expect(other.locator("#queue li", has_text="a cat")).to_be_visible()
    context.set_offline(True)
    for other in others:
        other.close()
    servers.fake.release()
    context.set_offline(False)
    page.evaluate(SET_VISIBILITY_JS, "visible")
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    expect(page.locator("#recent button").nth(1)).to_be_visible()


def test_image_of_another_tool_fills_the_form(queue_page: Page) -> None:
    """Its settings fill the form, unsupported ones are listed, and Undo restores the form."""
    page = queue_page
    page.get_by_label("Prompt", exact=True).fill("half typed")
    png_info = PngInfo()
    png_info.add_text(
        "parameters",
        "a lighthouse, oil painting <lora:sea:0.8>\nNegative prompt: people\n"
        "Steps: 30, Sampler: DPM++ 2M, CFG scale: 6.5, Seed: 123, Size: 1024x576, "
        "Model: dreamshaper",
    )
    out = io.BytesIO()
    Image.effect_noise((1024, 576), 50).save(out, "PNG", pnginfo=png_info)
    assert len(out.getvalue()) > 100_000
    body_sizes: list[int] = []
    page.on("request", lambda request: body_sizes.append(len(request.post_data or "")))
    page.locator("#settings-import input[type=file]").set_input_files(
        {"name": "sea.png", "mimeType": "image/png", "buffer": out.getvalue()}
    )
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a lighthouse, oil painting")
    expect(page.get_by_label("Negative prompt")).to_have_value("people")
    expect(page.locator("#size input[value='16:9']")).to_be_checked()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("123")
    expect(page.get_by_label("Random seed")).not_to_be_checked()
    expect(page.get_by_label("number input for Guidance scale")).to_have_value("6.5")
    for expected_text in ("sea.png", "AUTOMATIC1111", "DPM++ 2M", "sea:0.8", "dreamshaper"):
        expect(page.locator("#settings-import .import-notice")).to_contain_text(expected_text)
    assert max(body_sizes) < 5_000, "the pixels stay in the browser"
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("half typed")
    expect(page.get_by_label("Random seed")).to_be_checked()


def paste(page: Page, text: str, keys: str = "Control+v") -> None:
    """Press the keys of pasting in the prompt, in place of what is there."""
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.get_by_label("Prompt", exact=True).fill("half typed")
    page.get_by_label("Prompt", exact=True).select_text()
    page.keyboard.press(keys)


PASTED_SETTINGS = {
    "own": (
        write_infotext(GenerationMetadata(prompt="a fox,\nred", seed=11), 1024, 576),
        ("a fox,\nred", "11"),
    ),
    "Civitai": (
        (
            "\r\n a wolf <lora:a:1>\r\nNegative prompt: fog\r\nSteps: 25, CFG scale: 3.5, Seed: 12,"
            ' Size: 832x1216, Civitai resources: [{"type":"lora"}]\r\n\r\n'
        ),
        ("a wolf", "12"),
    ),
    "parameters alone": (
        "\ufeff Steps: 9, Sampler: Euler, CFG scale: 4, Seed: 13",
        ("half typed", "13"),
    ),
    "SwarmUI": ('{"sui_image_params": {"prompt": "an owl", "seed": 14}}', ("an owl", "14")),
}
PASTED_PROMPTS = (
    "a garden, Steps: leading up, Seed: packets, CFG scale: brass, 1:2",
    "a cat\nNegative prompt: dogs",
    "Seed: 5, a sower, size: 3 men",
)


def test_pasted_settings_fill_the_form(context: BrowserContext, queue_page: Page) -> None:
    """Settings pasted into the prompt fill the form, with Undo; any other text stays a prompt."""
    page = queue_page
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    prompt = page.get_by_label("Prompt", exact=True)
    undo_button = page.get_by_role("button", name="Undo")
    for name, (text, (expected_prompt, seed)) in PASTED_SETTINGS.items():
        paste(page, text)
        expect(page.get_by_label("Seed", exact=True), name).to_have_value(seed)
        expect(prompt, name).to_have_value(expected_prompt)
        expect(page.locator("#settings-import b")).to_have_text("the pasted text")
        undo_button.click()
        expect(prompt).to_have_value("half typed")
        expect(page.get_by_label("Random seed")).to_be_checked()
    for text in PASTED_PROMPTS:
        paste(page, text)
        expect(prompt).to_have_value(text)
    paste(page, PASTED_SETTINGS["own"][0], "Control+Shift+v")
    expect(prompt).to_have_value(PASTED_SETTINGS["own"][0])
    expect(undo_button).to_have_count(0)


def test_dropped_file_is_recognized_or_explained(queue_page: Page, servers: QueueServers) -> None:
    """An image of this app fills the form; one without settings, or too large, gets a notice."""
    page = queue_page
    prompt = "a cat,\nNegative prompt: Steps: 3, “quoted”"
    servers.fake.release()
    submit_prompt(page, prompt)
    expect(page.locator("#panel .prompt")).to_contain_text("quoted")
    page.get_by_label("Prompt", exact=True).fill("something else")
    folder = servers.app_server.studio.library.folder
    [file] = [path for path in folder.rglob("*.webp") if "quoted" in path.name]
    drop_file(page, file.name, file.read_bytes())
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(prompt)

    notice = page.locator("#settings-import [role=alert]")
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP")
    drop_file(page, "<b>plain</b>.webp", out.getvalue())
    expect(notice).to_have_text("No generation settings found in <b>plain</b>.webp.")
    chunk = b"tEXtparameters\0" + b"x" * 3_000_000
    length = struct.pack(">I", len(chunk) - 4)
    checksum = struct.pack(">I", zlib.crc32(chunk))
    drop_file(page, "big.png", b"\x89PNG\r\n\x1a\n" + length + chunk + checksum)
    expect(notice).to_contain_text("No generation settings found in big.png.")


def decode_strings(body: bytes) -> bytes:
    """Return a request's body, followed by everything in it that is Base64."""
    encoded = re.findall(rb"(?:[A-Za-z0-9+/]{4}){2,}", body)
    return b"".join([body, *map(base64.b64decode, encoded)])


def test_only_settings_of_a_photograph_leave_the_browser(queue_page: Page) -> None:
    """Of a photograph's metadata the server gets what holds settings, and no private detail."""
    page = queue_page
    bodies: list[bytes] = []
    page.on("request", lambda request: bodies.append(request.post_data_buffer or b""))
    notice = page.locator("#settings-import .import-notice")
    for kind in PHOTOGRAPH_KINDS:
        assert len(find_private_details(take_photograph(kind))) > 15
        drop_file(page, f"Anna Lindqvist, {kind}", take_photograph(kind))
        expect(notice).to_have_text(f"No generation settings found in Anna Lindqvist, {kind}.")
        prompt = f"{INFOTEXT.partition(chr(10))[0]}, {kind}"
        comment = b"UNICODE\0" + INFOTEXT.replace("a lighthouse", prompt).encode("utf-16-be")
        drop_file(page, f"Anna Lindqvist 2, {kind}", take_photograph(kind, comment))
        expect(page.get_by_label("Prompt", exact=True)).to_have_value(prompt)
        expect(notice).to_contain_text(f"Imported from Anna Lindqvist 2, {kind} (AUTOMATIC1111)")
    sent_bytes = b"".join(map(decode_strings, bodies))
    assert sent_bytes.count(b"Sampler: Euler a") == len(PHOTOGRAPH_KINDS)
    assert find_private_details(sent_bytes) == []


def test_settings_of_every_tool_reach_the_server(queue_page: Page) -> None:
    """From each container the browser sends what the server reads in the whole file."""
    own = GenerationMetadata(prompt="a fox \N{CAT FACE}", seed=2**64 - 1, width=8, height=8)
    long = replace(own, prompt="x" * 90_000, negative_prompt="y" * 90_000)
    files = {
        **{f"{name}, PNG": encode_png(texts) for name, (texts, _) in IMAGES_BY_TOOL.items()},
        **{
            f"{name}, {kind}": encode_with_exif(kind, *tags)
            for kind in ("JPEG", "WEBP")
            for name, tags in EXIF_BY_TOOL.items()
        },
        **{kind: embed_metadata(encode_image(kind, is_rich=True), own) for kind in IMAGE_KINDS},
        **{
            f"photo, {kind}": embed_metadata(take_photograph(kind), own)
            for kind in PHOTOGRAPH_KINDS
        },
        "converted from WebP": encode_png(
            {"XML:com.adobe.xmp": (merge_xmp(b"", own.to_json()) or b"").decode()}
        ),
        "earlier version": encode_with_exif(
            "WEBP", {}, {MAKER_NOTE: b"sd35-studio\0" + own.to_json().encode()}
        ),
        "long": embed_metadata(encode_image("JPEG"), long),
        "compressed": encode_png({"parameters": INFOTEXT}, is_compressed=True),
        "comment": encode_png({"Comment": INFOTEXT}),
        "Draw Things": encode_png({"XML:com.adobe.xmp": XMP}),
        "graph": encode_png({"workflow": json.dumps({"nodes": [{"note": "private"}]})}),
        **{
            name: encode_with_exif("JPEG", {0x9286: json.dumps(workflow).encode("utf-16-le")}, {})
            for name, workflow in WORKFLOWS.items()
        },
        **{form: encode_png({"Comment": text}) for form, text in TEXT_FORMS.items()},
    }
    for name, data in files.items():
        settings = queue_page.evaluate(READ_SETTINGS_JS, base64.b64encode(data).decode())
        metadata = read_metadata(data)
        assert metadata is not None, name
        size = read_texts(data).size
        assert size is not None
        if metadata.width is None or metadata.height is None:
            metadata = replace(metadata, width=size[0], height=size[1])
        assert parse_dropped_file(settings) == metadata, name
        assert "private" not in json.dumps(settings), name
        assert find_private_details(json.dumps(settings).encode()) == [], name


def test_crafted_files_neither_hang_nor_fill_the_browser(queue_page: Page) -> None:
    """Millions of parts, texts that inflate without end, and tags with one value are skipped."""
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (4 << 20), 9))
    damaged_bomb = bomb[:-9] + b"!" + bomb[-8:]
    tags = [*range(0x0100, 0x0111), 0x0131, 0x9286]
    entries = [struct.pack(">HHLL", tag, 7, 50_000, 8) for tag in tags]
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", len(tags)) + b"".join(entries) + b"\n," * 30_000
    segment = b"\xff\xe1" + struct.pack(">H", 60_000) + b"Exif\0\0" + exif[: 60_000 - 8]
    png, jpeg, webp = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\0\0\0\0WEBP")
    for name, head, part, count in (
        ("bombs", png, bomb, 1000),
        ("damaged bombs", png, damaged_bomb, 1000),
        ("tiny chunks", png, png_chunk(b"tEXt", b"Comment\0"), 200_000),
        ("fill bytes", jpeg, b"\xff" * 1000, 10_000),
        ("tiny segments", jpeg, b"\xff\xe1\0\2", 200_000),
        ("segments of one value", jpeg, segment, 1000),
        ("RIFF chunks", webp, b"EXIF\0\0\0\0", 200_000),
        ("blanks", png + png_chunk(b"tEXt", b"Comment\0prompt:" + b" \n" * 400_000), b"", 0),
    ):
        arguments = [base64.b64encode(head).decode(), base64.b64encode(part).decode(), count]
        assert queue_page.evaluate(READ_PARTS_JS, arguments)["texts"] == {}, name
