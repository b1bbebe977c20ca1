"""The library tab: its components and their listeners.

The server keeps no state of open pages: each request contains its query and its position.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import gradio as gr
from markupsafe import Markup

from sd35.core.errors import LibraryError, SD35Error
from sd35.jobs.repository import JobRepository
from sd35.jobs.sheets import load_sheet
from sd35.library.layout import LOCAL_OWNER_KEY
from sd35.library.library import Library
from sd35.library.query import MATCH_ALL, Query, parse_query
from sd35.ui.gallery import picture_view, static, view
from sd35.ui.gallery.actions import run_action
from sd35.ui.gallery.comparison import Comparison
from sd35.ui.gallery.event_component import LISTENER_OPTIONS, event_component, run_for_owner
from sd35.ui.gallery.events import FIRST_PAGE, GalleryEvent, PagePosition
from sd35.ui.gallery.messages import action_error
from sd35.ui.gallery.set_view import set_page
from sd35.ui.markup import EMPTY_HTML

__all__ = ["Gallery", "build_tabs"]

PAGE_SIZE: Final = 48

HtmlUpdates = tuple[Markup | None, Markup | None]  # of grid and viewer; `None`: unchanged

# The filter comes before the text: the last word of a query also matches as a prefix, and that must
# be the word that is being typed.
FILTER_QUERIES: Final = {
    "All": "",
    "Starred": "is:starred ",
    "Unfinished": "is:failed ",
    "Trash": "is:trash ",
}
DEFAULT_FILTER: Final = "All"

SHOW_JS: Final = "() => ({__type__: 'update', visible: true})"


def build_tabs(title: str) -> gr.HTML:
    """Build the page's title and the links to the two tabs inside the current Blocks."""
    return gr.HTML(
        Markup("<h1>{}</h1>{}").format(title, static.TAB_BAR),
        elem_id="tabs",
        js_on_load="window.sd35?.bindTabs?.(() => trigger('select'))",
        apply_default_css=False,
    )


class Gallery:
    """The library tab, built inside the current Blocks.

    The page must listen to two of its events. Their data comes from a browser, unvalidated:

    - `import_event.submit`: fill the form; `id`, `group` (`all`, `prompt` or `seed`) and `kind`
      (`picture` or `job`).
    - `retry_event.retry`: generate again; `id` and `variation` (`same` or `adjacent` of an
      image, or `job`).
    """

    def __init__(self, library: Library, tabs: gr.HTML) -> None:
        self._library = library
        self._job_repository = JobRepository(library)
        Comparison(library)
        # The browser builds what is inside when the tab is first opened.
        with gr.Column(visible=False, elem_id="gallery") as column:
            with gr.Row(elem_id="search-row"):
                self.search = gr.Textbox(
                    show_label=False,
                    label="Search",
                    placeholder="Search prompts and tags",
                    max_lines=1,
                    elem_id="search",
                    container=False,
                )
                self.filter_choice = gr.Radio(
                    list(FILTER_QUERIES),
                    value=DEFAULT_FILTER,
                    label="Show",
                    show_label=False,
                    elem_id="filter",
                    container=False,
                )
            gr.HTML(static.search_help(), elem_id="search-help", apply_default_css=False)
            self.grid = event_component(static.loading_grid(), "grid", "gallery_event")
            self.viewer = event_component("", "viewer", "gallery_event")
            event_component(static.SELECTION_BAR, "selection", "gallery_event")
            self.import_event = event_component("", "import-event", "submit")
            self.retry_event = event_component("", "retry-event", "retry")
        self._bind_events()
        tabs.select(None, None, column, js=SHOW_JS, api_visibility="private")

    def _bind_events(self) -> None:
        query_inputs = [self.search, self.filter_choice]
        # Not the search field's `input` event: Gradio's Textbox doesn't send it when text is
        # deleted or pasted.
        for on_query_change in (self.search.change, self.filter_choice.input):
            on_query_change(
                self._on_search,
                query_inputs,
                self.grid,
                trigger_mode="always_last",
                **LISTENER_OPTIONS,
            )
        self.grid.gallery_event(
            self._on_event,
            query_inputs,
            [self.grid, self.viewer, *query_inputs],
            trigger_mode="multiple",  # else Gradio drops clicks while an answer is on its way
            **LISTENER_OPTIONS,
        )

    # With `preprocess` off, text and filter_name are whatever a browser sends.
    async def _on_search(self, request: gr.Request, text: object, filter_name: object) -> str:
        def render(owner: str) -> Markup:
            return self._render_page(owner, _build_query(text, filter_name), FIRST_PAGE)

        grid_html = await run_for_owner(request, render, view.no_library())
        return view.with_query_key(grid_html, filter_name, text)

    async def _on_event(
        self,
        request: gr.Request,
        text: object,
        filter_name: object,
        event: gr.EventData = None,  # Gradio passes none if the browser sent no data
    ) -> tuple[Any, ...]:
        gallery_event = GalleryEvent.from_payload(getattr(event, "_data", None))
        fields = (gr.skip(), gr.skip())
        if gallery_event.action == "search":
            # A link or a button has another query than the fields, which are filled with it.
            text = gallery_event.text
            filter_name = gallery_event.filter_name
            if filter_name not in FILTER_QUERIES:
                filter_name = DEFAULT_FILTER
            fields = (text, filter_name)

        def handle(owner: str) -> HtmlUpdates:
            return self._handle(owner, gallery_event, _build_query(text, filter_name))

        anonymous_result: HtmlUpdates = (view.no_library(), EMPTY_HTML)
        grid_html, viewer_html = await run_for_owner(request, handle, anonymous_result)
        grid_update = gr.skip()
        if grid_html is not None:
            grid_update = view.with_query_key(grid_html, filter_name, text)
        viewer_update = gr.skip()
        if viewer_html is not None:
            viewer_update = picture_view.with_request_id(viewer_html, gallery_event.request_id)
        return grid_update, viewer_update, *fields

    def _handle(self, owner: str, event: GalleryEvent, query: Query) -> HtmlUpdates:
        """Handle an event, and return what changes on the page."""
        try:
            if event.action == "open":
                viewer_html = self._render_viewer(owner, event.ids, query)
                return None, viewer_html or picture_view.not_found_dialog("".join(event.ids[:1]))
            return self._update(owner, event, query)
        except LibraryError as error:
            return view.library_error(error), EMPTY_HTML

    def _update(self, owner: str, event: GalleryEvent, query: Query) -> HtmlUpdates:
        """Run an event's action, then render what it may have changed."""
        is_in_viewer = event.is_viewer_open and bool(event.ids)
        # Before the action: afterwards the image may no longer be among the query's results.
        nearby_ids = self._nearby_ids(owner, event.ids[0], query) if is_in_viewer else ()
        try:
            message = run_action(self._library, owner, event)
        except SD35Error as error:
            message = action_error(error)
        viewer_html = None
        if is_in_viewer:
            is_gone = event.action in {"trash", "remove"} or (
                event.action == "restore" and query.scope == "trash"
            )
            next_ids = nearby_ids[1:2] if is_gone else nearby_ids[:1]
            viewer_html = self._render_viewer(owner, next_ids, query, message)
        return self._render_page(owner, query, event.position, message), viewer_html

    def _render_page(
        self,
        owner: str,
        query: Query,
        position: PagePosition,
        message: Markup = EMPTY_HTML,
    ) -> Markup:
        library = self._library
        today = _today()
        try:
            if query.is_job_query:
                jobs = self._job_repository.search(query, owner, position.older, limit=PAGE_SIZE)
                return view.failed_job_page(jobs, query, position, today, message)
            loaded = load_sheet(library, query.set_id, owner) if query.set_id else None
            if loaded is not None:
                return set_page(loaded, query.problems, message)
            page = library.search(
                query,
                owner,
                limit=PAGE_SIZE,
                newer_cursor=position.newer,
                older_cursor=position.older,
            )
            if not page.entries and position != FIRST_PAGE:  # everything on it was deleted
                return self._render_page(owner, query, FIRST_PAGE, message)
        except LibraryError as error:
            return view.library_error(error)
        is_new_folder = library.needs_rescan and owner == LOCAL_OWNER_KEY and query == MATCH_ALL
        if is_new_folder and not page.entries and not message:
            return view.scan_in_progress()
        total_bytes = 0 if query.has_criteria else library.used_bytes(owner, query.scope)
        return view.picture_page(page, query, position, today, message, total_bytes)

    def _nearby_ids(self, owner: str, id_: str, query: Query) -> tuple[str, ...]:
        """Return an image and those that may take its place in the viewer, the next one first."""
        newer_id, older_id = self._library.adjacent_ids(id_, owner, query)
        return (id_, *filter(None, (older_id, newer_id)))

    def _render_viewer(
        self,
        owner: str,
        ids: Sequence[str],
        query: Query,
        message: Markup = EMPTY_HTML,
    ) -> Markup:
        """Return the viewer with the first image; empty if it doesn't exist."""
        entry = self._library.get(ids[0], owner) if ids else None
        if entry is None:
            return EMPTY_HTML
        adjacent_ids = self._library.adjacent_ids(entry.id, owner, query)
        return picture_view.picture_dialog(entry, adjacent_ids, _today(), message)


def _build_query(text: object, filter_name: object) -> Query:
    filter_query = FILTER_QUERIES.get(filter_name, "") if isinstance(filter_name, str) else ""
    return parse_query(filter_query + (text if isinstance(text, str) else ""))


def _today() -> dt.date:
    return dt.datetime.now().astimezone().date()
