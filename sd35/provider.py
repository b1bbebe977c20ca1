"""The provider class, for programs that support many providers.

The interface is that of the provider of the same name in g4f
(https://github.com/xtekky/gpt4free): a provider written for g4f runs with other import lines.
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

__all__ = [
    "AsyncResult",
    "ImagePreview",
    "ImageResponse",
    "Messages",
    "ResponseError",
    "StabilityAI_SD35Large",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Image:
    """An image at a Space: its `url` there, and its prompt as `alt`."""

    url: str
    alt: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def urls(self) -> str:
        """The same as `url`."""
        return self.url

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401  # g4f's interface
        """Return an option."""
        return self.options.get(key, default)

    def get_list(self) -> list[str]:
        """Return the address as a list of one."""
        return [self.url]

    def to_string(self) -> str:
        """Return the image as Markdown."""
        alt = " ".join(self.alt.split()).replace("[", "(").replace("]", ")")
        return f"[![{alt}]({self.url})]({self.url})"


class ImagePreview(_Image):
    """An unfinished image."""

    def __str__(self) -> str:
        return ""


class ImageResponse(_Image):
    """The finished image; `options` has `seed`, `width`, `height` and `model`."""

    def __str__(self) -> str:
        return self.to_string()

    @property
    def seed(self) -> int | None:
        """The seed, if it is known."""
        seed: int | None = self.options.get("seed")
        return seed


# A conversation: messages with a `role` and a `content`, as in OpenAI's API.
Messages = Sequence[Mapping[str, Any]]

AsyncResult = AsyncGenerator[ImagePreview | ImageResponse, None]  # the result of a provider


class ResponseError(SD35Error):
    """The failure of a provider; `error` is the cause, and `kind` the short name of that."""

    def __init__(self, error: SD35Error) -> None:
        super().__init__(error.happened, error.remedy)
        self.error = error
        self.kind = error.kind
        self.may_pass = error.may_pass
        self.retry_after_seconds = error.retry_after_seconds
        self.retry_at = error.retry_at


class StabilityAI_SD35Large:  # noqa: N801  # g4f's name
    """Stable Diffusion 3.5 Large at Stability AI's Space.

    A subclass may set another Space as `url`, and another endpoint as `api_endpoint`.
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
    def get_models(cls, **_: Any) -> list[str]:  # noqa: ANN401  # g4f's interface
        """Return the names of the model."""
        return cls.models

    @classmethod
    def get_model(cls, model: str | None, **_: Any) -> str:  # noqa: ANN401  # g4f's interface
        """Return the full name of a model; unknown names are returned unchanged."""
        if not model or model == "auto":
            return cls.default_model
        return cls.model_aliases.get(model, model)

    @classmethod
    async def create_async_generator(  # noqa: PLR0913, PLR0917  # g4f's interface
        cls,
        model: str | None,
        messages: Messages,
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
        randomize_seed: bool = True,  # noqa: FBT001, FBT002  # g4f's interface
        **kwargs: Any,  # noqa: ANN401, ARG003  # parameters of other providers
    ) -> AsyncResult:
        """Yield an `ImagePreview` for each preview, and the `ImageResponse` at the end.

        The prompt is by default the last user message, the size the closest to the aspect ratio,
        and the numbers are the Space's defaults. `api_key` is a Hugging Face token. Other models,
        and parameters of other providers, are ignored. Raises ResponseError if there is no image.
        """
        if model and cls.get_model(model) != cls.default_model:
            log.warning("%s is used instead of the unknown model %.100r", cls.label, model)
        options = RequestOptions(
            prompt=_last_user_message(messages) if prompt is None else prompt,
            negative_prompt=negative_prompt or "",
            aspect_ratio=aspect_ratio,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            seed=None if randomize_seed else seed,
        )
        # Closed here: a generator that is left early ends only when it is garbage-collected, and
        # its run at the Space with it.
        async with aclosing(cls._run(options, seed or 0, api_key, proxy)) as images:
            async for image in images:
                yield image

    @classmethod
    async def _run(
        cls, options: RequestOptions, seed: int, api_key: str | None, proxy: str | None
    ) -> AsyncResult:
        endpoint = cls.api_endpoint.rstrip("/").rpartition("/")[2]
        connection = SpaceClient.connect(
            cls.url, token=api_key, proxy=proxy, timeouts=cls.timeouts, endpoint=endpoint
        )
        try:
            async with connection as space:
                request = _build_request(options, seed, space.contract)
                async with space.generate(request) as generation:
                    async for event in generation:
                        if isinstance(event, Preview):
                            yield ImagePreview(space.url_of(event.picture), request.prompt)
                        elif isinstance(event, Finished):
                            facts = {
                                "seed": generation.seed,
                                "width": request.width,
                                "height": request.height,
                                "model": cls.default_model,
                            }
                            url = space.url_of(event.picture)
                            yield ImageResponse(url, request.prompt, facts)
        except SD35Error as error:
            raise ResponseError(error) from error


def _build_request(options: RequestOptions, seed: int, contract: Contract) -> GenerationRequest:
    """Return the request; its random seed is drawn by the Space if that returns the seed."""
    has_size = options.width is not None or options.height is not None
    if options.aspect_ratio is not None and not has_size:
        try:
            size = nearest_size(options.aspect_ratio, contract.limits)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        options = replace(options, width=size.width, height=size.height)
    request = options.resolve(contract.limits)
    has_remote_seed = contract.seed_output is not None and contract.has_parameter("randomize_seed")
    if options.seed is None and has_remote_seed:
        return replace(request, seed=seed, randomize_seed=True)
    return request


def _last_user_message(messages: Messages) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            # A message with images has a list of parts, of which some are texts.
            parts = [content] if isinstance(content, str) else content or ()
            texts = (part if isinstance(part, str) else part.get("text") for part in parts)
            return "\n".join(text.strip() for text in texts if isinstance(text, str))
    return ""
