"""What is written into a finished picture's file: all that it takes to make it again."""

import datetime as dt
from dataclasses import replace

from sd35.client import SpaceClient
from sd35.core.errors import PictureError
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.version import __version__
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import THIS_TOOL, GenerationMetadata

__all__ = ["build_metadata", "embed_or_original", "request_from_metadata"]


def build_metadata(
    request: GenerationRequest,
    picture: Picture,
    space: SpaceClient,
    elapsed_seconds: float,
    id: str,  # noqa: A002  # its name everywhere
) -> GenerationMetadata:
    """Return the record of a picture that this Space has made just now, in so many seconds."""
    contract = space.contract
    return GenerationMetadata(
        id=id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale if contract.has_parameter("guidance_scale") else None,
        num_inference_steps=request.num_inference_steps
        if contract.has_parameter("num_inference_steps")
        else None,
        seed=picture.seed,
        model=space.model,
        space="demo Space" if contract.is_demo else space.name,
        is_demo=contract.is_demo,
        made_at=dt.datetime.now(dt.UTC),
        took_seconds=round(elapsed_seconds, 3),
        versions={THIS_TOOL: __version__, "Gradio": contract.version},
    )


def request_from_metadata(
    metadata: GenerationMetadata, width: int, height: int
) -> GenerationRequest:
    """Return the request that would make a picture again, of this size if its record tells no other."""
    defaults = GenerationRequest(metadata.prompt)
    return GenerationRequest(
        metadata.prompt,
        metadata.negative_prompt,
        width if metadata.width is None else metadata.width,
        height if metadata.height is None else metadata.height,
        defaults.guidance_scale if metadata.guidance_scale is None else metadata.guidance_scale,
        defaults.num_inference_steps
        if metadata.num_inference_steps is None
        else metadata.num_inference_steps,
        0 if metadata.seed is None else metadata.seed,
        randomize_seed=metadata.seed is None,
    )


def embed_or_original(picture: Picture, metadata: GenerationMetadata) -> Picture:
    """Return the picture with the record in its file; as it came, where its file can't carry one."""
    try:
        return replace(picture, data=embed_metadata(picture.data, metadata))
    except PictureError:
        return picture
