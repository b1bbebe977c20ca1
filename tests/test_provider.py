"""The provider class, used like a provider of g4f."""

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
from sd35.provider import ImagePreview, ImageResponse, ResponseError, StabilityAI_SD35Large
from sd35.space.server import DemoSpace
from tests.impostor import (
    FINISHED,
    LIMIT_SECONDS,
    PREVIEW,
    QUEUED,
    STARTED,
    Handler,
    respond_events,
    respond_text,
    serve_fake_gradio,
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


def provider_for(address: str, **timeouts: float) -> type[StabilityAI_SD35Large]:
    """Return the provider class for another Space."""
    values = {"url": address.rstrip("/"), "timeouts": Timeouts(**timeouts)}  # type: ignore[arg-type]
    return type("Provider", (StabilityAI_SD35Large,), values)


async def collect_images(
    provider: type[StabilityAI_SD35Large],
    *args: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> Images:
    with anyio.fail_after(LIMIT_SECONDS):
        return [image async for image in provider.create_async_generator(*args, **options)]


def test_the_interface_is_that_of_g4f_s_provider() -> None:
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


async def test_previews_and_the_image_have_prompt_seed_and_address(demo: str) -> None:
    results = await collect_images(
        provider_for(demo),
        "sd-3.5-large",
        MESSAGES,
        seed=7,
        randomize_seed=False,
        num_inference_steps=6,
    )
    *previews, response = results
    assert previews
    assert all(isinstance(preview, ImagePreview) and not str(preview) for preview in previews)
    assert isinstance(response, ImageResponse)
    assert (response.alt, response.seed, response.get("width")) == ("a cat", 7, 1024)
    assert response.get_list() == [response.url] == [response.urls]
    assert response.url.startswith(demo)
    assert str(response) == f"[![a cat]({response.url})]({response.url})"


@pytest.mark.parametrize("ratio", ["1:1", "21:9", "9:16"])
async def test_aspect_ratio_has_an_accepted_size(demo: str, ratio: str) -> None:
    response = (
        await collect_images(
            provider_for(demo), "", [], "x", aspect_ratio=ratio, num_inference_steps=1
        )
    )[-1]
    width, height = (int(side) for side in ratio.split(":"))
    assert (response.get("width") >= response.get("height")) == (width >= height)


async def submitted_data(**options: Any) -> list[Any]:  # noqa: ANN401
    """Return the inputs that the Space receives."""
    payloads: list[Any] = []

    async def join(request: web.Request) -> web.Response:
        payloads.append(await request.json())
        return web.json_response({"event_id": "e"})

    async with serve_fake_gradio(join=join) as address:
        await collect_images(provider_for(address), None, MESSAGES, **options)
    data: list[Any] = payloads[0]["data"]
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
async def test_every_argument_arrives_at_the_space(
    options: dict[str, Any], data: list[Any]
) -> None:
    assert await submitted_data(**options) == data


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        ({"aspect_ratio": "wide"}, "aspect ratio"),
        ({"width": 1000, "height": 1000}, "multiple of 16"),
        ({"width": 64, "height": 64}, "between 512 and 1024 px"),
        ({"prompt": " "}, "Enter a prompt."),
        ({"proxy": "socks5://x"}, "proxy's address"),
        ({"api_key": "two words"}, "token"),
    ],
)
async def test_an_invalid_argument_is_a_response_error(
    arguments: dict[str, Any], expected_message: str
) -> None:
    async with serve_fake_gradio() as address:
        with pytest.raises(ResponseError, match=expected_message):
            await collect_images(provider_for(address), "", MESSAGES, **arguments)


async def test_an_unknown_model_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_fake_gradio() as address:
        with caplog.at_level(logging.WARNING):
            results = await collect_images(provider_for(address), "dall-e-3", MESSAGES)
    assert "unknown model 'dall-e-3'" in caplog.text
    assert results[-1].get("model") == StabilityAI_SD35Large.default_model


QUOTA_FAILURE = {
    "error": (
        "You have exceeded your free GPU quota (60s requested vs. 34s left). Try again in 1:23:54"
    )
}


@pytest.mark.parametrize(
    ("handlers", "kind", "expected_message"),
    [
        (
            {
                "data": respond_events(
                    QUEUED, {"msg": "process_completed", "success": False, "output": QUOTA_FAILURE}
                )
            },
            "quota",
            "34s left",
        ),
        (
            {
                "data": respond_events(
                    QUEUED,
                    {"msg": "process_completed", "success": False, "output": {"error": None}},
                )
            },
            "failed",
            "without details",
        ),
        ({"join": respond_text(401)}, "access", "token"),
        ({"config": respond_text(404)}, "not-found", "No Gradio app"),
        ({"data": respond_events(QUEUED, STARTED, is_kept_open=True)}, "silent", "No updates"),
    ],
)
async def test_a_response_error_has_the_kind_and_message_of_its_cause(
    handlers: dict[str, Handler], kind: str, expected_message: str
) -> None:
    async with serve_fake_gradio(handlers) as address:
        with pytest.raises(ResponseError, match=expected_message) as error_info:
            await collect_images(provider_for(address, no_news=0.3), "", MESSAGES)
    assert error_info.value.kind == kind
    assert isinstance(error_info.value, sd35.SD35Error)
    if isinstance(error_info.value.error, QuotaError):
        assert error_info.value.retry_after_seconds == 5034


OWN_PROVIDER = """
from __future__ import annotations

from sd35 import AsyncResult, ImagePreview, ImageResponse, Messages, ResponseError
from sd35 import StabilityAI_SD35Large


class OwnProvider(StabilityAI_SD35Large):
    label = "My own Space"
    url = {url!r}

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, prompt: str = None, proxy: str = None, **kwargs
    ) -> AsyncResult:
        try:
            async for chunk in super().create_async_generator(
                model, messages, prompt=prompt, proxy=proxy, num_inference_steps=2, **kwargs
            ):
                if isinstance(chunk, (ImagePreview, ImageResponse)):
                    yield chunk
        except ResponseError as e:
            raise RuntimeError(str(e)) from e
"""


async def test_a_provider_written_for_g4f_runs_with_other_import_lines(demo: str) -> None:
    namespace: dict[str, Any] = {}
    exec(OWN_PROVIDER.format(url=demo), namespace)  # noqa: S102  # a program of a user
    results = await collect_images(namespace["OwnProvider"], "sd-3.5", MESSAGES)
    assert isinstance(results[-1], ImageResponse)
    with pytest.raises(RuntimeError, match="Enter a prompt"):
        await collect_images(namespace["OwnProvider"], "sd-3.5", [])


async def test_leaving_the_generator_cancels_the_run() -> None:
    cancelled = anyio.Event()

    async def cancel(_: web.Request) -> web.Response:
        cancelled.set()
        return web.json_response({"success": True})

    async with serve_fake_gradio(
        data=respond_events(QUEUED, STARTED, PREVIEW, is_kept_open=True), cancel=cancel
    ) as address:
        async with aclosing(
            provider_for(address).create_async_generator("", MESSAGES)
        ) as generator:
            assert isinstance(await anext(generator), ImagePreview)
        assert cancelled.is_set()


async def test_a_subclass_can_use_another_endpoint() -> None:
    async with serve_fake_gradio(data=respond_events(QUEUED, STARTED, FINISHED)) as address:
        provider = provider_for(address)
        provider.api_endpoint = "/gradio_api/call/other"
        with pytest.raises(ResponseError, match="no /other endpoint"):
            await collect_images(provider, "", MESSAGES)
