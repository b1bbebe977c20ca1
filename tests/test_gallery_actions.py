"""Events, actions and messages of the library tab, without a browser."""

from pathlib import Path

import pytest
from markupsafe import escape

from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.library.scanner import ScanResult
from sd35.library.search import PicturePage
from sd35.library.skipped_files import SkippedFiles, SkipReason
from sd35.ui.gallery import messages, view
from sd35.ui.gallery.actions import ACTIONS, run_action
from sd35.ui.gallery.comparison import answer_event
from sd35.ui.gallery.events import FIRST_PAGE, GalleryEvent, PagePosition
from sd35.ui.gallery.word_diff import MAX_WORDS, diff_words
from sd35.ui.markup import EMPTY_HTML
from tests.library_fixtures import ANN, BOB, NOON, add_picture, folder, library

__all__ = ["folder", "library"]

EMPTY_PAGE = PicturePage((), None, None, 0, is_count_exact=True)


@pytest.mark.parametrize(
    "payload",
    [
        *(None, "page", []),
        {"action": 7, "ids": "a", "position": {}, "text": None, "is_viewer_open": 1},
        {"ids": [None, {}, "../x", "a" * 65, "a\n", "ſ"], "position": "elsewhere:x"},
        *({"request_id": value} for value in (True, -1, 2**53, 1.0, "1")),
    ],
)
def test_invalid_payload_is_ignored(payload: object) -> None:
    """Whatever a browser sends that isn't valid gets its default value."""
    assert GalleryEvent.from_payload(payload) == GalleryEvent()


def test_valid_payload_is_read() -> None:
    """Each field of an event is read, and a page's position survives its text form."""
    payload = {
        "action": "tag",
        "ids": ["a-1", "b_2"],
        "position": str(PagePosition(older="cursor")),
        "text": " sea,,  night   sky ",
        "filter": "Trash",
        "is_viewer_open": True,
        "request_id": 5,
    }
    event = GalleryEvent.from_payload(payload)
    assert event.ids == ("a-1", "b_2")
    assert event.position == PagePosition(older="cursor")
    assert event.tags == ["sea", "night sky"]
    assert (event.filter_name, event.is_viewer_open, event.request_id) == ("Trash", True, 5)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_action_never_touches_images_of_others(library: Library, action: str) -> None:
    """No action of a visitor changes another visitor's image, in the library or in the trash."""
    visible = add_picture(library, 1, ANN)
    trashed = add_picture(library, 2, ANN)
    library.trash([trashed.id], ANN)
    ids = visible.id, trashed.id
    entries = [library.get(id_) for id_ in ids]
    run_action(library, BOB, GalleryEvent(action, ids, text="sea"))
    assert [library.get(id_) for id_ in ids] == entries
    assert all(library.read_bytes(id_) for id_ in ids)


def test_images_of_others_are_not_compared(library: Library) -> None:
    """Another visitor's image is missing in a comparison, as is one that doesn't exist."""
    own, other = (add_picture(library, index, owner) for index, owner in ((1, BOB), (2, ANN)))
    html = answer_event(library, BOB, GalleryEvent("compare", (own.id, other.id, "nothing")))
    assert own.id in html
    assert other.id not in html
    assert "2 images no longer in your library" in html


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (("a red fox, blue sky", "a red owl, blue sea"), ("fox|sky", "owl|sea")),
        (("(fox:1.3) at dawn", "(fox:1.2) at dusk"), ("1.3|dawn", "1.2|dusk")),
        (("a fox", "a red fox", "a fox, red"), ("", "red", ", red")),
        (("一只红狐", "一只蓝狐"), ("红", "蓝")),
        (("a fox", "a  fox"), ("", "")),
        (("", "a fox"), ("", "a fox")),
    ],
)
def test_words_that_are_not_in_all_texts_differ(
    texts: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    """Words differ that another text lacks, at their place; together the segments are the text."""
    diffs = diff_words(texts)
    assert tuple("".join(segment.text for segment in diff) for diff in diffs) == texts
    differences = (
        "|".join(segment.text.strip() for segment in diff if not segment.is_common)
        for diff in diffs
    )
    assert tuple(differences) == parts


def test_endless_prompt_is_compared_in_part() -> None:
    """A prompt of more words than can be compared ends with an ellipsis."""
    (segments, _) = diff_words(["word " * 50_000, "word"])
    text = "".join(segment.text for segment in segments)
    assert text == "word " * MAX_WORDS + "…"


def test_what_long_prompts_have_in_common_is_elided(library: Library) -> None:
    """Of many words that are the same, those near a difference stand there."""
    rest = " ".join(f"word{index}" for index in range(200))
    ids = tuple(
        add_picture(library, index, prompt=f"a {animal} {rest}").id
        for index, animal in enumerate(("fox", "owl"))
    )
    html = answer_event(library, "", GalleryEvent("compare", ids)).partition("<details>")[0]
    for part in ("<mark>fox</mark> word0 word1 ", " <i>…</i> ", " word198 word199</span>"):
        assert part in html
    assert "word100" not in html.partition('<div class="differences">')[2]


def test_comparison_shows_each_value_once_and_escapes_it(library: Library) -> None:
    """A setting that differs has the numbers of its images; the same ones stand apart."""
    prompts = ("a <b>fox</b>", "a <i>fox</i>", "a <b>fox</b>")
    ids = tuple(add_picture(library, index, prompt=text).id for index, text in enumerate(prompts))
    html = answer_event(library, "", GalleryEvent("compare", ids))
    assert "<b>fox" not in html
    assert html.count("&lt;<mark>b</mark>&gt;fox") == 1
    assert "<b>1</b> <b>3</b> " in html
    assert "The same:" in html


def test_only_the_local_user_rescans(library: Library, folder: Path) -> None:
    """A visitor's rescan doesn't read the folder."""
    file = folder / "new.png"
    file.write_bytes(library.read_bytes(add_picture(library, 1).id)[:-12])
    assert not run_action(library, ANN, GalleryEvent("rescan"))
    assert "new.png" in run_action(library, "", GalleryEvent("rescan"))


def test_trashing_twice_is_no_error(library: Library) -> None:
    """The second click of a double click reports the image as moved to trash, not as missing."""
    event = GalleryEvent("trash", (add_picture(library, 1).id,))
    run_action(library, "", event)
    message = run_action(library, "", event)
    assert "1 image moved to trash" in message
    assert "Couldn" not in message


def test_scan_summary_tells_changes_and_unreadable_files() -> None:
    """A rescan's message counts its changes and what it passed over, with at most three names."""
    paths = ("a.png", "<b>.png", "c\x1b\u202e.png", "d.png")
    skipped_files = (
        SkippedFiles(SkipReason.EMPTY, 1200, paths),
        SkippedFiles(SkipReason.LINK, 1, ("e",)),
    )
    message = messages.scan_summary(ScanResult(added=1200, back=2, skipped_files=skipped_files))
    assert "1,200 added, 2 restored" in message
    assert "Skipped 1,200 files: empty (a.png, &lt;b&gt;.png, c .png, …)." in message
    assert "Skipped 1 link: links aren&#39;t followed (e)." in message
    assert "No changes" in messages.scan_summary(ScanResult())


def test_misunderstood_part_of_a_query_is_reported() -> None:
    """Above the results stands which part of the query doesn't count."""
    query = parse_query("seed:abc lighthouse")
    assert query.problems
    html = view.picture_page(EMPTY_PAGE, query, FIRST_PAGE, NOON.date())
    assert all(escape(problem) in html for problem in query.problems)


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("", "No images yet"),
        ("fox", "No results"),
        ("is:starred", "No starred images"),
        ("is:trash", "The trash is empty"),
        ("is:missing", "No missing files"),
    ],
)
def test_empty_page_tells_why(query: str, title: str) -> None:
    """Each kind of empty page says why nothing is there."""
    html = view.picture_page(EMPTY_PAGE, parse_query(query), FIRST_PAGE, NOON.date())
    assert f"<h2>{title}</h2>" in html


def test_query_key_is_escaped() -> None:
    """A search text can't leave the attribute in which it comes back."""
    assert "<b>" not in view.with_query_key(EMPTY_HTML, '"><b>', '"><b>')
