"""Endpoints for programs: `/infer`, as at the public Space, and `/generate`, with named values."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import gradio as gr

from sd35.core.errors import SD35Error
from sd35.core.events import Progress
from sd35.core.picture import Picture
from sd35.core.visitor import Visitor
from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import Job, JobResult, JobState
from sd35.jobs.service import JobService
from sd35.jobs.status_text import status_line
from sd35.server.file_data import file_data, preview_data
from sd35.server.request_planner import RequestPlanner

__all__ = [
    "DEMO_PAINTER",
    "ApiEndpoints",
    "result_or_raise",
    "submit_job",
    "submit_jobs",
    "visitor_from_request",
]

DEMO_PAINTER: Final = "demo painter"

MIN_UPDATE_INTERVAL: Final = 0.1
MAX_UPDATE_INTERVAL: Final = 1.0


async def submit_jobs(
    job_service: JobService,
    planner: RequestPlanner,
    visitor: Visitor,
    **arguments: Any,  # noqa: ANN401  # JSON, which the planner checks
) -> tuple[list[Job], str]:
    """Start the jobs of a call; return them and the name of who makes the images.

    Raises:
        SD35Error: there is no Space, the request is invalid, or a usage limit is reached.
    """
    space = await job_service.get_space()
    images = await planner.plan(visitor, space.contract.limits, arguments)
    jobs = await job_service.submit_set(images, visitor, is_api_call=True)
    return jobs, DEMO_PAINTER if space.contract.is_demo else space.name


async def submit_job(
    job_service: JobService,
    planner: RequestPlanner,
    visitor: Visitor,
    **arguments: Any,  # noqa: ANN401  # JSON, which the planner checks
) -> tuple[Job, str]:
    """Start the job of a call for one image, as `submit_jobs` does."""
    [job], made_by = await submit_jobs(job_service, planner, visitor, **arguments)
    return job, made_by


def result_or_raise(state: JobState) -> JobResult:
    """Return the result of a finished job.

    Raises:
        SD35Error: the job failed or was cancelled.
    """
    if state.result is None:
        raise state.error or SD35Error("The job was cancelled.", remedy="")
    return state.result


def visitor_from_request(request: gr.Request) -> Visitor:
    """Return the visitor that VisitorMiddleware has identified."""
    visitor: Visitor = request.state.visitor
    return visitor


class ApiEndpoints:
    """Gradio functions for programs. A call ends its job when its caller leaves."""

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service
        self._planner = RequestPlanner(job_service.library)

    async def infer(  # noqa: PLR0913, PLR0917  # the public Space's parameters, in its order
        self,
        prompt: object,
        negative_prompt: object,
        seed: object,
        randomize_seed: object,
        width: object,
        height: object,
        guidance_scale: object,
        num_inference_steps: object,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio passes it
    ) -> AsyncGenerator[tuple[dict[str, Any], int | None], None]:
        """Yield previews, then the image and its seed, as `/infer` of the public Space does."""
        # Clients that leave a value out send null. There the seed is random unless they object.
        is_random = randomize_seed is not False
        fixed_seed = 0 if seed is None else seed
        with _gradio_errors():
            job, _ = await submit_job(
                self._job_service,
                self._planner,
                visitor_from_request(request),
                prompt=prompt,
                negative_prompt=negative_prompt,
                width=width,
                height=height,
                guidance_scale=guidance_scale,
                num_inference_steps=num_inference_steps,
                seed=None if is_random else fixed_seed,
            )
            try:
                async with aclosing(self._stream_previews(job, progress)) as previews:
                    async for preview in previews:
                        yield preview, job.state.value.request.seed
            finally:
                job.cancel()  # no effect on a finished job
            result = result_or_raise(job.state.value)
        yield file_data(result), result.seed

    async def _stream_previews(
        self, job: Job, progress: gr.Progress
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield each preview as FileData, and report progress."""
        preview_count = 0
        last_preview = None
        last_sent_at = 0.0
        last_progress = None
        last_wait = None
        states = job.state.watch(
            min_interval=MIN_UPDATE_INTERVAL,
            max_interval=MAX_UPDATE_INTERVAL,
            is_urgent=lambda previous, current: current.is_significant_change(previous),
        )
        async with aclosing(states):
            async for state in states:
                if state.progress is not None and state.progress is not last_progress:
                    last_progress = state.progress
                    _report_progress(progress, last_progress)
                if state.waiting_event is not last_wait:
                    last_wait = state.waiting_event
                    progress(0.0, desc=status_line(state))
                if state.status.is_final:
                    return
                if state.preview is None:
                    continue
                now = time.monotonic()
                if state.preview is not last_preview:
                    preview_count += 1
                # The newest preview is repeated every second: Gradio closes a generator whose
                # client has left only when it yields.
                elif now - last_sent_at < MAX_UPDATE_INTERVAL:
                    continue
                last_preview = state.preview
                last_sent_at = now
                yield self._publish_preview(job, last_preview, preview_count)

    def _publish_preview(self, job: Job, preview: Picture, number: int) -> dict[str, Any]:
        """Return FileData for a preview, under a new URL: clients cache by URL."""
        name = f"preview-{number:02}{preview.suffix}"
        artifact = Artifact(job.owner, name, preview.mime_type, preview.data)
        return preview_data(self._job_service.artifacts.put_preview(job.id, artifact), artifact)

    async def generate(  # noqa: PLR0913, PLR0917  # an endpoint's parameters are its interface
        self,
        prompt: str,
        negative_prompt: str = "",
        aspect_ratio: str = "1:1",
        width: int | None = None,
        height: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = None,
        styles: str = "",
        negative_preset: str = "",
        template: bool = False,  # noqa: FBT001, FBT002  # a parameter by name, in JSON
        request: gr.Request = None,  # Gradio passes it
    ) -> tuple[dict[str, Any], int | None, str]:
        """Generate one image, and return it, its seed, and who made it.

        Args:
            prompt: what the image should show.
            negative_prompt: what the image should not show.
            aspect_ratio: such as 16:9, at the largest size that the Space offers.
            width: in pixels; without a height, that follows from the aspect ratio.
            height: in pixels; without a width, that follows from the aspect ratio.
            guidance_scale: how strictly to follow the prompt; the Space's default if left out.
            num_inference_steps: the Space's default if left out.
            seed: the same seed gives the same image; random if left out or -1.
            styles: names of styles, with commas between them.
            negative_preset: the name of words for the negative prompt.
            template: whether the prompt is a template, of which the seed decides the result.
            request: passed by Gradio.
        """
        arguments = _call_arguments(locals())
        with _gradio_errors():
            visitor = visitor_from_request(request)
            job, made_by = await submit_job(self._job_service, self._planner, visitor, **arguments)
            result = await _wait_for_result(job)
        return file_data(result), result.seed, made_by

    async def generate_set(  # noqa: PLR0913, PLR0917  # an endpoint's parameters are its interface
        self,
        prompt: str,
        negative_prompt: str = "",
        aspect_ratio: str = "1:1",
        width: int | None = None,
        height: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = None,
        styles: str = "",
        negative_preset: str = "",
        template: bool = False,  # noqa: FBT001, FBT002  # parameters by name, in JSON
        count: int = 1,
        combinations: bool = False,  # noqa: FBT001, FBT002
        one_per_line: bool = False,  # noqa: FBT001, FBT002
        seeds: str = "increment",
        columns: str = "",
        rows: str = "",
        request: gr.Request = None,  # Gradio passes it
    ) -> tuple[list[dict[str, Any]], str]:
        """Generate several images as one set, and return them, and who made them.

        Args:
            prompt: what the images should show.
            negative_prompt: what the images should not show.
            aspect_ratio: such as 16:9, at the largest size that the Space offers.
            width: in pixels; without a height, that follows from the aspect ratio.
            height: in pixels; without a width, that follows from the aspect ratio.
            guidance_scale: how strictly to follow the prompt; the Space's default if left out.
            num_inference_steps: the Space's default if left out.
            seed: of the first image; random for each if left out or -1.
            styles: names of styles, with commas between them.
            negative_preset: the name of words for the negative prompt.
            template: whether the prompt is a template: each image gets a random result of it.
            count: images per prompt.
            combinations: whether to make all results of the template.
            one_per_line: whether each line of the prompt is a prompt of its own.
            seeds: increment from image to image, or fixed.
            columns: of a grid, such as steps=20,30 or style=Watercolor,none.
            rows: of a grid.
            request: passed by Gradio.
        """
        arguments = _call_arguments(locals())
        with _gradio_errors():
            visitor = visitor_from_request(request)
            service = self._job_service
            jobs, made_by = await submit_jobs(service, self._planner, visitor, **arguments)
            images = await _wait_for_set(jobs)
        return images, made_by


def _call_arguments(names: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an endpoint's call, which are its local names at the beginning."""
    return {name: value for name, value in names.items() if name not in {"self", "request"}}


async def _wait_for_result(job: Job) -> JobResult:
    try:
        while not (state := job.state.value).status.is_final:
            await job.state.wait_for_change(state, MAX_UPDATE_INTERVAL)
    finally:
        job.cancel()  # the caller has left, unless the job is finished
    return result_or_raise(state)


async def _wait_for_set(jobs: list[Job]) -> list[dict[str, Any]]:
    """Return the images of a set; only if there is none at all, the first job's error is raised."""
    try:
        for job in jobs:
            while not (state := job.state.value).status.is_final:
                await job.state.wait_for_change(state, MAX_UPDATE_INTERVAL)
    finally:
        for job in jobs:
            job.cancel()  # the caller has left, unless the job is finished
    if not any(job.state.value.result for job in jobs):
        result_or_raise(jobs[0].state.value)
    return [_image_json(job) for job in jobs]


def _image_json(job: Job) -> dict[str, Any]:
    state = job.state.value
    result = state.result
    return {
        "image": None if result is None else file_data(result),
        "seed": state.request.seed if result is None else result.seed,
        "prompt": state.request.prompt,
        "negative_prompt": state.request.negative_prompt,
        "labels": dict(job.origin.axes),
        "error": "" if result is not None else str(state.error or "The job was cancelled."),
    }


@contextmanager
def _gradio_errors() -> Iterator[None]:
    """Convert errors of this program to Gradio's, so that the caller gets their text."""
    try:
        yield
    except SD35Error as error:
        # Gradio prints a traceback otherwise, though the mistake is the caller's.
        raise gr.Error(str(error), print_exception=False) from error


def _report_progress(progress: gr.Progress, event: Progress) -> None:
    description = event.description or None
    if event.step is not None and event.total:
        progress((event.step, event.total), desc=description, unit="steps")
    elif event.fraction is not None:
        progress(event.fraction, desc=description)
