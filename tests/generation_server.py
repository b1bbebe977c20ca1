"""A Space for any version of Gradio: `/infer` yields previews, `/plain` doesn't.

Prompts: `error: …` fails with that message, `silent:` without one, `wait:` takes some seconds; any
other makes an image in four steps. A line is printed when the server listens, and when a run
starts.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

STEPS = 4


def render_steps(prompt: str, width: float, height: float, progress: Any) -> Iterator[Any]:  # noqa: ANN401
    print("began", prompt, flush=True)  # noqa: T201
    kind, _, text = prompt.partition(":")
    if kind == "error":
        raise gr.Error(text.strip())
    if kind == "silent":
        raise RuntimeError("nobody is told")
    for step in range(1, STEPS + 1):
        progress((step, STEPS), desc="Denoising", unit="steps")
        yield np.full((int(height) // 8, int(width) // 8, 3), step * 40, np.uint8)
        for _ in range(10 if kind == "wait" else 0):
            time.sleep(0.05)
            yield np.full((8, 8, 3), step * 40, np.uint8)


def infer(  # noqa: PLR0917
    prompt: str,
    negative_prompt: str,
    seed: float,
    randomize_seed: bool,  # noqa: FBT001
    width: float,
    height: float,
    guidance_scale: float,
    num_inference_steps: float,
    progress: Any = gr.Progress(track_tqdm=True),  # noqa: ANN401, B008
) -> Iterator[Any]:
    for frame in render_steps(prompt, width, height, progress):
        yield frame, seed


def plain(  # noqa: PLR0917
    prompt: str,
    negative_prompt: str,
    seed: float,
    randomize_seed: bool,  # noqa: FBT001
    width: float,
    height: float,
    guidance_scale: float,
    num_inference_steps: float,
    progress: Any = gr.Progress(track_tqdm=True),  # noqa: ANN401, B008
) -> Any:  # noqa: ANN401
    return list(render_steps(prompt, width, height, progress))[-1], seed


with gr.Blocks(title="A Space of another generation") as demo:
    inputs = [
        gr.Text(label="Prompt"),
        gr.Text(label="Negative prompt"),
        gr.Slider(0, 2_147_483_647, value=0, step=1),
        gr.Checkbox(value=True),
        gr.Slider(512, 1024, value=1024, step=32),
        gr.Slider(512, 1024, value=1024, step=32),
        gr.Slider(0, 7.5, value=4.5, step=0.1),
        gr.Slider(1, 50, value=40, step=1),
    ]
    outputs = [gr.Image(), inputs[2]]
    gr.Button().click(infer, inputs, outputs, api_name="infer", concurrency_limit=1)
    gr.Button().click(plain, inputs, outputs, api_name="plain", concurrency_limit=1)

if __name__ == "__main__":
    demo.queue().launch(
        server_name="127.0.0.1", server_port=int(sys.argv[1]), prevent_thread_lock=True, quiet=True
    )
    print("listening", flush=True)  # noqa: T201
    sys.stdin.read()  # until the test has ended
