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
from sd35.jobs.limits import UNLIMITED
from sd35.jobs.queues import Revision
from sd35.jobs.service import ConnectionState, JobService
from sd35.server.api import ApiEndpoints, visitor_from_request
from sd35.server.blocks import locked_blocks
from sd35.ui.create import job_view, space_view
from sd35.ui.create.form import CUSTOM_SIZE, FIELD_NAMES, FormValues, error_messages, parse_request
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.import_settings import variations
from sd35.ui.create.live_view import PIN_PREFIX, JobView, PageUpdate
from sd35.ui.create.queue_actions import run_action
from sd35.ui.gallery.gallery import Gallery
from sd35.ui.gallery.static import tab_bar

__all__ = ["TITLE", "Page"]

TITLE = "SD 3.5 Studio"

MIN_UPDATE_INTERVAL = 0.1
"""Not more than ten frames a second go to a page: its stream has no back-pressure."""

MAX_UPDATE_INTERVAL = 1.0
"""At least once a second something goes there: the clock ticks, and a page that has gone is noticed."""

CANCEL_TIMEOUT = 15.0
"""Stop waits no longer than this for the job's end before it shows how far it is."""

FOOTER_HTML = """<p>Powered by <a href="https://stability.ai">Stability AI</a>. Stable Diffusion 3.5 is licensed under the
<a href="https://stability.ai/community-license-agreement">Stability AI Community License</a>; its use is subject to
the <a href="https://stability.ai/use-policy">Acceptable Use Policy</a>.</p>"""

USE_SEED_JS = "() => [Number(document.querySelector('#panel [data-seed]').dataset.seed), false]"

BIND_BUTTONS_JS = "sd35.does(element, trigger)"
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
        self, job_service: JobService, *, can_sign_in: bool = False, can_log_out: bool = False
    ) -> None:
        self._job_service = job_service
        self._can_sign_in = can_sign_in
        self._can_log_out = can_log_out
        self._form_handlers = FormHandlers(job_service)
        self._gallery = Gallery(job_service)
        self._watch_tokens: dict[str, object] = {}
        with locked_blocks(TITLE, fill_width=True) as self.demo:
            self._build_header()
            with gr.Row(elem_id="studio"):
                with gr.Column(elem_id="ask"):
                    self._build_prompt()
                with gr.Column(elem_id="output"):
                    self._build_output()
                with gr.Column(elem_id="settings"):
                    self._build_settings()
            self._gallery.build()
            gr.HTML(FOOTER_HTML, elem_id="footer")
            self._bind_events()
            self._api_sliders = self._build_endpoints(ApiEndpoints(job_service))
        job_service.space_connector.on_resolved = self._publish_api_info
        for listener in self.demo.fns.values():
            if listener.api_name not in {
                "infer",
                "generate",
            }:  # nor what Gradio's own button to sign in brings along
                listener.api_visibility = "private"

    def _build_header(self) -> None:
        connection = self._job_service.connection.value
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
            gr.HTML(tab_bar(), elem_id="tabs", apply_default_css=False)
            self.status = gr.HTML(space_view.status_line(connection), elem_id="status")
            self.account = gr.HTML("", elem_id="person", visible=self._can_log_out)
            if self._can_sign_in:
                # Its usual icon is a file of Gradio's: only pictures of this program's are handed
                # out.
                gr.LoginButton("Sign in with Hugging Face", icon=None, size="sm", elem_id="sign-in")
        with gr.Row(elem_id="banner"):
            self.banner = gr.HTML(space_view.banner(connection))
            self.retry = gr.Button("Try again", size="sm", elem_id="retry")

    def _build_prompt(self) -> None:
        self.settings_import = gr.HTML(
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
            self.cancel = gr.Button("Stop", variant="stop", elem_id="stop")
        self.message = gr.HTML("", elem_id="said")
        has_limits = replace(self._job_service.usage_limits, max_concurrent=None) != UNLIMITED
        self.quota = gr.HTML("", elem_id="allowance", visible=has_limits)
        self.queue = gr.HTML(
            "", elem_id="queue", js_on_load=BIND_BUTTONS_JS, apply_default_css=False
        )

    def _build_output(self) -> None:
        self.image = gr.Image(
            show_label=False,
            interactive=False,
            buttons=["fullscreen"],
            elem_id="picture",
            height="100%",
        )
        self.job_panel = gr.HTML(
            job_view.idle_panel(),
            elem_id="panel",
            js_on_load=BIND_BUTTONS_JS,
            apply_default_css=False,
        )
        with gr.Row(elem_id="actions"):
            self.use_seed = gr.Button("Use this seed", size="sm", elem_id="use-seed")
            self.download = gr.DownloadButton("Download", size="sm", elem_id="download")
        self.recent = gr.HTML(
            "", elem_id="recent", js_on_load=BIND_BUTTONS_JS, apply_default_css=False
        )

    def _build_settings(self) -> None:
        limits = PUBLIC_LIMITS
        choices = [*ASPECT_RATIOS[:7], ("Custom", CUSTOM_SIZE), *ASPECT_RATIOS[7:]]
        self.size = gr.Radio(choices, value="1:1", label="Size", elem_id="size")
        self.size_hint = gr.HTML(
            space_view.size_hint("1:1", self._job_service.connection.value), elem_id="size-hint"
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
    def _build_endpoints(endpoints: ApiEndpoints) -> dict[str, gr.Slider]:
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
            seed, *number_inputs = sliders.values()
            text_inputs = [gr.Text(label="Prompt"), gr.Text(label="Negative prompt")]
            inputs = [
                *text_inputs,
                seed,
                gr.Checkbox(value=True, label="Randomize seed"),
                *number_inputs,
            ]
            gr.Button().click(
                endpoints.infer,
                inputs,
                [gr.Image(label="Result"), seed],
                api_name="infer",
                preprocess=False,
                postprocess=False,
                concurrency_limit=None,
            )
        gr.api(endpoints.generate, api_name="generate", concurrency_limit=None)
        return sliders

    def _publish_api_info(self, connection: ConnectionState) -> None:
        """Tell programs, too, what the Space that was found makes, and that the demo painter is one."""
        is_demo = connection.space is not None and connection.space.contract.is_demo
        self.demo.title = f"{TITLE}: demo painter, not Stable Diffusion" if is_demo else TITLE
        for name, slider in self._api_sliders.items():
            value_range = getattr(connection.limits, name)
            if value_range is not None:
                slider.minimum, slider.maximum, slider.step = (
                    value_range.minimum,
                    value_range.maximum,
                    value_range.step,
                )
                slider.value = value_range.default
        self.demo.config = self.demo.get_config_file()
        app = getattr(self.demo, "app", None)
        if app is not None and hasattr(app, "api_info"):  # what Gradio has told until now
            app.api_info = None
            app.page_api_info.clear()

    def _bind_events(self) -> None:
        self.focus = gr.BrowserState("", storage_key="sd35-job", secret="sd35-job")  # noqa: S106  # no secret: the id is
        # The job that the form has asked for: what is in focus may be another one, or one that a
        # button has repeated.
        self.form_job = gr.BrowserState("", storage_key="sd35-form", secret="sd35-form")  # noqa: S106  # as above
        self.applied_limits = gr.Textbox(visible="hidden")
        self.undo_values = gr.Textbox(visible="hidden")
        self.refresh = gr.Button(visible="hidden", elem_id="look")
        self.fields = [getattr(self, name) for name in FIELD_NAMES]
        # A limit for each listener, not by queue(): that builds Gradio's whole application once
        # more.
        listener_options: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        raw_options = listener_options | {"preprocess": False}
        live_options = raw_options | {"postprocess": False}
        status_outputs = [self.banner, self.status]
        view_outputs = [
            self.image,
            self.job_panel,
            self.focus,
            self.download,
            self.queue,
            self.recent,
        ]
        watch_args: list[Any] = [self._watch_jobs, self.focus, view_outputs]
        repeat_options = live_options | {"trigger_mode": "multiple"}  # the newest one counts
        watch_space_args = [self._watch_connection, None, status_outputs]
        apply_limits_args = [
            self._form_handlers.apply_limits,
            [*self.fields, self.applied_limits],
            [*self.fields, self.applied_limits],
        ]
        size_hint_args = [
            self._form_handlers.size_hint,
            self.size,
            self.size_hint,
        ]  # after `adapt`, by the size that is chosen then
        visitor_info_args = [self._update_visitor_info, None, [self.account, self.quota]]

        submit_event = self.generate.click(
            self._on_submit,
            [*self.fields, self.focus],
            [self.message, self.focus, self.form_job],
            validator=self._validate,
            **live_options,
        )
        submit_event.then(*visitor_info_args, **raw_options)
        watch_event = submit_event.then(*watch_args, **repeat_options)
        watch_event.then(*visitor_info_args, **raw_options).then(
            *watch_space_args, **live_options
        ).then(*apply_limits_args, **raw_options).then(*size_hint_args, **raw_options)
        self.cancel.click(
            self._on_cancel, self.focus, view_outputs, queue=False, **live_options
        ).then(*watch_args, **repeat_options)
        self.refresh.click(*watch_args, **repeat_options)
        action_event = gr.on(
            [self.queue.click, self.job_panel.click, self.recent.click],
            self._on_queue_action,
            self.focus,
            [self.message, *view_outputs],
            queue=False,
            **live_options,
        )
        action_event.then(*visitor_info_args, **raw_options)
        action_event.then(*watch_args, **repeat_options)
        import_outputs = [*self.fields, self.settings_import, self.undo_values]
        self.settings_import.upload(
            self._form_handlers.import_dropped_file, self.fields, import_outputs, **raw_options
        ).then(*size_hint_args, **raw_options)
        self.settings_import.undo(
            self._form_handlers.undo_import, self.undo_values, import_outputs, **raw_options
        ).then(*size_hint_args, **raw_options)
        self.settings_import.clear(
            lambda: (job_view.drop_hint(), ""),
            None,
            [self.settings_import, self.undo_values],
            **raw_options,
        )

        self.draft = gr.Textbox(visible="hidden")
        restore_js = "(typed, _, ...fields) => [typed, sd35.draft(), ...fields]"
        import_event, retry_event = self._gallery.import_event, self._gallery.retry_event
        import_event.submit(
            self._form_handlers.import_from_library, self.fields, import_outputs, **raw_options
        ).then(*size_hint_args, **raw_options)
        variation_event = retry_event.retry(
            self._on_variation,
            self.focus,
            [self.message, *view_outputs],
            queue=False,
            **live_options,
        )
        variation_event.then(*visitor_info_args, **raw_options)
        variation_event.then(*watch_args, **repeat_options)

        self.demo.load(
            self._form_handlers.restore_form,
            [self.form_job, self.draft, *self.fields],
            self.fields,
            js=restore_js,
            **raw_options,
        )
        self.demo.load(*watch_args, **repeat_options)
        self.demo.load(*visitor_info_args, **raw_options)
        self.demo.load(*watch_space_args, **live_options).then(
            *apply_limits_args, **raw_options
        ).then(*size_hint_args, **raw_options)
        self.retry.click(self._reconnect, None, status_outputs, **live_options).then(
            *apply_limits_args, **raw_options
        ).then(*size_hint_args, **raw_options)
        self.size.input(
            self._form_handlers.update_size,
            self.size,
            [self.size_hint, self.width, self.height],
            queue=False,
            **listener_options,
        )
        self.use_seed.click(
            None, None, [self.seed, self.randomize_seed], js=USE_SEED_JS, **listener_options
        )

    def _validate(self, *inputs: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # whatever the browser sends
        values = FormValues(*inputs[: len(FIELD_NAMES)])
        _, field_errors = parse_request(values, self._job_service.connection.value.limits)
        messages_by_field = error_messages(field_errors, values)
        return [
            *(
                gr.validate(name not in messages_by_field, messages_by_field.get(name, ""))
                for name in FIELD_NAMES
            ),
            gr.validate(True, ""),  # noqa: FBT003
        ]

    async def _on_submit(self, request: gr.Request, *inputs: Any) -> tuple[str, Any, Any]:  # noqa: ANN401
        *fields, focus = inputs
        generation_request, field_errors = parse_request(
            FormValues(*fields), self._job_service.connection.value.limits
        )
        if (
            generation_request is None
        ):  # the validator has said so already; this is for who goes round it
            return (
                job_view.rejection_panel(
                    " ".join(field_error.message for field_error in field_errors)
                ),
                focus,
                gr.skip(),
            )
        return await self._submit_request(generation_request, visitor_from_request(request), focus)

    async def _submit_request(
        self, generation_request: GenerationRequest, visitor: Visitor, focus: object
    ) -> tuple[str, Any, Any]:
        """Ask for a picture, and return its job's id last; what is in focus stays so, if it runs."""
        try:
            job = await self._job_service.submit(generation_request, visitor)
        except SD35Error as error:
            return job_view.rejection_panel(job_view.error_message(error)), focus, gr.skip()
        is_idle = visitor.owner is None or not self._job_service.visitor_queue(visitor).running_jobs
        return (
            "",
            job.id if is_idle else self._job_service.visitor_queue(visitor).running_jobs[0].id,
            job.id,
        )

    async def _on_queue_action(
        self,
        request: gr.Request,
        event: gr.EventData,
        focus: Any,  # noqa: ANN401
    ) -> tuple[Any, ...]:
        """Do what a button says, and show what came of it without a stream: the one that there was may be broken."""
        payload = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001  # the only way to what was told
        message, view = "", self._job_view(request, focus)
        try:
            await self._job_service.restore_session(view.visitor)
            view.focus = await run_action(
                self._job_service, view.visitor, payload.get("do"), payload.get("id"), view.focus
            )
        except SD35Error as error:
            message = job_view.rejection_panel(job_view.error_message(error))
        return message, *(await view.render())

    async def _on_variation(
        self,
        request: gr.Request,
        event: gr.EventData,
        focus: Any,  # noqa: ANN401
    ) -> tuple[Any, ...]:
        """Ask for pictures like one in the library, or once more for one that didn't come."""
        payload = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        message, view = "", self._job_view(request, focus)
        try:
            if payload.get("variation") == "job":
                view.focus = await run_action(
                    self._job_service, view.visitor, "again", payload.get("id"), view.focus
                )
            elif (
                name_and_metadata := await self._form_handlers.find_metadata(payload, view.visitor)
            ) is not None:
                for generation_request in variations(
                    name_and_metadata[1],
                    payload.get("variation"),
                    self._job_service.connection.value.limits,
                ):
                    message, view.focus, _ = await self._submit_request(
                        generation_request, view.visitor, view.focus
                    )
        except SD35Error as error:
            message = job_view.rejection_panel(job_view.error_message(error))
        return message, *(await view.render())

    def _job_view(self, request: gr.Request, focus: object) -> JobView:
        return JobView(
            self._job_service,
            visitor_from_request(request),
            focus if isinstance(focus, str) else "",
        )

    async def _watch_jobs(
        self,
        request: gr.Request,
        focus: Any,  # noqa: ANN401
    ) -> AsyncGenerator[PageUpdate, None]:
        """Show this visitor's jobs until nothing more will happen by itself, or the page asks anew."""
        session_hash, watch_token = request.session_hash or "", object()
        self._watch_tokens[session_hash] = watch_token
        view = self._job_view(request, focus)
        try:
            await self._job_service.restore_session(view.visitor)
            visitor_queue = view.visitor_queue
            with visitor_queue.track_watcher():
                revisions = visitor_queue.revision.watch(
                    min_interval=MIN_UPDATE_INTERVAL,
                    max_interval=MAX_UPDATE_INTERVAL,
                    is_urgent=_is_urgent,
                )
                async with aclosing(revisions) as updates:
                    async for _ in updates:
                        if self._watch_tokens.get(session_hash) is not watch_token:
                            return
                        is_active = (
                            visitor_queue.is_active
                        )  # before the frame is made: its end is shown, whatever it takes
                        yield await view.render()
                        if not is_active:
                            return
        except LibraryError as error:
            yield (
                gr.skip(),
                job_view.rejection_panel(job_view.error_message(error)),
                gr.skip(),
                gr.skip(),
                gr.skip(),
                gr.skip(),
            )
        finally:
            if self._watch_tokens.get(session_hash) is watch_token:
                del self._watch_tokens[session_hash]

    def _update_visitor_info(self, request: gr.Request) -> tuple[str, str]:
        """Say to a visitor who they are here, and what they may still ask for."""
        visitor = visitor_from_request(request)
        return (
            job_view.account_info(visitor.name, can_log_out=self._can_log_out),
            job_view.quota_info(
                self._job_service.remaining_quota(visitor), self._job_service.usage_limits
            ),
        )

    async def _watch_connection(self) -> AsyncGenerator[tuple[str, str], None]:
        self._job_service.connect()
        states = self._job_service.connection.watch(
            min_interval=MIN_UPDATE_INTERVAL, max_interval=MAX_UPDATE_INTERVAL
        )
        async with aclosing(states):
            async for connection in states:
                yield space_view.banner(connection), space_view.status_line(connection)
                if connection.is_resolved:
                    return

    async def _reconnect(self) -> AsyncGenerator[tuple[str, str], None]:
        self._job_service.connect(force=True)
        async with aclosing(self._watch_connection()) as updates:
            async for status_values in updates:
                yield status_values

    async def _on_cancel(self, request: gr.Request, focus: Any) -> PageUpdate:  # noqa: ANN401
        """Stop the job that is in focus, and show its end; without a stream, as `_act` does."""
        view = self._job_view(request, focus)
        with contextlib.suppress(LibraryError):  # it is stopped all the same
            await self._job_service.restore_session(view.visitor)
        job = self._job_service.get_job(view.focus.removeprefix(PIN_PREFIX), view.visitor)
        if job is not None:
            job.cancel()
            with anyio.move_on_after(CANCEL_TIMEOUT):
                while not (state := job.state.value).status.is_final:
                    await job.state.wait_for_change(state, CANCEL_TIMEOUT)
        return await view.render()


def _is_urgent(previous: Revision, current: Revision) -> bool:
    return previous.urgent_version != current.urgent_version


def _slider(value_range: Range | None, label: str, info: str | None = None) -> gr.Slider:
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
        info=info,
    )
