"""Number of tokens of a prompt, of which the text encoders read the first ones alone."""

from collections.abc import Iterator
from typing import Final

from diffusers import StableDiffusion3Pipeline

from sd35.core.request import GenerationRequest

__all__ = ["MAX_SEQUENCE_LENGTH", "describe_cuts"]

# Of T5, as the public Space leaves it, of which a seed should mean the same.
MAX_SEQUENCE_LENGTH: Final = 256


def describe_cuts(pipeline: StableDiffusion3Pipeline, request: GenerationRequest) -> str:
    """Return what isn't read of a request's prompts, as a sentence; empty if all is."""
    return " ".join(_describe_cuts(pipeline, request))


def _describe_cuts(pipeline: StableDiffusion3Pipeline, request: GenerationRequest) -> Iterator[str]:
    # CLIP reads less than T5, which has the rest.
    has_t5 = pipeline.text_encoder_3 is not None
    tokenizer = pipeline.tokenizer_3 if has_t5 else pipeline.tokenizer
    limit = MAX_SEQUENCE_LENGTH if has_t5 else pipeline.tokenizer_max_length
    prompts = {"prompt": request.prompt}
    if request.guidance_scale > 1:
        prompts["negative prompt"] = request.negative_prompt
    for name, text in prompts.items():
        count = len(tokenizer(text, truncation=False).input_ids)
        if count > limit:
            yield f"The model reads the first {limit} of the {name}'s {count} tokens."
