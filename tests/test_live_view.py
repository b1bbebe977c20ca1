"""The live updates of a page: its visitor's jobs, moment by moment."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import orjson
import pytest

from sd35.core.origin import PlannedRequest
from sd35.core.request import GenerationRequest
from sd35.core.visitor import LOCAL_VISITOR
from sd35.jobs.job import Job
from sd35.jobs.limits import UNLIMITED, UsageLimits
from sd35.jobs.provenance import space_label
from sd35.jobs.record import JobStatus
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import SpaceConfig
from sd35.library.layout import STYLES_FILE
from sd35.prompts.catalog import PromptCatalog
from sd35.ui.create.focus import LIVE, Focus
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.job_handlers import JobHandlers, update_interval
from sd35.ui.create.live_view import JobView, LiveUpdate
from sd35.ui.create.queue_actions import run_action
from sd35.ui.create.submissions import parse_submissions
from tests.app_server import studio_config
from tests.browsers import FORM_VALUES
from tests.fakes import FakeSpace
from tests.library_fixtures import add_picture

pytestmark = pytest.mark.anyio

REQUEST: Any = SimpleNamespace(session_hash="x", state=SimpleNamespace(visitor=LOCAL_VISITOR))
"""Gradio's request of one page of the local visitor."""


@dataclass(frozen=True, slots=True)
class PageHandlers:
    """The handlers of a page, and the service behind them."""

    service: JobService
    form: FormHandlers
    jobs: JobHandlers

    async def submit(self, prompt: str, *statuses: JobStatus) -> Job:
        """Submit a prompt, and wait until the job has one of these statuses."""
        request = GenerationRequest(prompt, width=512, height=512, randomize_seed=False)
        return await self.wait_for(await self.service.submit(request), *statuses)

    @staticmethod
    async def wait_for(job: Job, *statuses: JobStatus) -> Job:
        """Wait until a job has one of these statuses, and its image is saved if it has one."""
        with anyio.fail_after(20):
            while (state := job.state.value).status not in statuses or state.is_saving:
                await job.state.wait_for_change(state, 20)
        return job

    @property
    def open_prompts(self) -> list[str]:
        """The prompts of the jobs that haven't ended."""
        jobs = self.service.visitor_queue(LOCAL_VISITOR).open_jobs
        return [job.state.value.request.prompt for job in jobs]

    async def press(self, key: str, prompt: str, batch: str = "", **options: bool) -> str:
        """Press Generate with a fixed seed, and return what became of it."""
        submission = {"key": key, "values": [prompt, *FORM_VALUES[1:-1], batch], **options}
        event: Any = SimpleNamespace(_data={"submissions": [submission]})
        outcomes = orjson.loads((await self.jobs.submit(REQUEST, event, ""))[0])
        status: str = outcomes[0]["status"]
        return status


@asynccontextmanager
async def open_handlers(
    fake: FakeSpace, folder: Path, limits: UsageLimits = UNLIMITED
) -> AsyncIterator[PageHandlers]:
    async def fail_demo(*_: object) -> str:
        raise NotImplementedError

    service = JobService(SpaceConfig(fake.address), fail_demo, studio_config(folder, limits))
    form_handlers = FormHandlers(service, PromptCatalog(folder, folder / STYLES_FILE))
    yield PageHandlers(
        service, form_handlers, JobHandlers(service, form_handlers, can_log_out=False)
    )
    await service.aclose()
    service.library.close()


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    fake = FakeSpace(is_generator=True)
    yield fake
    fake.close()


async def test_slow_page_sees_the_final_image(fake: FakeSpace, tmp_path: Path) -> None:
    """A job that ends while an update is on its way to the page is still shown as completed."""
    async with open_handlers(fake, tmp_path) as page:
        for _ in range(5):
            job = await page.submit("a cat", *JobStatus)
            panel = ""
            async for update in page.jobs.watch_jobs(REQUEST, job.id):
                panel = update.panel
                await anyio.sleep(0.02)  # the time to send it
            assert 'data-status="completed"' in panel


async def test_newer_watch_ends_the_older_one(fake: FakeSpace, tmp_path: Path) -> None:
    """A page that watches anew gets each update once, and none with the focus before a press."""
    fake.hold()
    async with open_handlers(fake, tmp_path) as page:
        job = await page.submit("wait: ", JobStatus.RUNNING)
        older = page.jobs.watch_jobs(REQUEST, job.id)
        newer = page.jobs.watch_jobs(REQUEST, job.id)
        await anext(older)
        await anext(newer)
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(older)
        assert (await anext(newer)).focus == job.id
        press: Any = SimpleNamespace(_data={"action": "select", "id": job.id})
        await page.jobs.run_queue_action(REQUEST, press, job.id)
        assert [update async for update in newer] == [LiveUpdate.unchanged()]
        assert not page.service.visitor_queue(LOCAL_VISITOR).watcher_count
        fake.release()


async def test_many_pages_are_updated_less_often() -> None:
    """The updates of many pages leave time for first previews and finished images."""
    assert [update_interval(count) for count in (1, 50, 200, 9000)] == [0.1, 0.1, 0.4, 1.0]
    assert [update_interval(count, is_sheet=True) for count in (1, 200)] == [0.25, 0.4]


async def test_repeated_submission_is_one_job(fake: FakeSpace, tmp_path: Path) -> None:
    """A page that repeats a press, because no answer came, gets the same job, restarts included."""
    fake.hold()
    limits = UsageLimits(max_concurrent=1)
    async with open_handlers(fake, tmp_path, limits) as page:
        assert await page.press("one", "wait: ") == "accepted"
        assert await page.press("two", "a cat") == "accepted"
        assert await page.press("two", "a cat") == "accepted"
        assert page.open_prompts.count("a cat") == 1
    async with open_handlers(fake, tmp_path, limits) as page:
        assert await page.press("two", "a cat") == "accepted"
        assert page.open_prompts.count("a cat") == 1
    fake.release()


async def test_third_identical_image_must_be_confirmed(fake: FakeSpace, tmp_path: Path) -> None:
    """Two images on their way may be the same; the next is asked about, unless its seed is random.

    A repeated press isn't its own predecessor, and cancelled jobs don't count.
    """
    fake.hold()
    async with open_handlers(fake, tmp_path, UsageLimits(max_concurrent=1)) as page:
        await page.submit("wait: ", JobStatus.RUNNING)
        for key in ("1", "2", "2"):
            assert await page.press(key, "a cat") == "accepted"
        assert await page.press("3", "a cat") == "repeated"
        assert await page.press("4", "a cat", is_random=True) == "accepted"
        assert await page.press("5", "a cat", is_confirmed=True) == "accepted"
        for key in ("6", "7", "8"):
            assert await page.press(key, "a dog") == "accepted"
            for job in page.service.visitor_queue(LOCAL_VISITOR).open_jobs:
                job.cancel()
    fake.release()


async def test_image_of_the_library_is_not_made_once_more(fake: FakeSpace, tmp_path: Path) -> None:
    """A press for an image that exists, be it in the trash, is asked about; a deleted one isn't."""
    async with open_handlers(fake, tmp_path) as page:
        assert await page.press("1", "a cat") == "accepted"
        [job] = page.service.visitor_queue(LOCAL_VISITOR).open_jobs
        with anyio.fail_after(20):
            while not (state := job.state.value).is_saved:
                await job.state.wait_for_change(state, 20)
        assert await page.press("1", "a cat") == "accepted"
        assert await page.press("2", "a cat") == "repeated"
        assert await page.press("3", "a cat", is_random=True) == "accepted"
        library = page.service.library
        library.trash([job.id], "")
        submission = {"key": "4", "values": ["a cat", *FORM_VALUES[1:]]}
        event: Any = SimpleNamespace(_data={"submissions": [submission]})
        [outcome] = orjson.loads((await page.jobs.submit(REQUEST, event, ""))[0])
        assert outcome["entries"] == [{"id": job.id, "is_trashed": True}]
        library.empty_trash("")
        assert await page.press("5", "a cat") == "accepted"


async def test_press_of_several_images_is_one_set(fake: FakeSpace, tmp_path: Path) -> None:
    """A set is made once, however often the press is repeated, and asked about when pressed anew.

    If only one of its images is new, it is made without a question.
    """
    fake.hold()
    batch = '{"count": 2, "one_per_line": true, "seeds": "increment"}'
    async with open_handlers(fake, tmp_path) as page:
        for _ in range(2):
            assert await page.press("one", "a cat\na dog", batch) == "accepted"
        jobs = page.service.visitor_queue(LOCAL_VISITOR).open_jobs
        assert [job.state.value.request.seed for job in jobs] == [7, 8, 9, 10]
        assert {(job.origin.set_id, job.origin.set_size) for job in jobs} == {(jobs[0].id, 4)}
        assert await page.press("two", "a cat\na dog", batch) == "repeated"
        assert await page.press("two", "a cat\na cow", batch) == "accepted"
        assert await page.press("three", "a cat\na dog", batch, is_confirmed=True) == "accepted"
        assert await page.press("three", "{a|", batch) == "accepted"
        assert await page.press("four", "{a|", batch) == "invalid"
        assert len(page.open_prompts) == 12
    fake.release()


@pytest.mark.parametrize(
    "payload", [{}, {"submissions": 7}, {"submissions": [None, {"key": "", "values": []}]}]
)
def test_foreign_submissions_are_ignored(payload: dict[str, Any]) -> None:
    """Anything that isn't a submission is skipped."""
    assert parse_submissions(payload) == []


async def test_polling_page_counts_as_open(fake: FakeSpace, tmp_path: Path) -> None:
    """The jobs of a visitor whose only page polls aren't stopped as if no page was open."""
    async with open_handlers(fake, tmp_path) as page:
        await page.jobs.poll_jobs(REQUEST, "")
        assert page.service.visitor_queue(LOCAL_VISITOR).watcher_count == 1


async def test_selected_job_stays_in_focus(fake: FakeSpace, tmp_path: Path) -> None:
    """A finished job makes way for a running one, unless the visitor has selected it."""
    async with open_handlers(fake, tmp_path) as page:
        completed = await page.submit("a cat", JobStatus.COMPLETED)
        fake.hold()
        running = await page.submit("wait: ", JobStatus.RUNNING)
        for focus, expected_focus in (
            (completed.id, running.id),
            (f"={completed.id}", f"={completed.id}"),
            ("", running.id),
            (running.id, running.id),
        ):
            update = await JobView(page.service, LOCAL_VISITOR, Focus.parse(focus)).render()
            assert update.focus == expected_focus
        fake.release()


async def test_contact_sheet_follows_a_set(fake: FakeSpace, tmp_path: Path) -> None:
    """A set fills live; an image of it can be selected, stopped, retried, deleted and put back."""
    planned = [
        PlannedRequest(GenerationRequest(prompt, width=512, height=512, randomize_seed=False))
        for prompt in ("a red fox", "wait: a blue fox", "a green fox")
    ]
    async with open_handlers(fake, tmp_path, UsageLimits(max_concurrent=1)) as page:
        fake.hold()
        first, second, third = await page.service.submit_set(planned)
        await page.wait_for(first, JobStatus.COMPLETED)  # the next run starts before the download
        await page.wait_for(second, JobStatus.RUNNING)
        view = JobView(page.service, LOCAL_VISITOR, Focus(first.id))
        update, stage = await render_stage(view)
        assert (stage["mode"], stage["focus"]) == ("sheet", second.id)
        assert [cell["state"] for cell in stage["cells"]] == ["done", "running", "pending"]
        assert [cell["label"] for cell in stage["cells"]] == ["red", "wait: blue", "green"]
        assert "1 of 3 images done" in update.panel
        view.focus = Focus.image(first.id)
        update, stage = await render_stage(view)
        assert (stage["mode"], stage["showsSet"]) == ("image", False)
        assert not stage["isBehind"]
        assert "a<b> red</b> fox" in update.panel
        await run_action(page.service, LOCAL_VISITOR, "stop", third.id, LIVE)
        await page.wait_for(third, JobStatus.CANCELLED)
        view.focus = Focus(second.id)
        assert "1 of 3 images done · 1 stopped" in (await view.render()).panel
        await run_action(page.service, LOCAL_VISITOR, "retry-set", first.id, LIVE)
        third = view.visitor_queue.jobs_of_set(first.origin.set_id)[2]
        view.focus = Focus.image(first.id)
        fake.release()
        await page.wait_for(third, JobStatus.COMPLETED)
        focus = await run_action(page.service, LOCAL_VISITOR, "trash", first.id, view.focus)
        view.focus = await run_action(page.service, LOCAL_VISITOR, "show-set", second.id, focus)
        _, stage = await render_stage(view)
        assert [cell["state"] for cell in stage["cells"]] == ["gone", "done", "done"]
        await run_action(page.service, LOCAL_VISITOR, "restore-images", first.id, focus)
        _, stage = await render_stage(view)
        assert [cell["state"] for cell in stage["cells"]] == ["done", "done", "done"]
    async with open_handlers(fake, tmp_path) as page:  # a page that is opened the next day
        update, stage = await render_stage(JobView(page.service, LOCAL_VISITOR, LIVE))
        assert [cell["id"] for cell in stage["cells"]] == [first.id, second.id, third.id]
        assert update.recent.count('aria-current="true"') == 3


async def render_stage(view: JobView) -> tuple[LiveUpdate, dict[str, Any]]:
    """Return an update of a page, and what is on its stage."""
    update = await view.render()
    return update, orjson.loads(update.stage)


async def test_previews_of_a_set_are_sent_once(fake: FakeSpace, tmp_path: Path) -> None:
    """A preview on the contact sheet is sent to a page once."""
    planned = [PlannedRequest(GenerationRequest(f"wait: {name}")) for name in "ab"]
    async with open_handlers(fake, tmp_path, UsageLimits(max_concurrent=1)) as page:
        fake.hold()
        jobs = await page.service.submit_set(planned)
        view = JobView(page.service, LOCAL_VISITOR, Focus(jobs[0].id))
        running = jobs[0].state
        with anyio.fail_after(20):
            while (state := running.value).preview is None:
                await running.wait_for_change(state, 20)
        _, stage = await render_stage(view)
        assert stage["previews"].keys() == {jobs[0].id}
        _, stage = await render_stage(view)
        assert stage["previews"] == {}
        fake.release()


async def test_unknown_job_is_no_longer_available(fake: FakeSpace, tmp_path: Path) -> None:
    """The id of a job that is gone, or of somebody else, is dropped with a hint."""
    async with open_handlers(fake, tmp_path) as page:
        update = await JobView(page.service, LOCAL_VISITOR, Focus("unknown")).render()
        assert "no longer available" in update.panel
        assert not update.focus


async def test_queue_says_when_all_is_finished(fake: FakeSpace, tmp_path: Path) -> None:
    """Once runs of the Space are known, each job has a time left, and so has the whole queue."""
    async with open_handlers(fake, tmp_path, UsageLimits(max_concurrent=1)) as page:
        space = await page.service.get_space()
        add_picture(
            page.service.library,
            space=space_label(space),
            model=space.model,
            took_seconds=60.0,
            num_inference_steps=1,
            guidance_scale=4.5,
        )
        await page.service.estimates.load()
        fake.hold()
        running = await page.submit("wait: ", JobStatus.RUNNING)
        pending = await page.submit("a cat", JobStatus.PENDING)
        while not (state := pending.state.value).queue_length:
            await pending.state.wait_for_change(state, 20)
        update = await JobView(page.service, LOCAL_VISITOR, Focus.parse(running.id)).render()
        assert " min left" in update.panel
        assert re.search(r"1 running · 1 queued · about [\d hmin]+ for all<", update.queue)
        assert re.search(r">About [\d hmin]+ left · Seed 0, 512 × 512<", update.queue)
        fake.release()
