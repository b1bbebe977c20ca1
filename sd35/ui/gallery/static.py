"""What stands in the library's room whatever is in it, or where nothing is, as HTML. Pure."""

from typing import Final

from markupsafe import Markup

from sd35.library.query import Query

__all__ = [
    "RETRY_BUTTON",
    "empty_state",
    "loading_grid",
    "no_results",
    "search_help",
    "selection_bar",
]

RETRY_BUTTON: Final = Markup('<button type="button" data-do="page" data-to="">Try again</button>')

_SEARCH_EXAMPLES: Final = (
    ("lighthouse dusk", "both words, anywhere in the prompt or the tags"),
    ("“at dusk”", "these words in a row: in quotes"),
    ("-people", "not this word"),
    ("seed:7  steps:40", "made with just these"),
    ("size:1024x576  ratio:16:9", "by size in pixels, or by shape"),
    ("tag:sea  model:large  space:turbo  tool:comfyui", "by tag, or by a part of the name"),
    ("on:2026-11-24  after:2026-10  before:2026", "by day, month or year"),
    ("is:starred  is:demo", "only those; is:missing: whose file is gone"),
)

_SELECTION_BAR: Final = """<p class="voice" role="status"></p>
<div class="selection" role="toolbar" aria-label="Selected pictures" hidden><p><b class="number">0</b> selected</p>
<button type="button" data-do="zip">Download ZIP</button>
<button type="button" data-do="star" data-in="shown">Star</button>
<button type="button" data-do="ask-tag" data-in="shown" aria-expanded="false">Tag…</button>
<button type="button" data-do="compare">Compare</button>
<button type="button" data-do="trash" data-in="shown">Delete</button>
<button type="button" data-do="restore" data-in="trash">Restore</button>
<button type="button" data-do="clear">Clear</button>
<form class="tagging" hidden><input name="words" maxlength="2000" autocomplete="off" aria-label="Tags to add; with
a minus before it, to take away" placeholder="sea, dusk, -draft"><button>Tag</button></form></div>
<div class="choosing" hidden><p>Now open the picture to compare it with.</p>
<button type="button" data-do="choose-none">Cancel</button></div>
<dialog class="sure" aria-labelledby="sure-title"><h2 id="sure-title">Delete everything in the trash for ever?</h2>
<p>The files are removed from the disk. There is no way back.</p><div><button type="button" data-do="keep">Keep
them</button><button type="button" data-do="erase" class="danger">Delete for ever</button></div></dialog>"""


_NUMBER_HINT: Final = "A seed is found as seed:7, a day as on:2026-11-24."


def search_help() -> str:
    """The whole search language, on demand."""
    rows = Markup("").join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(*row) for row in _SEARCH_EXAMPLES
    )
    return Markup(
        '<details class="search-help"><summary>How to search</summary><dl>{}</dl><p>A field with a minus before it '
        "leaves those out: <code>-is:demo</code>. Keys: <kbd>/</kbd> search, <kbd>←</kbd> <kbd>→</kbd> from picture to "
        "picture, <kbd>S</kbd> star, <kbd>Del</kbd> to the trash, <kbd>Shift</kbd> click selects a range.</p></details>"
    ).format(rows)


def selection_bar() -> str:
    """What is done to the pictures that are selected; assets/library.js fills it in."""
    return _SELECTION_BAR


def loading_grid() -> str:
    """The shelf before anything is known of it."""
    placeholders = "".join(
        f'<li class="item ghost" style="--ratio:{ratio}"></li>'
        for ratio in (1, 1.5, 0.75, 1.78, 1, 1.33)
    )
    return f'<div class="shelf" data-place="loading"><ul class="grid" aria-hidden="true">{placeholders}</ul></div>'


def no_results(query: Query) -> Markup:
    """What is shown where a search finds nothing, or there is nothing yet: and what to do then."""
    show_all_button = Markup('<button type="button" data-do="reset">Show everything</button>')
    if (
        query.has_criteria
        and [search_filter.name for search_filter in query.filters] == ["starred"]
        and not (query.terms or query.prefix)
    ):
        return empty_state(
            "No starred pictures",
            "Press ☆ on a picture that you like, and it is here.",
            show_all_button,
        )
    if query.has_criteria:
        terms = [*query.terms, *filter(None, [query.prefix])]
        hint = (
            _NUMBER_HINT
            if any(term[:1].isdigit() for term in terms)
            else "Take a word away, or look at everything."
        )
        return empty_state("Nothing found", f"No picture has all of that. {hint}", show_all_button)
    match query.scope:
        case "trash":
            return empty_state(
                "The trash is empty", "What you delete is kept here until you delete it for ever."
            )
        case "failed":
            return empty_state(
                "Nothing failed",
                "What fails, is stopped or breaks off is kept here, to run it again.",
            )
        case "missing":
            return empty_state(
                "Every file is there",
                "No picture’s file has been moved out of the library.",
                show_all_button,
            )
        case _:
            return empty_state(
                "Your pictures will be here",
                "Each picture you make is kept, with all that it was made with.",
                Markup('<a class="go" href="#create">Make the first one</a>'),
            )


def empty_state(title: str, hint: str, action_html: str = "") -> Markup:
    """An empty room: why it is, and a way out, which is HTML."""
    return Markup(
        '<div class="empty-room"><i aria-hidden="true"></i><h2>{}</h2><p>{}</p>{}</div>'
    ).format(title, hint, action_html)
