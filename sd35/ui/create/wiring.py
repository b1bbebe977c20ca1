"""The listeners of the page: each event, its handler, inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from gradio.events import Dependency

from sd35.ui.create.components import CreateTab, Header
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.job_handlers import ConnectionHandlers, JobHandlers, PageHandlers
from sd35.ui.create.memory_handlers import MemoryHandlers
from sd35.ui.create.style_handlers import StyleHandlers
from sd35.ui.gallery.gallery import Gallery

__all__ = ["Wiring"]

# In the browser alone: an answer from the server would come after the visitor's next input.
RESTORE_DRAFT_JS: Final = "(...values) => sd35.restoreDraft(values)"
SIZE_HINTS_JS: Final = "(hints) => sd35.showSizeHints(hints)"
SAVE_DRAFT_JS: Final = "(...values) => sd35.saveDraft(values)"
SIZE_JS: Final = "(size, ...sides) => sd35.sides(size) ?? sides"
SHOW_SIDES_JS: Final = "(size) => sd35.showSides(size)"
# The values are those of the moment of the press, whenever they reach the server.
PRESS_JS: Final = "(...values) => sd35.addSubmission(values)"
WATCH_JS: Final = "() => sd35.watchJobs()"
MESSAGE_JS: Final = "(html) => sd35.showMessage(html)"
STAGE_JS: Final = "(stage) => sd35.showStage(stage)"
DOWNLOAD_JS: Final = "(file) => sd35.setDownload(file)"
SPACES_JS: Final = "(html) => sd35.showSpaces(html)"
CHOICE_JS: Final = "(error) => sd35.endChoice(error)"
FILL_PROMPT_JS: Final = "(text) => sd35.fillPrompt(text)"
BATCH_JS: Final = "() => sd35.batchText()"
GRID_PLAN_JS: Final = "(text) => sd35.showGridPlan(text)"
PRESS_GRID_JS: Final = "(...values) => sd35.pressGrid(values)"
PLAN_JS: Final = "(text) => sd35.showPlan(text)"
SHOW_BATCH_JS: Final = "(text) => sd35.showBatchOptions(text)"
STYLES_JS: Final = "(text) => sd35.showStyles(text)"
NEGATIVE_JS: Final = "(text) => sd35.showNegativePresets(text)"
FOLLOW_JS: Final = "() => sd35.followJobs()"
FOCUS_JS: Final = "() => [sd35.focus()]"
CAPTURE_JS: Final = "(...values) => sd35.capturePreset(values)"
SAVE_FOCUS_JS: Final = "(focus) => sd35.saveFocus(focus)"

Listener = Callable[..., Dependency]
"""An event of a component, such as `button.click`, or the end of another, such as `event.then`."""

# `concurrency_limit` per listener: setting it with `queue()` would rebuild Gradio's whole app.
_OPTIONS: Final[dict[str, Any]] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
    # By default Gradio drops a press while the previous one's call is under way.
    "trigger_mode": "multiple",
}
# The handlers check the values themselves: the errors of Gradio's checks are hard to understand.
# Not through Gradio's queue: its event stream may be broken when a button is pressed, and takes one
# of the six connections that a browser opens to a server.
_RAW: Final = _OPTIONS | {"preprocess": False, "queue": False}
# The handlers return values in the form that the browser expects. With postprocessing, Gradio would
# copy every preview to a file first.
_DIRECT: Final = _RAW | {"postprocess": False}
# A page may watch its jobs again while it still does: the newest call ends the others.
_WATCH: Final = _DIRECT | {"queue": True}
# A page asks once at a time.
_POLL: Final = _DIRECT | {"trigger_mode": "once"}


@dataclass(frozen=True, slots=True)
class Wiring:
    """Binds the events of the page to its handlers, inside the Blocks of `demo`."""

    demo: gr.Blocks
    header: Header
    tab: CreateTab
    gallery: Gallery
    form_handlers: FormHandlers
    job_handlers: JobHandlers
    connection_handlers: ConnectionHandlers
    memory_handlers: MemoryHandlers
    style_handlers: StyleHandlers

    def bind(self) -> None:
        """Bind all events."""
        self._bind_generate()
        self._bind_live_view()
        self._bind_load()
        self._bind_import()
        self._bind_gallery()
        self._bind_form()
        self._bind_memory()
        self._bind_connection()
        self._bind_styles()

    def _bind_generate(self) -> None:
        area = self.tab.prompt_area
        queue = self.tab.rail.queue
        state = self.tab.state
        area.generate.click(None, self.tab.fields, None, js=PRESS_JS, **_OPTIONS)
        submit_event = queue.submit(
            self.job_handlers.submit,
            state.focus,
            [state.outcomes, state.message, *self.tab.live_outputs],
            **_DIRECT,
        )
        self._follow_up(submit_event)
        plan_event = self.tab.rail.queue.plan(
            self.form_handlers.plan, self.tab.fields, state.plan, **_DIRECT
        )
        plan_event.then(None, state.plan, None, js=PLAN_JS, **_OPTIONS)
        grid_event = self.tab.rail.queue.grid(
            self.form_handlers.plan_grid, self.tab.fields, state.grid_plan, **_DIRECT
        )
        grid_event.then(None, state.grid_plan, None, js=GRID_PLAN_JS, **_OPTIONS)
        self.tab.rail.queue.press_grid(None, self.tab.fields, None, js=PRESS_GRID_JS, **_OPTIONS)
        # Only a queued listener can have a validator.
        queue.check(
            self.form_handlers.validate_form,
            self.tab.fields,
            None,
            validator=self.form_handlers.validate,
            **_RAW | {"queue": True},
        )

    def _bind_live_view(self) -> None:
        queue = self.tab.rail.queue
        output = self.tab.output
        state = self.tab.state
        action_event = gr.on(
            [queue.click, output.sheet.click, output.panel.click, self.tab.rail.recent.click],
            self.job_handlers.run_queue_action,
            self.tab.state.focus,
            [state.message, *self.tab.live_outputs],
            **_DIRECT,
        )
        self._follow_up(action_event)
        state.message.change(None, state.message, None, js=MESSAGE_JS, **_OPTIONS)
        state.stage.change(None, state.stage, None, js=STAGE_JS, **_OPTIONS)
        state.download.change(None, state.download, None, js=DOWNLOAD_JS, **_OPTIONS)
        focus = self.tab.state.focus
        focus.change(None, focus, None, js=SAVE_FOCUS_JS, **_OPTIONS)
        queue.watch(self.job_handlers.watch_jobs, focus, self.tab.live_outputs, **_WATCH)
        poll_event = queue.poll(self.job_handlers.poll_jobs, focus, self.tab.live_outputs, **_POLL)
        poll_event.then(None, None, None, js=WATCH_JS, **_OPTIONS)
        outputs = [self.header.account, self.tab.prompt_area.quota]
        queue.visitor(self.job_handlers.visitor_info, None, outputs, **_RAW)

    def _bind_load(self) -> None:
        outputs = [
            *self.tab.live_outputs,
            self.header.account,
            self.tab.prompt_area.quota,
            self.header.banner,
            self.header.status,
        ]
        focus = self.tab.state.focus
        # One request: each takes a browser and the server as long as a tenth of the page.
        handler = PageHandlers(self.job_handlers, self.connection_handlers).load_page
        load_event = self.demo.load(handler, focus, outputs, js=FOCUS_JS, **_POLL)
        load_event.then(None, None, None, js=WATCH_JS, **_OPTIONS)

    def _bind_import(self) -> None:
        area = self.tab.prompt_area
        undo_values = self.tab.state.undo_values
        component = area.settings_import
        self._import(component.upload, self.form_handlers.import_dropped_file, self.tab.fields)
        self._import(component.undo, self.form_handlers.undo_import, undo_values)
        component.clear(self.form_handlers.dismiss_import, None, [component, undo_values], **_RAW)

    def _bind_gallery(self) -> None:
        self._import(
            self.gallery.import_event.submit,
            self.form_handlers.import_from_library,
            self.tab.fields,
        )
        queue = self.tab.rail.queue
        self._import(queue.reuse, self.form_handlers.import_from_library, self.tab.fields)
        for event in (self.gallery.retry_event.retry, queue.vary):
            submit_event = event(
                self.job_handlers.create_variation,
                self.tab.state.focus,
                [self.tab.state.message, *self.tab.live_outputs],
                **_DIRECT,
            )
            self._follow_up(submit_event)

    def _bind_form(self) -> None:
        state = self.tab.state
        settings = self.tab.settings
        values = [*self.tab.fields, state.applied_limits]
        draft = [*values, state.draft_limits]
        inputs = [*draft, state.size_hints]
        self.demo.load(None, inputs, draft, js=RESTORE_DRAFT_JS, **_OPTIONS)
        state.size_hints.change(None, state.size_hints, None, js=SIZE_HINTS_JS, **_OPTIONS)
        changes = [component.change for component in values]
        gr.on(changes, None, values, None, js=SAVE_DRAFT_JS, **_OPTIONS)
        batch = self.tab.prompt_area.batch_options
        self.tab.rail.queue.batch(None, None, batch, js=BATCH_JS, **_OPTIONS)
        batch.change(None, batch, None, js=SHOW_BATCH_JS, **_OPTIONS)
        draw_event = self.tab.rail.queue.surprise(
            self.form_handlers.draw_prompt, None, state.random_prompt, **_DIRECT
        )
        draw_event.then(None, state.random_prompt, None, js=FILL_PROMPT_JS, **_OPTIONS)
        sides = [settings.width, settings.height]
        settings.size.input(None, [settings.size, *sides], sides, js=SIZE_JS, **_OPTIONS)
        settings.size.change(None, settings.size, sides, js=SHOW_SIDES_JS, **_OPTIONS)

    def _bind_memory(self) -> None:
        queue = self.tab.rail.queue
        queue.memory(self.memory_handlers.answer_question, None, self.tab.state.answer, **_DIRECT)
        self._import(queue.recall, self.memory_handlers.recall, self.tab.fields)
        queue.capture(None, self.tab.fields, None, js=CAPTURE_JS, **_OPTIONS)

    def _bind_connection(self) -> None:
        handlers = self.connection_handlers
        outputs = [self.header.banner, self.header.status]
        self.header.banner.click(handlers.reconnect, None, outputs, **_DIRECT)
        queue = self.tab.rail.queue
        queue.connection(handlers.poll_connection, None, outputs, **_POLL)
        panel = self.tab.state.space_panel
        spaces_event = queue.spaces(handlers.list_spaces, None, panel, **_POLL)
        spaces_event.then(None, panel, None, js=SPACES_JS, **_OPTIONS)
        error = self.tab.state.space_error
        choice_event = queue.choose(handlers.choose_space, None, [error, *outputs], **_DIRECT)
        choice_event.then(None, error, None, js=CHOICE_JS, **_OPTIONS)
        # Not with each poll: Gradio removes the errors of a listener's inputs.
        state = self.tab.state
        values = [*self.tab.fields, state.applied_limits]
        queue.limits(
            self.form_handlers.apply_limits,
            [*values, state.draft_limits, state.size_hints],
            [*values, state.size_hints],
            **_RAW,
        )

    def _bind_styles(self) -> None:
        styles = self.tab.state.styles
        event = self.tab.rail.queue.styles(
            self.style_handlers.answer_styles, self.tab.fields, styles, **_DIRECT
        )
        event.then(None, styles, None, js=STYLES_JS, **_OPTIONS)
        negative_prompt = self.tab.prompt_area.negative_prompt
        negative_prompt.change(None, negative_prompt, None, js=NEGATIVE_JS, **_OPTIONS)

    @staticmethod
    def _follow_up(event: Dependency) -> None:
        """Show what a change of the jobs has changed elsewhere, and watch them."""
        event.then(None, None, None, js=FOLLOW_JS, **_OPTIONS)

    def _import(self, event: Listener, handler: Callable[..., Any], inputs: object) -> None:
        outputs = [
            *self.tab.fields,
            self.tab.prompt_area.settings_import,
            self.tab.state.undo_values,
        ]
        event(handler, inputs, outputs, **_RAW)
