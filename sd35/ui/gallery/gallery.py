"""The library's room: its components, and what is done with the pictures there.

Nothing is kept of a page between its requests: each says what was searched for, and where in the
    list it is.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, Protocol

import anyio.to_thread
import gradio as gr
from markupsafe import Markup

from sd35.core.errors import LibraryError, SD35Error
from sd35.library.layout import HERE, owner_key
from sd35.library.library import Library
from sd35.library.query import EVERYTHING, Query, parse_query
from sd35.server.api import visitor_of
from sd35.ui.gallery import picture_view
from sd35.ui.gallery import static as fixed
from sd35.ui.gallery import view as view  # noqa: PLC0414
from sd35.ui.gallery.actions import do
from sd35.ui.gallery.events import BEGINNING, Asked, Place

__all__ = ["Gallery"]

PAGE: Final = 48

SHOW: Final = {"All": "", "Starred": "is:starred ", "Failed": "is:failed ", "Trash": "is:trash "}
"""What the choices beside the search line add to it; before it, for its last word may be unfinished."""

HINT: Final = 'lighthouse, "at dusk", seed:7, size:1024x576, is:starred, after:2026-10'


class HasLibrary(Protocol):
    """What the gallery asks of a studio."""

    @property
    def library(self) -> Library:
        """Where its pictures and jobs are kept."""


class Gallery:
    """The library's room.

    It only tells of two things that others do:

    `to_form` has the event `submit`, with `id`, `what` (`all`, `prompt` or `seed`) and `kind`
    (`picture` or `job`); `again` has the event `retry`, with `id` and `what` (`same` or
    `neighbours` of a picture's settings, or `job`). Their values come from a browser.

    Args:
        studio: whose library.

    """

    def __init__(self, studio: HasLibrary) -> None:
        self._library = studio.library

    def build(self) -> None:
        """Build the room in the Blocks whose context this is called in."""
        with gr.Column(elem_id="gallery"):
            with gr.Row(elem_id="find"):
                self.search = gr.Textbox(
                    show_label=False,
                    label="Search",
                    placeholder=HINT,
                    max_lines=1,
                    elem_id="search",
                    container=False,
                )
                self.show = gr.Radio(
                    list(SHOW),
                    value="All",
                    label="Show",
                    show_label=False,
                    elem_id="show",
                    container=False,
                )
            gr.HTML(fixed.search_help(), elem_id="search-help", apply_default_css=False)
            self.shelf = self._html(fixed.loading(), "shelf", "ask")
            self.viewer = self._html("", "viewer", "ask")
            self._html(fixed.selection(), "selection", "ask")
            self.to_form = self._html("", "to-form", "submit")
            self.again = self._html("", "again", "retry")
        self._wire()

    @staticmethod
    def _html(value: str, name: str, event: str) -> gr.HTML:
        tell = f"(told) => trigger('{event}', told)"
        script = f"window.sd35?.gallery?.('{name}', element, props, watch, {tell})"
        return gr.HTML(value, elem_id=name, js_on_load=script, apply_default_css=False)

    def _wire(self) -> None:
        private: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
            "queue": False,
            "preprocess": False,
            "postprocess": False,
        }
        found = [[self.search, self.show], self.shelf]
        # Not `input`: Gradio's Textbox tells of keys that write something, but not of what is
        # deleted or pasted.
        self.search.change(self._search, *found, trigger_mode="always_last", **private)
        self.show.input(self._search, *found, trigger_mode="always_last", **private)
        self.shelf.ask(
            self._ask,
            [self.search, self.show],
            [self.shelf, self.viewer, self.search, self.show],
            trigger_mode="multiple",
            **private,
        )

    async def _search(self, request: gr.Request, text: Any, show: Any) -> str:  # noqa: ANN401  # whatever is sent
        shelf: str = await self._in_thread(
            request,
            lambda owner: self._shelf(owner, _query(text, show), BEGINNING),
            view.no_library,
        )
        return view.answer(shelf, show, text)

    async def _ask(
        self,
        request: gr.Request,
        text: Any,  # noqa: ANN401  # whatever is sent
        show: Any,  # noqa: ANN401
        event: gr.EventData = None,  # Gradio gives it, if it was sent
    ) -> tuple[Any, ...]:
        asked = Asked.read(getattr(event, "_data", None))
        if asked.what in {"reset", "find"}:
            text, show = asked.words, asked.show if asked.show in SHOW else "All"
        shelf, viewer = await self._in_thread(
            request,
            lambda owner: self._answer(owner, asked, _query(text, show)),
            lambda: (view.no_library(), ""),
        )
        shelf = None if shelf is None else view.answer(shelf, show, text)
        viewer = None if viewer is None else view.numbered(viewer, asked.ticket)
        fields = (text, show) if asked.what in {"reset", "find"} else (gr.skip(), gr.skip())
        return _or_unchanged(shelf), _or_unchanged(viewer), *fields

    @staticmethod
    async def _in_thread(
        request: gr.Request, work: Callable[[str], Any], nobody: Callable[[], Any]
    ) -> Any:  # noqa: ANN401
        """Do this for the owner that whoever asks is; the index is on a disk."""
        owner = visitor_of(request).owner
        return nobody() if owner is None else await anyio.to_thread.run_sync(work, owner_key(owner))

    def _answer(self, owner: str, asked: Asked, query: Query) -> tuple[str | None, str | None]:
        """The shelf and the picture that is shown large, as they are then; `None` for what stays as it is."""
        try:
            return self._answered(owner, asked, query)
        except LibraryError as error:
            return view.broken(error), ""

    def _answered(self, owner: str, asked: Asked, query: Query) -> tuple[str | None, str | None]:
        if asked.what in {"open", "compare"}:
            return None, self._viewer(owner, asked, query) or picture_view.no_picture(asked.ids)
        is_about_viewer = asked.is_open and bool(asked.ids)
        around = self._neighbours(owner, asked, query) if is_about_viewer else ()
        try:
            said = do(self._library, owner, asked)
        except SD35Error as error:
            said = view.refused(error)
        viewer = None
        if is_about_viewer:
            has_left = asked.what in {"trash", "forget"} or (
                asked.what == "restore" and query.place == "trash"
            )
            viewer = self._viewer(
                owner, Asked("open", around[1:2] if has_left else around[:1]), query, said
            )
        return self._shelf(owner, query, asked.place, said), viewer

    def _shelf(self, owner: str, query: Query, place: Place, said: Markup = view.NOTHING) -> str:
        library, today = self._library, _today()
        try:
            if query.is_failed:
                jobs = library.jobs.search(query, owner, place.older, limit=PAGE)
                return view.failed(jobs, query, place, today, said)
            page = library.page(query, owner, limit=PAGE, newer=place.newer, older=place.older)
            if not page.entries and str(place):  # all that was there has gone from it
                place, page = BEGINNING, library.page(query, owner, limit=PAGE)
        except LibraryError as error:
            return view.broken(error)
        if (
            library.is_to_be_scanned
            and owner == HERE
            and query == EVERYTHING
            and not page.entries
            and not said
        ):
            return view.looking()
        size = 0 if query.is_search else library.bytes_of(owner, query.place)
        return view.pictures(page, query, place, today, said, size)

    def _neighbours(self, owner: str, asked: Asked, query: Query) -> tuple[str, ...]:
        """The picture itself, and those beside it, in the order in which they take its place when it goes."""
        found = [self._library.neighbours(id_, owner, query) for id_ in asked.ids[:1]]
        return (
            *asked.ids[:1],
            *(id_ for newer, older in found for id_ in (older, newer) if id_ is not None),
        )

    def _viewer(self, owner: str, asked: Asked, query: Query, said: Markup = view.NOTHING) -> str:
        entries = [entry for id_ in asked.ids[:2] if (entry := self._library.entry(id_, owner))]
        if asked.what == "compare":
            return picture_view.compare(*entries) if len(entries) == 2 else ""
        if not entries:
            return ""
        beside = self._library.neighbours(entries[0].id, owner, query)
        return picture_view.picture(entries[0], beside, _today(), said)


def _query(text: object, show: object) -> Query:
    chosen = SHOW.get(show, "") if isinstance(show, str) else ""
    return parse_query(chosen + (text if isinstance(text, str) else ""))


def _today() -> dt.date:
    return dt.datetime.now().astimezone().date()


def _or_unchanged(value: str | None) -> Any:  # noqa: ANN401  # as Gradio takes it
    return gr.skip() if value is None else value
