"""axe-core finds nothing serious on the page: in its states, light and dark, desktop and phone."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, ViewportSize, expect

from tests.app_server import serve_app
from tests.chromium import (  # noqa: F401  # fixtures
    browser,
    context,
    open_page,
    page,
    submit_prompt,
)
from tests.fakes import FakeSpace

pytestmark = pytest.mark.accessibility

AXE_JS = "([selector, options]) => axe.run(selector, options)"
AXE_OPTIONS: dict[str, Any] = {"resultTypes": ["violations"], "preload": False, "iframes": False}

# Else axe-core would see colors halfway from one theme to the other.
STILL_CSS = "*, ::before, ::after { transition: none !important; animation: none !important }"

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1366, "height": 768}
VIEWS: tuple[tuple[ViewportSize, Literal["dark", "light"]], ...] = (
    (PHONE, "dark"),
    (DESKTOP, "light"),
)

OPENERS = (
    "#show-keys",
    "#space-name",
    "#show-styles",
    "#open-grid",
    "#show-presets",
    "#show-prompts",
)


@pytest.fixture(scope="module")
def space() -> Iterator[FakeSpace]:
    with closing(FakeSpace(is_generator=True)) as space:
        yield space


@pytest.fixture(scope="module")
def address(space: FakeSpace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_app(space.address, tmp_path_factory.mktemp("library")) as app:
        yield app.address


def expect_accessible(page: Page, selector: str = "html") -> None:
    """Fail if axe-core finds something serious or critical below an element."""
    if page.evaluate("window.axe === undefined"):
        page.evaluate(AXE_SCRIPT)
        page.add_style_tag(content=STILL_CSS)
    violations = set()
    for viewport, scheme in VIEWS:
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        for violation in page.evaluate(AXE_JS, [selector, AXE_OPTIONS])["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                node = violation["nodes"][0]
                element = f"{viewport['width']} px, {scheme}: {node['target']}: {node['html']}"
                violations.add(f"{element[:400]}\n{node['failureSummary']}")
    assert not violations, "\n".join(sorted(violations))


def test_page_is_accessible_in_its_states(page: Page, space: FakeSpace, address: str) -> None:
    """Empty, invalid, a set running, done, failed, out of quota; the library and its images."""
    open_page(page, address)
    expect(page.get_by_role("region", name="Start with an example")).to_be_visible()
    expect_accessible(page)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#prompt-area div.validation-error")).to_be_visible()
    expect_accessible(page, "#prompt-area")
    page.evaluate("sd35.setBatchOptions({ count: 3 })")
    page.locator("#prompt-area textarea").first.fill("wait: a cat")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".cell[data-state=running]").first).to_be_visible()
    expect_accessible(page)
    space.release()
    expect(page.locator(".cell[data-state=done]")).to_have_count(3)
    page.evaluate("sd35.setBatchOptions({ count: 1 })")
    submit_prompt(page, "a dog")
    expect(page.locator("#panel [data-status=completed]")).to_be_visible()
    expect_accessible(page, "#studio")
    submit_prompt(page, "error: broken")
    expect(page.locator("#panel [data-status=failed]")).to_be_visible()
    expect_accessible(page, "#output")
    submit_prompt(page, "error: You have exceeded your GPU quota (60s left). Try again in 0:10:00")
    expect(page.locator("#panel")).to_contain_text("resets")
    expect_accessible(page, "#studio")
    page.goto(f"{address}#library")
    for index in range(2):
        page.locator("#grid .pick input").nth(index).check()
    expect_accessible(page)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("dialog.compare .view[data-ready]")).to_be_visible()
    expect_accessible(page, "dialog.compare")
    page.keyboard.press("Escape")
    page.locator("#grid .open").first.click()
    expect(page.get_by_role("button", name="Copy settings")).to_be_visible()
    expect_accessible(page, "#viewer")


def test_dialogs_are_accessible(page: Page, address: str) -> None:
    """Each dialog has a name, is closed by Escape, and gives back the focus."""
    open_page(page, address)
    for selector in OPENERS:
        opener = page.locator(selector)
        opener.click()
        expect(page.locator("dialog:modal")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_accessible_name(re.compile(r"\w"))
        expect_accessible(page, "dialog:modal")
        page.keyboard.press("Escape")
        expect(page.locator("dialog:modal")).to_have_count(0)
        expect(opener).to_be_focused()
