"""The hidden components and endpoints for programs: `/infer` as the public Space's, and our own."""

from typing import TYPE_CHECKING

import gradio as gr

from sd35.core.limits import PUBLIC_LIMITS
from sd35.jobs.space_connection import ConnectionState
from sd35.server.api import ApiEndpoints
from sd35.ui.create.components import build_slider, set_range

if TYPE_CHECKING:
    from gradio.data_classes import BlocksConfigDict

__all__ = ["ApiForm"]

PUBLIC_ENDPOINTS = {"infer", "generate", "generate_set"}


class ApiForm:
    """The endpoints of the page, described with the connected Space's limits.

    Built inside the Blocks of `demo`.
    """

    def __init__(self, demo: gr.Blocks, title: str, endpoints: ApiEndpoints) -> None:
        self._demo = demo
        self._title = title
        page_ids = set(demo.blocks)
        self._build(endpoints)
        self._ids = set(demo.blocks) - page_ids
        self._full_config = demo.get_config_file
        demo.get_config_file = self._config_without_form

    def _build(self, endpoints: ApiEndpoints) -> None:
        limits = PUBLIC_LIMITS
        # Clients read the parameters' names, order and ranges from these components.
        with gr.Column(visible=False):
            self._sliders = {
                "seed": build_slider(limits.seed, "Seed"),
                "width": build_slider(limits.width, "Width"),
                "height": build_slider(limits.height, "Height"),
                "guidance_scale": build_slider(limits.guidance_scale, "Guidance scale"),
                "num_inference_steps": build_slider(limits.num_inference_steps, "Inference steps"),
            }
            seed, *numbers = self._sliders.values()
            prompts = [gr.Text(label="Prompt"), gr.Text(label="Negative prompt")]
            randomize_seed = gr.Checkbox(value=True, label="Randomize seed")
            gr.Button().click(
                endpoints.infer,
                [*prompts, seed, randomize_seed, *numbers],
                [gr.Image(label="Result"), seed],
                api_name="infer",
                preprocess=False,
                postprocess=False,
                concurrency_limit=None,
            )
        gr.api(endpoints.generate, api_name="generate", concurrency_limit=None)
        gr.api(endpoints.generate_set, api_name="generate_set", concurrency_limit=None)

    def _config_without_form(self) -> "BlocksConfigDict":
        """Return the app's configuration, in which the page has none of these components.

        Programs get all of it. A browser would spend a tenth of its time on them.
        """
        config = self._full_config()
        page = config["page"][""]
        page["components"] = [id_ for id_ in page["components"] if id_ not in self._ids]
        children = page["layout"]["children"]
        page["layout"] = page["layout"] | {
            "children": [child for child in children if child["id"] not in self._ids]
        }
        return config

    def hide_other_endpoints(self) -> None:
        """Hide all other listeners from clients, including those that Gradio adds."""
        for listener in self._demo.fns.values():
            if listener.api_name not in PUBLIC_ENDPOINTS:
                listener.api_visibility = "private"

    def publish(self, connection: ConnectionState) -> None:
        """Describe the endpoints with the limits of the Space that is connected now."""
        is_demo = connection.space is not None and connection.space.contract.is_demo
        # Another studio that uses this page as its Space recognizes a demo by this title.
        demo_suffix = ": demo painter, not Stable Diffusion" if is_demo else ""
        self._demo.title = f"{self._title}{demo_suffix}"
        for name, slider in self._sliders.items():
            value_range = getattr(connection.limits, name)
            if value_range is not None:
                set_range(slider, value_range)
        self._demo.config = self._demo.get_config_file()
        # Gradio caches the description after the first request for it.
        app = getattr(self._demo, "app", None)
        if app is not None and hasattr(app, "api_info"):
            app.api_info = None
            app.page_api_info = {}
