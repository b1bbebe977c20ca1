"""The panel in which the Space is chosen: the choices, and what each of them can do."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from markupsafe import Markup

from sd35.core.space_ref import (
    DEMO,
    PUBLIC_SPACE,
    canonical_target,
    local_model,
    parse_space_ref,
)
from sd35.jobs.space_connection import SpaceConnector
from sd35.ui.create import space_view
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = ["parse_choice", "read_only_panel", "space_panel"]


@dataclass(frozen=True, slots=True)
class _Choice:
    """A Space by its target, with its name and one sentence or two of what it can do."""

    target: str
    title: str
    text: str


_AT_HUB: Final = "With your GPU quota. No live previews, no true Stop."
_ON_GPU: Final = "On your GPU: live previews, a true Stop, no quota."

_HUB_CHOICES: Final = (
    _Choice(
        PUBLIC_SPACE,
        "Large, at Hugging Face",
        _AT_HUB,
    ),
    _Choice(f"{PUBLIC_SPACE}-turbo", "Large Turbo, at Hugging Face", f"{_AT_HUB} 4 steps."),
    _Choice(
        "stabilityai/stable-diffusion-3.5-medium",
        "Medium, at Hugging Face",
        f"{_AT_HUB} Up to 1440 px per side.",
    ),
)
_LOCAL_CHOICES: Final = (
    _Choice(
        "local:large-turbo", "Large Turbo, on this machine", f"{_ON_GPU} Downloads 27.6 GB once."
    ),
    _Choice("local:large", "Large, on this machine", f"{_ON_GPU} Downloads 27.6 GB once."),
    _Choice("local:medium", "Medium, on this machine", f"{_ON_GPU} Downloads 16.3 GB once."),
)
_DEMO_CHOICE: Final = _Choice(
    DEMO, "Demo Space", "Sketches, not Stable Diffusion. Works offline, with live previews."
)
_LOCAL_PACKAGES: Final = ("torch", "diffusers", "transformers", "accelerate")
_INSTALL_HINT: Final = Markup(
    '<li class="hint"><b>On this machine</b><span>To run the model on your own GPU, first '
    "<code>pip install -r requirements-model.txt</code>, then start again.</span></li>"
)

_DIALOG: Final = Markup(
    '<dialog id="space-panel" aria-labelledby="space-title">'
    '<h2 id="space-title">Space</h2>'
    '<button type="button" class="close" data-close aria-label="Close">✕</button>{}</dialog>'
)
_ADDRESS_FORM: Final = Markup(
    '<form novalidate><label for="space-address">Another Space</label><div>'
    '<input id="space-address" placeholder="owner/name or https://…" autocomplete="off" '
    'autocapitalize="none" spellcheck="false" aria-describedby="space-error">'
    '<button type="submit" class="secondary-button">Connect</button></div>'
    '<p id="space-error" role="alert"></p>'
    '<p class="hint">Any Gradio app with the public Space&#39;s <code>/infer</code>.</p></form>'
)


def space_panel(connector: SpaceConnector, unsent_count: int) -> str:
    """Return the dialog with the choices, for whoever may change the Space."""
    connection = connector.connection.value
    is_demo = connection.fallback_reason is not None
    current = DEMO if is_demo else canonical_target(connection.target)
    items = [_item(choice, current) for choice in _choices(connector)]
    if not _can_run_models():
        items.append(_INSTALL_HINT)
    note = "Images that are being made are finished at their Space. "
    if unsent_count:
        noun = "image that waits is" if unsent_count == 1 else "images that wait are"
        note += f"{unsent_count} {noun} made at the one you choose. "
    return _DIALOG.format(
        concat(
            (
                Markup("<ul>{}</ul>").format(concat(items)),
                _ADDRESS_FORM,
                Markup(
                    '<p class="hint">{}The choice lasts until the program ends: '
                    "<code>--space</code> sets the first one.</p>"
                ).format(note),
            )
        )
    )


def read_only_panel(connector: SpaceConnector) -> str:
    """Return the dialog for the visitors of a page that others can reach."""
    return _DIALOG.format(
        Markup("<p><b>{}</b></p><p>{}</p>").format(
            connector.connection.value.target,
            "The Space of this page is chosen by who runs it, with --space when it starts.",
        )
    )


def parse_choice(connector: SpaceConnector, text: object) -> str:
    """Return the target that a choice, or the text of the field, means.

    Raises:
        ValueError: it is no Space; the message says what one looks like.
    """
    text = text.strip() if isinstance(text, str) else ""
    if any(choice.target == text for choice in _choices(connector)):
        return text
    return str(parse_space_ref(text))


def _choices(connector: SpaceConnector) -> tuple[_Choice, ...]:
    local_choices = _LOCAL_CHOICES if _can_run_models() else ()
    choices = (*_HUB_CHOICES, *local_choices, _DEMO_CHOICE)
    target = connector.initial_target
    if any(choice.target == target for choice in choices):
        return choices
    title = target
    text = "The Space with which this program was started."
    if local_model(target) is not None:
        title = f"{space_view.target_names(target)[-1]}, on this machine"
        text = f"{text} {_ON_GPU}"
    return (_Choice(target, title, text), *choices)


def _can_run_models() -> bool:
    return all(find_spec(name) is not None for name in _LOCAL_PACKAGES)


def _item(choice: _Choice, current: str) -> Markup:
    is_current = choice.target == current
    return Markup(
        '<li><button type="button" data-target="{}"{}><b>{}</b><span>{}</span></button></li>'
    ).format(
        choice.target,
        Markup(' aria-current="true"') if is_current else EMPTY_HTML,
        choice.title,
        choice.text,
    )
