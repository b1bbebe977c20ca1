"""The components of the page's header and Create tab, by area; built inside the current Blocks."""

from typing import Any, Final

import gradio as gr

from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.sizes import ASPECT_RATIOS
from sd35.jobs.space_connection import ConnectionState
from sd35.ui.create import job_panel, notices, plan_view, space_view, styles_view, welcome
from sd35.ui.create.form import CUSTOM_SIZE, FIELD_NAMES, SLIDER_FIELDS
from sd35.ui.gallery.gallery import build_tabs

__all__ = ["CreateTab", "Header", "build_slider", "set_range"]

BIND_BUTTONS_JS: Final = "sd35.bindButtons(element, trigger)"
RECONNECT_JS: Final = (
    "element.addEventListener('click', "
    "(event) => event.target.closest('#reconnect') && trigger('click'))"
)

# assets/header.js gives them their behavior.
HEADER_MENUS: Final = """<label class="theme" title="Theme"><i></i><select id="theme"
aria-label="Theme"><option value="system">System theme</option><option value="light">Light</option>
<option value="dark">Dark</option></select></label>
<button type="button" id="show-keys" aria-haspopup="dialog" aria-label="Keys" title="Keys (?)">?
</button>"""

PAGE_EVENTS: Final = (
    "submit",  # presses of Generate
    "click",  # the action of a button
    "watch",  # the jobs, by an event stream
    "poll",  # the jobs, once
    "visitor",  # what changes with the end of a job
    "check",  # the errors of the fields
    "connection",  # to the Space
    "limits",  # of another Space, for the fields
    "batch",  # how many images a press makes
    "plan",  # what a press would make
    "surprise",  # a random prompt
    "grid",  # what a grid would be
    "press_grid",  # the button of a grid
    "memory",  # what is remembered
    "recall",  # to fill the form with some of it
    "capture",  # the form, for a preset
    "reuse",  # the settings of an image
    "vary",  # an image
    "spaces",  # the list of them
    "choose",  # a Space
    "styles",  # to show and change them
)
"""Events that the page's scripts raise at the queue."""


class Header:
    """The title, the tabs, the connection's status, and a banner if no real Space is connected."""

    def __init__(
        self, title: str, connection: ConnectionState, *, can_sign_in: bool, can_log_out: bool
    ) -> None:
        with gr.Row(elem_id="header"):
            self.tabs = build_tabs(title)
            self.status = gr.HTML(space_view.status_line(connection), elem_id="status")
            self.account = gr.HTML("", elem_id="account", visible=can_log_out)
            if can_sign_in:
                # Without an icon: Gradio's is a file of its package, and the server serves only
                # this program's own images.
                gr.LoginButton("Sign in with Hugging Face", icon=None, size="sm", elem_id="sign-in")
            gr.HTML(HEADER_MENUS, elem_id="menus", apply_default_css=False)
        self.banner = gr.HTML(
            space_view.banner(connection), elem_id="banner", js_on_load=RECONNECT_JS
        )

    def publish(self, connection: ConnectionState) -> None:
        """Begin new pages with this connection."""
        self.status.value = space_view.status_line(connection)
        self.banner.value = space_view.banner(connection)


class PromptArea:
    """The prompts, the button Generate, and the presses on their way to the server."""

    def __init__(self, *, has_quota: bool) -> None:
        with gr.Column(elem_id="prompt-area"):
            self.settings_import = gr.HTML(
                notices.IMPORT_HINT,
                elem_id="settings-import",
                js_on_load="sd35.bindImport(element, trigger, watch)",
                apply_default_css=False,
            )
            _html(welcome.IDEA_BUTTONS, "ideas", "sd35.bindIdeas(element)")
            self.prompt = gr.Textbox(
                label="Prompt",
                placeholder="Describe your image, for example: a lighthouse at dusk, watercolor",
                lines=2,
                max_lines=8,
            )
            _html(plan_view.PROMPT_LINE, "prompt-line")
            self.negative_prompt = gr.Textbox(
                label="Negative prompt",
                placeholder="What to avoid, for example: blurry, text",
                lines=1,
                max_lines=4,
                elem_id="negative-prompt",
            )
            _html(styles_view.styles_bar(), "styles", "sd35.bindStyles(element)")
            with gr.Row(elem_id="press-row"):
                self.generate = gr.Button("Generate", variant="primary", elem_id="generate")
                _html(plan_view.STEPPER, "press-stepper")
            _html(plan_view.PRESS_LINE, "press-line", "sd35.bindComposer()")
            _html("", "presses", "sd35.bindPresses(element)")
            # JSON that composer.js reads and writes.
            self.batch_options = _value()
            self.quota = gr.HTML("", elem_id="quota", visible=has_quota)


class OutputArea:
    """The stage: an image, or the contact sheet of a set, and the panel below it."""

    def __init__(self) -> None:
        with gr.Column(elem_id="output"):
            _html(welcome.welcome_cards(), "welcome", "sd35.bindIdeas(element)")
            self.sheet = _button_html("", "sheet", "sd35.bindStage(element)")
            self.image = gr.Image(
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="picture",
                height="100%",
            )
            self.panel = _button_html(job_panel.idle_panel(), "panel")


class RailArea:
    """The queue, and the recent images."""

    def __init__(self) -> None:
        with gr.Column(elem_id="rail"):
            self.queue = _button_html("", "queue", _bind_page_js())
            self.recent = _button_html("", "recent")


class SettingsArea:
    """The fields of the form besides the prompts, at first with the public Space's limits."""

    def __init__(self) -> None:
        # The custom size stands between the landscape and the portrait presets: seven in a row.
        sizes = [*ASPECT_RATIOS[:7], ("Custom", CUSTOM_SIZE), *ASPECT_RATIOS[7:]]
        limits = PUBLIC_LIMITS
        # All in one form: Gradio builds dozens of elements for each row and each form.
        with gr.Column(elem_id="settings"):
            gr.HTML(notices.PRESET_TOOLS, elem_id="preset-tools", apply_default_css=False)
            self.size = gr.Radio(sizes, value="1:1", label="Size", elem_id="size")
            # Built in the browser when the custom size is chosen.
            self.width = build_slider(limits.width, "Width", elem_id="width", visible=False)
            self.height = build_slider(limits.height, "Height", elem_id="height", visible=False)
            self.guidance_scale = build_slider(
                limits.guidance_scale,
                "Guidance scale",
                "How strictly to follow the prompt. At 1 or below, the negative prompt is ignored.",
                elem_id="guidance_scale",
            )
            self.num_inference_steps = build_slider(
                limits.num_inference_steps, "Inference steps", elem_id="num_inference_steps"
            )
            # A text: numbers of JavaScript round a seed of more than 53 bits.
            self.seed = gr.Textbox(label="Seed", value="0", max_lines=1, elem_id="seed")
            self.randomize_seed = gr.Checkbox(
                label="Random seed", value=True, elem_id="randomize-seed"
            )


class PageState:
    """Values that the page keeps between events."""

    def __init__(self, connection: ConnectionState) -> None:
        # The id of the job in focus, which outlives a reload.
        self.focus = _value()
        self.outcomes = _value()
        # What the page's scripts show: a message about the queue, the choice of the Space, what is
        # wrong with it, the stage, and the image's file.
        self.message = _value()
        self.space_panel = _value()
        self.space_error = _value()
        self.random_prompt = _value()
        self.stage = _value()
        self.styles = _value()
        self.download = _value()
        self.plan = _value()
        self.grid_plan = _value()
        # The limits that the fields have, and those for which the restored draft was typed.
        self.applied_limits = _value()
        self.draft_limits = _value()
        self.undo_values = _value()
        # An answer about what is remembered, which memory.js takes from the response itself.
        self.answer = _value()
        self.size_hints = _value(space_view.size_hints(connection))


class CreateTab:
    """All areas of the Create tab."""

    def __init__(self, connection: ConnectionState, *, has_quota: bool) -> None:
        with gr.Row(elem_id="studio"):
            self.prompt_area = PromptArea(has_quota=has_quota)
            self.output = OutputArea()
            self.rail = RailArea()
            self.settings = SettingsArea()
        self.state = PageState(connection)

    def publish(self, connection: ConnectionState) -> None:
        """Begin new pages with the limits and defaults of the Space that is connected now.

        They are the same as those from `FormHandlers.apply_limits`, for which a page would ask.
        """
        limits = connection.limits
        for name in SLIDER_FIELDS:
            set_range(getattr(self.settings, name), getattr(limits, name))
        self.prompt_area.negative_prompt.interactive = limits.negative_prompt
        self.state.size_hints.value = space_view.size_hints(connection)
        self.state.applied_limits.value = space_view.limits_text(connection)

    @property
    def fields(self) -> list[Any]:
        """The form's fields, in the order of `FormValues`."""
        components = vars(self.prompt_area) | vars(self.settings)
        return [components[name] for name in FIELD_NAMES]

    @property
    def live_outputs(self) -> list[Any]:
        """The outputs of each live update, in the order of `LiveUpdate`."""
        return [
            self.output.image,
            self.output.panel,
            self.state.focus,
            self.state.download,
            self.rail.queue,
            self.rail.recent,
            self.state.stage,
        ]


def build_slider(
    value_range: Range | None,
    label: str,
    info: str | None = None,
    *,
    elem_id: str | None = None,
    visible: bool = True,
) -> gr.Slider:
    """Build a slider over a range of `PUBLIC_LIMITS`, which has all of them."""
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
        info=info,
        elem_id=elem_id,
        visible=visible,
    )


def set_range(slider: gr.Slider, value_range: Range | None) -> None:
    """Give a slider of new pages a Space's range, or disable it if the Space has none."""
    slider.interactive = value_range is not None
    if value_range is not None:
        slider.minimum = value_range.minimum
        slider.maximum = value_range.maximum
        slider.step = value_range.step
        slider.value = value_range.default


def _html(value: str, elem_id: str, js: str | None = None) -> gr.HTML:
    """Build an HTML component with a script that runs when it is there."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=js, apply_default_css=False)


def _button_html(value: str, elem_id: str, js: str = "") -> gr.HTML:
    """Build an HTML component whose buttons raise `click` with their action."""
    script = f"{BIND_BUTTONS_JS}; {js}"
    return _html(value, elem_id, script)


def _bind_page_js() -> str:
    # Gradio looks for the name of each event, in quotes.
    triggers = (f"'{name}': (data) => trigger('{name}', data)" for name in PAGE_EVENTS)
    return f"sd35.bindPage({{{', '.join(triggers)}}})"


def _value(text: str = "") -> gr.Textbox:
    # Gradio keeps the values of invisible components, for which it builds nothing. A `gr.State`
    # would open a connection for each page.
    return gr.Textbox(text, visible=False)
