"""The page that one would write first: `python -m bench.simple_page ADDRESS PORT`, started by `app`."""

import sys
from collections.abc import Iterator

import gradio as gr
import gradio_client
from PIL import Image


def main(address: str, port: int) -> None:
    """Serve it."""
    space = gradio_client.Client(address, verbose=False)

    def generate(prompt: str) -> Iterator[Image.Image]:
        for picture, _ in space.submit(prompt, "", api_name="/infer"):
            yield Image.open(picture)

    with gr.Blocks() as demo:
        prompt = gr.Textbox()
        gr.Button("Generate").click(generate, prompt, gr.Image())
    _, address, _ = demo.launch(server_port=port, quiet=True, prevent_thread_lock=True)
    print(address, flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
