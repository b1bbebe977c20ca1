"""The page: layout and wiring."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import gradio as gr

from sd35.allowance import NO_CAPS
from sd35.errors import AllowanceError
from sd35.job import Job
from sd35.request import ASPECT_RATIOS, PUBLIC_LIMITS, Limits, Range, SizeUnavailableError, size_for
from sd35.studio import ConnectionState, Studio
from sd35.ui import render
from sd35.ui.endpoint import Endpoint, is_urgent, visitor_of
from sd35.ui.form import CUSTOM_SIZE, FIELDS, FormValues, messages, read_request, updated_defaults, values_of

__all__ = ["TITLE", "Page"]

TITLE = "SD 3.5 Studio"

FRAME_SECONDS = 0.1
"""Not more than ten frames a second go to a page: its stream has no back-pressure."""

PULSE_SECONDS = 1.0
"""At least once a second something goes there: the clock ticks, and a page that has gone is noticed."""

STOP_SECONDS = 15.0
"""Stop waits no longer than this for the job's end before it shows how far it is."""

FOOTER = """<p>Powered by <a href="https://stability.ai">Stability AI</a>. Stable Diffusion 3.5 is licensed under the
<a href="https://stability.ai/community-license-agreement">Stability AI Community License</a>; its use is subject to
the <a href="https://stability.ai/use-policy">Acceptable Use Policy</a>.</p>
<p>A picture stays here until the next one: download what you want to keep.</p>"""

USED_SEED = "() => [Number(document.querySelector('#panel [data-seed]').dataset.seed), false]"

Frame = tuple[Any, ...]
"""What one turn of a job shows: image, panel, job id, download. The fewer outputs, the cheaper a frame."""


class Page:
    """The one page. `demo` is the Gradio app; it belongs to `studio`, which does the work.

    Args:
        studio: does the work.
        can_sign_in: whether visitors may sign in with Hugging Face, where this program runs as a Space.
        can_log_out: whether visitors come in by a login.

    """

    def __init__(self, studio: Studio, *, can_sign_in: bool = False, can_log_out: bool = False) -> None:
        self._studio = studio
        self._can_sign_in = can_sign_in
        self._can_log_out = can_log_out
        with gr.Blocks(title=TITLE, fill_width=True) as self.demo:
            self._build_header()
            with gr.Row(elem_id="studio"):
                with gr.Column(elem_id="ask"):
                    self._build_prompt()
                with gr.Column(elem_id="output"):
                    self._build_output()
                with gr.Column(elem_id="settings"):
                    self._build_settings()
            gr.HTML(FOOTER, elem_id="footer")
            self._wire()
            self._announced = self._build_endpoints(Endpoint(studio))
        studio.on_settled = self._announce
        for listener in self.demo.fns.values():
            if listener.api_name not in {"infer", "generate"}:  # nor what Gradio's own button to sign in brings along
                listener.api_visibility = "private"

    def _build_header(self) -> None:
        connection = self._studio.connection.value
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
            self.status = gr.HTML(render.status_line(connection), elem_id="status")
            self.person = gr.HTML("", elem_id="person", visible=self._can_log_out)
            if self._can_sign_in:
                # Its usual icon is a file of Gradio's: only pictures of this program's are handed out.
                gr.LoginButton("Sign in with Hugging Face", icon=None, size="sm", elem_id="sign-in")
        with gr.Row(elem_id="banner"):
            self.banner = gr.HTML(render.banner(connection))
            self.retry = gr.Button("Try again", size="sm", elem_id="retry")

    def _build_prompt(self) -> None:
        self.prompt = gr.Textbox(
            label="Prompt", placeholder="a lighthouse by the sea at dusk, watercolor", lines=2, max_lines=8
        )
        self.negative_prompt = gr.Textbox(
            label="Negative prompt", placeholder="what to leave out", lines=1, max_lines=4
        )
        self.generate = gr.Button("Generate", variant="primary", elem_id="generate")
        self.stop = gr.Button("Stop", variant="stop", elem_id="stop")
        self.allowance = gr.HTML("", elem_id="allowance", visible=self._studio.caps != NO_CAPS)

    def _build_output(self) -> None:
        self.image = gr.Image(
            show_label=False, interactive=False, buttons=["fullscreen"], elem_id="picture", height="100%"
        )
        self.panel = gr.HTML(render.idle(), elem_id="panel")
        with gr.Row(elem_id="actions"):
            self.use_seed = gr.Button("Use this seed", size="sm", elem_id="use-seed")
            self.download = gr.DownloadButton("Download", size="sm", elem_id="download")

    def _build_settings(self) -> None:
        limits = PUBLIC_LIMITS
        choices = [*ASPECT_RATIOS[:7], ("Custom", CUSTOM_SIZE), *ASPECT_RATIOS[7:]]
        self.size = gr.Radio(choices, value="1:1", label="Size", elem_id="size")
        self.size_hint = gr.HTML(render.size_hint("1:1", self._studio.connection.value), elem_id="size-hint")
        with gr.Row(elem_id="custom-size"):
            self.width = _slider(limits.width, "Width")
            self.height = _slider(limits.height, "Height")
        self.guidance_scale = _slider(
            limits.guidance_scale,
            "Guidance scale",
            "How closely to follow the prompt. At 1 or less, the negative prompt has no effect.",
        )
        self.num_inference_steps = _slider(limits.num_inference_steps, "Inference steps")
        with gr.Row(elem_id="seed-row"):
            self.seed = gr.Number(label="Seed", value=0, precision=0, elem_id="seed")
            self.randomize_seed = gr.Checkbox(label="Randomize seed", value=True, elem_id="randomize-seed")

    @staticmethod
    def _build_endpoints(endpoint: Endpoint) -> dict[str, gr.Slider]:
        """Build what programs call: the public Space's own `/infer`, with its components, and `/generate`.

        Returns those of the components that have a range.
        """
        limits = PUBLIC_LIMITS
        with gr.Column(visible=False):
            sliders = {
                "seed": _slider(limits.seed, "Seed"),
                "width": _slider(limits.width, "Width"),
                "height": _slider(limits.height, "Height"),
                "guidance_scale": _slider(limits.guidance_scale, "Guidance scale"),
                "num_inference_steps": _slider(limits.num_inference_steps, "Inference steps"),
            }
            seed, *numbers = sliders.values()
            words = [gr.Text(label="Prompt"), gr.Text(label="Negative prompt")]
            inputs = [*words, seed, gr.Checkbox(value=True, label="Randomize seed"), *numbers]
            gr.Button().click(
                endpoint.infer,
                inputs,
                [gr.Image(label="Result"), seed],
                api_name="infer",
                preprocess=False,
                postprocess=False,
                concurrency_limit=None,
            )
        gr.api(endpoint.generate, api_name="generate", concurrency_limit=None)
        return sliders

    def _announce(self, connection: ConnectionState) -> None:
        """Tell programs, too, what the Space that was found makes, and that the demo painter is one."""
        is_demo = connection.space is not None and connection.space.contract.is_demo
        self.demo.title = f"{TITLE}: demo painter, not Stable Diffusion" if is_demo else TITLE
        for name, slider in self._announced.items():
            span = getattr(connection.limits, name)
            if span is not None:
                slider.minimum, slider.maximum, slider.step = span.minimum, span.maximum, span.step
                slider.value = span.default
        self.demo.config = self.demo.get_config_file()
        app = getattr(self.demo, "app", None)
        if app is not None and hasattr(app, "api_info"):  # what Gradio has told until now
            app.api_info = None
            app.page_api_info.clear()

    def _wire(self) -> None:
        self.job_id = gr.BrowserState("", storage_key="sd35-job", secret="sd35-job")  # noqa: S106  # no secret: the id is
        self.applied = gr.Textbox(visible="hidden")
        self.fields = [getattr(self, name) for name in FIELDS]
        shown = [self.image, self.panel, self.job_id, self.download]
        # A limit for each listener, not by queue(): that builds Gradio's whole application once more.
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
        raw = private | {"preprocess": False}
        live = raw | {"postprocess": False}
        lines = [self.banner, self.status]
        watch = [self._watch_connection, None, lines]
        adapt = [self._adapt, [*self.fields, self.applied], [*self.fields, self.applied]]
        hint = [self._hint, self.size, self.size_hint]  # after `adapt`, by the size that is chosen then
        greet = [self._greet, None, [self.person, self.allowance]]

        run = self.generate.click(self._generate, self.fields, shown, validator=self._validate, **live)
        run.then(*greet, **raw).then(*watch, **live).then(*adapt, **raw).then(*hint, **raw)
        self.stop.click(self._stop, self.job_id, shown, queue=False, postprocess=False, **raw)
        self.demo.load(self._restore, [self.job_id, *self.fields], self.fields, **raw)
        self.demo.load(self._resume, self.job_id, shown, **live)
        self.demo.load(*greet, **raw)
        self.demo.load(*watch, **live).then(*adapt, **raw).then(*hint, **raw)
        self.retry.click(self._reconnect, None, lines, **live).then(*adapt, **raw).then(*hint, **raw)
        self.size.input(
            self._describe_size, self.size, [self.size_hint, self.width, self.height], queue=False, **private
        )
        self.use_seed.click(None, None, [self.seed, self.randomize_seed], js=USED_SEED, **private)

    def _validate(self, *sent: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # whatever the browser sends
        values = FormValues(*sent)
        _, found = read_request(values, self._studio.connection.value.limits)
        shown = messages(found, values)
        return [gr.validate(name not in shown, shown.get(name, "")) for name in FIELDS]

    async def _generate(self, request: gr.Request, *sent: Any) -> AsyncGenerator[Frame, None]:  # noqa: ANN401
        wanted, found = read_request(FormValues(*sent), self._studio.connection.value.limits)
        if wanted is None:  # the validator has said so already; this is for who goes round it
            yield (gr.skip(), render.refused(" ".join(p.message for p in found)), "", None)
            return
        try:
            job = self._studio.submit(wanted, visitor_of(request))
        except AllowanceError as error:
            yield (gr.skip(), render.refused(render.error(error)), gr.skip(), gr.skip())
            return
        async with aclosing(self._frames(job)) as frames:
            async for frame in frames:
                yield frame

    async def _resume(self, request: gr.Request, job_id: Any) -> AsyncGenerator[Frame, None]:  # noqa: ANN401
        job = self._studio.job(job_id, visitor_of(request))
        if job is None:
            yield gr.skip(), render.lost_job() if job_id else render.idle(), "", None
            return
        async with aclosing(self._frames(job)) as frames:
            async for frame in frames:
                yield frame

    def _greet(self, request: gr.Request) -> tuple[str, str]:
        """Say to a visitor who they are here, and what they may still ask for."""
        visitor = visitor_of(request)
        return (
            render.person(visitor.name, can_log_out=self._can_log_out),
            render.allowance(self._studio.left(visitor), self._studio.caps),
        )

    @staticmethod
    def _frame(job: Job) -> Frame:
        state = job.state.value
        image = render.image(state)
        # What was there stays until there is something new: nobody loses sight of the last picture.
        return gr.skip() if image is None else image, render.job(state), job.id, render.download(state)

    async def _frames(self, job: Job) -> AsyncGenerator[Frame, None]:
        states = job.state.watch(at_most_every=FRAME_SECONDS, at_least_every=PULSE_SECONDS, is_urgent=is_urgent)
        async with aclosing(states):
            async for state in states:
                yield self._frame(job)
                if state.phase.is_final:
                    return

    async def _watch_connection(self) -> AsyncGenerator[tuple[str, str], None]:
        self._studio.connect()
        states = self._studio.connection.watch(at_most_every=FRAME_SECONDS, at_least_every=PULSE_SECONDS)
        async with aclosing(states):
            async for connection in states:
                yield render.banner(connection), render.status_line(connection)
                if connection.is_settled:
                    return

    async def _reconnect(self) -> AsyncGenerator[tuple[str, str], None]:
        self._studio.connect(again=True)
        async with aclosing(self._watch_connection()) as shown:
            async for lines in shown:
                yield lines

    async def _stop(self, request: gr.Request, job_id: Any) -> Frame:  # noqa: ANN401
        """Stop the job, and show its end without a stream: the one that showed it until now may be broken."""
        job = self._studio.job(job_id, visitor_of(request))
        if job is None:
            return gr.skip(), render.lost_job(), "", None
        job.stop()
        with anyio.move_on_after(STOP_SECONDS):
            while not (state := job.state.value).phase.is_final:
                await job.state.wait_for_change(state, STOP_SECONDS)
        await anyio.sleep(2 * FRAME_SECONDS)  # its stream ends first: until then, Generate isn't taken again
        return self._frame(job)

    def _restore(self, request: gr.Request, job_id: Any, *sent: Any) -> list[Any]:  # noqa: ANN401
        """After a reload, fill the form with what the picture was asked with, unless something is typed already."""
        job, values = self._studio.job(job_id, visitor_of(request)), FormValues(*sent)
        if job is None or values.prompt:
            return [gr.skip() for _ in FIELDS]
        asked = values_of(job.asked, self._studio.connection.value.limits)
        return [getattr(asked, name) for name in FIELDS]

    def _adapt(self, *sent: Any) -> list[Any]:  # noqa: ANN401
        """Give the fields the connected Space's own ranges, steps and defaults; keep what was typed."""
        *fields, applied = sent
        connection = self._studio.connection.value
        limits = connection.limits
        applied_now = f"{connection.wanted}: {limits}" if connection.space is not None else ""
        if applied == applied_now:
            return [gr.skip() for _ in range(len(FIELDS) + 1)]
        values = FormValues(*fields)
        defaults = updated_defaults(values, limits)
        updates = {name: _range_update(limits, name, defaults) for name in FIELDS}
        return [*updates.values(), applied_now]

    def _hint(self, size: Any) -> str:  # noqa: ANN401
        return render.size_hint(size, self._studio.connection.value)

    def _describe_size(self, size: Any) -> tuple[str, Any, Any]:  # noqa: ANN401
        hint = self._hint(size)
        try:
            sides = size_for(size, self._studio.connection.value.limits)
        except (SizeUnavailableError, ValueError):
            return hint, gr.skip(), gr.skip()
        return hint, sides.width, sides.height


def _slider(span: Range | None, label: str, info: str | None = None) -> gr.Slider:
    assert span is not None
    return gr.Slider(span.minimum, span.maximum, value=span.default, step=span.step, label=label, info=info)


def _range_update(limits: Limits, name: str, defaults: dict[str, float]) -> Any:  # noqa: ANN401  # Gradio's own
    if name == "negative_prompt":
        return gr.update(interactive=limits.negative_prompt)
    span = getattr(limits, name, None)
    if name not in {"width", "height", "guidance_scale", "num_inference_steps"}:
        return gr.skip()
    if span is None:
        return gr.update(interactive=False)
    update = {"minimum": span.minimum, "maximum": span.maximum, "step": span.step, "interactive": True}
    return gr.update(**update, **({"value": defaults[name]} if name in defaults else {}))
