"""The components of the Create tab, built and named by area."""

from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.sizes import ASPECT_RATIOS
from sd35.jobs.service import ConnectionState
from sd35.ui.create import job_panel, notices, space_view
from sd35.ui.create.form import CUSTOM_SIZE, FIELD_NAMES
from sd35.ui.gallery.static import tab_bar

__all__ = ["CreateTab", "Header", "build_slider"]

BIND_BUTTONS_JS: Final = "sd35.bindButtons(element, trigger)"


@dataclass(frozen=True, slots=True)
class Header:
    """The title, the tabs, the connection's status, and a banner where no Space is connected."""

    status: gr.HTML
    account: gr.HTML
    banner: gr.HTML
    reconnect: gr.Button

    @classmethod
    def build(
        cls, title: str, connection: ConnectionState, *, can_sign_in: bool, can_log_out: bool
    ) -> "Header":
        """Build the header in the current Blocks."""
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{title}</h1>", elem_id="title")
            gr.HTML(tab_bar(), elem_id="tabs", apply_default_css=False)
            status = gr.HTML(space_view.status_line(connection), elem_id="status")
            account = gr.HTML("", elem_id="account", visible=can_log_out)
            if can_sign_in:
                # Without an icon: Gradio's is a file of its package, and the server hands out
                # nothing but this program's own images.
                gr.LoginButton("Sign in with Hugging Face", icon=None, size="sm", elem_id="sign-in")
        with gr.Row(elem_id="banner"):
            banner = gr.HTML(space_view.banner(connection))
            reconnect = gr.Button("Try again", size="sm", elem_id="reconnect")
        return cls(status, account, banner, reconnect)


@dataclass(frozen=True, slots=True)
class PromptArea:
    """The prompts, the buttons Generate and Stop, and the queue."""

    settings_import: gr.HTML
    prompt: gr.Textbox
    negative_prompt: gr.Textbox
    generate: gr.Button
    stop: gr.Button
    message: gr.HTML
    quota: gr.HTML
    queue: gr.HTML

    @classmethod
    def build(cls, *, has_quota: bool) -> "PromptArea":
        """Build the area in the current Blocks."""
        with gr.Column(elem_id="prompt-area"):
            settings_import = gr.HTML(
                notices.import_hint(),
                elem_id="settings-import",
                js_on_load="sd35.bindImport(element, trigger)",
                apply_default_css=False,
            )
            prompt = gr.Textbox(
                label="Prompt",
                placeholder="Describe your image, for example: a lighthouse at dusk, watercolor",
                lines=2,
                max_lines=8,
            )
            negative_prompt = gr.Textbox(
                label="Negative prompt",
                placeholder="What to avoid, for example: blurry, text",
                lines=1,
                max_lines=4,
            )
            with gr.Row(elem_id="submit-row"):
                generate = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
            message = gr.HTML("", elem_id="message")
            quota = gr.HTML("", elem_id="quota", visible=has_quota)
            queue = _button_html("", "queue")
        return cls(settings_import, prompt, negative_prompt, generate, stop, message, quota, queue)


@dataclass(frozen=True, slots=True)
class OutputArea:
    """The image, the panel of its job, and the recent images."""

    image: gr.Image
    panel: gr.HTML
    reuse_seed: gr.Button
    download: gr.DownloadButton
    recent: gr.HTML

    @classmethod
    def build(cls) -> "OutputArea":
        """Build the area in the current Blocks."""
        with gr.Column(elem_id="output"):
            image = gr.Image(
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="picture",
                height="100%",
            )
            panel = _button_html(job_panel.idle_panel(), "panel")
            with gr.Row(elem_id="actions"):
                reuse_seed = gr.Button("Reuse seed", size="sm", elem_id="reuse-seed")
                download = gr.DownloadButton("Download", size="sm", elem_id="download")
            recent = _button_html("", "recent")
        return cls(image, panel, reuse_seed, download, recent)


@dataclass(frozen=True, slots=True)
class SettingsArea:
    """The fields of the form besides the prompts."""

    size: gr.Radio
    size_hint: gr.HTML
    width: gr.Slider
    height: gr.Slider
    guidance_scale: gr.Slider
    num_inference_steps: gr.Slider
    seed: gr.Number
    randomize_seed: gr.Checkbox

    @classmethod
    def build(cls, connection: ConnectionState) -> "SettingsArea":
        """Build the area in the current Blocks, with the public Space's limits."""
        # The custom size stands between the landscape and the portrait presets: seven in a row.
        sizes = [*ASPECT_RATIOS[:7], ("Custom", CUSTOM_SIZE), *ASPECT_RATIOS[7:]]
        limits = PUBLIC_LIMITS
        with gr.Column(elem_id="settings"):
            size = gr.Radio(sizes, value="1:1", label="Size", elem_id="size")
            size_hint = gr.HTML(space_view.size_hint("1:1", connection), elem_id="size-hint")
            with gr.Row(elem_id="custom-size"):
                width = build_slider(limits.width, "Width")
                height = build_slider(limits.height, "Height")
            guidance_scale = build_slider(
                limits.guidance_scale,
                "Guidance scale",
                "How strictly to follow the prompt. At 1 or below, the negative prompt is ignored.",
            )
            num_inference_steps = build_slider(limits.num_inference_steps, "Inference steps")
            with gr.Row(elem_id="seed-row"):
                seed = gr.Number(label="Seed", value=0, precision=0, elem_id="seed")
                randomize_seed = gr.Checkbox(
                    label="Random seed", value=True, elem_id="randomize-seed"
                )
        return cls(
            size,
            size_hint,
            width,
            height,
            guidance_scale,
            num_inference_steps,
            seed,
            randomize_seed,
        )


@dataclass(frozen=True, slots=True)
class PageState:
    """Values that the page keeps between events.

    Attributes:
        focus: id of the job in focus, which outlives a reload.
        form_job: id of the last job that the form itself has submitted; the one in focus may be
            another, or the retry of another, with a fixed seed.
        draft: prompts that were typed before a reload, filled in by page.js.
        applied_limits: the limits that the form's fields have now.
        undo_values: the form before an import.
        refresh: pressed by page.js to restart the live updates.

    """

    focus: gr.BrowserState
    form_job: gr.BrowserState
    draft: gr.Textbox
    applied_limits: gr.Textbox
    undo_values: gr.Textbox
    refresh: gr.Button

    @classmethod
    def build(cls) -> "PageState":
        """Build the hidden components in the current Blocks."""
        return cls(
            _browser_state("sd35-job"),
            _browser_state("sd35-form"),
            gr.Textbox(visible="hidden"),
            gr.Textbox(visible="hidden"),
            gr.Textbox(visible="hidden"),
            gr.Button(visible="hidden", elem_id="refresh"),
        )


@dataclass(frozen=True, slots=True)
class CreateTab:
    """All areas of the Create tab."""

    prompt_area: PromptArea
    output: OutputArea
    settings: SettingsArea
    state: PageState

    @classmethod
    def build(cls, connection: ConnectionState, *, has_quota: bool) -> "CreateTab":
        """Build the tab in the current Blocks."""
        with gr.Row(elem_id="studio"):
            prompt_area = PromptArea.build(has_quota=has_quota)
            output = OutputArea.build()
            settings = SettingsArea.build(connection)
        return cls(prompt_area, output, settings, PageState.build())

    @property
    def fields(self) -> list[Any]:
        """The form's fields, in the order of `FormValues`."""
        areas = (self.prompt_area, self.settings)
        return [
            next(getattr(area, name) for area in areas if hasattr(area, name))
            for name in FIELD_NAMES
        ]

    @property
    def live_outputs(self) -> list[Any]:
        """The outputs of each live update, in the order of `LiveUpdate`."""
        output = self.output
        return [
            output.image,
            output.panel,
            self.state.focus,
            output.download,
            self.prompt_area.queue,
            output.recent,
        ]


def build_slider(value_range: Range | None, label: str, info: str | None = None) -> gr.Slider:
    """Build a slider over a range of `PUBLIC_LIMITS`, which has all of them."""
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
        info=info,
    )


def _button_html(value: str, elem_id: str) -> gr.HTML:
    """Build an HTML component whose buttons raise `click` with their action."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=BIND_BUTTONS_JS, apply_default_css=False)


def _browser_state(key: str) -> gr.BrowserState:
    # Gradio encrypts what it stores, with a secret that is new at each start unless it is given:
    # what a browser has stored would be lost with every restart. A job's id is no secret to its
    # own browser.
    return gr.BrowserState("", storage_key=key, secret=key)
