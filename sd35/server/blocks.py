"""Gradio apps, built one at a time.

Gradio keeps the app that is being built, and the block within it, in globals of the process
(`gradio.context.Context`): two that are built at once, in two threads, get each other's components
and endpoints.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

__all__ = ["locked_blocks"]

_build_lock = threading.Lock()


@contextmanager
def locked_blocks(title: str, **options: Any) -> Iterator[gr.Blocks]:  # noqa: ANN401  # as `gr.Blocks` takes them
    """Build an app as `gr.Blocks` does, after any that is being built in another thread."""
    with _build_lock, gr.Blocks(title=title, **options) as demo:
        yield demo
