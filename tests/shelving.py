"""The library's room alone, over a library: a page with its two rooms, of which one is empty."""

import io
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.model import Record
from sd35.server import launch
from sd35.server.auth import Door
from sd35.server.blocks import blocks
from sd35.server.server import Services, Site, open_site
from sd35.ui.gallery import view
from sd35.ui.gallery.gallery import Gallery
from sd35.ui.theme import ASSETS, looks

__all__ = ["Shelved", "put", "shelving"]

OURS = Door()


@dataclass(frozen=True, slots=True)
class Shelved:
    """Where the room is, and the library behind it."""

    address: str
    library: Library


def _blocks(shelved: Shelved) -> gr.Blocks:
    with blocks("A library", fill_width=True) as demo:
        with gr.Row(elem_id="header"):
            gr.HTML(view.rooms_nav(), elem_id="rooms", apply_default_css=False)
        with gr.Row(elem_id="studio"):
            told = gr.Textbox(elem_id="told", show_label=False)
        gallery = Gallery(shelved)
        gallery.build()
        gallery.to_form.submit(_as_json, None, told, queue=False)
        gallery.again.retry(_as_json, None, told, queue=False)
    return demo


def _as_json(event: gr.EventData) -> str:
    return json.dumps(event._data)


@asynccontextmanager
async def _lifespan(_: object) -> Any:  # noqa: ANN401  # Starlette's own
    yield


@contextmanager
def shelving(folder: Path, door: Door = OURS, root_path: str | None = None) -> Iterator[Shelved]:
    """Serve the room over the library in this folder, at a free port."""
    library = Library.open(folder)
    site = Site(door, port=launch.free_port(), root_path=root_path)
    demo = _blocks(Shelved("", library))
    services = Services(lambda _: None, lambda _: None, lambda: b"", _lifespan, {}, library)
    try:
        yield Shelved(open_site(demo, site, services, ASSETS / "login.html", **looks()), library)
    finally:
        launch.close(demo)
        library.close()


def put(
    library: Library, record: Record, owner: str = "", size: tuple[int, int] = (96, 64)
) -> Entry:
    """Add a plain picture, whose colour follows from its prompt."""
    colour = (len(record.prompt) * 37 % 256, len(record.prompt) * 91 % 256, 120)
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return library.add(out.getvalue(), open_picture(out.getvalue()), record, owner)
