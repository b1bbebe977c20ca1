"""Presets and the last used settings as values of the form, within the limits of the Space."""

import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from sd35.core.limits import Limits
from sd35.core.origin import TEMPLATE_NAME, RequestOrigin
from sd35.core.request import GenerationRequest
from sd35.core.sizes import ASPECT_RATIOS, SizeUnavailableError, size_for
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import parse_int, parse_number
from sd35.prompts.plan import parse_batch_options
from sd35.prompts.styles import NO_STYLES, StyleBook
from sd35.ui.create.form import FormValues
from sd35.ui.create.import_settings import (
    AppliedSettings,
    apply_settings,
    metadata_from_request,
)

__all__ = ["apply_preset", "apply_request"]


def apply_preset(
    settings: dict[str, Any], current_values: FormValues, limits: Limits
) -> AppliedSettings:
    """Return the form's values with those of a preset, which has no prompt and no seed.

    The settings are from a file or a browser, and may be anything.
    """
    values, names = _apply_texts(settings, current_values, limits)
    ratio = settings.get("size")
    if ratio in ASPECT_RATIOS:
        with suppress(SizeUnavailableError):
            size = size_for(ratio, limits)
            values = replace(values, size=ratio, width=size.width, height=size.height)
            names.append("size")
    metadata = GenerationMetadata(
        width=parse_int(settings.get("width")),
        height=parse_int(settings.get("height")),
        guidance_scale=parse_number(settings.get("guidance_scale")),
        num_inference_steps=parse_int(settings.get("num_inference_steps")),
    )
    applied = AppliedSettings(metadata, limits, values, NO_STYLES)
    applied.applied_names = names
    if "size" not in names:
        applied.apply_size()
    applied.apply_number("guidance_scale", "guidance scale")
    applied.apply_number("num_inference_steps", "steps")
    return applied


def _apply_texts(
    settings: dict[str, Any], values: FormValues, limits: Limits
) -> tuple[FormValues, list[str]]:
    """Return the values with a preset's negative prompt, styles and count, and their names."""
    names = []
    negative_prompt = settings.get("negative_prompt")
    if isinstance(negative_prompt, str) and limits.negative_prompt:
        values = replace(values, negative_prompt=negative_prompt)
        names.append("negative prompt")
    former = parse_batch_options(values.batch_options)
    changes = {name: settings[name] for name in ("count", "styles") if name in settings}
    options = parse_batch_options(json.dumps(asdict(former) | changes))
    values = replace(values, batch_options=options.to_json())
    if options.styles != former.styles:
        names.append("styles")
    if options.count != former.count:
        names.append("number of images")
    return values, names


def apply_request(
    request: GenerationRequest,
    origin: RequestOrigin,
    current_values: FormValues,
    limits: Limits,
    style_book: StyleBook,
) -> AppliedSettings:
    """Return the form's values as they were when a request was made."""
    metadata = replace(metadata_from_request(request), extra=origin.prompt_sources)
    applied = apply_settings(metadata, current_values, limits, "all", style_book)
    template = dict(origin.prompt_sources).get(TEMPLATE_NAME)
    if template:
        options = replace(parse_batch_options(applied.values.batch_options), is_literal=False)
        applied.set_fields(prompt=template, batch_options=options.to_json())
    if request.randomize_seed:
        applied.set_fields(randomize_seed=True)
    return applied
