"""Gradio app with the public Space's `/infer` over an engine, and the embedded demo Space."""

import io
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.request import GenerationRequest
from sd35.server import launch
from sd35.server.blocks import locked_blocks
from sd35.space.engine import Engine
from sd35.space.painter import DemoPainter

__all__ = ["DemoSpace", "build_space"]

log = logging.getLogger(__name__)

PREVIEWS_PER_RUN = 12
MAX_PREVIEW_BYTES = 50_000
PREVIEW_LONGEST_SIDE = 512
FILE_LIFETIME_SECONDS = 3600
MAX_QUEUE_SIZE = 64

_RUN_PREFIX = "run-"

assert PUBLIC_LIMITS.seed is not None
_MAX_SEED = int(PUBLIC_LIMITS.seed.maximum)


def build_space(engine: Engine) -> gr.Blocks:
    """Return the app: a small version of the public Space's page, with the same endpoint."""
    with locked_blocks(engine.title) as demo:
        gr.Markdown(f"# {engine.title}\n{engine.description}")
        prompt = gr.Text(label="Prompt", placeholder="a lighthouse by the sea at dusk", max_lines=1)
        run = gr.Button("Generate", variant="primary")
        result = gr.Image(label="Result", format="png")
        with gr.Accordion("Advanced settings", open=False):
            negative_prompt = gr.Text(label="Negative prompt")
            seed = _slider(PUBLIC_LIMITS.seed, "Seed")
            randomize_seed = gr.Checkbox(value=True, label="Randomize seed")
            width = _slider(PUBLIC_LIMITS.width, "Width")
            height = _slider(PUBLIC_LIMITS.height, "Height")
            guidance_scale = _slider(PUBLIC_LIMITS.guidance_scale, "Guidance scale")
            steps = _slider(PUBLIC_LIMITS.num_inference_steps, "Inference steps")
        gr.on(
            [run.click, prompt.submit],
            _create_infer(engine),
            [prompt, negative_prompt, seed, randomize_seed, width, height, guidance_scale, steps],
            [result, seed],
            api_name="infer",
            concurrency_limit=1,  # as on a single GPU: further requests wait in the queue
        )
    # Unlimited by default: every waiting request would hold a connection.
    return demo.queue(max_size=MAX_QUEUE_SIZE)


def _slider(value_range: Range | None, label: str) -> gr.Slider:
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
    )


def _create_infer(engine: Engine) -> Callable[..., Iterator[tuple[str, int]]]:
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
    ) -> Iterator[tuple[str, int]]:
        """Yield the path of a preview every few steps, then of the final PNG, with the seed."""
        if width % 16 or height % 16:
            # With `print_exception`, Gradio would log a traceback for a mistake of the client.
            raise gr.Error("Width and height must be multiples of 16.", print_exception=False)
        request = GenerationRequest(
            prompt or "",
            negative_prompt or "",
            int(width),
            int(height),
            guidance_scale,
            int(num_inference_steps),
            secrets.randbelow(_MAX_SEED + 1) if randomize_seed else int(seed),
        )
        yield from _run(engine, request, progress)

    return infer


def _run(
    engine: Engine, request: GenerationRequest, progress: gr.Progress
) -> Iterator[tuple[str, int]]:
    _delete_old_runs()
    folder = Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=_upload_folder()))
    preview_interval = max(1, request.num_inference_steps // PREVIEWS_PER_RUN)
    steps = engine.generate(request)
    while True:
        # A `for` loop would lose the generator's return value.
        try:
            step = next(steps)
        except StopIteration as end:
            yield _save_image(end.value, engine, request, folder), request.seed
            return
        progress((step.number, step.total), desc="Generating", unit="steps")
        if step.number % preview_interval == 0 and step.number < step.total:
            path = folder / f"preview-{step.number:02d}.jpg"
            path.write_bytes(_encode_preview(step.preview(PREVIEW_LONGEST_SIDE)))
            yield str(path), request.seed


def _upload_folder() -> Path:
    # Gradio serves files from here in place, and copies those from elsewhere.
    folder = Path(gr.utils.get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _delete_old_runs() -> None:
    # Gradio never deletes what an app wrote; clients fetch an image within seconds.
    for folder in _upload_folder().glob(f"{_RUN_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > FILE_LIFETIME_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _encode_preview(image: Image.Image) -> bytes:
    """Return a JPEG of at most `MAX_PREVIEW_BYTES`, in the best quality that fits."""
    for quality in (85, 70, 50, 25):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_PREVIEW_BYTES:
            break
    return buffer.getvalue()


def _save_image(
    image: Image.Image, engine: Engine, request: GenerationRequest, folder: Path
) -> str:
    # A copy of the file still shows that this engine made it, not Stable Diffusion.
    info = PngInfo()
    info.add_text("Software", engine.title)
    info.add_text("Comment", f"Made by {engine.title}, seed {request.seed}.")
    path = folder / "image.png"
    image.save(path, "PNG", pnginfo=info, compress_level=3)
    return str(path)


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
