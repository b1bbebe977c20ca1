"""The first minute: cards with examples on the empty stage, and the button Surprise me."""

from typing import Final

from markupsafe import Markup

from sd35.prompts.ideas import shipped_ideas
from sd35.ui.markup import concat
from sd35.ui.theme import asset_images

__all__ = ["IDEA_BUTTONS", "welcome_cards"]

# assets/welcome.js gives them their behavior. Undo and Redo appear when there is something to undo.
IDEA_BUTTONS: Final = """<div class="ideas">
<button type="button" data-idea="undo" title="Back to the prompt before" hidden>Undo</button>
<button type="button" data-idea="redo" title="Forward to the prompt after" hidden>Redo</button>
<button type="button" data-idea="surprise" title="Write a random prompt">Surprise me</button>
<button type="button" id="show-prompts" aria-haspopup="dialog"
title="Search the prompts that you have used (Ctrl+K)">Prompts</button></div>"""

_CARD: Final = Markup(
    '<li><button type="button" data-prompt="{}"><img src="{}" alt="" loading="lazy" '
    'width="400" height="300"><b>{}</b><span>{}</span></button></li>'
)


def welcome_cards() -> Markup:
    """Return the cards with examples, each with its prompt."""
    cards = concat(
        _CARD.format(
            example.prompt,
            asset_images().url(example.thumbnail),
            example.name,
            example.prompt,
        )
        for example in shipped_ideas().examples
    )
    return Markup(
        '<section class="welcome" aria-labelledby="welcome-title"><h2 id="welcome-title">'
        "Start with an example</h2><p>A card fills in its prompt. Change it as you like, then press"
        " Generate.</p><ul>{}</ul>"
        '<p class="credit">Sketches by the demo painter</p></section>'
    ).format(cards)
