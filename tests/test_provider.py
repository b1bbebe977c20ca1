"""The provider class, as programs use it that know it from elsewhere."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from aiohttp import web

import sd35
from sd35.client import Timeouts
from sd35.core.errors import QuotaError
from sd35.core.sizes import ASPECT_RATIOS
from sd35.provider import ImagePreview, ImageResponse, ResponseError, StabilityAI_SD35Large
from sd35.space.server import DemoSpace
from tests.impostor import (
    FINISHED,
    LIMIT,
    PREVIEW,
    QUEUED,
    STARTED,
    Handler,
    impostor,
    saying,
    sending,
)

pytestmark = pytest.mark.anyio

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You make pictures."},
    {"role": "user", "content": "a dog"},
    {"role": "assistant", "content": "Here it is."},
    {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": " a cat "}]},
]

Images = list[ImagePreview | ImageResponse]


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    space = DemoSpace()
    yield space.start()
    space.close()


def at(address: str, **timeouts: float) -> type[StabilityAI_SD35Large]:
    """The provider, at another Space."""
    values = {"url": address.rstrip("/"), "timeouts": Timeouts(**timeouts)}  # type: ignore[arg-type]
    return type("Provider", (StabilityAI_SD35Large,), values)


async def images(provider: type[StabilityAI_SD35Large], *args: Any, **options: Any) -> Images:  # noqa: ANN401
    with anyio.fail_after(LIMIT):
        return [image async for image in provider.create_async_generator(*args, **options)]


def test_its_interface() -> None:
    """A program that knows the class misses something, or gets other defaults."""
    kind = StabilityAI_SD35Large
    assert kind.url == "https://stabilityai-stable-diffusion-3-5-large.hf.space"
    assert kind.api_endpoint == "/gradio_api/call/infer"
    assert kind.working
    assert kind.label
    assert {
        kind.get_model(name) for name in ["", None, "auto", *kind.models, *kind.model_aliases]
    } == {kind.default_model}
    assert kind.models == kind.image_models == kind.get_models()
    parameters = inspect.signature(kind.create_async_generator).parameters
    assert list(parameters) == [
        *(
            "model",
            "messages",
            "prompt",
            "negative_prompt",
            "api_key",
            "proxy",
            "aspect_ratio",
            "width",
            "height",
        ),
        *("guidance_scale", "num_inference_steps", "seed", "randomize_seed", "kwargs"),
    ]
    assert (parameters["seed"].default, parameters["randomize_seed"].default) == (0, True)
    assert parameters["aspect_ratio"].default == "1:1"
    assert (kind.ImagePreview, kind.ImageResponse, kind.ResponseError) == (
        ImagePreview,
        ImageResponse,
        ResponseError,
    )


async def test_a_picture(demo: str) -> None:
    """Between the demo Space and a program a preview, the picture, its prompt or its seed is lost."""
    made = await images(
        at(demo), "sd-3.5-large", MESSAGES, seed=7, randomize_seed=False, num_inference_steps=6
    )
    *previews, response = made
    assert previews
    assert all(isinstance(preview, ImagePreview) and not str(preview) for preview in previews)
    assert isinstance(response, ImageResponse)
    assert (response.alt, response.seed, response.get("width")) == ("a cat", 7, 1024)
    assert response.get_list() == [response.url] == [response.urls]
    assert response.url.startswith(demo)
    assert str(response) == f"[![a cat]({response.url})]({response.url})"


@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
async def test_every_aspect_ratio(demo: str, ratio: str) -> None:
    """An aspect ratio gives a size that a Space with the public one's limits refuses."""
    response = (await images(at(demo), "", [], "x", aspect_ratio=ratio, num_inference_steps=1))[-1]
    width, height = (int(side) for side in ratio.split(":"))
    assert (response.get("width") >= response.get("height")) == (width >= height)


async def sent(**options: Any) -> list[Any]:  # noqa: ANN401
    """What the Space is asked for."""
    seen: list[Any] = []

    async def join(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.json_response({"event_id": "e"})

    async with impostor(join=join) as address:
        await images(at(address), None, MESSAGES, **options)
    data: list[Any] = seen[0]["data"]
    return data


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({}, ["a cat", "", 0, True, 1024, 1024, 4.5, 40]),
        (
            {"prompt": "a fox", "negative_prompt": "blurry"},
            ["a fox", "blurry", 0, True, 1024, 1024, 4.5, 40],
        ),
        ({"seed": 9, "randomize_seed": False}, ["a cat", "", 9, False, 1024, 1024, 4.5, 40]),
        ({"width": 512, "height": 768}, ["a cat", "", 0, True, 512, 768, 4.5, 40]),
        ({"width": 768, "aspect_ratio": "3:2"}, ["a cat", "", 0, True, 768, 512, 4.5, 40]),
        (
            {"aspect_ratio": "16:9", "num_inference_steps": 50},
            ["a cat", "", 0, True, 1024, 576, 4.5, 50],
        ),
        ({"aspect_ratio": "21:9", "guidance_scale": 0}, ["a cat", "", 0, True, 1024, 512, 0, 40]),
        (
            {"media": None, "stream": True, "unknown": 1},
            ["a cat", "", 0, True, 1024, 1024, 4.5, 40],
        ),
    ],
)
async def test_what_is_asked_for(options: dict[str, Any], data: list[Any]) -> None:
    """An argument is lost on its way to the Space, or sent as it isn't accepted there."""
    assert await sent(**options) == data


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"aspect_ratio": "wide"}, "aspect ratio"),
        ({"width": 1000, "height": 1000}, "multiple of 16"),
        ({"width": 64, "height": 64}, "512 to 1024"),
        ({"prompt": " "}, "prompt is empty"),
        ({"proxy": "socks5://x"}, "proxy's address"),
        ({"api_key": "two words"}, "token"),
    ],
)
async def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    """A mistake surfaces as the Space's `'ValueError'`, or as an error that programs don't catch."""
    async with impostor() as address:
        with pytest.raises(ResponseError, match=words):
            await images(at(address), "", MESSAGES, **arguments)


async def test_an_unknown_model_is_owned_up_to(caplog: pytest.LogCaptureFixture) -> None:
    """A picture passes for another model's, or a name that other providers know ends in an error."""
    async with impostor() as address:
        with caplog.at_level(logging.WARNING):
            made = await images(at(address), "dall-e-3", MESSAGES)
    assert "there is no model 'dall-e-3' here" in caplog.text
    assert made[-1].get("model") == StabilityAI_SD35Large.default_model


REFUSAL = {
    "error": "You have exceeded your free GPU quota (60s requested vs. 34s left). Try again in 1:23:54"
}


@pytest.mark.parametrize(
    ("handlers", "kind", "words"),
    [
        (
            {
                "data": sending(
                    QUEUED, {"msg": "process_completed", "success": False, "output": REFUSAL}
                )
            },
            "quota",
            "34s left",
        ),
        (
            {
                "data": sending(
                    QUEUED,
                    {"msg": "process_completed", "success": False, "output": {"error": None}},
                )
            },
            "failed",
            "say why",
        ),
        ({"join": saying(401)}, "access", "token"),
        ({"config": saying(404)}, "not-found", "no Gradio app"),
        ({"data": sending(QUEUED, STARTED, stay=True)}, "silent", "no news"),
    ],
)
async def test_the_error_is_the_space_s_own(
    handlers: dict[str, Handler], kind: str, words: str
) -> None:
    """Every failure is said to be a quota, or a Space that went silent is waited for for ever."""
    async with impostor(handlers) as address:
        with pytest.raises(ResponseError, match=words) as caught:
            await images(at(address, no_news=0.3), "", MESSAGES)
    assert caught.value.kind == kind
    assert isinstance(caught.value, sd35.SD35Error)
    if isinstance(caught.value.error, QuotaError):
        assert caught.value.retry_after_seconds == 5034


async def test_leaving_it_cancels() -> None:
    """A run whose generator was left goes on for nobody."""
    cancelled = anyio.Event()

    async def cancel(_: web.Request) -> web.Response:
        cancelled.set()
        return web.json_response({"success": True})

    async with impostor(
        data=sending(QUEUED, STARTED, PREVIEW, stay=True), cancel=cancel
    ) as address:
        async with aclosing(at(address).create_async_generator("", MESSAGES)) as generator:
            assert isinstance(await anext(generator), ImagePreview)
        assert cancelled.is_set()


async def test_a_subclass_for_another_endpoint() -> None:
    """`api_endpoint` is there and says nothing."""
    async with impostor(data=sending(QUEUED, STARTED, FINISHED)) as address:
        provider = at(address)
        provider.api_endpoint = "/gradio_api/call/other"
        with pytest.raises(ResponseError, match="no /other endpoint"):
            await images(provider, "", MESSAGES)
