"""Gradio app with the public Space's `/infer` over an engine, and the embedded demo Space."""

import base64
import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import gradio as gr
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.core.model_info import MODEL_INFO_ID, ModelInfo
from sd35.core.request import GenerationRequest
from sd35.server import launch
from sd35.server.blocks import locked_blocks
from sd35.space.engine import Broken, Engine, EngineError, Loading, Notice, Result, Step, Waiting
from sd35.space.page import SpacePage
from sd35.space.painter import DemoPainter

__all__ = ["DemoSpace", "announce_model", "build_space"]

log = logging.getLogger(__name__)

FILE_LIFETIME_SECONDS: Final = 3600
MAX_QUEUE_SIZE: Final = 64
LOADING_POLL_SECONDS: Final = 0.5

_RUN_PREFIX = "run-"
_FILE_DATA_META: Final = {"_type": "gradio.FileData"}

# Values of the two outputs: FileData, and the seed.
Outputs = tuple[dict[str, Any] | None, int]


def build_space(engine: Engine) -> gr.Blocks:
    """Return the app: a small version of the public Space's page, with the same endpoint."""
    with locked_blocks(engine.title) as demo:
        page = SpacePage(engine)
        infer = _create_infer(engine)
        # As on a single GPU: further requests wait in the queue.
        limits: dict[str, Any] = {
            "concurrency_limit": engine.concurrency,
            "concurrency_id": "engine",
        }
        page.api_button.click(
            infer,
            page.inputs,
            [page.result, page.seed],
            api_name="infer",
            # The outputs are FileData already: Gradio would copy each preview to a file.
            postprocess=False,
            **limits,
        )
        page.bind(infer, **limits)
    # Unlimited by default: every waiting request would hold a connection.
    return demo.queue(max_size=MAX_QUEUE_SIZE)


def announce_model(demo: gr.Blocks, model_info: ModelInfo) -> None:
    """Announce another model than when the app was built, to clients that connect from now on."""
    for component in demo.config["components"]:
        if component["props"].get("elem_id") == MODEL_INFO_ID:
            component["props"]["value"] = model_info.to_dict()


def _create_infer(engine: Engine) -> Callable[..., Iterator[Outputs]]:
    # Gradio derives the API from the signature: names, order and types are the public Space's.
    def infer(  # noqa: PLR0913, PLR0917  # see above
        prompt: str,
        negative_prompt: str | None,
        seed: float,
        randomize_seed: bool,  # noqa: FBT001  # see above
        width: float,
        height: float,
        guidance_scale: float,
        num_inference_steps: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # a default is how Gradio passes it
    ) -> Iterator[Outputs]:
        """Yield a preview every few steps, then the final PNG, with the seed."""
        assert engine.limits.seed is not None
        max_seed = int(engine.limits.seed.maximum)
        request = GenerationRequest(
            prompt or "",
            negative_prompt or "",
            int(width),
            int(height),
            guidance_scale,
            int(num_inference_steps),
            secrets.randbelow(max_seed + 1) if randomize_seed else int(seed),
        )
        # With `print_exception`, Gradio would log a traceback for what is no fault of this program.
        try:
            _check_size(engine, request)
            yield from _wait_until_ready(engine, request, progress)
            yield from _run(engine, request, progress)
        except EngineError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return infer


def _check_size(engine: Engine, request: GenerationRequest) -> None:
    # Before the engine has the request: a refusal costs no GPU.
    multiple = engine.size_multiple
    if request.width % multiple or request.height % multiple:
        raise EngineError(f"Width and height must be multiples of {multiple}.")
    if not engine.limits.allows_area(request.width, request.height):
        raise EngineError(
            f"{request.width} × {request.height} is too large for this model.",
            f"It makes images of up to {engine.limits.max_pixels / 1e6:.1f} megapixels.",
        )


def _wait_until_ready(
    engine: Engine, request: GenerationRequest, progress: gr.Progress
) -> Iterator[Outputs]:
    """Show the progress of loading; a run that is cancelled meanwhile ends at the next yield.

    Raises:
        EngineError: the model can't be loaded.
    """
    while isinstance(state := engine.state, Loading):
        progress(state.fraction, desc=f"{state.text}. {engine.warning}".rstrip(". "))
        yield None, request.seed
        time.sleep(LOADING_POLL_SECONDS)
    if isinstance(state, Broken):
        raise state.error


def _run(engine: Engine, request: GenerationRequest, progress: gr.Progress) -> Iterator[Outputs]:
    preview = None
    image = None
    if engine.warning:
        progress(None, desc=engine.warning)
        yield preview, request.seed
    with _closing_soon(engine.generate(request)) as results:
        for result in results:
            match result:
                case Step(number=number, total=total):
                    progress((number, total), desc="Generating", unit="steps")
                    preview = preview if result.preview is None else _preview_data(result.preview)
                case Waiting(text=text):
                    progress(None, desc=text)
                case Notice(text=text):
                    gr.Warning(text)
                case _:
                    image = result
                    break
            # Also without a new preview: Gradio hears of a stop only between yields.
            yield preview, request.seed
    assert image is not None
    yield _save_image(image, engine, request), request.seed


@contextmanager
def _closing_soon(results: Generator[Result, None, None]) -> Iterator[Iterator[Result]]:
    """Close a run that is left: as soon as Gradio closes the one that iterates, that stops it."""
    try:
        yield results
    except GeneratorExit:
        # Gradio closes a generator in its event loop: until the device is free, which may take as
        # long as a step, it would serve nobody.
        threading.Thread(target=results.close, name="stop run", daemon=True).start()
        raise
    except BaseException:
        results.close()
        raise
    results.close()


def _preview_data(preview: bytes) -> dict[str, Any]:
    # As a data URL the preview needs neither a file on disk nor another request.
    url = f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}"
    return {"path": None, "url": url, "orig_name": "preview.jpg", "meta": _FILE_DATA_META}


def _save_image(image: Image.Image, engine: Engine, request: GenerationRequest) -> dict[str, Any]:
    _delete_old_runs()
    folder = Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=_upload_folder()))
    # A copy of the file still shows that this engine made it.
    info = PngInfo()
    info.add_text("Software", engine.title)
    info.add_text("Comment", f"Made by {engine.title}, seed {request.seed}.")
    path = folder / "image.png"
    image.save(path, "PNG", pnginfo=info, compress_level=3)
    return {
        "path": str(path),
        "url": f"/gradio_api/file={quote(str(path))}",
        "orig_name": path.name,
        "mime_type": "image/png",
        "size": path.stat().st_size,
        "meta": _FILE_DATA_META,
    }


def _upload_folder() -> Path:
    # Gradio serves files from here in place.
    folder = Path(gr.utils.get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _delete_old_runs() -> None:
    # Gradio never deletes what an app wrote; clients fetch an image within seconds.
    for folder in _upload_folder().glob(f"{_RUN_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > FILE_LIFETIME_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


class DemoSpace:
    """Demo Space in this process, on a free port of the loopback interface, started on demand."""

    def __init__(self) -> None:
        self._demo: gr.Blocks | None = None
        self._address = ""

    def start(self) -> str:
        """Start the server unless it runs already, which takes under a second; return its URL."""
        if self._demo is None:
            demo = build_space(DemoPainter())
            self._address = launch.launch(demo, port=launch.free_port())
            self._demo = demo
            log.info("The demo Space is at %s", self._address)
        return self._address

    def close(self) -> None:
        """Stop the server if it runs."""
        if self._demo is not None:
            launch.close(self._demo)
            self._demo = None
