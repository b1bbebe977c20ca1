"""Fake Spaces: real Gradio servers with the public Space's `/infer`, controlled by the prompt.

Prompts: `error: …` fails with that message, `silent:` fails without one, `wait:` runs until it is
released, `notice: …` sends that notice first; any other makes an image.
"""

import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from sd35.server import launch
from sd35.server.blocks import locked_blocks

STEPS = 6
LIMIT_SECONDS = 20

Frame = NDArray[np.uint8]


class FakeSpace:
    """A Space whose endpoint is a generator with previews, or a plain function.

    Attributes:
        address: the address of the Space.
        run_started: set while a `wait:` prompt runs.
        finished_runs: counts the runs that have ended in any way.

    """

    def __init__(
        self,
        *,
        is_generator: bool,
        width: tuple[int, int, int] = (512, 1024, 32),
        max_seed: int = 2**31 - 1,
        auth: tuple[str, str] | None = None,
    ) -> None:
        self.run_started = threading.Event()
        self.finished_runs = threading.Semaphore(0)
        self._released = threading.Event()
        self._demo = self._build(self._generator if is_generator else self._plain, width, max_seed)
        self.address = launch.launch(self._demo, port=launch.free_port(), auth=auth)

    @property
    def logins(self) -> dict[str, str]:
        """The usernames of the sessions, by Gradio's token."""
        tokens: dict[str, str] = self._demo.app.tokens
        return tokens

    def release(self) -> None:
        """Let a `wait:` prompt finish."""
        self._released.set()

    def hold(self) -> None:
        """Make the next `wait:` prompt wait again."""
        self._released.clear()
        self.run_started.clear()

    def close(self) -> None:
        """Stop the server and its runs."""
        self._released.set()
        launch.close(self._demo)

    def _render_steps(
        self, prompt: str, width: float, height: float, progress: gr.Progress
    ) -> Iterator[Frame]:
        try:
            kind, _, text = prompt.partition(":")
            if kind == "error":
                raise gr.Error(text.strip(), title="ZeroGPU quota exceeded", print_exception=False)
            if kind == "silent":
                raise gr.Error("", print_exception=False) from RuntimeError("nobody is told")
            if kind == "notice":
                gr.Info(text.strip())
            for step in range(1, STEPS + 1):
                progress((step, STEPS), desc="Denoising", unit="steps")
                yield np.full((int(height) // 8, int(width) // 8, 3), step * 40, np.uint8)
                if kind == "wait" and step == 2:
                    self.run_started.set()
                    yield from self._wait_for_release(step)
        finally:
            self.finished_runs.release()

    def _wait_for_release(self, step: int) -> Iterator[Frame]:
        """Repeat this step until released: Gradio can end a generator when it yields."""
        for _ in range(LIMIT_SECONDS * 20):
            if self._released.wait(0.05):
                return
            yield np.full((64, 64, 3), step * 40, np.uint8)

    def _generator(  # noqa: PLR0917
        self,
        prompt: str,
        negative_prompt: str,
        seed: float,
        randomize_seed: bool,  # noqa: FBT001
        width: float,
        height: float,
        guidance_scale: float,
        num_inference_steps: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Frame, float]]:
        for frame in self._render_steps(prompt, width, height, progress):
            yield frame, seed

    def _plain(  # noqa: PLR0917
        self,
        prompt: str,
        negative_prompt: str,
        seed: float,
        randomize_seed: bool,  # noqa: FBT001
        width: float,
        height: float,
        guidance_scale: float,
        num_inference_steps: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Frame, float]:
        return list(self._render_steps(prompt, width, height, progress))[-1], seed

    def _build(
        self,
        infer: Any,  # noqa: ANN401
        width: tuple[int, int, int],
        max_seed: int,
    ) -> gr.Blocks:
        low, high, step = width
        with locked_blocks("A fake Space") as demo:
            inputs = [
                gr.Text(label="Prompt"),
                gr.Text(label="Negative prompt"),
                gr.Slider(0, max_seed, value=0, step=1),
                gr.Checkbox(value=True),
                gr.Slider(low, high, value=high, step=step),
                gr.Slider(low, high, value=high, step=step),
                gr.Slider(0, 7.5, value=4.5, step=0.1),
                gr.Slider(1, 50, value=40, step=1),
            ]
            outputs = [gr.Image(), inputs[2]]
            gr.Button().click(infer, inputs, outputs, api_name="infer", concurrency_limit=1)
        return demo.queue(max_size=4)
