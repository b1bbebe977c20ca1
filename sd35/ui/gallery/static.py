"""Parts of the library tab without images, as HTML: navigation, toolbar, empty states. Pure."""

from typing import Final

from markupsafe import Markup

from sd35.library.query import Query
from sd35.ui.markup import concat

__all__ = [
    "RETRY_BUTTON",
    "SELECTION_BAR",
    "TAB_BAR",
    "empty_state",
    "loading_grid",
    "no_results",
    "search_help",
]

RETRY_BUTTON: Final = Markup(
    '<button type="button" data-action="page" data-to="">Try again</button>'
)
_CLEAR_SEARCH_BUTTON: Final = Markup(
    '<button type="button" data-action="clear-search">Clear search</button>'
)

_SEARCH_EXAMPLES: Final = (
    ("lighthouse dusk", "prompt or tags contain both words"),
    ("“at dusk”", "exact phrase"),
    ("-people", "exclude a word"),
    ("seed:7  steps:40", "exact values"),
    ("size:1024x576  ratio:16:9", "size or aspect ratio"),
    ("tag:sea  model:large  space:turbo  tool:comfyui", "tag, or part of a name"),
    ("on:2026-11-24  after:2026-10  before:2026", "date"),
    ("is:starred  is:demo", "only starred or demo images; is:missing for missing files"),
)

# The links to the two tabs; assets/library.js marks the current one.
TAB_BAR: Final = Markup(
    '<nav class="tab-bar" aria-label="Main"><a href="#create" aria-current="page">Create</a>'
    '<a href="#library">Library</a></nav>'
)

# The toolbar and dialogs for selected images; assets/library.js shows them.
SELECTION_BAR: Final = """\
<p class="visually-hidden" role="status"></p>
<div class="selection" role="toolbar" aria-label="Selected images" hidden><p class="number"></p>
<button type="button" data-action="zip">Download ZIP</button>
<button type="button" data-action="star" data-in="shown">Star</button>
<button type="button" data-action="toggle-tag-form" data-in="shown"
aria-expanded="false">Tag…</button>
<button type="button" data-action="compare" title="2 to 4 images">Compare</button>
<button type="button" data-action="find-best" data-in="shown"
title="3 to 64 images">Find the best</button>
<button type="button" data-action="trash" data-in="shown">Delete</button>
<button type="button" data-action="restore" data-in="trash">Restore</button>
<button type="button" data-action="clear-selection">Clear</button>
<form class="tag-form" hidden><input name="tags" maxlength="2000" autocomplete="off"
aria-label="Tags to add; put - in front to remove" placeholder="sea, dusk, -draft">
<button>Tag</button></form></div>
<div class="compare-hint" hidden><p>Select an image to compare.</p>
<button type="button" data-action="cancel-compare">Cancel</button></div>
<dialog class="confirm" aria-labelledby="confirm-title"><h2 id="confirm-title"></h2>
<p>You can't undo this.</p><div>
<button type="button" data-action="cancel-empty-trash">Cancel</button>
<button type="button" data-action="empty-trash" class="danger">Delete permanently</button>
</div></dialog>"""


def search_help() -> str:
    """Return the search syntax, collapsed."""
    rows = concat(Markup("<dt>{}</dt><dd>{}</dd>").format(*example) for example in _SEARCH_EXAMPLES)
    return Markup(
        '<details class="search-help"><summary>Search tips</summary><dl>{}</dl>'
        "<p>Put - in front to exclude: <code>-is:demo</code>.</p>"
        '<p class="keys">Press <kbd>?</kbd> for all keys.</p></details>'
    ).format(rows)


def loading_grid() -> str:
    """Return the grid before the library has answered."""
    placeholders = "".join(
        f'<li class="item placeholder" style="--ratio:{ratio}"></li>'
        for ratio in (1, 1.5, 0.75, 1.78, 1, 1.33)
    )
    return (
        '<div class="grid" data-scope="loading">'
        f'<ul class="items" aria-hidden="true">{placeholders}</ul></div>'
    )


def no_results(query: Query) -> Markup:
    """Return the reason why a query shows nothing, and what to do about it."""
    if query.has_criteria:
        return _no_matches(query)
    match query.scope:
        case "trash":
            hint = "Deleted images stay here until you empty the trash."
            return empty_state("The trash is empty", hint)
        case "failed":
            hint = "Failed and stopped jobs appear here, so you can retry them."
            return empty_state("No unfinished jobs", hint)
        case "missing":
            hint = "Every image's file is in the library folder."
            return empty_state("No missing files", hint, _CLEAR_SEARCH_BUTTON)
        case _:
            return empty_state(
                "No images yet",
                "Everything you generate is saved here with its settings.",
                Markup('<a class="link-button" href="#create">Create an image</a>'),
            )


def _no_matches(query: Query) -> Markup:
    terms = [*query.terms, *filter(None, [query.prefix])]
    if not terms and [search_filter.name for search_filter in query.filters] == ["starred"]:
        hint = "Click ☆ on an image to find it here."
        return empty_state("No starred images", hint, _CLEAR_SEARCH_BUTTON)
    hint = "Try fewer words."
    if any(term[:1].isdigit() for term in terms):
        hint = "Looking for a seed or a date? Try seed:7 or on:2026-11-24."
    return empty_state("No results", hint, _CLEAR_SEARCH_BUTTON)


def empty_state(title: str, hint: str, action_html: str = "") -> Markup:
    """Return a title and a hint in place of images; `action_html` isn't escaped."""
    return Markup(
        '<div class="empty-state"><i aria-hidden="true"></i><h2>{}</h2><p>{}</p>{}</div>'
    ).format(title, hint, action_html)
