"""The page: layout and wiring."""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError, SD35Error
from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.request import GenerationRequest
from sd35.core.sizes import ASPECT_RATIOS
from sd35.core.visitor import Visitor
from sd35.jobs.limits import NO_CAPS
from sd35.jobs.queues import News
from sd35.jobs.service import ConnectionState, Studio
from sd35.server.api import Endpoint, visitor_of
from sd35.server.blocks import blocks
from sd35.ui.create import job_view, space_view
from sd35.ui.create.form import CUSTOM_SIZE, FIELDS, FormValues, messages, read_request
from sd35.ui.create.form_handlers import Filling
from sd35.ui.create.import_settings import requests_like
from sd35.ui.create.live_view import PINNED, Frame, View
from sd35.ui.create.queue_actions import act
from sd35.ui.gallery.gallery import Gallery
from sd35.ui.gallery.view import rooms_nav

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
the <a href="https://stability.ai/use-policy">Acceptable Use Policy</a>.</p>"""

USED_SEED = "() => [Number(document.querySelector('#panel [data-seed]').dataset.seed), false]"

DOES = "sd35.does(element, trigger)"
"""Each button in this HTML says what it does; assets/page.js tells the page."""


class Page:
    """The one page. `demo` is the Gradio app; it belongs to `studio`, which does the work.

    Args:
        studio: does the work.
        can_sign_in: whether visitors may sign in with Hugging Face, where this program runs as a
            Space.
        can_log_out: whether visitors come in by a login.

    """

    def __init__(
        self, studio: Studio, *, can_sign_in: bool = False, can_log_out: bool = False
    ) -> None:
        self._studio = studio
        self._can_sign_in = can_sign_in
        self._can_log_out = can_log_out
        self._filling = Filling(studio)
        self._gallery = Gallery(studio)
        self._watching: dict[str, object] = {}
        with blocks(TITLE, fill_width=True) as self.demo:
            self._build_header()
            with gr.Row(elem_id="studio"):
                with gr.Column(elem_id="ask"):
                    self._build_prompt()
                with gr.Column(elem_id="output"):
                    self._build_output()
                with gr.Column(elem_id="settings"):
                    self._build_settings()
            self._gallery.build()
            gr.HTML(FOOTER, elem_id="footer")
            self._wire()
            self._announced = self._build_endpoints(Endpoint(studio))
        studio.spaces.on_settled = self._announce
        for listener in self.demo.fns.values():
            if listener.api_name not in {
                "infer",
                "generate",
            }:  # nor what Gradio's own button to sign in brings along
                listener.api_visibility = "private"

    def _build_header(self) -> None:
        connection = self._studio.connection.value
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
            gr.HTML(rooms_nav(), elem_id="rooms", apply_default_css=False)
            self.status = gr.HTML(space_view.status_line(connection), elem_id="status")
            self.person = gr.HTML("", elem_id="person", visible=self._can_log_out)
            if self._can_sign_in:
                # Its usual icon is a file of Gradio's: only pictures of this program's are handed
                # out.
                gr.LoginButton("Sign in with Hugging Face", icon=None, size="sm", elem_id="sign-in")
        with gr.Row(elem_id="banner"):
            self.banner = gr.HTML(space_view.banner(connection))
            self.retry = gr.Button("Try again", size="sm", elem_id="retry")

    def _build_prompt(self) -> None:
        self.recalled = gr.HTML(
            job_view.drop_hint(),
            elem_id="recalled",
            js_on_load="sd35.drop(element, trigger)",
            apply_default_css=False,
        )
        self.prompt = gr.Textbox(
            label="Prompt",
            placeholder="a lighthouse by the sea at dusk, watercolor",
            lines=2,
            max_lines=8,
        )
        self.negative_prompt = gr.Textbox(
            label="Negative prompt", placeholder="what to leave out", lines=1, max_lines=4
        )
        with gr.Row(elem_id="go"):
            self.generate = gr.Button("Generate", variant="primary", elem_id="generate")
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop")
        self.said = gr.HTML("", elem_id="said")
        has_limits = replace(self._studio.caps, at_once=None) != NO_CAPS
        self.allowance = gr.HTML("", elem_id="allowance", visible=has_limits)
        self.queue = gr.HTML("", elem_id="queue", js_on_load=DOES, apply_default_css=False)

    def _build_output(self) -> None:
        self.image = gr.Image(
            show_label=False,
            interactive=False,
            buttons=["fullscreen"],
            elem_id="picture",
            height="100%",
        )
        self.panel = gr.HTML(
            job_view.idle(), elem_id="panel", js_on_load=DOES, apply_default_css=False
        )
        with gr.Row(elem_id="actions"):
            self.use_seed = gr.Button("Use this seed", size="sm", elem_id="use-seed")
            self.download = gr.DownloadButton("Download", size="sm", elem_id="download")
        self.recent = gr.HTML("", elem_id="recent", js_on_load=DOES, apply_default_css=False)

    def _build_settings(self) -> None:
        limits = PUBLIC_LIMITS
        choices = [*ASPECT_RATIOS[:7], ("Custom", CUSTOM_SIZE), *ASPECT_RATIOS[7:]]
        self.size = gr.Radio(choices, value="1:1", label="Size", elem_id="size")
        self.size_hint = gr.HTML(
            space_view.size_hint("1:1", self._studio.connection.value), elem_id="size-hint"
        )
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
            self.randomize_seed = gr.Checkbox(
                label="Randomize seed", value=True, elem_id="randomize-seed"
            )

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
        self.focus = gr.BrowserState("", storage_key="sd35-job", secret="sd35-job")  # noqa: S106  # no secret: the id is
        # The job that the form has asked for: what is in focus may be another one, or one that a
        # button has repeated.
        self.typed = gr.BrowserState("", storage_key="sd35-form", secret="sd35-form")  # noqa: S106  # as above
        self.applied = gr.Textbox(visible="hidden")
        self.before = gr.Textbox(visible="hidden")
        self.look = gr.Button(visible="hidden", elem_id="look")
        self.fields = [getattr(self, name) for name in FIELDS]
        # A limit for each listener, not by queue(): that builds Gradio's whole application once
        # more.
        private: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        raw = private | {"preprocess": False}
        live = raw | {"postprocess": False}
        lines = [self.banner, self.status]
        shown = [self.image, self.panel, self.focus, self.download, self.queue, self.recent]
        watch: list[Any] = [self._watch, self.focus, shown]
        again = live | {"trigger_mode": "multiple"}  # the newest one counts
        look_at_space = [self._watch_connection, None, lines]
        adapt = [self._filling.adapt, [*self.fields, self.applied], [*self.fields, self.applied]]
        hint = [
            self._filling.hint,
            self.size,
            self.size_hint,
        ]  # after `adapt`, by the size that is chosen then
        greet = [self._greet, None, [self.person, self.allowance]]

        submitted = self.generate.click(
            self._submit,
            [*self.fields, self.focus],
            [self.said, self.focus, self.typed],
            validator=self._validate,
            **live,
        )
        submitted.then(*greet, **raw)
        watched = submitted.then(*watch, **again)
        watched.then(*greet, **raw).then(*look_at_space, **live).then(*adapt, **raw).then(
            *hint, **raw
        )
        self.stop.click(self._stop, self.focus, shown, queue=False, **live).then(*watch, **again)
        self.look.click(*watch, **again)
        done = gr.on(
            [self.queue.click, self.panel.click, self.recent.click],
            self._act,
            self.focus,
            [self.said, *shown],
            queue=False,
            **live,
        )
        done.then(*greet, **raw)
        done.then(*watch, **again)
        recalled = [*self.fields, self.recalled, self.before]
        self.recalled.upload(self._filling.read_dropped, self.fields, recalled, **raw).then(
            *hint, **raw
        )
        self.recalled.undo(self._filling.undo, self.before, recalled, **raw).then(*hint, **raw)
        self.recalled.clear(
            lambda: (job_view.drop_hint(), ""), None, [self.recalled, self.before], **raw
        )

        self.draft = gr.Textbox(visible="hidden")
        draft = "(typed, _, ...fields) => [typed, sd35.draft(), ...fields]"
        to_form, more = self._gallery.to_form, self._gallery.again
        to_form.submit(self._filling.from_library, self.fields, recalled, **raw).then(*hint, **raw)
        varied = more.retry(self._vary, self.focus, [self.said, *shown], queue=False, **live)
        varied.then(*greet, **raw)
        varied.then(*watch, **again)

        self.demo.load(
            self._filling.restore,
            [self.typed, self.draft, *self.fields],
            self.fields,
            js=draft,
            **raw,
        )
        self.demo.load(*watch, **again)
        self.demo.load(*greet, **raw)
        self.demo.load(*look_at_space, **live).then(*adapt, **raw).then(*hint, **raw)
        self.retry.click(self._reconnect, None, lines, **live).then(*adapt, **raw).then(
            *hint, **raw
        )
        self.size.input(
            self._filling.describe_size,
            self.size,
            [self.size_hint, self.width, self.height],
            queue=False,
            **private,
        )
        self.use_seed.click(None, None, [self.seed, self.randomize_seed], js=USED_SEED, **private)

    def _validate(self, *sent: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # whatever the browser sends
        values = FormValues(*sent[: len(FIELDS)])
        _, found = read_request(values, self._studio.connection.value.limits)
        shown = messages(found, values)
        return [
            *(gr.validate(name not in shown, shown.get(name, "")) for name in FIELDS),
            gr.validate(True, ""),  # noqa: FBT003
        ]

    async def _submit(self, request: gr.Request, *sent: Any) -> tuple[str, Any, Any]:  # noqa: ANN401
        *fields, focus = sent
        wanted, found = read_request(FormValues(*fields), self._studio.connection.value.limits)
        if wanted is None:  # the validator has said so already; this is for who goes round it
            return (
                job_view.refused(" ".join(problem.message for problem in found)),
                focus,
                gr.skip(),
            )
        return await self._ask(wanted, visitor_of(request), focus)

    async def _ask(
        self, wanted: GenerationRequest, visitor: Visitor, focus: object
    ) -> tuple[str, Any, Any]:
        """Ask for a picture, and return its job's id last; what is in focus stays so, if it runs."""
        try:
            job = await self._studio.submit(wanted, visitor)
        except SD35Error as error:
            return job_view.refused(job_view.error(error)), focus, gr.skip()
        is_free = visitor.owner is None or not self._studio.board(visitor).running
        return "", job.id if is_free else self._studio.board(visitor).running[0].id, job.id

    async def _act(self, request: gr.Request, event: gr.EventData, focus: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Do what a button says, and show what came of it without a stream: the one that there was may be broken."""
        told = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001  # the only way to what was told
        said, view = "", self._view(request, focus)
        try:
            await self._studio.welcome(view.visitor)
            view.focus = await act(
                self._studio, view.visitor, told.get("do"), told.get("id"), view.focus
            )
        except SD35Error as error:
            said = job_view.refused(job_view.error(error))
        return said, *(await view.frame())

    async def _vary(self, request: gr.Request, event: gr.EventData, focus: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Ask for pictures like one in the library, or once more for one that didn't come."""
        told = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        said, view = "", self._view(request, focus)
        try:
            if told.get("what") == "job":
                view.focus = await act(
                    self._studio, view.visitor, "again", told.get("id"), view.focus
                )
            elif (found := await self._filling.record(told, view.visitor)) is not None:
                for wanted in requests_like(
                    found[1], told.get("what"), self._studio.connection.value.limits
                ):
                    said, view.focus, _ = await self._ask(wanted, view.visitor, view.focus)
        except SD35Error as error:
            said = job_view.refused(job_view.error(error))
        return said, *(await view.frame())

    def _view(self, request: gr.Request, focus: object) -> View:
        return View(self._studio, visitor_of(request), focus if isinstance(focus, str) else "")

    async def _watch(self, request: gr.Request, focus: Any) -> AsyncGenerator[Frame, None]:  # noqa: ANN401
        """Show this visitor's jobs until nothing more will happen by itself, or the page asks anew."""
        page, this = request.session_hash or "", object()
        self._watching[page] = this
        view = self._view(request, focus)
        try:
            await self._studio.welcome(view.visitor)
            board = view.board
            with board.watched():
                news = board.news.watch(
                    at_most_every=FRAME_SECONDS, at_least_every=PULSE_SECONDS, is_urgent=_is_urgent
                )
                async with aclosing(news) as changes:
                    async for _ in changes:
                        if self._watching.get(page) is not this:
                            return
                        goes_on = (
                            board.is_at_work
                        )  # before the frame is made: its end is shown, whatever it takes
                        yield await view.frame()
                        if not goes_on:
                            return
        except LibraryError as error:
            yield (
                gr.skip(),
                job_view.refused(job_view.error(error)),
                gr.skip(),
                gr.skip(),
                gr.skip(),
                gr.skip(),
            )
        finally:
            if self._watching.get(page) is this:
                del self._watching[page]

    def _greet(self, request: gr.Request) -> tuple[str, str]:
        """Say to a visitor who they are here, and what they may still ask for."""
        visitor = visitor_of(request)
        return (
            job_view.person(visitor.name, can_log_out=self._can_log_out),
            job_view.allowance(self._studio.left(visitor), self._studio.caps),
        )

    async def _watch_connection(self) -> AsyncGenerator[tuple[str, str], None]:
        self._studio.connect()
        states = self._studio.connection.watch(
            at_most_every=FRAME_SECONDS, at_least_every=PULSE_SECONDS
        )
        async with aclosing(states):
            async for connection in states:
                yield space_view.banner(connection), space_view.status_line(connection)
                if connection.is_settled:
                    return

    async def _reconnect(self) -> AsyncGenerator[tuple[str, str], None]:
        self._studio.connect(again=True)
        async with aclosing(self._watch_connection()) as shown:
            async for lines in shown:
                yield lines

    async def _stop(self, request: gr.Request, focus: Any) -> Frame:  # noqa: ANN401
        """Stop the job that is in focus, and show its end; without a stream, as `_act` does."""
        view = self._view(request, focus)
        with contextlib.suppress(LibraryError):  # it is stopped all the same
            await self._studio.welcome(view.visitor)
        job = self._studio.job(view.focus.removeprefix(PINNED), view.visitor)
        if job is not None:
            job.stop()
            with anyio.move_on_after(STOP_SECONDS):
                while not (state := job.state.value).phase.is_final:
                    await job.state.wait_for_change(state, STOP_SECONDS)
        return await view.frame()


def _is_urgent(seen: News, now: News) -> bool:
    return seen.urgent != now.urgent


def _slider(span: Range | None, label: str, info: str | None = None) -> gr.Slider:
    assert span is not None
    return gr.Slider(
        span.minimum, span.maximum, value=span.default, step=span.step, label=label, info=info
    )
