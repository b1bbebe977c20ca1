"""Metadata of a new image, and the request that generates an image again."""

import datetime as dt
from dataclasses import replace
from typing import Final

from sd35.client import SpaceClient
from sd35.core.origin import NO_ORIGIN, RequestOrigin
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.version import __version__
from sd35.metadata.model import THIS_TOOL, GenerationMetadata

__all__ = [
    "DEMO_LABEL",
    "build_metadata",
    "origin_from_metadata",
    "request_from_metadata",
    "space_label",
]


DEMO_LABEL: Final = "demo Space"


def space_label(space: SpaceClient) -> str:
    """Return the name of a Space as metadata has it."""
    # The embedded demo Space listens at another loopback port each time.
    return DEMO_LABEL if space.contract.is_demo else space.name


def build_metadata(
    request: GenerationRequest,
    picture: Picture,
    space: SpaceClient,
    *,
    picture_id: str,
    elapsed_seconds: float,
    origin: RequestOrigin = NO_ORIGIN,
) -> GenerationMetadata:
    """Return the metadata of an image that a Space has just generated."""
    contract = space.contract
    parameter_names = {parameter.name for parameter in contract.parameters}
    # A Space without one of these parameters has used an unknown value.
    has_guidance = "guidance_scale" in parameter_names
    has_steps = "num_inference_steps" in parameter_names
    return GenerationMetadata(
        id=picture_id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale if has_guidance else None,
        num_inference_steps=request.num_inference_steps if has_steps else None,
        seed=picture.seed,
        model=space.model,
        space=space_label(space),
        is_demo=contract.is_demo,
        made_at=dt.datetime.now(dt.UTC),
        took_seconds=round(elapsed_seconds, 3),
        extra=(*origin.prompt_sources, *contract.model_info.provenance.items()),
        set_id=origin.set_id,
        set_index=origin.set_index if origin.set_id else None,
        set_size=origin.set_size if origin.set_id else None,
        axes=origin.axes,
        versions={THIS_TOOL: __version__, "Gradio": contract.version},
    )


def origin_from_metadata(metadata: GenerationMetadata) -> RequestOrigin:
    """Return the set that an image was made in."""
    return RequestOrigin(
        axes=metadata.axes,
        set_id=metadata.set_id,
        set_index=metadata.set_index or 0,
        set_size=metadata.set_size or 1,
    )


def request_from_metadata(
    metadata: GenerationMetadata, width: int, height: int
) -> GenerationRequest:
    """Return the request that generates an image again; `width` and `height` are fallbacks."""
    known_values = {
        name: value
        for name in ("width", "height", "guidance_scale", "num_inference_steps", "seed")
        if (value := getattr(metadata, name)) is not None
    }
    request = GenerationRequest(metadata.prompt, metadata.negative_prompt, width, height)
    return replace(request, **known_values, randomize_seed=metadata.seed is None)
