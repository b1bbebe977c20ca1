"""The provider class: an asynchronous generator of previews and a picture, as programs that know many providers use.

Its interface is that of the provider of the same name in g4f (https://github.com/xtekky/gpt4free);
what it does is done by `sd35.client`.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from sd35.client import Contract, SpaceClient, Timeouts
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.core.events import Finished, Preview
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.core.sizes import nearest_size

__all__ = ["ImagePreview", "ImageResponse", "ResponseError", "StabilityAI_SD35Large"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Image:
    """A picture at a Space: its `url` there, and as `alt` the prompt that it was made of."""

    url: str
    alt: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def urls(self) -> str:
        """The same as `url`."""
        return self.url

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401  # as its users know it
        """Return one of the options."""
        return self.options.get(key, default)

    def get_list(self) -> list[str]:
        """Return all addresses: there is one."""
        return [self.url]

    def to_string(self) -> str:
        """Return it as Markdown."""
        alt = " ".join(self.alt.split()).replace("[", "(").replace("]", ")")
        return f"[![{alt}]({self.url})]({self.url})"


class ImagePreview(_Image):
    """The picture as it looks so far."""

    def __str__(self) -> str:
        return ""


class ImageResponse(_Image):
    """The finished picture; `options` has `seed`, `width`, `height` and `model`."""

    def __str__(self) -> str:
        return self.to_string()

    @property
    def seed(self) -> int | None:
        """The seed that the Space says it used."""
        seed: int | None = self.options.get("seed")
        return seed


ImageResult = ImagePreview | ImageResponse


class ResponseError(SD35Error):
    """There is no picture. `error` is the `SD35Error` that says why, and `kind` its kind."""

    def __init__(self, error: SD35Error) -> None:
        super().__init__(error.happened, error.remedy)
        self.error = error
        self.kind = error.kind
        self.may_pass = error.may_pass
        self.retry_after_seconds = error.retry_after_seconds
        self.retry_at = error.retry_at


class StabilityAI_SD35Large:  # noqa: N801  # the name by which its users know it
    """Stable Diffusion 3.5 Large at Stability AI's Space.

    A subclass may name another Space with the same endpoint by its `url`, and another endpoint by
    its `api_endpoint`.
    """

    label = "StabilityAI SD-3.5-Large"
    url = "https://stabilityai-stable-diffusion-3-5-large.hf.space"
    api_endpoint = "/gradio_api/call/infer"
    working = True
    needs_auth = False
    supports_stream = True

    default_model = "stabilityai-stable-diffusion-3-5-large"
    default_image_model = default_model
    model_aliases: ClassVar[dict[str, str]] = {
        "sd-3.5-large": default_model,
        "sd-3.5": default_model,
    }
    image_models: ClassVar[list[str]] = list(model_aliases)
    models = image_models

    timeouts: ClassVar[Timeouts] = Timeouts()

    ImagePreview = ImagePreview
    ImageResponse = ImageResponse
    ResponseError = ResponseError

    @classmethod
    def get_models(cls, **_: Any) -> list[str]:  # noqa: ANN401  # as its users know it
        """Return the names by which the model may be asked for."""
        return cls.models

    @classmethod
    def get_model(cls, model: str | None, **_: Any) -> str:  # noqa: ANN401  # as its users know it
        """Return the model that this name stands for: every name that isn't known stands for itself."""
        return (
            cls.model_aliases.get(model, model) if model and model != "auto" else cls.default_model
        )

    @classmethod
    async def create_async_generator(  # noqa: PLR0913, PLR0917  # as its users know it
        cls,
        model: str | None,
        messages: Sequence[Mapping[str, Any]],
        prompt: str | None = None,
        negative_prompt: str | None = None,
        api_key: str | None = None,
        proxy: str | None = None,
        aspect_ratio: str | None = "1:1",
        width: int | None = None,
        height: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = 0,
        randomize_seed: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,  # noqa: ANN401, ARG003  # what others of its users' providers take
    ) -> AsyncGenerator[ImageResult, None]:
        """Yield an `ImagePreview` for each preview, and at last the `ImageResponse`.

        Args:
            model: one of `models`. Another name makes no difference, but in the log: there is one
                model here.
            messages: a conversation; its last user message is the prompt, where none is given.
            prompt: what is to be seen.
            negative_prompt: what isn't.
            api_key: a Hugging Face token.
            proxy: `http://host:port`, for every request.
            aspect_ratio: such as `16:9`; the size is the Space's largest that comes nearest to it.
            width: in pixels, as it is.
            height: in pixels, as it is.
            guidance_scale: if not given, the Space's own.
            num_inference_steps: if not given, the Space's own.
            seed: counts without `randomize_seed`.
            randomize_seed: whether a new seed is drawn.
            kwargs: are passed over.

        Raises:
            ResponseError: there is no picture; it says why, in the Space's own words where it has
                said any.

        """
        if model and cls.get_model(model) != cls.default_model:
            log.warning("%s makes the picture: there is no model %.100r here", cls.label, model)
        request_options = RequestOptions(
            prompt=_last_user_message(messages) if prompt is None else prompt,
            negative_prompt=negative_prompt or "",
            aspect_ratio=aspect_ratio,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            seed=None if randomize_seed else seed,
        )
        try:
            async with aclosing(
                cls._run(request_options, 0 if seed is None else seed, api_key, proxy)
            ) as images:
                async for image in images:
                    yield image
        except SD35Error as error:
            raise ResponseError(error) from error

    @classmethod
    async def _run(
        cls, request_options: RequestOptions, seed: int, api_key: str | None, proxy: str | None
    ) -> AsyncGenerator[ImageResult, None]:
        endpoint = cls.api_endpoint.rstrip("/").rpartition("/")[2]
        connection = SpaceClient.connect(
            cls.url, token=api_key, proxy=proxy, timeouts=cls.timeouts, endpoint=endpoint
        )
        async with connection as space:
            request = _build_request(request_options, seed, space.contract)
            async with space.generate(request) as generation:
                async for event in generation:
                    match event:
                        case Preview(picture=picture):
                            yield ImagePreview(space.url_of(picture), request_options.prompt)
                        case Finished(picture=picture):
                            yield cls._build_response(
                                space.url_of(picture), request, generation.seed
                            )

    @classmethod
    def _build_response(cls, url: str, request: GenerationRequest, seed: int | None) -> ImageResult:
        options = {
            "seed": seed,
            "width": request.width,
            "height": request.height,
            "model": cls.default_model,
        }
        return ImageResponse(url, request.prompt, options)


def _build_request(
    request_options: RequestOptions, seed: int, contract: Contract
) -> GenerationRequest:
    """The request to this Space: in a size that it makes, and, if it tells the seed it used, with one that it draws."""
    if (
        request_options.aspect_ratio is not None
        and request_options.width is None
        and request_options.height is None
    ):
        try:
            size = nearest_size(request_options.aspect_ratio, contract.limits)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        request_options = replace(request_options, width=size.width, height=size.height)
    request = request_options.resolve(contract.limits)
    is_seed_remote = (
        request_options.seed is None
        and contract.seed_output is not None
        and contract.has_parameter("randomize_seed")
    )
    return replace(request, seed=seed, randomize_seed=True) if is_seed_remote else request


def _last_user_message(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last message of the user; one of several parts may hold pictures, too."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            parts = [content] if isinstance(content, str) else content or ()
            texts = (part if isinstance(part, str) else part.get("text") for part in parts)
            return "\n".join(text.strip() for text in texts if isinstance(text, str))
    return ""
