"""Gradio apps: built one at a time, without downloads, and without tracebacks in the log."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import gradio as gr
from gradio import blocks, oauth, processing_utils, utils

from sd35.server.error_boundary import describe_error

__all__ = ["locked_blocks"]

log = logging.getLogger(__name__)

# Gradio keeps the app that is being built in globals of the process (`gradio.context.Context`). If
# two threads build one at the same time, each gets components and endpoints of the other.
_build_lock = threading.Lock()


async def _refuse_download(_url: str) -> NoReturn:
    raise gr.Error("Files of other servers aren't fetched.", print_exception=False)


# Server-side request forgery: Gradio downloads every URL that it finds in the values of a function,
# its inputs as well as its outputs, before and after the call. `CallValidator` lets none in; this
# is where each of those downloads begins, and no app of this program needs one.
assert hasattr(processing_utils, "async_ssrf_protected_get")
processing_utils.async_ssrf_protected_get = _refuse_download

# On Hugging Face, Gradio prints three lines with every request to sign in, one of which contains
# text of the request.
oauth.print = lambda *_: None

# Around each call of a function, Gradio twice looks through the whole import path for Matplotlib,
# of which no app of this program needs a backend. With it installed, it would import it.
assert hasattr(utils, "MatplotlibBackendMananger")
utils.MatplotlibBackendMananger = nullcontext

# Gradio builds a web app of eighty routes when blocks begin, when they end, and when they get a
# queue. Only that of `launch`, which takes the class from elsewhere, is ever served.
assert hasattr(blocks, "App")
blocks.App = SimpleNamespace(create_app=lambda *_, **__: None)

_SKIP: Final = gr.skip()


@contextmanager
def locked_blocks(title: str, **options: Any) -> Iterator[gr.Blocks]:  # noqa: ANN401  # Gradio's
    """Build an app as `gr.Blocks` does, after any that another thread is building."""
    with _build_lock, gr.Blocks(title=title, **options) as demo:
        demo.process_api = _without_tracebacks(demo.process_api)
        demo.postprocess_data = _with_cheap_skips(demo.postprocess_data)
        yield demo


def _without_tracebacks(process_api: Callable[..., Any]) -> Callable[..., Any]:
    """Return Gradio's caller of functions, which logs one line for an error in any of them.

    Gradio's own traceback has five kilobytes, for a request of a hundred bytes.
    """

    async def process_api_quietly(
        block_fn: Any,  # noqa: ANN401  # Gradio's
        *args: Any,  # noqa: ANN401  # Gradio's
        **kwargs: Any,  # noqa: ANN401  # Gradio's
    ) -> Any:  # noqa: ANN401  # Gradio's
        try:
            return await process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            # Of a value that is out of its component's range, for example.
            error.print_exception = False
            raise
        except Exception as error:
            log.error("%s: %s", block_fn.name, describe_error(error))  # noqa: TRY400  # see above
            message = "Something went wrong. Please try again."
            raise gr.Error(message, print_exception=False) from error

    return process_api_quietly


def _with_cheap_skips(postprocess_data: Callable[..., Any]) -> Callable[..., Any]:
    """Return Gradio's converter of outputs, without its work for outputs that stay as they are.

    For each `gr.skip()`, it builds the component anew, with the JSON schema of its values: that
    takes longer than to show a preview.
    """

    async def postprocess_quickly(
        block_fn: Any,  # noqa: ANN401  # Gradio's
        predictions: Any,  # noqa: ANN401  # Gradio's
        state: Any,  # noqa: ANN401  # Gradio's
    ) -> list[Any]:
        if block_fn.postprocess or not isinstance(predictions, tuple):
            outputs: list[Any] = await postprocess_data(block_fn, predictions, state)
            return outputs
        values = tuple(None if value == _SKIP else value for value in predictions)
        outputs = await postprocess_data(block_fn, values, state)
        return [
            _SKIP if prediction == _SKIP else output
            for prediction, output in zip(predictions, outputs, strict=True)
        ]

    return postprocess_quickly
