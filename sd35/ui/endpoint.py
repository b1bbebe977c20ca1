"""The page's public face for scripts and agents: one typed endpoint, `/generate`."""

from typing import Any

import gradio as gr

from sd35.errors import SD35Error
from sd35.job import Job, JobState, Phase
from sd35.request import Range
from sd35.studio import Studio
from sd35.ui import render
from sd35.ui.form import CUSTOM_SIZE, FormValues, read_request

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
    ) -> tuple[dict[str, Any], int | None, str]:
        """Make one picture, and return it, the seed that was used, and who made it.

        Width and height in pixels go before the aspect ratio; what is left out is the Space's own default, and
        without a seed a random one is drawn.
        """
        try:
            space = await self._studio.connected()
        except SD35Error as error:
            raise gr.Error(str(error), print_exception=False) from error
        limits = space.contract.limits
        values = FormValues(
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=aspect_ratio if width is None and height is None else CUSTOM_SIZE,
            width=width,
            height=height,
            guidance_scale=_or_default(guidance_scale, limits.guidance_scale),
            num_inference_steps=_or_default(num_inference_steps, limits.num_inference_steps),
            seed=seed,
            randomize_seed=seed is None,
        )
        request, found = read_request(values, limits)
        if request is None:
            raise gr.Error(" ".join(problem.message for problem in found), print_exception=False)
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


def _or_default(value: float | None, span: Range | None) -> float:
    return value if value is not None else span.default if span else 0
