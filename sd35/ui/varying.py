"""Pictures like one that is there: the same with a new seed, or with the seeds beside its own. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from sd35.errors import InvalidRequestError
from sd35.metadata.record import Record
from sd35.request import PUBLIC_LIMITS, GenerationRequest, Limits
from sd35.ui.form import CUSTOM_SIZE, FormValues, read_request
from sd35.ui.recall import recall

__all__ = ["requests_like"]

NEIGHBOURS = (-2, -1, 1, 2)


def requests_like(record: Record, what: object, limits: Limits) -> list[GenerationRequest]:
    """Return what is asked for to vary a picture: `same` with a new seed, or its four `neighbours`.

    Raises:
        InvalidRequestError: it can't be made at a Space with these limits.

    """
    values = recall(record, _defaults(limits), limits).values
    request, found = read_request(replace(values, randomize_seed=True), limits)
    if request is None:
        raise InvalidRequestError(" ".join(problem.message for problem in found))
    if what != "neighbours":
        return [request]
    if record.seed is None:
        raise InvalidRequestError("The seed of this picture isn't known, so it has no neighbours.")
    return [replace(request, seed=seed, randomize_seed=False) for seed in _beside(record.seed, limits)]


def _beside(seed: int, limits: Limits) -> Iterator[int]:
    """The seeds beside this one; beside the Space's largest comes its smallest."""
    span = limits.seed or PUBLIC_LIMITS.seed
    assert span is not None
    low, high = round(span.minimum), round(span.maximum)
    return (low + (seed + step - low) % (high - low + 1) for step in NEIGHBOURS)


def _defaults(limits: Limits) -> FormValues:
    return FormValues(
        prompt="",
        negative_prompt="",
        size=CUSTOM_SIZE,
        width=limits.width.default,
        height=limits.height.default,
        guidance_scale=0 if limits.guidance_scale is None else limits.guidance_scale.default,
        num_inference_steps=0 if limits.num_inference_steps is None else limits.num_inference_steps.default,
        seed=0,
        randomize_seed=True,
    )
