"""The page of a Space of ours: its components, its look, and the licence of the model."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import gradio as gr
from markupsafe import Markup

from sd35.core.limits import Range
from sd35.core.model_info import MODEL_INFO_ID
from sd35.space.engine import Engine

__all__ = ["SpacePage", "page_options"]

Infer = Callable[..., Iterator[tuple[Any, int]]]

# As the model's licence demands of whoever makes it available.
_LICENSE_LINKS: Final = (
    "the [Stability AI Community License](https://stability.ai/community-license-agreement), "
    "Copyright © Stability AI Ltd. All Rights Reserved. Its use is subject to the "
    "[Acceptable Use Policy](https://stability.ai/use-policy)."
)
_POWERED_BY: Final = "Powered by [Stability AI](https://stability.ai)."
LICENSE_NOTICE: Final = f"{_POWERED_BY} This Stability AI Model is licensed under {_LICENSE_LINKS}"

# Of a folder or of somebody else, which may be one of Stability's under another name.
FAMILY_NOTICE: Final = (
    f"{_POWERED_BY} Stable Diffusion 3.5, of whose kind this model is, is licensed under "
    f"{_LICENSE_LINKS}"
)

IDLE_TEXT: Final = "Describe an image, and press Generate or Enter."
_SHOW_WAITING_JS: Final = (
    "() => ['', '<p role=status>Waiting for the model…</p><div class=bar></div>']"
)
_SHOW_FAILURE_JS: Final = (
    "() => '<p role=alert data-kind=failure>The run failed.</p><div class=bar></div>'"
)

_CSS: Final = """
.gradio-container { width: 100%; max-width: 1120px !important; margin-inline: auto !important; }
[data-testid="status-tracker"] { display: none !important; } /* says Error when a run is stopped */
:is(#end, #status), :is(#end, #status) .html-container { padding: 0; }
/* "Stopped." only of a run that had not ended: Gradio reports a stopped one as a failure. */
#end:not(:has(p)), #end:has(~ #status p:is([data-kind="idle"], [data-kind="done"],
  [data-kind="error"])) { display: none; }
#end:has(p) ~ #status:not(:has(p:is([data-kind="idle"], [data-kind="done"],
  [data-kind="error"]))) { display: none; }
:is(#end, #status) p { margin: 0 0 6px; font-size: 14px; font-variant-numeric: tabular-nums; }
#status p[role="alert"] { color: #b91c1c; }
.dark #status p[role="alert"] { color: #fca5a5; }
.bar { height: 6px; border-radius: 3px; overflow: hidden; }
#status .bar:has(i) { background: var(--border-color-primary); }
#status .bar i { display: block; height: 100%; background: var(--color-accent); }
#result img { object-fit: contain; }
#license, #license p { font-size: 13px; line-height: 1.45; }
#license a { text-decoration: underline; }
footer, footer a, footer button { color: var(--body-text-color-subdued) !important; }
@media (max-width: 640px) { #result { height: min(62vh, 92vw) !important; } }
"""


class SpacePage:
    """The components of the page, built inside the current Blocks.

    Attributes:
        inputs: of `/infer`, in the order of its parameters.
    """

    def __init__(self, engine: Engine) -> None:
        gr.Markdown(f"# {engine.title}\n{engine.description} {engine.warning}")
        self.prompt = gr.Text(
            label="Prompt", placeholder="a lighthouse by the sea at dusk", lines=1, max_lines=4
        )
        with gr.Row():
            self.run = gr.Button("Generate", variant="primary", scale=4)
            self.stop = gr.Button("Stop", scale=1, min_width=90)
        self.end = gr.HTML("", elem_id="end", apply_default_css=False)
        self.status = gr.HTML(
            _status(IDLE_TEXT, kind="idle"), elem_id="status", apply_default_css=False
        )
        self.result = gr.Image(
            label="Result", format="png", interactive=False, height="62vh", elem_id="result"
        )
        self.inputs = [self.prompt, *_advanced_settings(engine)]
        self.seed = self.inputs[2]
        if engine.model_info.name:
            is_original = engine.model_info.name.startswith("stabilityai/")
            gr.Markdown(LICENSE_NOTICE if is_original else FAMILY_NOTICE, elem_id="license")
        gr.JSON(engine.model_info.to_dict(), elem_id=MODEL_INFO_ID, visible=False)
        # Programs call it, and the page its own listener, which also has the status line.
        self.api_button = gr.Button(visible=False)

    def bind(self, infer: Infer, **options: Any) -> None:  # noqa: ANN401  # Gradio's
        """Bind the buttons to a function that makes an image; `options` limit its runs."""
        private = {"api_visibility": "private", "show_progress": "hidden"}
        triggers = [self.run.click, self.prompt.submit]
        outputs = [self.status, self.result, self.seed]
        gr.on(triggers, None, None, [self.end, self.status], js=_SHOW_WAITING_JS, **private)
        event = gr.on(
            triggers,
            _with_status(infer),
            self.inputs,
            outputs,
            postprocess=False,
            **options,
            **private,
        )
        # What Gradio itself refuses, it says in a corner: a full queue, for example.
        event.failure(None, None, self.status, js=_SHOW_FAILURE_JS, **private)
        # Not through the queue: the end of the run closes the page's event stream. And not into the
        # status, which the page may still change for updates that arrived before.
        self.stop.click(
            lambda: _status("Stopped."), None, self.end, cancels=[event], queue=False, **private
        )


class _Status:
    """Stand-in for `gr.Progress`, whose own display covers the previews, and vanishes with each."""

    def __init__(self) -> None:
        self.html = ""

    def __call__(
        self, value: float | tuple[int, int] | None, desc: str = "", **_options: object
    ) -> None:
        if isinstance(value, tuple):
            desc = f"{desc}: step {value[0]} of {value[1]}"
            value = value[0] / value[1]
        self.html = _status(desc, value)


def _with_status(infer: Infer) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """Return the function for the page: its first output is the status line."""

    def run(*inputs: object) -> Iterator[tuple[Any, ...]]:
        status = _Status()
        try:
            for outputs in infer(*inputs, progress=status):
                yield status.html, *outputs
        except gr.Error as error:
            yield _status(error.message, kind="error"), gr.skip(), gr.skip()
        else:
            yield _status("Done.", kind="done"), gr.skip(), gr.skip()

    return run


def _status(text: str, fraction: float | None = None, kind: str = "") -> Markup:
    bar = Markup("")
    if fraction is not None:
        bar = Markup('<i style="width:{:.0f}%"></i>').format(100 * fraction)
    return Markup('<p role="{}" data-kind="{}">{}</p><div class="bar">{}</div>').format(
        "alert" if kind == "error" else "status", kind, text, bar
    )


def _advanced_settings(engine: Engine) -> list[Any]:
    limits = engine.limits
    with gr.Accordion("Advanced settings", open=False):
        return [
            gr.Text(label="Negative prompt"),
            _slider(limits.seed, "Seed"),
            gr.Checkbox(value=True, label="Randomize seed"),
            _slider(limits.width, "Width"),
            _slider(limits.height, "Height"),
            _slider(limits.guidance_scale, "Guidance scale"),
            _slider(limits.num_inference_steps, "Inference steps"),
        ]


def _slider(value_range: Range | None, label: str) -> gr.Slider:
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
    )


def page_options() -> dict[str, Any]:
    """Return the arguments of Gradio's `launch` that style the page."""
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.orange,
        secondary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
    ).set(
        # White text on Gradio's own orange is hard to read.
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_dark="#c2410c",
        button_primary_background_fill_hover_dark="#9a3412",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
    return {"theme": theme, "css": _CSS}
