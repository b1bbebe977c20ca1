"""The page's public face for programs: `/infer`, with the public Space's contract, and `/generate`, typed and named."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import gradio as gr

from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.core.events import Progress
from sd35.core.limits import Limits, Range
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.visitor import Visitor
from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import Job, JobResult, JobState
from sd35.jobs.service import JobService
from sd35.server.file_data import file_data, preview_data
from sd35.ui.create.form import CUSTOM_SIZE, FormValues, parse_request

__all__ = [
    "DEMO_PAINTER",
    "ApiEndpoints",
    "build_form_values",
    "is_significant_change",
    "result_or_raise",
    "submit_job",
    "visitor_from_request",
]


DEMO_PAINTER: Final = "demo painter"


def build_form_values(
    *,
    prompt: object,
    negative_prompt: object,
    aspect_ratio: object,
    width: object,
    height: object,
    guidance_scale: object,
    num_inference_steps: object,
    seed: object,
) -> FormValues:
    """Return what the fields would hold: a width or a height goes before the aspect ratio, no seed is a random one."""
    return FormValues(
        prompt=prompt,
        negative_prompt=negative_prompt,
        size=aspect_ratio if width is None and height is None else CUSTOM_SIZE,
        width=width,
        height=height,
        guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps,
        seed=seed,
        randomize_seed=seed is None,
    )


async def submit_job(
    job_service: JobService, values: FormValues, visitor: Visitor
) -> tuple[Job, str]:
    """Start the job, with the Space's own value for each number that was left out; and say who will make it.

    Raises:
        SD35Error: there is no Space, what is asked for is amiss, or is more than this visitor may
            ask for.

    """
    space = await job_service.get_space()
    request = _build_request(values, space.contract.limits)
    job = await job_service.submit(request, visitor, is_api_call=True)
    return job, DEMO_PAINTER if space.contract.is_demo else space.name


def _build_request(values: FormValues, limits: Limits) -> GenerationRequest:
    is_custom = values.size == CUSTOM_SIZE and values.width is None and values.height is None
    completed_values = FormValues(
        prompt=values.prompt,
        negative_prompt=values.negative_prompt,
        size=values.size,
        width=limits.width.default if is_custom else values.width,
        height=limits.height.default if is_custom else values.height,
        guidance_scale=_value_or_default(values.guidance_scale, limits.guidance_scale),
        num_inference_steps=_value_or_default(
            values.num_inference_steps, limits.num_inference_steps
        ),
        seed=values.seed,
        randomize_seed=values.randomize_seed,
    )
    request, problems = parse_request(completed_values, limits)
    if request is None:
        raise InvalidRequestError(" ".join(problem.message for problem in problems))
    return request


def _value_or_default(value: Any, value_range: Range | None) -> Any:  # noqa: ANN401  # whatever a program sends
    return value if value is not None else value_range.default if value_range else 0


def result_or_raise(state: JobState) -> JobResult:
    """Return what came of a job that has ended.

    Raises:
        SD35Error: there is no picture; it says why.

    """
    if state.result is None:
        raise state.error or SD35Error("The run was stopped.", remedy="")
    return state.result


MIN_UPDATE_INTERVAL = 0.1
MAX_UPDATE_INTERVAL = 1.0


def visitor_from_request(request: gr.Request) -> Visitor:
    """Who asks, as it was found out when the request came in."""
    visitor: Visitor = request.state.visitor
    return visitor


def is_significant_change(previous: JobState, current: JobState) -> bool:
    """Whether somebody who watches is told at once, whatever was told just before."""
    return current.is_significant_change(previous)


class ApiEndpoints:
    """What programs can ask for: a job of the studio's, from its request to its end."""

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service

    async def infer(  # noqa: PLR0913, PLR0917  # the public Space's parameters, in its order
        self,
        prompt: Any,  # noqa: ANN401  # whatever a program sends
        negative_prompt: Any,  # noqa: ANN401
        seed: Any,  # noqa: ANN401
        randomize_seed: Any,  # noqa: ANN401
        width: Any,  # noqa: ANN401
        height: Any,  # noqa: ANN401
        guidance_scale: Any,  # noqa: ANN401
        num_inference_steps: Any,  # noqa: ANN401
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio passes it
    ) -> AsyncGenerator[tuple[dict[str, Any], int | None], None]:
        """Make one picture: previews on the way, then the picture and its seed.

        The parameters, their order and what comes back are those of the Space
        stabilityai/stable-diffusion-3.5-large.
        """
        values = FormValues(
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=CUSTOM_SIZE,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            seed=0 if seed is None else seed,
            randomize_seed=randomize_seed is not False,
        )
        job, _ = await self._submit(values, visitor_from_request(request))
        try:
            async with aclosing(self._stream_previews(job, progress)) as previews:
                async for preview in previews:
                    yield preview, job.state.value.request.seed
        finally:
            job.cancel()  # does nothing to a job that has ended
        result = _result_or_raise(job.state.value)
        yield file_data(result), result.seed

    async def _stream_previews(
        self, job: Job, progress: gr.Progress
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield each preview as a program takes it; one that lasts, again each second: so who has left is noticed."""
        index, last_preview, last_sent_at, last_progress = 0, None, 0.0, None
        states = job.state.watch(
            min_interval=MIN_UPDATE_INTERVAL,
            max_interval=MAX_UPDATE_INTERVAL,
            is_urgent=is_significant_change,
        )
        async with aclosing(states):
            async for state in states:
                if state.progress is not None and state.progress is not last_progress:
                    last_progress = state.progress
                    _report_progress(progress, last_progress)
                if state.status.is_final:
                    return
                now, is_new = time.monotonic(), state.preview is not last_preview
                if state.preview is not None and (
                    is_new or now - last_sent_at >= MAX_UPDATE_INTERVAL
                ):
                    index, last_preview, last_sent_at = index + is_new, state.preview, now
                    yield self._publish_preview(job, last_preview, index)

    def _publish_preview(self, job: Job, preview: Picture, index: int) -> dict[str, Any]:
        """A preview as a program takes it: at an address of its own."""
        artifact = Artifact(
            job.owner, f"preview-{index:02}{preview.suffix}", preview.mime_type, preview.data
        )
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
        request: gr.Request = None,  # Gradio gives it
    ) -> tuple[dict[str, Any], int | None, str]:
        """Make one picture, and return it, the seed that was used, and who made it.

        Args:
            prompt: what is to be seen.
            negative_prompt: what isn't to be seen.
            aspect_ratio: such as 16:9; the picture is as large as the Space makes them.
            width: in pixels; goes before the aspect ratio, with the height.
            height: in pixels.
            guidance_scale: how closely to follow the prompt; if left out, the Space's own default.
            num_inference_steps: if left out, the Space's own default.
            seed: the same one makes the same picture again; if left out, one is drawn.
            request: Gradio gives it.

        """
        values = build_form_values(
            prompt=prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            seed=seed,
        )
        job, made_by = await self._submit(values, visitor_from_request(request))
        try:
            while not (state := job.state.value).status.is_final:
                await job.state.wait_for_change(state, MAX_UPDATE_INTERVAL)
        finally:
            job.cancel()
        result = _result_or_raise(state)
        return file_data(result), result.seed, made_by

    async def _submit(self, values: FormValues, visitor: Visitor) -> tuple[Job, str]:
        """Start the job, and say who will make it; what stands against it is told as Gradio tells it."""
        try:
            return await submit_job(self._job_service, values, visitor)
        except SD35Error as error:
            raise _to_gradio_error(error) from error


def _result_or_raise(state: JobState) -> JobResult:
    try:
        return result_or_raise(state)
    except SD35Error as error:
        raise _to_gradio_error(error) from error


def _to_gradio_error(error: SD35Error) -> gr.Error:
    return gr.Error(str(error), print_exception=False)


def _report_progress(progress: gr.Progress, event: Progress) -> None:
    if event.step is not None and event.total:
        progress((event.step, event.total), desc=event.description or None, unit="steps")
    elif event.fraction is not None:
        progress(event.fraction, desc=event.description or None)
