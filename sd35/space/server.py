"""The demo Space: a real Gradio app with the public Space's `/infer`, and a painter in place of the model."""

import io
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.server import launch
from sd35.server.blocks import locked_blocks
from sd35.space.painter import Painting, Step, paint

__all__ = ["TITLE", "DemoSpace", "build_demo"]

log = logging.getLogger(__name__)

TITLE = "SD 3.5 demo painter (not Stable Diffusion)"

PREVIEWS_PER_RUN = 12
"""About this many previews come from one run."""

MAX_PREVIEW_BYTES = 50_000
PREVIEW_LONGEST_SIDE = 512

MIN_STEP_SECONDS = 0.04
"""A step takes at least this long: the painter is done in a moment otherwise, and there would be nothing to watch."""

FILE_LIFETIME = 3600
"""A client fetches a picture at once; what has lain longer than this is deleted at the next run."""

RUN_PREFIX = "run-"


def infer(  # noqa: PLR0913, PLR0917  # the public Space's parameters, in its order
    prompt: str,
    negative_prompt: str | None,
    seed: float,
    randomize_seed: bool,  # noqa: FBT001
    width: float,
    height: float,
    guidance_scale: float,
    num_inference_steps: float,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio passes it
) -> Iterator[tuple[str, int]]:
    """Paint the prompt's words. Not Stable Diffusion: a stand-in that keeps its parameters and its way of working.

    Yields the path of a preview every few steps, and at last that of the picture, a PNG; beside it
    the seed used.
    """
    used_seed = random.randint(0, int(SEED_RANGE.maximum)) if randomize_seed else int(seed)  # noqa: S311
    if width % 16 or height % 16:
        raise gr.Error("Width and height must be multiples of 16.", print_exception=False)
    painting = Painting(
        prompt or "",
        negative_prompt or "",
        used_seed,
        int(width),
        int(height),
        guidance_scale,
        int(num_inference_steps),
    )
    _delete_old_runs()
    folder = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=_upload_folder()))
    steps, started_at = paint(painting), time.monotonic()
    while True:
        try:
            step = next(steps)
        except StopIteration as stop_iteration:
            yield _save_picture(stop_iteration.value, painting, folder), used_seed
            return
        time.sleep(max(0.0, started_at + step.number * MIN_STEP_SECONDS - time.monotonic()))
        progress((step.number, step.total), desc="Painting", unit="steps")
        if step.number % max(1, step.total // PREVIEWS_PER_RUN) == 0 and step.number < step.total:
            yield _save_preview(step, folder), used_seed


assert PUBLIC_LIMITS.seed is not None
SEED_RANGE: Range = PUBLIC_LIMITS.seed


def _delete_old_runs() -> None:
    """Delete the files of runs that nobody can still be fetching."""
    for folder in _upload_folder().glob(f"{RUN_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > FILE_LIFETIME:
            shutil.rmtree(folder, ignore_errors=True)


def _upload_folder() -> Path:
    folder = Path(gr.utils.get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save_preview(step: Step, folder: Path) -> str:
    path = folder / f"preview-{step.number:02d}.jpg"
    path.write_bytes(encode_preview(step.preview(PREVIEW_LONGEST_SIDE)))
    return str(path)


def encode_preview(image: Image.Image) -> bytes:
    """Encode as JPEG of at most `MAX_PREVIEW_BYTES`, as good as that allows."""
    for quality in (85, 70, 50, 25):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_PREVIEW_BYTES:
            break
    return buffer.getvalue()


def _save_picture(image: Image.Image, painting: Painting, folder: Path) -> str:
    """Save without loss, and say in the file that this isn't Stable Diffusion's."""
    info = PngInfo()
    info.add_text("Software", TITLE)
    info.add_text(
        "Comment",
        f"Painted by the demo painter, seed {painting.seed}. Not made by Stable Diffusion.",
    )
    path = folder / "demo-painter.png"
    image.save(path, "PNG", pnginfo=info, compress_level=3)
    return str(path)


def _slider(value_range: Range | None, label: str) -> gr.Slider:
    assert value_range is not None
    return gr.Slider(
        value_range.minimum,
        value_range.maximum,
        value=value_range.default,
        step=value_range.step,
        label=label,
    )


def build_demo() -> gr.Blocks:
    """The app: the public Space's page in small, with its endpoint `/infer`."""
    with locked_blocks(TITLE) as demo:
        gr.Markdown(
            f"# {TITLE}\nIt paints the words it knows, offline. For trying things out, and for tests."
        )
        prompt = gr.Text(label="Prompt", placeholder="a lighthouse by the sea at dusk", max_lines=1)
        run = gr.Button("Paint", variant="primary")
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
            infer,
            [prompt, negative_prompt, seed, randomize_seed, width, height, guidance_scale, steps],
            [result, seed],
            api_name="infer",
            concurrency_limit=1,
        )
    return demo.queue(max_size=64)


class DemoSpace:
    """The demo Space, embedded: started on demand, at a free port of the loopback interface, in this process."""

    def __init__(self) -> None:
        self._demo: gr.Blocks | None = None
        self._address = ""

    def start(self) -> str:
        """Start it, if it isn't running, and return its address. Takes some tenths of a second."""
        if self._demo is None:
            demo = build_demo()
            self._address = launch.launch(demo, port=launch.free_port())
            self._demo = demo
            log.info("the demo Space is at %s", self._address)
        return self._address

    def close(self) -> None:
        """End it, if it runs."""
        if self._demo is not None:
            launch.close(self._demo)
            self._demo = None
