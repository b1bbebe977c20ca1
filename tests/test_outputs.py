"""Results in every form in which a function of a Gradio app can return them."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np
import pytest

from sd35.client import Previews, SpaceClient
from sd35.client.outputs import find_picture, parse_seed
from sd35.core.errors import GenerationFailedError
from sd35.core.events import Finished, Preview, RemotePicture
from sd35.core.request import GenerationRequest
from sd35.server import launch
from sd35.server.blocks import locked_blocks

SIDE = 64
BLANK = np.zeros((SIDE, SIDE, 3), np.uint8)
FRAME = np.full((SIDE, SIDE, 3), 200, np.uint8)

# The outputs of each call of the endpoint, made when it is called; the last image is `FRAME`, and
# the last seed 7.
Shape = Callable[[], list[Any]]


def image_shapes(image: gr.Image, seed: gr.Slider) -> dict[str, Shape]:
    return {
        "tuple": lambda: [(FRAME, 7)],
        "updates": lambda: [(gr.update(value=FRAME), gr.update(value=7, label="used"))],
        "components": lambda: [(gr.Image(value=FRAME), gr.Slider(value=7))],
        "dict": lambda: [{image: gr.update(value=FRAME), seed: 7}],
        "dict-without-image": lambda: [{image: FRAME}, {seed: 7}],
        "skips-at-the-end": lambda: [
            (BLANK, 6),
            (gr.update(value=FRAME), 7),
            (gr.skip(), gr.skip()),
        ],
        "one-skip-for-both": lambda: [(FRAME, gr.update(value=7)), gr.skip()],
        "none-in-the-middle": lambda: [(BLANK, 7), (None, 7), (FRAME, 7), (None, 7)],
        "other-properties": lambda: [
            (gr.update(value=BLANK, label="a"), 7),
            (gr.update(label="b"), gr.update(label="c")),
            (gr.update(value=FRAME), gr.update(value=7)),
            (gr.update(label="d"), gr.update(label="e")),
        ],
        "nothing": lambda: [gr.skip()],
    }


def gallery_shapes() -> dict[str, Shape]:
    return {
        "gallery": lambda: [([FRAME], 7)],
        "gallery-with-captions": lambda: [([(FRAME, "a caption"), (BLANK, "another")], 7)],
        "gallery-update": lambda: [(gr.update(value=[FRAME], columns=1), gr.skip())],
        "gallery-at-last": lambda: [([], 7), ([FRAME], 7), (gr.skip(), 7)],
    }


def add_endpoint(inputs: list[Any], outputs: list[Any], name: str, shape: Shape) -> None:
    def generator(prompt: str, width: float, height: float) -> Iterator[Any]:
        yield from shape()

    def plain(prompt: str, width: float, height: float) -> Any:  # noqa: ANN401
        return shape()[0]

    is_plain = name in {"tuple", "updates", "components", "dict", "gallery", "nothing"}
    gr.Button().click(plain if is_plain else generator, inputs, outputs, api_name=name)


def add_seed_endpoint(inputs: list[Any], image: gr.Image) -> None:
    def tell_seed(prompt: str, width: float, height: float, seed: float) -> Any:  # noqa: ANN401
        text = prompt.removeprefix("-")
        if text == "skip":
            return FRAME, 12.5, gr.skip()
        kind, _, value = text.partition("update: ")
        return FRAME, 12.5, kind or gr.update(value=value)

    outputs = [image, gr.Number(label="Seconds"), gr.Textbox(label="Seed used")]
    gr.Button().click(tell_seed, [*inputs, gr.Number()], outputs, api_name="seeds")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with locked_blocks("Shapes of outputs") as demo:
        inputs = [gr.Text(), gr.Slider(64, 1024, step=32), gr.Slider(64, 1024, step=32)]
        image = gr.Image()
        seed = gr.Slider(0, 2**31, step=1)
        for name, shape in image_shapes(image, seed).items():
            add_endpoint(inputs, [image, seed], name, shape)
        gallery = gr.Gallery()
        for name, shape in gallery_shapes().items():
            add_endpoint(inputs, [gallery, seed], name, shape)
        add_seed_endpoint(inputs, image)
    yield launch.launch(demo.queue(), port=launch.free_port())
    launch.close(demo)


NAMES = [*image_shapes(None, None), *gallery_shapes()]


@pytest.mark.anyio
@pytest.mark.parametrize("name", [name for name in NAMES if name != "nothing"])
async def test_the_last_image_that_is_shown_is_the_result(address: str, name: str) -> None:
    request = GenerationRequest("a cat", seed=3, width=512, height=512)
    async with SpaceClient.connect(address, endpoint=name) as space:
        async with space.generate(request, previews=Previews.ALL) as generation:
            events = [event async for event in generation]
            picture = await generation.fetch()
    assert isinstance(events[-1], Finished)
    assert picture.image.convert("L").getpixel((0, 0)) == FRAME[0, 0, 0]
    is_seed_known = name != "gallery-update"
    assert events[-1].seed == (7 if is_seed_known else None)
    assert picture.seed == (7 if is_seed_known else None)
    previews = [event for event in events if isinstance(event, Preview)]
    assert all(preview.fetched is not None for preview in previews)


@pytest.mark.anyio
async def test_a_run_that_shows_no_image_has_none(address: str) -> None:
    async with SpaceClient.connect(address, endpoint="nothing") as space:
        with pytest.raises(GenerationFailedError, match="no image"):
            async with space.generate(GenerationRequest("a cat", width=512, height=512)) as run:
                [event async for event in run]


@pytest.mark.parametrize(
    ("value", "picture"),
    [
        (
            {"url": "http://x/a.webp", "path": "/a.webp"},
            RemotePicture("http://x/a.webp", "/a.webp"),
        ),
        ({"url": None, "path": "/a.webp"}, RemotePicture("", "/a.webp")),
        ("data:image/png;base64,AA==", RemotePicture("data:image/png;base64,AA==")),
        ({"__type__": "update", "value": {"value": "http://x/a"}}, RemotePicture("http://x/a")),
        ({"type": "image", "props": {"value": "http://x/a"}}, RemotePicture("http://x/a")),
        ([[{"path": "/a.webp"}, "a caption"]], RemotePicture("", "/a.webp")),
        ([None, {"image": None}, {"image": {"path": "/a"}}], RemotePicture("", "/a")),
        ({}, None),
        ([], None),
        ("", None),
        (7, None),
        ({"value": None}, None),
        ({"url": 5}, None),
    ],
)
def test_every_form_of_an_image_is_understood(value: object, picture: RemotePicture | None) -> None:
    assert find_picture(value) == picture


@pytest.mark.parametrize("seed", [1e300, -1, True, "7 or 8", None, {}, {"value": "x"}, [7]])
def test_an_impossible_seed_is_unknown(seed: object) -> None:
    assert parse_seed(seed) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("update: 9007199254740993", 2**53 + 1),
        ("Seed: 4711", 4711),
        ("skip", 3),
        *((text, None) for text in ("none of your business", "1.5", "update: ?", "", "-1")),
    ],
)
async def test_a_seed_that_is_told_as_text_is_read(
    address: str, text: str, seed: int | None
) -> None:
    """A seed in a text is exact; if it can't be read, the requested one isn't vouched for."""
    request = GenerationRequest(f"-{text}", width=512, height=512, seed=3, randomize_seed=False)
    async with SpaceClient.connect(address, endpoint="seeds") as space:
        assert space.contract.seed_output == 2
        async with space.generate(request) as generation:
            [event async for event in generation]
            picture = await generation.fetch()
    assert picture.seed == seed
