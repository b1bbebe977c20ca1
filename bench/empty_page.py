"""An empty Gradio app whose only listener returns its input: `python -m bench.empty_page PORT`."""

import sys

import gradio as gr


def main(port: int) -> None:
    """Serve the app until the process ends."""
    with gr.Blocks() as demo:
        text = gr.Textbox()
        text.submit(lambda value: value, text, text)
    _, address, _ = demo.launch(server_port=port, quiet=True, prevent_thread_lock=True)
    print(address, flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main(int(sys.argv[1]))
