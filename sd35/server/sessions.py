"""Gradio's sessions, without the copy of the whole page that each of them holds by default.

A session remembers how its listeners have changed the components of its page. Gradio also keeps a
description of each component for deep links, which this program has none of: it takes 5 ms and
100 KB per visitor (gradio 6.31).
"""

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

__all__ = ["replace_session_holder"]


def replace_session_holder(app: Any) -> None:  # noqa: ANN401  # Gradio's app
    """Let small sessions begin in an app that has none yet."""
    app.state_holder = _SessionHolder()
    app.state_holder.set_blocks(app.get_blocks())


class _SessionHolder(StateHolder):  # type: ignore[misc]  # gradio isn't typed
    """Gradio's holder of sessions, by their hash."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session, which begins when it is first asked for."""
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class _Session(SessionState):  # type: ignore[misc]  # gradio isn't typed
    def __init__(self, blocks: gr.Blocks) -> None:
        # It describes all of these blocks.
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))

    def __setitem__(self, key: int, value: object) -> None:
        if isinstance(value, gr.blocks.Block):
            self.blocks_config.blocks[key] = value
        else:
            super().__setitem__(key, value)

    def _update_config(self, key: int) -> None:
        """Describe no component."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Describe no component's value."""
