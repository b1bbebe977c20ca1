"""Compare and "Find the best": images for assets/compare.js, and what is done with them there."""

from typing import Final

import gradio as gr
from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.library.library import Library
from sd35.ui.gallery import comparison_view
from sd35.ui.gallery.actions import run_action
from sd35.ui.gallery.event_component import LISTENER_OPTIONS, event_component, run_for_owner
from sd35.ui.gallery.events import GalleryEvent
from sd35.ui.gallery.messages import action_error, not_saved
from sd35.ui.markup import EMPTY_HTML

__all__ = ["Comparison", "answer_event"]

MAX_ENTRIES: Final = 64
ACTIONS: Final = ("star", "unstar", "trash", "restore")


class Comparison:
    """The component that answers assets/compare.js, on both tabs alike.

    It is a component of its own, because that of the library exists only once its tab was opened.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        component = event_component("", "comparison", "comparison_event", binder="bindComparison")
        component.comparison_event(
            self._on_comparison, None, component, trigger_mode="multiple", **LISTENER_OPTIONS
        )

    async def _on_comparison(
        self,
        request: gr.Request,
        event: gr.EventData = None,  # Gradio passes none if the browser sent no data
    ) -> Markup:
        gallery_event = GalleryEvent.from_payload(getattr(event, "_data", None))

        def handle(owner: str) -> Markup:
            return answer_event(self._library, owner, gallery_event)

        anonymous_answer = comparison_view.answer(gallery_event.request_id, EMPTY_HTML, not_saved())
        return await run_for_owner(request, handle, anonymous_answer)


def answer_event(library: Library, owner: str, event: GalleryEvent) -> Markup:
    """Run an event's action on an owner's images, or return what tells the images apart."""
    content = message = EMPTY_HTML
    try:
        if event.action in ACTIONS:
            message = run_action(library, owner, event)
        else:
            content = _comparison(library, owner, event)
    except SD35Error as error:
        message = action_error(error)
    return comparison_view.answer(event.request_id, content, message)


def _comparison(library: Library, owner: str, event: GalleryEvent) -> Markup:
    ids = list(dict.fromkeys(event.ids))[:MAX_ENTRIES]
    entries = [entry for id_ in ids if (entry := library.get(id_, owner))]
    return comparison_view.comparison(entries, len(ids) - len(entries))
