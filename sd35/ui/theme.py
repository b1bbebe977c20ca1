"""The look of the page: Gradio's theme, and the files in `assets/`."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import gradio as gr

from sd35.server.asset_images import AssetImages

__all__ = ["ASSETS", "asset_images", "launch_options"]

# Beside the package, because a Space on Hugging Face runs from a checkout and installs nothing.
ASSETS = Path(__file__).parent.parent.parent / "assets"

# Before anything is painted, and so not in a file: assets/header.js is loaded later.
THEME_SCRIPT: Final = """<script data-early>try {
const parameter = new URLSearchParams(location.search).get("__theme");
const theme = parameter ?? localStorage.getItem("sd35-theme") ?? "system";
if (window.gradio_config) document.documentElement.dataset.theme = theme;
} catch {}</script>"""  # storage may be blocked

SCRIPT_NAMES: Final = (
    "elements.js",
    "page.js",
    "header.js",
    "connection.js",
    "buttons.js",
    "outbox.js",
    "form.js",
    "composer.js",
    "styles.js",
    "grid.js",
    "space.js",
    "stage.js",
    "import.js",
    "zoom.js",
    "compare.js",
    "tournament.js",
    "memory.js",
    "completion.js",
    "presets.js",
    "library.js",
    "welcome.js",
)

# The library's rules begin with <html>, which has the current tab as an attribute. In `css` Gradio
# would put its own class before them.
STYLE_NAMES: Final = (
    "stage.css",
    "library.css",
    "compare.css",
    "sets.css",
    "grid.css",
    "header.css",
    "space.css",
    "welcome.css",
    "styles.css",
    "memory.css",
    "composer.css",
)
# The lightest that can be read on all of the page's backgrounds: 4.5 to 1 and more.
SUBDUED_COLOR: Final = "#67605a"

# No web fonts: Gradio's own come from Google, which an offline page would wait for.
_SANS_FONTS = [
    "Inter",
    "ui-sans-serif",
    "system-ui",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "sans-serif",
]
_MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


@cache
def asset_images() -> AssetImages:
    """Return the images of the page itself."""
    return AssetImages(ASSETS)


def launch_options() -> dict[str, Any]:
    """Return the options of `serve` that style the page, most of them Gradio's."""
    scripts = "".join(f"<script>{_read_asset(name)}</script>" for name in SCRIPT_NAMES)
    styles = "".join(f"<style>{_read_asset(name)}</style>" for name in STYLE_NAMES)
    return {
        "theme": _theme(),
        "css": _read_asset("style.css"),
        "head": f'<meta name="theme-color" content="#c2410c">{THEME_SCRIPT}{styles}{scripts}',
        "favicon_path": ASSETS / "icon.svg",
        "images": asset_images(),
    }


def _read_asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        secondary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=_SANS_FONTS,
        font_mono=_MONO_FONTS,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#171412",
        block_background_fill="white",
        block_background_fill_dark="#211d1a",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="#38322d",
        input_background_fill="white",
        input_background_fill_dark="#171412",
        body_text_color_subdued=SUBDUED_COLOR,
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color=SUBDUED_COLOR,
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color=SUBDUED_COLOR,
        input_placeholder_color_dark="*neutral_500",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="#463f39",
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_dark="#c2410c",
        button_primary_background_fill_hover_dark="#9a3412",
        button_primary_text_color="white",
        slider_color="#c2410c",
        slider_color_dark="#f97316",
    )
