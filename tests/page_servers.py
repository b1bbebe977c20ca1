"""The apps that the tests of the Create tab share."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sd35.core.seed import MAX_SEED
from tests.app_server import serve_app
from tests.fakes import FakeSpace


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


def read_seed(page: Page) -> int:
    seed = page.locator("#panel [data-seed]").get_attribute("data-seed", timeout=20_000)
    assert seed is not None
    return int(seed)


def wait_for_limits(page: Page) -> None:
    """Wait until the fields have the Space's limits, with which Gradio removes their errors."""
    expect(page.locator("#size-hint")).to_contain_text("aren't available")
