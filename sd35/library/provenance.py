"""Metadata of a new image: everything that it takes to generate the image again."""

import datetime as dt
from collections.abc import Container
from dataclasses import replace

from sd35.core.errors import PictureError
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.version import __version__
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import THIS_TOOL, GenerationMetadata

__all__ = ["build_metadata", "embed_or_original", "request_from_metadata"]


def build_metadata(  # noqa: PLR0913  # plain values: the library knows no client
    request: GenerationRequest,
    picture: Picture,
    *,
    id_: str,
    model: str,
    space: str,
    is_demo: bool,
    gradio_version: str,
    parameters: Container[str | None],
    elapsed_seconds: float,
) -> GenerationMetadata:
    """Return the metadata of an image that a Space has just generated.

    `space` is the Space's name or URL, and `parameters` the names that its endpoint accepts.
    """
    # A Space without one of these parameters has used a value that nobody here knows.
    has_guidance, has_steps = "guidance_scale" in parameters, "num_inference_steps" in parameters
    return GenerationMetadata(
        id=id_,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale if has_guidance else None,
        num_inference_steps=request.num_inference_steps if has_steps else None,
        seed=picture.seed,
        model=model,
        # The embedded demo Space listens at another loopback port each time.
        space="demo Space" if is_demo else space,
        is_demo=is_demo,
        made_at=dt.datetime.now(dt.UTC),
        took_seconds=round(elapsed_seconds, 3),
        versions={THIS_TOOL: __version__, "Gradio": gradio_version},
    )


def request_from_metadata(
    metadata: GenerationMetadata, width: int, height: int
) -> GenerationRequest:
    """Return the request that generates an image again; `width` and `height` are fallbacks."""
    defaults = GenerationRequest(metadata.prompt)
    guidance_scale, steps = metadata.guidance_scale, metadata.num_inference_steps
    return GenerationRequest(
        metadata.prompt,
        metadata.negative_prompt,
        width if metadata.width is None else metadata.width,
        height if metadata.height is None else metadata.height,
        defaults.guidance_scale if guidance_scale is None else guidance_scale,
        defaults.num_inference_steps if steps is None else steps,
        0 if metadata.seed is None else metadata.seed,
        randomize_seed=metadata.seed is None,
    )


def embed_or_original(picture: Picture, metadata: GenerationMetadata) -> Picture:
    """Return the picture with embedded metadata, or unchanged if its file can't carry any."""
    try:
        return replace(picture, data=embed_metadata(picture.data, metadata))
    except PictureError:
        return picture
