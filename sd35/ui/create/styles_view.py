"""Styles as HTML: the button with the chosen ones, negative presets, the panel, and a form."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from markupsafe import Markup

from sd35.prompts.styles import (
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    PLACEHOLDER,
    SHIPPED_STYLES,
    Style,
    load_styles,
)
from sd35.ui.markup import EMPTY_HTML, concat
from sd35.ui.theme import asset_images

__all__ = ["OWN_GROUP", "style_form", "styles_bar", "styles_panel"]

OWN_GROUP: Final = "Your styles"

_CLOSE: Final = Markup(
    '<button type="button" class="close" data-close aria-label="Close">✕</button>'
)

_BAR: Final = Markup(
    '<div id="negative-presets" role="group" aria-label="Words to avoid">{}</div>'
    '<button type="button" id="show-styles" class="secondary-button" aria-haspopup="dialog">Styles'
    '</button><ul id="chosen-styles" aria-label="Chosen styles" hidden></ul>'
)
_PANEL: Final = Markup(
    '<dialog id="styles-panel" aria-labelledby="styles-title"><header><h2 id="styles-title">Styles'
    '</h2><input id="styles-search" type="search" placeholder="Search {count} styles" '
    'aria-label="Search styles" autocomplete="off" spellcheck="false">{new}{close}</header>'
    '<div class="groups">{error}{groups}<p class="no-match" role="status" hidden></p></div>'
    '<footer><p class="chosen" role="status"></p><div class="buttons">'
    '<button type="button" data-clear>Clear</button>'
    '<button type="button" data-try></button>'
    '<button type="button" class="main" data-close>Done</button></div>'
    '<p class="hint">Thumbnails are drawings; results depend on the model.</p></footer></dialog>'
)
_NEW_BUTTON: Final = Markup(
    '<button type="button" class="secondary-button" data-new '
    'title="Save the words of your prompt as a style">New style…</button>'
)
_OWN_BUTTONS: Final = Markup(
    '<span class="own"><button type="button" data-edit aria-label="Edit {name}" title="Edit">✎'
    '</button><button type="button" data-delete aria-label="Delete {name}" title="Delete">✕'
    "</button></span>"
)

_FORM: Final = Markup(
    '<dialog id="style-form" aria-labelledby="style-form-title" data-former="{former}" '
    'data-picture="{picture}"><h2 id="style-form-title">{title}</h2>{close}<form novalidate>'
    '<div class="head">{thumbnail}<div><label for="style-name">Name</label>'
    '<input id="style-name" name="name" value="{name}" maxlength="{max_name}" autocomplete="off" '
    'aria-describedby="style-error"></div></div>'
    '<label for="style-words">Words for the prompt</label>'
    '<textarea id="style-words" name="prompt" rows="4" maxlength="{max_text}" '
    'aria-describedby="style-words-hint style-error">{prompt}</textarea>'
    '<p class="hint" id="style-words-hint"><code>{placeholder}</code> stands for the prompt. '
    "Without it, the words come after the prompt.</p>"
    '<label for="style-negative">Words for the negative prompt</label>'
    '<textarea id="style-negative" name="negative_prompt" rows="2" maxlength="{max_text}" '
    'aria-describedby="style-error">{negative}</textarea>'
    '<p id="style-error" class="error" role="alert"></p><div class="buttons">'
    '<button type="button" data-close>Cancel</button>'
    '<button type="submit" class="main">Save</button></div></form></dialog>'
)


def styles_bar() -> str:
    """Return the presets of the negative prompt, and the button that opens the panel.

    assets/styles.js puts the chosen styles beside it.
    """
    presets = concat(
        Markup(
            '<button type="button" aria-pressed="false" data-words="{0}" title="{0}">{1}</button>'
        ).format(preset.negative_prompt, preset.name)
        for preset in load_styles(SHIPPED_STYLES).negative_presets
    )
    return _BAR.format(presets)


def styles_panel(
    shipped_styles: Sequence[Style],
    own_styles: Sequence[Style],
    *,
    can_save: bool,
    error: str = "",
) -> str:
    """Return the dialog with all styles in their groups; `error` is why own ones are missing."""
    own_keys = {style.name.casefold() for style in own_styles}
    others = [style for style in shipped_styles if style.name.casefold() not in own_keys]
    groups = [_group(OWN_GROUP, own_styles, is_own=True)] if own_styles else []
    groups += [_group(name, list(styles)) for name, styles in groupby(others, lambda s: s.group)]
    return _PANEL.format(
        count=len(own_styles) + len(others),
        new=_NEW_BUTTON if can_save else EMPTY_HTML,
        close=_CLOSE,
        error=Markup('<p class="error" role="alert">{}</p>').format(error) if error else EMPTY_HTML,
        groups=concat(groups),
    )


def style_form(style: Style, *, former_name: str = "", picture_id: str = "") -> str:
    """Return the dialog with a style's name and words: an own one's, or those of a new one."""
    thumbnail = _thumbnail(style) if former_name else EMPTY_HTML
    if picture_id:
        thumbnail = Markup('<img src="studio/thumbnail/{}" alt="">').format(picture_id)
    return _FORM.format(
        title="Edit style" if former_name else "Save as style",
        former=former_name,
        picture=picture_id,
        close=_CLOSE,
        thumbnail=thumbnail,
        name=style.name,
        prompt=style.prompt,
        negative=style.negative_prompt,
        placeholder=PLACEHOLDER,
        max_name=MAX_NAME_LENGTH,
        max_text=MAX_TEXT_LENGTH,
    )


def _group(name: str, styles: Sequence[Style], *, is_own: bool = False) -> Markup:
    return Markup("<section><h3>{}</h3><ul>{}</ul></section>").format(
        name, concat(_item(style, is_own=is_own) for style in styles)
    )


def _item(style: Style, *, is_own: bool) -> Markup:
    return Markup(
        '<li data-name="{name}"><button type="button" class="tile" aria-pressed="false" '
        'title="{words}">{thumbnail}<span>{name}</span></button>{own}</li>'
    ).format(
        name=style.name,
        words=style.prompt or f"without {style.negative_prompt}",
        thumbnail=_thumbnail(style),
        own=_OWN_BUTTONS.format(name=style.name) if is_own else EMPTY_HTML,
    )


def _thumbnail(style: Style) -> Markup:
    url = _thumbnail_url(style.thumbnail)
    if not url:
        return Markup('<i aria-hidden="true">{}</i>').format(style.name[:2])
    # Lazy: the panel has dozens, of which a few are in sight.
    return Markup('<img src="{}" alt="" width="160" height="160" loading="lazy">').format(url)


def _thumbnail_url(key: str) -> str:
    if key.startswith("own-"):
        return f"studio/style/{key}"
    try:
        return asset_images().url(f"styles/{key}")
    except KeyError:
        return ""
