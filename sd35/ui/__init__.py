"""The Gradio page: components, handlers and views. No HTTP and no SQL here."""
