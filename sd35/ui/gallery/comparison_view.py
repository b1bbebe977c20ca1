"""Images side by side, and what differs in their settings, as HTML. Pure; all data is escaped.

The HTML is data for assets/compare.js, which shows it in a dialog of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from sd35.core.text import format_elapsed, pluralize
from sd35.library.repository import Entry
from sd35.metadata.model import THIS_TOOL
from sd35.ui.gallery.picture_view import generation_settings
from sd35.ui.gallery.view import alt_text
from sd35.ui.gallery.word_diff import Segment, diff_words
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = ["MAX_DIFF_ENTRIES", "answer", "comparison"]

MAX_DIFF_ENTRIES: Final = 4  # more images are compared in pairs, by eye
MAX_VALUE_LENGTH: Final = 400  # of a setting; other programs' may be as long as a book

MAX_COMMON_LENGTH: Final = 240  # between two differences, or before or after one

_PROMPT: Final = "Prompt"
_PROMPTS: Final = (_PROMPT, "Negative prompt")
_NONE: Final = Markup("<i>none</i>")
_IN_CAPTION: Final = ("Styles", "Seed", "Size", "Steps", "Guidance scale", "Model", "Space")


def answer(request_id: int, content: Markup, message: Markup = EMPTY_HTML) -> Markup:
    """Return the answer to a request of assets/compare.js, with a message about an action."""
    return Markup(
        '<div class="comparison" data-request-id="{}">{}<div class="message">{}</div></div>'
    ).format(request_id, content, message)


def comparison(entries: Sequence[Entry], missing_count: int) -> Markup:
    """Return images with what tells them apart, and the differences if they are few.

    Args:
        entries: the images.
        missing_count: of images that the visitor doesn't have (any more).
    """
    settings = _settings_by_name(entries)
    differences = EMPTY_HTML
    if 2 <= len(entries) <= MAX_DIFF_ENTRIES:
        differences = _differences(settings)
    missing = f"{pluralize(missing_count, 'image')} no longer in your library"
    return Markup(
        '<ol class="pictures" data-missing="{}">{}</ol><div class="differences">{}</div>'
    ).format(
        missing if missing_count else "",
        concat(map(_picture, entries, _captions(settings))),
        differences,
    )


def _picture(entry: Entry, caption: str) -> Markup:
    return Markup(
        '<li data-id="{}" data-width="{}" data-height="{}" data-version="{}" data-alt="{}" '
        'data-caption="{}" data-starred="{}" data-trashed="{}" data-missing="{}"></li>'
    ).format(
        entry.id,
        entry.width,
        entry.height,
        entry.size_bytes,
        alt_text(entry),
        caption,
        int(entry.metadata.is_starred),
        int(entry.is_trashed),
        int(entry.is_missing),
    )


def _settings_by_name(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Return each setting's values in the images' order; an unknown one is empty."""
    settings = [dict(_settings(entry)) for entry in entries]
    names = dict.fromkeys(name for values in settings for name in values)
    return {name: [values.get(name, "") for values in settings] for name in names}


def _settings(entry: Entry) -> Iterator[tuple[str, str]]:
    metadata = entry.metadata
    for name, value in generation_settings(entry):
        yield name, value if name in _PROMPTS else value[:MAX_VALUE_LENGTH]
    seconds = metadata.took_seconds
    yield "Time", "" if seconds is None else format_elapsed(seconds)
    yield "Tool", "" if metadata.tool == THIS_TOOL else metadata.tool[:MAX_VALUE_LENGTH]
    for name, value in metadata.extra:
        yield name[:MAX_VALUE_LENGTH], value[:MAX_VALUE_LENGTH]


def _captions(settings: dict[str, list[str]]) -> Iterator[str]:
    """Yield for each image what tells it apart, in a few words."""
    different = {name: values for name, values in settings.items() if len(set(values)) > 1}
    names = [name for name in _IN_CAPTION if name in different]
    for index, prompt in enumerate(settings.get(_PROMPT, ())):
        facts = [f"{name} {different[name][index]}" for name in names if different[name][index]]
        if _PROMPT in different:
            facts.append(prompt)
        yield " · ".join(facts)[:MAX_VALUE_LENGTH]


def _differences(settings: dict[str, list[str]]) -> Markup:
    different = {name: values for name, values in settings.items() if len(set(values)) > 1}
    same = {name: values[0] for name, values in settings.items() if name not in different}
    body = Markup("<dl>{}</dl>").format(
        concat(_different_setting(name, values) for name, values in different.items())
    )
    if not different:
        body = Markup('<p class="hint">These images have the same settings.</p>')
    return body + _same_settings({name: value for name, value in same.items() if value})


def _different_setting(name: str, values: Sequence[str]) -> Markup:
    """Return a setting's values, each once, with the numbers of the images that have it."""
    distinct = list(dict.fromkeys(values))
    if name in _PROMPTS:
        texts = [_marked(segments) for segments in diff_words(distinct)]
    else:
        texts = [Markup.escape(value) for value in distinct]
    return Markup("<dt>{}</dt>{}").format(
        name,
        concat(
            Markup("<dd>{}<span>{}</span></dd>").format(
                _numbers([index for index, value in enumerate(values) if value == own]),
                text if own else _NONE,
            )
            for own, text in zip(distinct, texts, strict=True)
        ),
    )


def _numbers(indices: Sequence[int]) -> Markup:
    label = "Image" if len(indices) == 1 else "Images"
    numbers = concat(Markup("<b>{}</b> ").format(index + 1) for index in indices)
    return Markup('<span class="numbers"><span class="visually-hidden">{} </span>{}</span>').format(
        label, numbers
    )


def _marked(segments: Sequence[Segment]) -> Markup:
    return concat(map(_segment, segments))


def _segment(segment: Segment) -> Markup:
    if segment.is_common:
        return _elided(segment.text)
    text = segment.text.rstrip()
    return Markup("<mark>{}</mark>{}").format(text, segment.text[len(text) :])


def _elided(text: str) -> Markup:
    """Return a text that all images have; of a long one, its beginning and its end."""
    if len(text) <= MAX_COMMON_LENGTH:
        return Markup.escape(text)
    beginning = text[: MAX_COMMON_LENGTH // 2].rpartition(" ")[0]
    end = text[-MAX_COMMON_LENGTH // 2 :].partition(" ")[2]
    return Markup("{} <i>…</i> {}").format(beginning, end)


def _same_settings(settings: dict[str, str]) -> Markup:
    if not settings:
        return EMPTY_HTML
    rows = concat(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, _shortened(value))
        for name, value in settings.items()
    )
    return Markup("<details><summary>The same: {}</summary><dl>{}</dl></details>").format(
        pluralize(len(settings), "setting"), rows
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
