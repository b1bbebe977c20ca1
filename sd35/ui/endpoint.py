"""The page's public face for scripts and agents: one typed endpoint, `/generate`."""

from typing import Any

import gradio as gr

from sd35.errors import SD35Error
from sd35.request import GenerationRequest, Limits, Range, Size, size_for
from sd35.studio import Job, JobState, Phase, Studio
from sd35.ui import render

__all__ = ["Endpoint"]

PULSE_SECONDS = 60.0


class Endpoint:
    """What `/generate` does: a job of the studio's, from its request to its end."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def generate(  # an endpoint's parameters are its interface
        self,
        prompt: str,
        negative_prompt: str = "",
        aspect_ratio: str = "1:1",
        width: int | None = None,
        height: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = None,
    ) -> tuple[dict[str, Any], int, str]:
        """Make one picture, and return it, the seed that was used, and who made it.

        Width and height in pixels go before the aspect ratio; what is left out is the Space's own default, and
        without a seed a random one is drawn.
        """
        try:
            space = await self._studio.connected()
            limits = space.contract.limits
            sides = _sides(aspect_ratio, width, height, limits)
        except (SD35Error, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        request = GenerationRequest(
            prompt,
            negative_prompt,
            width=sides.width,
            height=sides.height,
            guidance_scale=_or_default(guidance_scale, limits.guidance_scale),
            num_inference_steps=int(_or_default(num_inference_steps, limits.num_inference_steps)),
            seed=seed or 0,
            randomize_seed=seed is None,
        )
        state = await self._end_of(self._studio.submit(request))
        assert state.made is not None
        return render.file_data(state.made), state.made.seed, "demo painter" if space.contract.is_demo else space.name

    async def _end_of(self, job: Job) -> JobState:
        try:
            while not (state := job.state.value).phase.is_final:
                await job.state.wait_for_change(state, PULSE_SECONDS)
        finally:
            job.stop()  # does nothing to a job that has ended
        if state.phase is not Phase.FINISHED:
            raise gr.Error(str(state.error or "The run was stopped."), print_exception=False)
        return state


def _sides(aspect_ratio: str, width: int | None, height: int | None, limits: Limits) -> Size:
    if width is None and height is None:
        return size_for(aspect_ratio, limits)
    if width is None or height is None:
        raise ValueError("Give both width and height, or neither.")
    return Size(width, height)


def _or_default(value: float | None, span: Range | None) -> float:
    return value if value is not None else span.default if span else 0
