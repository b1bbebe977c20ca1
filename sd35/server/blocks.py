"""Gradio apps, built one at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

__all__ = ["locked_blocks"]

# Gradio keeps the app that is being built in globals of the process (`gradio.context.Context`). If
# two threads build one at the same time, each gets components and endpoints of the other.
_build_lock = threading.Lock()


@contextmanager
def locked_blocks(title: str, **options: Any) -> Iterator[gr.Blocks]:  # noqa: ANN401  # Gradio's
    """Build an app as `gr.Blocks` does, after any that another thread is building."""
    with _build_lock, gr.Blocks(title=title, **options) as demo:
        yield demo
