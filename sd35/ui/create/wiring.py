"""The listeners of the page: each event, its handler, inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from gradio.events import Dependency

from sd35.ui.create.components import CreateTab, Header
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.job_handlers import ConnectionHandlers, JobHandlers
from sd35.ui.gallery.gallery import Gallery

__all__ = ["Wiring"]

REUSE_SEED_JS: Final = "() => [document.querySelector('#panel [data-seed]').dataset.seed, false]"
# In the browser alone: an answer from the server would come after the visitor's next input.
RESTORE_DRAFT_JS: Final = "(...values) => sd35.restoreDraft(values)"
SAVE_DRAFT_JS: Final = "(...values) => sd35.saveDraft(values)"
SIZE_JS: Final = "(size, ...sides) => sd35.sides(size) ?? sides"

Listener = Callable[..., Dependency]
"""An event of a component, such as `button.click`, or the end of another, such as `event.then`."""

# `concurrency_limit` per listener: setting it with `queue()` would rebuild Gradio's whole app.
_OPTIONS: Final[dict[str, Any]] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
}
# The handlers check the values themselves: the errors of Gradio's checks are hard to understand.
_RAW: Final = _OPTIONS | {"preprocess": False}
# The handlers return values in the form that the browser expects. With postprocessing, Gradio would
# copy every preview to a file first.
_LIVE: Final = _RAW | {"postprocess": False}
# Not through Gradio's queue: its event stream may be broken when a button is pressed.
_DIRECT: Final = _LIVE | {"queue": False}
# A page may watch its jobs again while it still does: the newest call ends the others.
_WATCH: Final = _LIVE | {"trigger_mode": "multiple"}


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

    def bind(self) -> None:
        """Bind all events."""
        self._bind_generate()
        self._bind_live_view()
        self._bind_import()
        self._bind_gallery()
        self._bind_form()
        self._bind_connection()

    def _bind_generate(self) -> None:
        area = self.tab.prompt_area
        state = self.tab.state
        submit_event = area.generate.click(
            self.job_handlers.submit,
            [*self.tab.fields, state.focus],
            [area.message, state.focus],
            validator=self.form_handlers.validate,
            **_LIVE,
        )
        self._show_visitor_info(submit_event.then)
        watch_event = self._watch_jobs(submit_event.then)
        # After a job failed, the Space may be disconnected, or replaced by another one.
        info_event = self._show_visitor_info(watch_event.then)
        self._apply_limits(self._watch_connection(info_event.then).then)
        stop_event = area.stop.click(
            self.job_handlers.cancel, state.focus, self.tab.live_outputs, **_DIRECT
        )
        self._watch_jobs(stop_event.then)

    def _bind_live_view(self) -> None:
        area = self.tab.prompt_area
        output = self.tab.output
        action_event = gr.on(
            [area.queue.click, area.message.click, output.panel.click, output.recent.click],
            self.job_handlers.run_queue_action,
            self.tab.state.focus,
            [area.message, *self.tab.live_outputs],
            **_DIRECT,
        )
        self._show_visitor_info(action_event.then)
        self._watch_jobs(action_event.then)
        self._watch_jobs(self.tab.state.refresh.click)
        self._watch_jobs(self.demo.load)
        self._show_visitor_info(self.demo.load)

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
        submit_event = self.gallery.retry_event.retry(
            self.job_handlers.create_variation,
            self.tab.state.focus,
            [self.tab.prompt_area.message, *self.tab.live_outputs],
            **_DIRECT,
        )
        self._show_visitor_info(submit_event.then)
        self._watch_jobs(submit_event.then)

    def _bind_form(self) -> None:
        state = self.tab.state
        settings = self.tab.settings
        draft = [*self.tab.fields, state.draft_limits]
        self.demo.load(None, draft, draft, js=RESTORE_DRAFT_JS, **_OPTIONS)
        values = [*self.tab.fields, state.applied_limits]
        changes = [component.change for component in values]
        gr.on(changes, None, values, None, js=SAVE_DRAFT_JS, **_OPTIONS)
        sides = [settings.width, settings.height]
        settings.size.input(None, [settings.size, *sides], sides, js=SIZE_JS, **_OPTIONS)
        self.tab.output.reuse_seed.click(
            None, None, [settings.seed, settings.randomize_seed], js=REUSE_SEED_JS, **_OPTIONS
        )

    def _bind_connection(self) -> None:
        self._apply_limits(self._watch_connection(self.demo.load).then)
        # Not `_DIRECT`: with postprocessing a handler may return nothing.
        reconnect_event = self.header.reconnect.click(
            self.connection_handlers.reconnect, **_OPTIONS
        )
        self._apply_limits(self._watch_connection(reconnect_event.then).then)

    def _watch_jobs(self, event: Listener) -> Dependency:
        return event(
            self.job_handlers.watch_jobs, self.tab.state.focus, self.tab.live_outputs, **_WATCH
        )

    def _watch_connection(self, event: Listener) -> Dependency:
        return event(
            self.connection_handlers.watch_connection,
            None,
            [self.header.banner, self.header.status],
            **_LIVE,
        )

    def _show_visitor_info(self, event: Listener) -> Dependency:
        outputs = [self.header.account, self.tab.prompt_area.quota]
        return event(self.job_handlers.visitor_info, None, outputs, **_RAW)

    def _apply_limits(self, event: Listener) -> None:
        state = self.tab.state
        values = [*self.tab.fields, state.applied_limits]
        event(
            self.form_handlers.apply_limits,
            [*values, state.draft_limits],
            [*values, self.tab.settings.size_hints],
            **_RAW,
        )

    def _import(self, event: Listener, handler: Callable[..., Any], inputs: object) -> None:
        outputs = [
            *self.tab.fields,
            self.tab.prompt_area.settings_import,
            self.tab.state.undo_values,
        ]
        event(handler, inputs, outputs, **_RAW)
