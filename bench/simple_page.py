"""The simplest page for a Space: `python -m bench.simple_page SPACE_ADDRESS PORT`.

A synchronous generator over gradio_client that yields Pillow images.
"""

import sys
from collections.abc import Iterator

import gradio as gr
import gradio_client
from PIL import Image


def main(space_address: str, port: int) -> None:
    """Serve the page until the process ends."""
    space = gradio_client.Client(space_address, verbose=False)

    def generate(prompt: str) -> Iterator[Image.Image]:
        for path, _ in space.submit(prompt, "", api_name="/infer"):
            yield Image.open(path)

    with gr.Blocks() as demo:
        prompt = gr.Textbox()
        gr.Button("Generate").click(generate, prompt, gr.Image())
    _, address, _ = demo.launch(server_port=port, quiet=True, prevent_thread_lock=True)
    print(address, flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
