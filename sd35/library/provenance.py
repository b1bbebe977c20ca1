"""What is written into a finished picture's file: all that it takes to make it again."""

import datetime as dt
from dataclasses import replace

from sd35.client import SpaceClient
from sd35.core.errors import PictureError
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.version import __version__
from sd35.metadata.embedding import embed_record
from sd35.metadata.model import OURS, Record

__all__ = ["record_of", "recorded", "request_of"]


def record_of(
    request: GenerationRequest,
    picture: Picture,
    space: SpaceClient,
    took_seconds: float,
    id: str,  # noqa: A002  # its name everywhere
) -> Record:
    """Return the record of a picture that this Space has made just now, in so many seconds."""
    contract = space.contract
    return Record(
        id=id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale if contract.takes("guidance_scale") else None,
        num_inference_steps=request.num_inference_steps
        if contract.takes("num_inference_steps")
        else None,
        seed=picture.seed,
        model=space.model,
        space="demo Space" if contract.is_demo else space.name,
        is_demo=contract.is_demo,
        made_at=dt.datetime.now(dt.UTC),
        took_seconds=round(took_seconds, 3),
        versions={OURS: __version__, "Gradio": contract.version},
    )


def request_of(record: Record, width: int, height: int) -> GenerationRequest:
    """Return the request that would make a picture again, of this size if its record tells no other."""
    public = GenerationRequest(record.prompt)
    return GenerationRequest(
        record.prompt,
        record.negative_prompt,
        width if record.width is None else record.width,
        height if record.height is None else record.height,
        public.guidance_scale if record.guidance_scale is None else record.guidance_scale,
        public.num_inference_steps
        if record.num_inference_steps is None
        else record.num_inference_steps,
        0 if record.seed is None else record.seed,
        randomize_seed=record.seed is None,
    )


def recorded(picture: Picture, record: Record) -> Picture:
    """Return the picture with the record in its file; as it came, where its file can't carry one."""
    try:
        return replace(picture, data=embed_record(picture.data, record))
    except PictureError:
        return picture
