"""Gradio's sessions, without the copy of the whole page that each of them holds by default.

A session remembers how its listeners have changed the components of its page. Gradio also keeps a
description of each component for deep links, which this program has none of: it takes 5 ms and
100 KB per visitor (gradio 6.31).
"""

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

__all__ = ["SessionHolder"]


class SessionHolder(StateHolder):
    """Gradio's holder of sessions, by their hash, for small sessions."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session, which begins when it is first asked for."""
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class _Session(SessionState):
    def __init__(self, blocks: gr.Blocks) -> None:
        # The description of no component.
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))

    def __setitem__(self, key: int, value: Any) -> None:
        if isinstance(value, gr.blocks.Block):
            self.blocks_config.blocks[key] = value
        else:
            super().__setitem__(key, value)

    def _update_config(self, key: int) -> None:
        """Describe no component."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Describe no component's value."""
