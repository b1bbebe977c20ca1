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
from sd35.jobs.repository import JobRepository
from sd35.library.layout import LOCAL_OWNER_KEY, owner_key
from sd35.library.library import Library
from sd35.library.query import MATCH_ALL, Query, parse_query
from sd35.server.api import visitor_from_request
from sd35.ui.gallery import picture_view
from sd35.ui.gallery import static as fixed
from sd35.ui.gallery import view as view  # noqa: PLC0414
from sd35.ui.gallery.actions import run_action
from sd35.ui.gallery.events import FIRST_PAGE, GalleryEvent, PagePosition

__all__ = ["Gallery"]

PAGE_SIZE: Final = 48

FILTER_QUERIES: Final = {
    "All": "",
    "Starred": "is:starred ",
    "Failed": "is:failed ",
    "Trash": "is:trash ",
}
"""What the choices beside the search line add to it; before it, for its last word may be unfinished."""

SEARCH_PLACEHOLDER: Final = (
    'lighthouse, "at dusk", seed:7, size:1024x576, is:starred, after:2026-10'
)


class LibraryProvider(Protocol):
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

    def __init__(self, library_provider: LibraryProvider) -> None:
        self._library = library_provider.library
        self._job_repository = JobRepository(self._library)

    def build(self) -> None:
        """Build the room in the Blocks whose context this is called in."""
        with gr.Column(elem_id="gallery"):
            with gr.Row(elem_id="find"):
                self.search = gr.Textbox(
                    show_label=False,
                    label="Search",
                    placeholder=SEARCH_PLACEHOLDER,
                    max_lines=1,
                    elem_id="search",
                    container=False,
                )
                self.filter_choice = gr.Radio(
                    list(FILTER_QUERIES),
                    value="All",
                    label="Show",
                    show_label=False,
                    elem_id="show",
                    container=False,
                )
            gr.HTML(fixed.search_help(), elem_id="search-help", apply_default_css=False)
            self.grid = self._event_component(fixed.loading_grid(), "shelf", "ask")
            self.viewer = self._event_component("", "viewer", "ask")
            self._event_component(fixed.selection_bar(), "selection", "ask")
            self.import_event = self._event_component("", "to-form", "submit")
            self.retry_event = self._event_component("", "again", "retry")
        self._bind_events()

    @staticmethod
    def _event_component(value: str, name: str, event: str) -> gr.HTML:
        trigger_js = f"(told) => trigger('{event}', told)"
        script = f"window.sd35?.gallery?.('{name}', element, props, watch, {trigger_js})"
        return gr.HTML(value, elem_id=name, js_on_load=script, apply_default_css=False)

    def _bind_events(self) -> None:
        listener_options: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
            "queue": False,
            "preprocess": False,
            "postprocess": False,
        }
        search_args = [[self.search, self.filter_choice], self.grid]
        # Not `input`: Gradio's Textbox tells of keys that write something, but not of what is
        # deleted or pasted.
        self.search.change(
            self._on_search, *search_args, trigger_mode="always_last", **listener_options
        )
        self.filter_choice.input(
            self._on_search, *search_args, trigger_mode="always_last", **listener_options
        )
        self.grid.ask(
            self._on_event,
            [self.search, self.filter_choice],
            [self.grid, self.viewer, self.search, self.filter_choice],
            trigger_mode="multiple",
            **listener_options,
        )

    async def _on_search(self, request: gr.Request, text: Any, filter_name: Any) -> str:  # noqa: ANN401  # whatever is sent
        grid_html: str = await self._in_thread(
            request,
            lambda owner: self._render_page(owner, _build_query(text, filter_name), FIRST_PAGE),
            view.no_library,
        )
        return view.with_query_key(grid_html, filter_name, text)

    async def _on_event(
        self,
        request: gr.Request,
        text: Any,  # noqa: ANN401  # whatever is sent
        filter_name: Any,  # noqa: ANN401
        event: gr.EventData = None,  # Gradio gives it, if it was sent
    ) -> tuple[Any, ...]:
        gallery_event = GalleryEvent.from_payload(getattr(event, "_data", None))
        if gallery_event.action in {"reset", "find"}:
            text, filter_name = (
                gallery_event.text,
                gallery_event.filter_name if gallery_event.filter_name in FILTER_QUERIES else "All",
            )
        grid_html, viewer_html = await self._in_thread(
            request,
            lambda owner: self._handle(owner, gallery_event, _build_query(text, filter_name)),
            lambda: (view.no_library(), ""),
        )
        grid_html = None if grid_html is None else view.with_query_key(grid_html, filter_name, text)
        viewer_html = (
            None
            if viewer_html is None
            else view.with_request_id(viewer_html, gallery_event.request_id)
        )
        fields = (
            (text, filter_name)
            if gallery_event.action in {"reset", "find"}
            else (gr.skip(), gr.skip())
        )
        return _or_skip(grid_html), _or_skip(viewer_html), *fields

    @staticmethod
    async def _in_thread(
        request: gr.Request, operation: Callable[[str], Any], on_anonymous: Callable[[], Any]
    ) -> Any:  # noqa: ANN401
        """Do this for the owner that whoever asks is; the index is on a disk."""
        owner = visitor_from_request(request).owner
        return (
            on_anonymous()
            if owner is None
            else await anyio.to_thread.run_sync(operation, owner_key(owner))
        )

    def _handle(
        self, owner: str, event: GalleryEvent, query: Query
    ) -> tuple[str | None, str | None]:
        """The shelf and the picture that is shown large, as they are then; `None` for what stays as it is."""
        try:
            return self._update(owner, event, query)
        except LibraryError as error:
            return view.library_error(error), ""

    def _update(
        self, owner: str, event: GalleryEvent, query: Query
    ) -> tuple[str | None, str | None]:
        if event.action in {"open", "compare"}:
            return None, self._render_viewer(owner, event, query) or picture_view.not_found_dialog(
                event.ids
            )
        is_viewer_event = event.is_viewer_open and bool(event.ids)
        nearby_ids = self._adjacent_ids(owner, event, query) if is_viewer_event else ()
        try:
            message = run_action(self._library, owner, event)
        except SD35Error as error:
            message = view.action_error(error)
        viewer_html = None
        if is_viewer_event:
            is_removed = event.action in {"trash", "forget"} or (
                event.action == "restore" and query.scope == "trash"
            )
            viewer_html = self._render_viewer(
                owner,
                GalleryEvent("open", nearby_ids[1:2] if is_removed else nearby_ids[:1]),
                query,
                message,
            )
        return self._render_page(owner, query, event.position, message), viewer_html

    def _render_page(
        self, owner: str, query: Query, position: PagePosition, message: Markup = view.EMPTY_HTML
    ) -> str:
        library, today = self._library, _today()
        try:
            if query.is_job_query:
                jobs = self._job_repository.search(query, owner, position.older, limit=PAGE_SIZE)
                return view.failed_job_page(jobs, query, position, today, message)
            page = library.search(
                query,
                owner,
                limit=PAGE_SIZE,
                newer_cursor=position.newer,
                older_cursor=position.older,
            )
            if not page.entries and str(position):  # all that was there has gone from it
                position, page = FIRST_PAGE, library.search(query, owner, limit=PAGE_SIZE)
        except LibraryError as error:
            return view.library_error(error)
        if (
            library.needs_rescan
            and owner == LOCAL_OWNER_KEY
            and query == MATCH_ALL
            and not page.entries
            and not message
        ):
            return view.scan_in_progress()
        total_bytes = 0 if query.has_criteria else library.used_bytes(owner, query.scope)
        return view.picture_page(page, query, position, today, message, total_bytes)

    def _adjacent_ids(self, owner: str, event: GalleryEvent, query: Query) -> tuple[str, ...]:
        """The picture itself, and those beside it, in the order in which they take its place when it goes."""
        adjacent = [self._library.adjacent_ids(id_, owner, query) for id_ in event.ids[:1]]
        return (
            *event.ids[:1],
            *(id_ for newer, older in adjacent for id_ in (older, newer) if id_ is not None),
        )

    def _render_viewer(
        self, owner: str, event: GalleryEvent, query: Query, message: Markup = view.EMPTY_HTML
    ) -> str:
        entries = [entry for id_ in event.ids[:2] if (entry := self._library.get(id_, owner))]
        if event.action == "compare":
            return picture_view.compare_dialog(*entries) if len(entries) == 2 else ""
        if not entries:
            return ""
        adjacent_ids = self._library.adjacent_ids(entries[0].id, owner, query)
        return picture_view.picture_dialog(entries[0], adjacent_ids, _today(), message)


def _build_query(text: object, filter_name: object) -> Query:
    filter_query = FILTER_QUERIES.get(filter_name, "") if isinstance(filter_name, str) else ""
    return parse_query(filter_query + (text if isinstance(text, str) else ""))


def _today() -> dt.date:
    return dt.datetime.now().astimezone().date()


def _or_skip(value: str | None) -> Any:  # noqa: ANN401  # as Gradio takes it
    return gr.skip() if value is None else value
