"""What a page is shown of its visitor's jobs, moment by moment."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from sd35.core.visitor import HERE
from sd35.jobs.job import Phase
from sd35.jobs.limits import Caps
from sd35.jobs.service import SpaceChoice, Studio
from sd35.ui.create.live_view import View
from sd35.ui.page import Page
from tests.browsers import FIELDS
from tests.fakes import FakeSpace
from tests.serving import house
from tests.test_durable import asking, until

pytestmark = pytest.mark.anyio


async def _no_demo() -> str:
    raise NotImplementedError


async def test_the_end_is_shown_however_slow_the_page_is(tmp_path: Path) -> None:
    """The job ends while a frame is on its way to the page, and the finished picture is never shown."""
    fake = FakeSpace(is_generator=True)
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    page = Page(studio)
    request: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=HERE))
    for _ in range(5):
        job = await studio.submit(asking("a cat"))
        panel = ""
        async for frame in page._watch(request, job.id):
            panel = frame[1]
            await anyio.sleep(0.02)  # what it takes to send one
        assert 'data-phase="finished"' in panel
    await studio.aclose()
    studio.library.close()
    fake.close()


async def test_a_newer_look_ends_the_older_one(tmp_path: Path) -> None:
    """A page that asks anew is told everything twice, by two streams."""
    fake = FakeSpace(is_generator=True)
    fake.hold()
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    page = Page(studio)
    request: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=HERE))
    job = await until(await studio.submit(asking("wait: ")), Phase.RUNNING)
    older, newer = page._watch(request, job.id), page._watch(request, job.id)
    await anext(older)
    await anext(newer)
    with pytest.raises(StopAsyncIteration):
        while True:
            await anext(older)
    assert (await anext(newer))[2] == job.id
    await newer.aclose()
    assert not studio.board(HERE).watchers
    fake.release()
    await studio.aclose()
    studio.library.close()
    fake.close()


async def test_the_form_comes_back_after_a_restart(tmp_path: Path) -> None:
    """What the form asked for last still waited when the program was ended, and the form comes back empty."""
    fake = FakeSpace(is_generator=True)
    fake.hold()
    for is_first in (True, False):
        studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path, Caps(at_once=1)))
        page = Page(studio)
        request: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=HERE))
        if is_first:
            await until(await studio.submit(asking("wait: ")), Phase.RUNNING)
            _, _, asked = await page._submit(request, *FIELDS, "")
        else:
            filled = await page._filling.restore(request, asked, "", "", *FIELDS[1:])
            assert (filled[0], filled[-2:]) == (FIELDS[0], FIELDS[-2:])
        await studio.aclose()
        studio.library.close()
    fake.close()


async def test_what_is_in_focus(tmp_path: Path) -> None:
    """What somebody looks at on purpose is taken away by what runs; or nobody sees what runs."""
    fake = FakeSpace(is_generator=True)
    studio = Studio(SpaceChoice(fake.address), _no_demo, house(tmp_path))
    done = await until(await studio.submit(asking("a cat")), Phase.FINISHED)
    fake.hold()
    runs = await until(await studio.submit(asking("wait: ")), Phase.RUNNING)
    for focus, shown in (
        (done.id, runs.id),
        (f"={done.id}", f"={done.id}"),
        ("", runs.id),
        (runs.id, runs.id),
    ):
        assert (await View(studio, HERE, focus).frame())[2] == shown
    fake.release()
    await until(runs, Phase.FINISHED)
    _, panel, focus, *_ = await View(studio, HERE, "unknown").frame()
    assert ("no longer here" in panel, focus) == (True, "")
    await studio.aclose()
    studio.library.close()
    fake.close()
