"""What a page is shown of its visitor's jobs, moment by moment."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from sd35.core.visitor import LOCAL_VISITOR
from sd35.jobs.limits import UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.service import JobService, SpaceConfig
from sd35.ui.create.live_view import JobView
from sd35.ui.page import Page
from tests.app_server import studio_config
from tests.browsers import FORM_VALUES
from tests.fakes import FakeSpace
from tests.test_durable import make_request, wait_for_status

pytestmark = pytest.mark.anyio


async def _fail_demo() -> str:
    raise NotImplementedError


async def test_the_end_is_shown_however_slow_the_page_is(tmp_path: Path) -> None:
    """The job ends while a frame is on its way to the page, and the finished picture is never shown."""
    fake = FakeSpace(is_generator=True)
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    page = Page(studio)
    request: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=LOCAL_VISITOR))
    for _ in range(5):
        job = await studio.submit(make_request("a cat"))
        panel = ""
        async for frame in page._watch_jobs(request, job.id):
            panel = frame[1]
            await anyio.sleep(0.02)  # what it takes to send one
        assert 'data-phase="completed"' in panel
    await studio.aclose()
    studio.library.close()
    fake.close()


async def test_a_newer_look_ends_the_older_one(tmp_path: Path) -> None:
    """A page that asks anew is told everything twice, by two streams."""
    fake = FakeSpace(is_generator=True)
    fake.hold()
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    page = Page(studio)
    request: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=LOCAL_VISITOR))
    job = await wait_for_status(await studio.submit(make_request("wait: ")), JobStatus.RUNNING)
    older, newer = page._watch_jobs(request, job.id), page._watch_jobs(request, job.id)
    await anext(older)
    await anext(newer)
    with pytest.raises(StopAsyncIteration):
        while True:
            await anext(older)
    assert (await anext(newer))[2] == job.id
    await newer.aclose()
    assert not studio.visitor_queue(LOCAL_VISITOR).watcher_count
    fake.release()
    await studio.aclose()
    studio.library.close()
    fake.close()


async def test_the_form_comes_back_after_a_restart(tmp_path: Path) -> None:
    """What the form asked for last still waited when the program was ended, and the form comes back empty."""
    fake = FakeSpace(is_generator=True)
    fake.hold()
    for is_first in (True, False):
        studio = JobService(
            SpaceConfig(fake.address),
            _fail_demo,
            studio_config(tmp_path, UsageLimits(max_concurrent=1)),
        )
        page = Page(studio)
        request: Any = SimpleNamespace(
            session_hash="x", state=SimpleNamespace(visitor=LOCAL_VISITOR)
        )
        if is_first:
            await wait_for_status(await studio.submit(make_request("wait: ")), JobStatus.RUNNING)
            _, _, job_id = await page._on_submit(request, *FORM_VALUES, "")
        else:
            restored_values = await page._form_handlers.restore_form(
                request, job_id, "", "", *FORM_VALUES[1:]
            )
            assert (restored_values[0], restored_values[-2:]) == (FORM_VALUES[0], FORM_VALUES[-2:])
        await studio.aclose()
        studio.library.close()
    fake.close()


async def test_what_is_in_focus(tmp_path: Path) -> None:
    """What somebody looks at on purpose is taken away by what runs; or nobody sees what runs."""
    fake = FakeSpace(is_generator=True)
    studio = JobService(SpaceConfig(fake.address), _fail_demo, studio_config(tmp_path))
    completed_job = await wait_for_status(
        await studio.submit(make_request("a cat")), JobStatus.COMPLETED
    )
    fake.hold()
    runs = await wait_for_status(await studio.submit(make_request("wait: ")), JobStatus.RUNNING)
    for focus, expected_focus in (
        (completed_job.id, runs.id),
        (f"={completed_job.id}", f"={completed_job.id}"),
        ("", runs.id),
        (runs.id, runs.id),
    ):
        assert (await JobView(studio, LOCAL_VISITOR, focus).render())[2] == expected_focus
    fake.release()
    await wait_for_status(runs, JobStatus.COMPLETED)
    _, panel, focus, *_ = await JobView(studio, LOCAL_VISITOR, "unknown").render()
    assert ("no longer here" in panel, focus) == (True, "")
    await studio.aclose()
    studio.library.close()
    fake.close()
