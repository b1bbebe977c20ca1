"""What a program asks for by name, as a job of the studio's: the same for scripts and for agents."""

from typing import Any, Final

from sd35.errors import InvalidRequestError, SD35Error
from sd35.job import Job, JobState, Made
from sd35.request import GenerationRequest, Limits, Range
from sd35.studio import Studio
from sd35.ui.form import CUSTOM_SIZE, FormValues, read_request
from sd35.visitor import Visitor

__all__ = ["DEMO_PAINTER", "made", "start", "values_by_name"]

DEMO_PAINTER: Final = "demo painter"


def values_by_name(
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


async def start(studio: Studio, values: FormValues, visitor: Visitor) -> tuple[Job, str]:
    """Start the job, with the Space's own value for each number that was left out; and say who will make it.

    Raises:
        SD35Error: there is no Space, what is asked for is amiss, or is more than this visitor may ask for.

    """
    space = await studio.connected()
    request = _request(values, space.contract.limits)
    job = await studio.submit(request, visitor, by_program=True)
    return job, DEMO_PAINTER if space.contract.is_demo else space.name


def _request(values: FormValues, limits: Limits) -> GenerationRequest:
    is_custom = values.size == CUSTOM_SIZE and values.width is None and values.height is None
    filled = FormValues(
        prompt=values.prompt,
        negative_prompt=values.negative_prompt,
        size=values.size,
        width=limits.width.default if is_custom else values.width,
        height=limits.height.default if is_custom else values.height,
        guidance_scale=_or_default(values.guidance_scale, limits.guidance_scale),
        num_inference_steps=_or_default(values.num_inference_steps, limits.num_inference_steps),
        seed=values.seed,
        randomize_seed=values.randomize_seed,
    )
    request, found = read_request(filled, limits)
    if request is None:
        raise InvalidRequestError(" ".join(problem.message for problem in found))
    return request


def _or_default(value: Any, span: Range | None) -> Any:  # noqa: ANN401  # whatever a program sends
    return value if value is not None else span.default if span else 0


def made(state: JobState) -> Made:
    """Return what came of a job that has ended.

    Raises:
        SD35Error: there is no picture; it says why.

    """
    if state.made is None:
        raise state.error or SD35Error("The run was stopped.", remedy="")
    return state.made
