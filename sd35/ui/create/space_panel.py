"""The panel in which the Space is chosen: the choices, and what each of them can do."""

from collections.abc import Mapping
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
from sd35.core.text import format_estimate
from sd35.jobs.space_connection import SpaceConnector, SpaceFacts
from sd35.ui.create import space_view
from sd35.ui.create.space_access import MEDIUM_SPACE, TURBO_SPACE, SpaceAccess
from sd35.ui.create.token_view import (
    VISITOR_KEPT,
    quota_section,
    token_section,
)
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = ["parse_choice", "read_only_panel", "space_panel", "targets"]


@dataclass(frozen=True, slots=True)
class _Choice:
    """A Space by its target, with its name and one sentence or two of what it can do."""

    target: str
    title: str
    text: str


_AT_HUB: Final = "At Hugging Face, with your GPU quota."
_ON_GPU: Final = "On your GPU: no quota, live previews, a true Stop."

_HUB_CHOICES: Final = (
    _Choice(PUBLIC_SPACE, "Large", f"{_AT_HUB} The full model."),
    _Choice(TURBO_SPACE, "Large Turbo", f"{_AT_HUB} Few steps: takes less of it per image."),
    _Choice(MEDIUM_SPACE, "Medium", f"{_AT_HUB} A smaller model."),
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
    '<dialog id="space-panel" class="panel-dialog" aria-labelledby="space-title">'
    '<h2 id="space-title">Space</h2>'
    '<button type="button" class="close" data-close aria-label="Close">✕</button>{}</dialog>'
)
_ADDRESS_FORM: Final = Markup(
    '<form novalidate data-form="address"><label for="space-address">Another Space</label><div>'
    '<input id="space-address" placeholder="owner/name or https://…" autocomplete="off" '
    'autocapitalize="none" spellcheck="false" aria-describedby="space-error">'
    '<button type="submit" class="secondary-button">Connect</button></div>'
    '<p id="space-error" role="alert"></p>'
    '<p class="hint">Any Gradio app with the public Space&#39;s <code>/infer</code>.</p></form>'
)


def space_panel(
    connector: SpaceConnector,
    access: SpaceAccess,
    unsent_count: int,
    *,
    keeping: str,
    image_seconds: Mapping[str, float],
) -> str:
    """Return the dialog with the choices, for whoever may change the Space.

    Args:
        connector: to the Space that is used now.
        access: of the visitor.
        unsent_count: the number of the visitor's images that aren't sent yet.
        keeping: how long a token is kept.
        image_seconds: how long an image takes, by target, where that was measured.
    """
    connection = connector.connection.value
    is_demo = connection.fallback_reason is not None
    current = DEMO if is_demo else canonical_target(connection.target)
    items = [
        _item(choice, current, connector.facts.get(choice.target), image_seconds)
        for choice in _choices(connector)
    ]
    if not _can_run_models():
        items.append(_INSTALL_HINT)
    return _DIALOG.format(
        concat(
            (
                quota_section(access),
                Markup("<ul>{}</ul>").format(concat(items)),
                _ADDRESS_FORM,
                _choice_note(unsent_count),
                token_section(access, keeping),
            )
        )
    )


def _choice_note(unsent_count: int) -> Markup:
    note = "Images that are being made are finished at their Space. "
    if unsent_count:
        noun = "image that waits is" if unsent_count == 1 else "images that wait are"
        note += f"{unsent_count} {noun} made at the one you choose. "
    return Markup(
        '<p class="hint">{}The choice lasts until the program ends: <code>--space</code> sets the '
        "first one.</p>"
    ).format(note)


def read_only_panel(connector: SpaceConnector, access: SpaceAccess) -> str:
    """Return the dialog for the visitors of a page that others can reach."""
    connection = connector.connection.value
    facts = connector.facts.get(connection.target)
    return _DIALOG.format(
        concat(
            (
                quota_section(access),
                Markup('<p><b>{}</b></p><p class="hint">{}</p><p>{}</p>').format(
                    connection.target,
                    "" if facts is None else _feature_text(facts),
                    "The Space of this page is chosen by who runs it, with --space when it starts.",
                ),
                token_section(access, VISITOR_KEPT),
            )
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


def targets(connector: SpaceConnector) -> list[str]:
    """Return the Spaces that can be chosen."""
    return [choice.target for choice in _choices(connector)]


def _choices(connector: SpaceConnector) -> tuple[_Choice, ...]:
    local_choices = _LOCAL_CHOICES if _can_run_models() else ()
    choices = [*_HUB_CHOICES, *local_choices, _DEMO_CHOICE]
    initial = connector.initial_target
    targets = (initial, canonical_target(connector.connection.value.target), *connector.facts)
    others = []
    for target in dict.fromkeys(targets):
        if all(choice.target != target for choice in choices):
            text = "The Space with which this program was started." if target == initial else ""
            others.append(_other_choice(target, text))
    return (*others, *choices)


def _other_choice(target: str, text: str) -> _Choice:
    if local_model(target) is None:
        return _Choice(target, target, text)
    title = f"{space_view.target_names(target)[-1]}, on this machine"
    return _Choice(target, title, f"{text} {_ON_GPU}".strip())


def _can_run_models() -> bool:
    return all(find_spec(name) is not None for name in _LOCAL_PACKAGES)


def _item(
    choice: _Choice,
    current: str,
    facts: SpaceFacts | None,
    image_seconds: Mapping[str, float],
) -> Markup:
    texts = [choice.text]
    if facts is not None:
        texts.append(f"{_feature_text(facts)}.")
    if choice.target in image_seconds:
        estimate = format_estimate(image_seconds[choice.target])
        texts.append(f"Your last images took {estimate} each.")
    return Markup(
        '<li><button type="button" data-target="{}"{}><b>{}</b><span>{}</span></button></li>'
    ).format(
        choice.target,
        Markup(' aria-current="true"') if choice.target == current else EMPTY_HTML,
        choice.title,
        " ".join(filter(None, texts)),
    )


def _feature_text(facts: SpaceFacts) -> str:
    text = ", ".join(space_view.features(facts))
    return f"{text[:1].upper()}{text[1:]}"
