"""Components that send events of assets/*.js to the server, and get HTML back."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio.to_thread
import gradio as gr

from sd35.library.layout import owner_key
from sd35.server.api import visitor_from_request

__all__ = ["LISTENER_OPTIONS", "event_component", "run_for_owner"]

Result = TypeVar("Result")

LISTENER_OPTIONS: Final[dict[str, Any]] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
    "queue": False,
    "preprocess": False,
    "postprocess": False,
}


def event_component(value: str, name: str, event: str, binder: str = "gallery") -> gr.HTML:
    """Build an HTML component whose events a script sends: `binder` of `window.sd35`."""
    # Gradio only allows listeners for events whose names appear literally in the script.
    trigger_js = f"(payload) => trigger('{event}', payload)"
    script = f"window.sd35?.{binder}?.('{name}', element, props, watch, {trigger_js})"
    return gr.HTML(value, elem_id=name, js_on_load=script, apply_default_css=False)


async def run_for_owner(
    request: gr.Request, operation: Callable[[str], Result], anonymous_result: Result
) -> Result:
    """Run an operation with the key of the visitor who has sent a request."""
    owner = visitor_from_request(request).owner
    if owner is None:
        return anonymous_result
    # In a thread, because SQLite and the files would block the event loop.
    return await anyio.to_thread.run_sync(operation, owner_key(owner))
